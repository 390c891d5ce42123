"""The check of one upload, as a job: a table goes to the vault, a register to the consents; or it is told why not.

What was accepted before stays as it was until the new one is accepted, and originals leave as the life cycle says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.clock import Clock
from app.cohorts import intake_queries as queries
from app.cohorts.consent_intake import ConsentIntake
from app.cohorts.upload_queries import lock_with_target
from app.cohorts.upload_states import step
from app.consents import identities, register
from app.db import Database
from app.deid.dictionary_links import parents_of
from app.engines.intake import IntakeEngine, Parent, TableReport, definition
from app.errors import Finding
from app.jobs import JobContext, enqueue
from app.keyring import Keyring
from app.models import Cohort, Upload, VaultTable
from app.schemas.dictionary import Dictionary
from app.storage.inbox import Inbox

SYSTEM = "system"
_VERBS = {"accepted": "accept", "quarantined": "quarantine", "rejected": "reject"}


@dataclass(frozen=True)
class _Work:
    """What one job is to check; read once, at its start."""

    upload_id: str
    cohort_id: str
    version_id: str
    table: str
    actor: str
    dictionary: Dictionary
    parents: dict[str, Parent]


@dataclass(frozen=True)
class IntakeService:
    """Checks uploads. `remove_original` is the upload service's, called in the deciding transaction."""

    db: Database
    clock: Clock
    inbox: Inbox
    engine: IntakeEngine
    keyring: Keyring
    remove_original: Callable[[Session, Upload], None]

    def check_upload(self, job: JobContext) -> None:
        """Decide one complete upload. Begun again after a crash it ends the same; where it must wait, it says so."""
        with self.db.unit_of_work() as session:
            purpose = session.get_one(Upload, job.subject).purpose
        if purpose == "consents":
            ConsentIntake(
                self.db, self.clock, self.inbox, self.engine, self.keyring, self.remove_original
            ).check(job)
            return
        work = self._begin(job)
        if work is None:
            return
        try:
            report = self._run(job, work)
        except Exception:
            failed = Finding(
                "check_failed", "the check failed on our side; upload the file again", work.table
            )
            self._decide(work, TableReport(work.table, findings=[failed]))
            raise
        self._decide(work, report)

    # -- tables

    def _begin(self, job: JobContext) -> _Work | None:
        """Take the upload to be checked, where it is to be and everything it needs was accepted."""
        with self.db.unit_of_work() as session:
            upload, version, _holder = lock_with_target(session, job.subject)
            if upload.state not in ("complete", "checking") or version is None or version.dictionary is None:
                return None
            dictionary = Dictionary.model_validate(version.dictionary)
            table = next((t for t in dictionary.tables if t.name == upload.table_name), None)
            held = queries.newest_tables(session, version.id)
            needed = parents_of(dictionary, table) if table else ()
            absent = [name for name in needed if name not in held]
            if not absent:
                upload.state = step(upload.state, "check")
            parents = queries.as_parents({name: held[name] for name in needed if name in held})
            work = _Work(
                upload.id,
                upload.cohort_id,
                version.id,
                upload.table_name or "",
                upload.created_by,
                dictionary,
                parents,
            )
        if absent:
            # The job of the last of these tables to be accepted begins this one again.
            job.progress(step="waiting", waits_for=absent)
            return None
        return work

    def _run(self, job: JobContext, work: _Work) -> TableReport:
        table = next((t for t in work.dictionary.tables if t.name == work.table), None)
        if table is None:
            gone = Finding("unknown_table", "the dictionary has no such table any more", work.table)
            return TableReport(work.table, findings=[gone])
        with self.engine.open(job.id) as intake:
            return intake.check(
                self.inbox.local_path(work.upload_id, intake.folder),
                table, work.dictionary, work.parents,
                lambda batches: self._keys(work, table.kind == "participant", batches),
                work.version_id, job.progress,
            )  # fmt: skip

    def _keys(self, work: _Work, enrols: bool, batches: Iterator[pa.Array]) -> pa.Table:
        """Source ids to keys: the participant table makes people known, every other table only looks them up."""
        ids = list(
            batches
        )  # drained before the transaction, which holds the database's only writer on SQLite
        if not enrols:
            with self.db.read() as session:
                hasher = register.hasher_of(self.keyring, session.get_one(Cohort, work.cohort_id))
                return identities.keys_of(session, hasher, work.cohort_id, ids)
        with self.db.unit_of_work() as session:
            hasher = register.hasher_of(self.keyring, session.get_one(Cohort, work.cohort_id))
            return identities.enrolled_keys(session, hasher, work.cohort_id, ids, self.clock())

    def _decide(self, work: _Work, report: TableReport) -> None:
        """Write the outcome in one transaction: the upload, the table of the vault, the audit line, who waited."""
        unused: list[str] = []
        with self.db.unit_of_work() as session:
            upload, version, holder = lock_with_target(session, work.upload_id)
            kept = report.kept
            if upload.state != "checking":
                # It was superseded while it was read: what it brought is dropped, its bytes go.
                self.remove_original(session, upload)
                unused = [name for name in (kept.object_name, kept.keys) if name] if kept else []
                unused = [name for name in unused if not queries.is_named(session, name)]
            else:
                upload.state = step(upload.state, _VERBS[report.outcome])
                upload.report = report.to_dict()
                if kept is not None and version is not None:
                    self._keep(session, work, report)
                    for other in queries.waiting(session, version.id):
                        enqueue(session, "check_upload", subject=other, at=self.clock())
                if report.outcome == "accepted" or report.destroy:
                    self.remove_original(session, upload)
                data = {"version": work.version_id, "rows": report.rows, "problems": len(report.findings)}
                if kept is not None:
                    data |= {"people": report.people, "left_out": report.left_out, "object": kept.sha256}
                self._note(session, upload, holder, data)
        for name in unused:
            self.engine.discard(name)

    def _keep(self, session: Session, work: _Work, report: TableReport) -> None:
        kept = report.kept
        if kept is None:
            raise ValueError("nothing was kept")
        session.add(
            VaultTable(
                version_id=work.version_id, table_name=work.table,
                generation=queries.next_generation(session, work.version_id, work.table),
                object_name=kept.object_name, upload_id=work.upload_id, rows=kept.rows, people=kept.people,
                bytes=kept.bytes, sha256=kept.sha256, left_out=report.left_out, left_out_name=kept.keys,
                definition=definition(work.dictionary.table(work.table)), created_at=self.clock(),
            )
        )  # fmt: skip
        session.flush()

    def _note(self, session: Session, upload: Upload, holder: str, data: dict[str, Any]) -> None:
        record(
            session, stream=institution_stream(holder), event=f"upload.{upload.state}", actor=SYSTEM,
            object_id=upload.id, at=self.clock(), data=data,
        )  # fmt: skip


def check_when_complete(clock: Clock) -> Callable[[Session, Upload], None]:
    """What the upload service calls when an upload is complete: the check is a job of the same transaction."""

    def on_complete(session: Session, upload: Upload) -> None:
        enqueue(session, "check_upload", subject=upload.id, at=clock())

    return on_complete
