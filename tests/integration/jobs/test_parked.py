"""A job that keeps failing or keeps ending its worker is parked with a code and a step, rings, and waits for the
operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs
from typer.testing import CliRunner

from app.alarms import parked
from app.alarms.desk import JobDesk
from app.cli import app as shell
from app.clock import utc_now
from app.db import Database
from app.errors import Problem
from app.jobs import MUST_END, JobContext, Rules, enqueue, execute, held_up, order
from app.jobs.engine import InlineEngine
from app.jobs.kinds import SERVES_WITHDRAWAL
from app.jobs.rows import put_back
from app.jobs.states import ENDED, TRANSITIONS, step
from app.models import Alarm, AuditLine, Job
from tests.amounts import first
from tests.schema import with_tables

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
SECRET = "880101-1234567"
RULES = Rules(3, 2, parked.parked, parked.overtaken)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    with_tables(made)
    yield made
    made.dispose()


def _insert(db: Database, kind: str, **arguments: Any) -> str:
    with db.unit_of_work() as session:
        return enqueue(session, kind, subject="x", arguments=arguments, at=NOW)


def _jobs(db: Database) -> list[Job]:
    with db.read() as session:
        return list(session.scalars(select(Job).order_by(Job.created_at, Job.id)))


def _alarms(db: Database) -> list[tuple[str, str, str]]:
    with db.read() as session:
        return [
            (one.subject, one.level, one.state) for one in session.scalars(select(Alarm).order_by(Alarm.id))
        ]


def _events(db: Database) -> list[tuple[str, str, str]]:
    with db.read() as session:
        lines = session.scalars(select(AuditLine).order_by(AuditLine.number))
        return [(one.event, one.actor, one.object_id) for one in lines if one.event.startswith("job.")]


def _break(job: JobContext) -> None:
    job.progress(step="publish")
    raise ValueError(f"no such person: {SECRET}")


def _fail_until_parked(db: Database, kind: str) -> Job:
    at = [NOW]
    engine = InlineEngine(db, lambda: at[0], {kind: _break}, RULES)
    with capture_logs():
        for _ in range(8):
            engine.drain()
            at[0] += timedelta(hours=1)
    return _jobs(db)[-1]


def _die(db: Database, job_id: str) -> None:
    """As if the process had ended while the job ran."""

    def dies(_job: JobContext) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(db, lambda: NOW, {"dry_run": dies, "reissue_extract": dies}, job_id, RULES)


def test_a_verb_that_a_state_does_not_allow_is_refused() -> None:
    verbs = {verb for allowed in TRANSITIONS.values() for verb in allowed}
    for state, verb in product(TRANSITIONS, verbs):
        if verb in TRANSITIONS[state]:
            assert step(state, verb) in TRANSITIONS
        else:
            with pytest.raises(Problem):
                step(state, verb)
    assert {"done", "failed", "retried", "parked", "cancelled"} == ENDED


@pytest.mark.parametrize("kind", first(4, sorted(MUST_END)))
def test_what_fails_too_often_is_parked_with_a_code_and_a_step(db: Database, kind: str) -> None:
    _insert(db, kind)
    job = _fail_until_parked(db, kind)
    assert [(one.state, one.attempt) for one in _jobs(db)] == [("retried", 1), ("retried", 2), ("parked", 3)]
    assert job.failure is not None
    assert (job.failure["code"], job.failure["step"]) == ("internal", "publish")
    level = "critical" if kind in SERVES_WITHDRAWAL else "warning"
    assert _alarms(db) == [(job.id, level, "open")]
    assert _events(db) == [("job.parked", "platform", job.id)]
    with db.read() as session:
        words = held_up(session, "x")
        said = [line.data for line in session.scalars(select(AuditLine))]
    assert words is not None
    assert (words["code"], words["reason"], words["step"], words["job"]) == (
        "job_parked",
        "internal",
        "publish",
        job.id,
    )
    assert words["title_ko"]
    assert SECRET not in json.dumps([words, said, job.failure], default=str)


def test_what_ends_its_worker_too_often_is_parked_and_not_begun_again(db: Database) -> None:
    job_id = _insert(db, "reissue_extract")
    _die(db, job_id)
    _die(db, job_id)
    began: list[str] = []
    execute(db, lambda: NOW, {"reissue_extract": lambda job: began.append(job.id)}, job_id, RULES)
    job = _jobs(db)[0]
    assert (began, job.state, job.deaths, (job.failure or {})["code"]) == ([], "parked", 2, "worker_lost")
    with db.unit_of_work() as session:  # nobody but the operator begins such a thing again
        order(session, "reissue_extract", "x", NOW)
    assert len(_jobs(db)) == 1
    assert _alarms(db) == [(job_id, "critical", "open")]


def test_what_only_fails_is_ordered_again_by_whoever_leaves_next(db: Database) -> None:
    _insert(db, "reissue_extract")
    given_up = _fail_until_parked(db, "reissue_extract")
    with db.unit_of_work() as session:
        order(session, "reissue_extract", "x", NOW)
    engine = InlineEngine(db, lambda: NOW, {"reissue_extract": lambda _job: None}, RULES)
    assert engine.drain() == 1
    assert [one.state for one in _jobs(db) if one.id == given_up.id] == ["retried"]
    assert _alarms(db) == [(given_up.id, "critical", "closed")]
    assert _events(db)[-1] == ("job.overtaken", "platform", given_up.id)
    with db.read() as session:
        assert held_up(session, "x") is None


def test_another_with_other_arguments_does_not_do_its_work(db: Database) -> None:
    _insert(db, "narrow_block", withdrawal_id="one")
    given_up = _fail_until_parked(db, "narrow_block")
    _insert(db, "narrow_block", withdrawal_id="two")
    assert InlineEngine(db, lambda: NOW, {"narrow_block": lambda _job: None}, RULES).drain() == 1
    assert [one.state for one in _jobs(db) if one.id == given_up.id] == ["parked"]


def test_who_is_told_to_end_has_not_died(db: Database) -> None:
    job_id = _insert(db, "dry_run")
    for _ in range(4):
        _die(db, job_id)
        assert put_back(db, [job_id]) == 1
    execute(db, lambda: NOW, {"dry_run": lambda _job: None}, job_id, RULES)
    assert [(one.state, one.deaths) for one in _jobs(db)] == [("done", 0)]


def test_the_operator_releases_it_with_all_its_tries_before_it(db: Database) -> None:
    _insert(db, "take_withdrawals", withdrawn=[])
    given_up, desk = _fail_until_parked(db, "take_withdrawals"), JobDesk(db, lambda: NOW)
    with pytest.raises(Problem):
        desk.cancel(given_up.id)  # it serves a withdrawal
    made = desk.release(given_up.id)
    assert (made["state"], made["tries"], made["deaths"]) == ("waiting", 1, 0)
    assert _alarms(db) == [(given_up.id, "critical", "closed")]
    assert _events(db)[-1] == ("job.released", "shell", given_up.id)
    with pytest.raises(Problem):
        desk.release(given_up.id)
    assert InlineEngine(db, lambda: NOW, {"take_withdrawals": lambda _job: None}, RULES).drain() == 1


def test_the_operator_ends_it_for_good(db: Database) -> None:
    _insert(db, "index_variables")
    given_up = _fail_until_parked(db, "index_variables")
    made = JobDesk(db, lambda: NOW).cancel(given_up.id)
    assert _alarms(db) == [(given_up.id, "warning", "closed")]
    assert InlineEngine(db, lambda: NOW, {"index_variables": _break}, RULES).drain() == 1
    assert {one.id: one.state for one in _jobs(db)}[made["id"]] == "cancelled"


def test_an_alarm_that_is_waved_away_rings_again(db: Database) -> None:
    _insert(db, "narrow_block")
    given_up = _fail_until_parked(db, "narrow_block")
    assert parked.ring_again(db, lambda: NOW) == 0
    with db.unit_of_work() as session:
        session.scalars(select(Alarm)).one().state = "closed"
    assert parked.ring_again(db, lambda: NOW) == 1
    assert [one[2] for one in _alarms(db)] == ["closed", "open"]
    assert {one[0] for one in _alarms(db)} == {given_up.id}


@pytest.mark.again
def test_the_shell_shows_parked_jobs_first_and_acts_on_them(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAEKMAN_DATABASE_URL", db.url)
    _insert(db, "destroy_extract")
    given_up = _fail_until_parked(db, "destroy_extract")
    newer = _insert(db, "dry_run")

    def run(*words: str) -> Any:
        done = CliRunner().invoke(shell, ["jobs", *words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    assert [(one["id"], one["code"], one["step"]) for one in run("list")] == [
        (given_up.id, "internal", "publish"),
        (newer, None, None),
    ]
    assert SECRET not in json.dumps(run("list"))
    again = run("release", given_up.id)
    assert again["kind"] == "destroy_extract"
    assert CliRunner().invoke(shell, ["jobs", "release", given_up.id]).exit_code == 1
    assert CliRunner().invoke(shell, ["jobs", "list", "--state", "lost"]).exit_code == 2
    assert [one["id"] for one in run("list", "--state", "waiting")] == [newer, again["id"]][::-1]


@pytest.mark.again
@pytest.mark.faults
def test_a_job_that_kills_its_process_is_parked_and_the_others_are_done(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'baekman.db'}"
    db = Database(url)
    with_tables(db)
    with db.unit_of_work() as session:
        poison = enqueue(session, "poison", subject="x", at=utc_now())
        quick = enqueue(session, "quick", subject="x", at=utc_now())
    command = [sys.executable, "-m", "tests.integration.jobs.worker", str(tmp_path), url]
    states: dict[str, str] = {}
    for _ in range(3):
        worker = subprocess.Popen(
            command, cwd=Path(__file__).parents[3], env={**os.environ, "PYTHONPATH": "."}
        )
        end = time.monotonic() + 120
        while worker.poll() is None and states != {poison: "parked", quick: "done"}:
            assert time.monotonic() < end, states
            time.sleep(0.02)
            states = {job.id: job.state for job in _jobs(db)}
        worker.kill()
        worker.wait()
    assert states[quick] == "done"
    assert states[poison] == "parked"
    assert len((tmp_path / f"{poison}.runs").read_text().splitlines()) == 2
    db.dispose()
