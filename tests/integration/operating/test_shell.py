"""What operators do from the shell: learn why production does not start, ask the doctor, rotate the master key."""

from __future__ import annotations

import base64
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary, select, update
from starlette.testclient import TestClient
from typer.testing import CliRunner

from app.cli import app
from app.clock import utc_now
from app.db import Database
from app.errors import Problem
from app.jobs import enqueue
from app.keyring import Keyring
from app.main import create_app
from app.models import AuditLine, Base, Cohort, Job, SigningKey
from app.models.migrating import downgrade, upgrade
from app.models.wrapped import WRAPPED
from app.operating.rewrapping import rewrap
from app.settings import Settings
from tests.acceptance.second_cohort.cohort import second_cohort
from tests.acceptance.service import opened
from tests.postgres import fresh_database

ROOT = Path(__file__).parents[3]
OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)


def _b64(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture
def at_home(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A service with a cohort and a signing key, under the master key OLD; the shell finds it by its settings."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"VAR": str(tmp_path), "DATABASE_URL": database_url, "MASTER_KEY": _b64(OLD)}.items():
        monkeypatch.setenv(f"BAEKMAN_{name}", value)
    with opened(tmp_path, database_url, master_key=_b64(OLD)) as service:
        service.register_cohort(second_cohort(people=20).dictionary, [{"term": "HMB"}])
        yield service.db


def _run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


def _doctor() -> tuple[int, dict[str, dict[str, Any]]]:
    code, text = _run("doctor", "--json")
    return code, {check["name"]: check for check in json.loads(text)["checks"]}


def test_every_wrapped_key_of_the_models_is_known() -> None:
    columns = {
        f"{mapper.class_.__name__}.{column.key}"
        for mapper in Base.registry.mappers
        for column in mapper.columns
        if isinstance(column.type, LargeBinary) and "wrapped" in column.key
    }
    assert {f"{column.class_.__name__}.{column.key}" for _, column in WRAPPED.values()} == columns


def test_the_master_key_is_rotated(at_home: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Keyring(OLD), Keyring(NEW)
    with at_home.read() as session:
        cohort = session.scalars(select(Cohort)).one()
        wanted = before.unwrap(cohort.identity_key_wrapped)
    monkeypatch.setenv("BAEKMAN_MASTER_KEY", _b64(NEW))
    code, checks = _doctor()
    assert (code, checks["keys"]["state"]) == (1, "failed")
    code, text = _run("rewrap")
    assert code == 1
    assert "OLDER" in text

    monkeypatch.setenv("BAEKMAN_OLDER_MASTER_KEYS", _b64(OLD))
    code, checks = _doctor()
    assert (code, checks["keys"]["state"]) == (0, "warning")
    code, text = _run("rewrap", "--json")
    assert code == 0
    done = json.loads(text)
    assert done["cohorts"] == 1
    assert done["signing keys"] >= 1
    monkeypatch.delenv("BAEKMAN_OLDER_MASTER_KEYS")
    assert _doctor()[1]["keys"]["state"] == "ok"
    with at_home.read() as session:
        assert after.unwrap(session.scalars(select(Cohort)).one().identity_key_wrapped) == wanted
        lines = session.scalars(select(AuditLine).where(AuditLine.event == "key.rewrapped")).all()
    assert [(line.object_id, line.data) for line in lines] == [(after.current, done)]
    assert json.loads(_run("rewrap", "--json")[1]) == dict.fromkeys(WRAPPED, 0)


def test_many_keys_in_batches(at_home: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.operating.rewrapping.BATCH", 3)
    before = Keyring(OLD)
    with at_home.unit_of_work() as session:
        one = session.scalars(select(SigningKey)).first()
        assert one is not None
        for n in range(7):
            session.add(
                SigningKey(
                    kid=f"k{n}", algorithm=one.algorithm, public_jwk=one.public_jwk,
                    private_wrapped=before.new(), created_at=one.created_at, retired_at=one.created_at,
                )
            )  # fmt: skip
    assert rewrap(at_home, lambda: one.created_at, Keyring(NEW, OLD))["signing keys"] >= 8


def test_the_doctor_finds_what_is_planted(
    at_home: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, checks = _doctor()
    assert code == 0
    assert {name for name, check in checks.items() if check["state"] == "failed"} == set()
    assert {
        "database",
        "keys",
        "jobs",
        "audit",
        "journal",
        "disk",
        "inbox",
        "vault",
        "outbox",
        "memory",
    } <= set(checks)

    with at_home.unit_of_work() as session:
        line = session.scalars(select(AuditLine).order_by(AuditLine.number)).first()
        assert line is not None
        session.execute(update(AuditLine).where(AuditLine.number == 1).values(actor="somebody else"))
    monkeypatch.setenv("BAEKMAN_VAULT_URL", "s3://vault/x")
    monkeypatch.setenv("BAEKMAN_S3_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(__import__("app.storage.s3", fromlist=["s3"]).RETRY, "max_retries", 0)
    monkeypatch.setenv("BAEKMAN_JOURNAL", str(tmp_path / "absent" / "journal"))
    code, checks = _doctor()
    assert code == 1
    assert {name for name, check in checks.items() if check["state"] == "failed"} == {
        "audit",
        "vault",
        "journal",
    }
    assert "127.0.0.1" not in json.dumps(checks)

    downgrade(at_home, "0003")
    code, checks = _doctor()
    assert (code, checks["database"]["detail"]) == (1, "Migrations are missing.")


def test_production_does_not_start_on_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAEKMAN_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("BAEKMAN_PRODUCTION", "true")
    code, text = _run("serve")
    assert code == 78
    assert "plain_http BAEKMAN_PUBLIC_URL" in text
    assert "demo_key BAEKMAN_MASTER_KEY" in text
    assert not (tmp_path / "var").exists()


@pytest.mark.again
def test_a_worker_works_beside_a_web_that_does_not(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_database(postgres_url) as url:
        told = {
            "VAR": str(tmp_path), "DATABASE_URL": url, "MASTER_KEY": _b64(OLD), "JOBS": "separate",
        }  # fmt: skip
        for name, value in told.items():
            monkeypatch.setenv(f"BAEKMAN_{name}", value)
        database = Database(url)
        upgrade(database)
        with TestClient(create_app(Settings(_env_file=None))) as web:
            assert web.get("/readyz").status_code == 200
            with database.unit_of_work() as session:
                job_id = enqueue(session, "settle_withdrawal", subject="wdr_none", at=utc_now())
            time.sleep(0.5)  # an embedded engine would have begun by now
            assert _state(database, job_id) == "waiting"
            command = [sys.executable, "-m", "app.cli", "worker"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as worker:
                assert worker.stdout is not None
                assert "works" in worker.stdout.readline()
                deadline = time.monotonic() + 60
                while _state(database, job_id) in ("waiting", "queued", "running"):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(60) == 0
        database.dispose()


def _state(database: Database, job_id: str) -> str:
    with database.read() as session:
        return session.get_one(Job, job_id).state


def test_workers_of_their_own_need_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAEKMAN_VAR", str(tmp_path / "var"))
    code, text = _run("worker")
    assert code == 78
    assert "PostgreSQL" in text


def test_the_doctor_begins_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAEKMAN_VAR", str(tmp_path / "var"))
    code, text = _run("doctor")
    assert (code, "baekman serve" in text) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", ["vault", "memory"])
def test_nothing_is_served_over_a_store_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    monkeypatch.setitem(__import__("app.storage.s3", fromlist=["s3"]).RETRY, "max_retries", 0)
    given: dict[str, Any] = {f"{room}_url": f"s3://{room}", f"{room}_key_id": "key", f"{room}_secret": "word"}
    settings = Settings(_env_file=None, var=tmp_path, s3_endpoint="http://127.0.0.1:1", **given)
    with pytest.raises(Problem, match="store_unavailable"), TestClient(create_app(settings)):
        pass
