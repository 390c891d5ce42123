"""An institution with a cohort and a draft version; uploads arrive, are checked by real jobs, reach a real vault."""

from __future__ import annotations

import atexit
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from app.auth.policy import Actor
from app.catalog.indexing import VariableIndexing
from app.cohorts.intake import IntakeService, check_when_complete
from app.cohorts.upload_targets import Wanted
from app.cohorts.uploads import UploadService
from app.cohorts.validation import ValidationService
from app.db import Database
from app.deid.roles import check_dictionary
from app.engines.intake import Bounds, IntakeEngine, IntakeLimits
from app.jobs import JobContext, enqueue, execute
from app.jobs.engine import InlineEngine
from app.keyring import Keyring
from app.models import (
    AuditLine,
    Base,
    Cohort,
    Consent,
    Dataset,
    DatasetVersion,
    Institution,
    Job,
    Participant,
    Upload,
    VaultTable,
)  # fmt: skip
from app.settings import Settings
from app.storage.held import objects_of
from app.storage.inbox import Inbox
from app.storage.vault import Vault
from app.withdrawals.service import WithdrawalService
from tests.schema import copy_into, template, with_tables

ALICE = Actor(
    "client:hospital", "hospital", "institution", "ins_a", frozenset({"uploads:write", "consents:write"})
)
VERSION, COHORT = "ver_1", "coh_1"


@dataclass
class IntakeWorld:
    """What a test of checking acts on."""

    folder: Path
    db: Database
    dictionary: Mapping[str, Any]
    now: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    withdrawn: list[Any] = field(default_factory=list)
    version: str = VERSION  # the one that is uploaded to
    furnished: bool = False  # the database and the folder are a copy of one that was

    def __post_init__(self) -> None:
        if not self.furnished:
            with_tables(self.db)
        self.settings = Settings(var=self.folder)
        self.inbox = Inbox.open((self.folder / "inbox").as_uri(), self.folder / "spill")
        self.vault = Vault.open((self.folder / "vault").as_uri())
        limits = IntakeLimits(
            "512MB", 2, Bounds(self.settings.expansion_max_ratio, 2**30), self.settings.quarantine_share
        )
        self.engine = IntakeEngine(self.vault, self.folder / "work", limits)
        self.keyring = Keyring(b"k" * 32)
        self.uploads = UploadService(
            self.db, self.clock, self.settings, self.inbox, check_when_complete(self.clock)
        )
        self.intake = IntakeService(
            self.db, self.clock, self.inbox, self.engine, self.keyring, self.uploads.remove_original,
            WithdrawalService(self.db, self.clock, self.keyring).leave,
        )  # fmt: skip
        self.validation = ValidationService(self.db, self.clock, self.settings, self.engine)
        tasks = {
            "check_upload": self.intake.check_upload,
            "submit_version": self.validation.submit_version,
            "take_withdrawals": self._note_withdrawals,
            "index_variables": VariableIndexing(self.db, self.clock, self.engine).index,
        }
        self.jobs = InlineEngine(self.db, self.clock, tasks)
        if not self.furnished:
            self._furnish()

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def _note_withdrawals(self, job: JobContext) -> None:
        self.withdrawn += [one[:2] for one in job.arguments["withdrawn"]]

    def _furnish(self) -> None:
        with self.db.unit_of_work() as session:
            session.add(Institution(id="ins_a", name="A", created_at=self.now))
            session.flush()
            session.add(
                Cohort(
                    id=COHORT, institution_id="ins_a", name="c", consent_form={}, duo=[],
                    identity_key_wrapped=self.keyring.new(), created_at=self.now,
                )
            )  # fmt: skip
            session.flush()
            session.add(Dataset(id="dst_1", cohort_id=COHORT, name="d", keywords=[], created_at=self.now))
            session.flush()
            session.add(
                DatasetVersion(
                    id=VERSION, dataset_id="dst_1", number=1, state="draft", dictionary=None, dictionary_digest=None,
                    report=None, created_at=self.now, published_at=None,
                )
            )  # fmt: skip
        self.set_dictionary(self.dictionary)

    def set_dictionary(self, document: Mapping[str, Any]) -> None:
        with self.db.unit_of_work() as session:
            version = session.get_one(DatasetVersion, self.version)
            version.dictionary = check_dictionary(document).model_dump(mode="json")

    def send(self, table: str, content: bytes, **laid: Any) -> str:
        """Upload without checking; the upload's id."""
        wanted = Wanted("table", len(content), version_id=self.version, table=table, **laid)
        if table == "consents":
            wanted = Wanted("consents", len(content), cohort_id=COHORT)
        upload_id = str(self.uploads.create(ALICE, wanted)["id"])
        if content:
            self.uploads.append(ALICE, upload_id, 0, [content])
        return upload_id

    def upload(self, table: str, content: bytes, **laid: Any) -> Upload:
        """Upload and run every job that is waiting; the upload as it is afterwards."""
        upload_id = self.send(table, content, **laid)
        self.jobs.drain()
        return self.row(upload_id)

    def check(self, upload_id: str) -> None:
        """Run the job of this upload alone, though others came before."""
        with self.db.read() as session:
            job = session.scalars(
                select(Job.id).where(Job.subject == upload_id, Job.state == "waiting")
            ).one()
        execute(self.db, self.clock, self.jobs.tasks, job)

    def row(self, upload_id: str) -> Upload:
        with self.db.read() as session:
            upload = session.get_one(Upload, upload_id)
            session.expunge(upload)
            return upload

    def submit(self) -> DatasetVersion:
        with self.db.unit_of_work() as session:
            session.get_one(DatasetVersion, self.version).state = "validating"
            enqueue(session, "submit_version", subject=self.version, at=self.clock())
        self.jobs.drain()
        with self.db.read() as session:
            version = session.get_one(DatasetVersion, self.version)
            session.expunge(version)
            return version

    def set_state(self, state: str) -> None:
        """The institution opens the version again."""
        with self.db.unit_of_work() as session:
            session.get_one(DatasetVersion, self.version).state = state

    def enqueue(self, kind: str, subject: str) -> None:
        with self.db.unit_of_work() as session:
            enqueue(session, kind, subject=subject, at=self.clock())

    def held(self) -> dict[str, VaultTable]:
        with self.db.read() as session:
            query = select(VaultTable).where(VaultTable.version_id == self.version)
            rows = session.scalars(query.order_by(VaultTable.generation)).all()
            session.expunge_all()
            return {row.table_name: row for row in rows}

    def table(self, name: str) -> pa.Table:
        with self.db.read() as session:
            objects = objects_of(session, self.held()[name])
        tables = [pq.read_table(self.vault.local_path(one, self.folder)) for one in objects]
        return pa.concat_tables(tables, promote_options="default")

    def count(self, model: type[Base]) -> int:
        with self.db.read() as session:
            return session.scalar(select(func.count()).select_from(model)) or 0

    def said(self) -> str:
        """Everything that the database tells anyone: reports, progress, failures, audit lines."""
        with self.db.read() as session:
            uploads = [row.report for row in session.scalars(select(Upload))]
            versions = [row.report for row in session.scalars(select(DatasetVersion))]
            jobs = [[row.progress, row.failure] for row in session.scalars(select(Job))]
            audit = [[row.event, row.data] for row in session.scalars(select(AuditLine))]
        return json.dumps([uploads, versions, jobs, audit], ensure_ascii=False)

    def failed_jobs(self) -> list[Any]:
        with self.db.read() as session:
            return [job.failure for job in session.scalars(select(Job)) if job.state == "failed"]

    def consents(self) -> dict[tuple[int, str], str]:
        with self.db.read() as session:
            return {(row.participant_key, row.domain): row.state for row in session.scalars(select(Consent))}

    def left_behind(self) -> list[str]:
        """Files outside database, inbox and vault: spill must be gone."""
        return (
            [path.name for path in (self.folder / "work").rglob("*")]
            if (self.folder / "work").exists()
            else []
        )

    def participants(self) -> int:
        return self.count(Participant)


def problems(upload: Upload) -> list[dict[str, Any]]:
    """The findings of an upload's report, without their hints."""
    return [
        {k: v for k, v in one.items() if k != "hint"} for one in (upload.report or {}).get("problems", [])
    ]


def at_step(step: str, monkeypatch: pytest.MonkeyPatch, act: Callable[[str], object]) -> None:
    """Do something to the upload that a check works on when the check comes to a step."""
    go_on = JobContext.progress

    def progress(self: JobContext, **counts: Any) -> None:
        if counts.get("step") == step:
            act(self.subject)
        go_on(self, **counts)

    monkeypatch.setattr(JobContext, "progress", progress)


def csv_bytes(
    rows: Iterable[Sequence[Any]], encoding: str = "utf-8", delimiter: str = ",", end: str = "\n"
) -> bytes:
    """Rows as CSV; None is nothing."""
    lines = [
        delimiter.join("" if value is None else _cell(str(value), delimiter) for value in row) for row in rows
    ]
    return (end.join(lines) + end).encode(encoding)


def _cell(text: str, delimiter: str) -> str:
    if any(c in text for c in (delimiter, '"', "\n", "\r")):
        return '"' + text.replace('"', '""') + '"'
    return text


def begun(
    folder: Path, db: Database, dictionary: Mapping[str, Any], files: Mapping[str, bytes]
) -> IntakeWorld:
    """A world in which these tables were sent in this order, and accepted. On SQLite it is a copy of one that nobody
    changes."""
    if not db.is_sqlite:
        return _sent(IntakeWorld(folder, db, dictionary), files)
    tables, home, now = _template(json.dumps(dictionary), tuple(files.items()))
    copy_into(tables, db)
    shutil.copytree(home, folder, dirs_exist_ok=True)
    return IntakeWorld(folder, db, dictionary, now, furnished=True)


@cache
def _template(
    dictionary: str, files: tuple[tuple[str, bytes], ...]
) -> tuple[sqlite3.Connection, Path, datetime]:
    home, made = Path(tempfile.mkdtemp(prefix="baekman-intake-")), list[IntakeWorld]()
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    tables = template(
        lambda db: made.append(_sent(IntakeWorld(home, db, json.loads(dictionary)), dict(files)))
    )
    return tables, home, made[0].now


def _sent(world: IntakeWorld, files: Mapping[str, bytes]) -> IntakeWorld:
    ids = [world.send(table, content) for table, content in files.items()]
    world.jobs.drain()
    assert [world.row(one).state for one in ids] == ["accepted"] * len(ids)
    return world
