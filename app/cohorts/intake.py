"""The check of one upload, as a job: a table goes to the vault, a register to the consents; or it is told why not.

What was accepted before stays as it was until the new one is accepted, and originals leave as the life cycle says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import pyarrow as pa
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.clock import Clock
from app.cohorts import intake_queries as queries
from app.cohorts.consent_intake import ConsentIntake, Leave
from app.cohorts.returns import lineage_of
from app.cohorts.segments import Segment, grow, recounted, segment_of, segments
from app.cohorts.upload_queries import lock_with_target
from app.cohorts.upload_states import step
from app.consents import epochs, identities, register
from app.db import Database
from app.deid.dictionary_links import parents_of
from app.engines.intake import (
    IntakeEngine,
    Kept,
    Onto,
    Parent,
    Partition,
    TableReport,
    definition,
    goes_on_from,
)
from app.errors import Finding
from app.jobs import JobContext, enqueue
from app.keyring import Keyring
from app.models import Cohort, DatasetVersion, Upload, VaultTable
from app.schemas.dictionary import Dictionary, Table
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
    onto: Onto | None = None
    generation: int = 0  # of the table that the upload is laid onto
    at_odds: bool = False  # the dictionary says otherwise of the rows that are there
    made_of: tuple[str, list[str]] | None = None  # of returned data: the extract and the domains


class ReturnedPeople(Protocol):
    """The side of the gate that finds the people of returned data."""

    def returned_people(self, extract_id: str, domains: Sequence[str], names: Iterable[pa.Array]) -> pa.Table:
        """(source, key) of the pseudonyms that are people of the extract and still consent to these domains."""


@dataclass(frozen=True)
class IntakeService:
    """Checks uploads. `remove_original` is the upload service's and `leave` that of withdrawals, both called in the
    deciding transaction."""

    db: Database
    clock: Clock
    inbox: Inbox
    engine: IntakeEngine
    keyring: Keyring
    remove_original: Callable[[Session, Upload], None]
    leave: Leave
    returned: ReturnedPeople | None = None

    def check_upload(self, job: JobContext) -> None:
        """Decide one complete upload. Begun again after a crash it ends the same; where it must wait, it says so."""
        with self.db.unit_of_work() as session:
            purpose = session.get_one(Upload, job.subject).purpose
        if purpose == "consents":
            ConsentIntake(
                self.db, self.clock, self.inbox, self.engine, self.keyring, self.remove_original, self.leave
            ).check(job)
            return
        work = self.db.again(lambda: self._begin(job))
        if work is None:
            return
        put: list[str] = []
        try:
            report = self._run(job, work, put)
        except Exception as error:
            ended = job.refusal(error, "").code == "cancelled"
            failed = Finding(
                "check_failed", "the check failed on our side; upload the file again", work.table
            )
            if ended:
                failed = Finding("check_cancelled", "the check was ended; upload the file again", work.table)
            told = TableReport(work.table, findings=[failed])
            self.db.again(lambda: self._decide(work, told, put))
            raise
        self.db.again(lambda: self._decide(work, report))

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
            if upload.mode != "replace" and queries.older_to_come(session, upload):
                absent.append(upload.table_name or "")
            if not absent:
                upload.state = step(upload.state, "check")
            parents = queries.as_parents(session, {name: held[name] for name in needed if name in held})
            work = _Work(
                upload.id,
                upload.cohort_id,
                version.id,
                upload.table_name or "",
                upload.created_by,
                dictionary,
                parents,
                *self._laid_onto(session, upload, version, held.get(upload.table_name or ""), table),
                made_of=(lineage.extract_id, lineage.domains)
                if (lineage := lineage_of(session, version.id))
                else None,
            )
        if absent:
            # The job of the last of these tables to be accepted begins this one again.
            job.progress(step="waiting", waits_for=absent)
            return None
        return work

    def _laid_onto(
        self,
        session: Session,
        upload: Upload,
        version: DatasetVersion,
        row: VaultTable | None,
        table: Table | None,
    ) -> tuple[Onto | None, int, bool]:
        """What an append or a patch is laid onto, its generation, and whether the dictionary says otherwise of it."""
        if upload.mode == "replace" or row is None or table is None:
            return None, 0, upload.mode != "replace"
        held = queries.as_parents(session, {table.name: row})[table.name]
        said = upload.partition
        partition = Partition(said["column"], said["from"], said["before"]) if said else None
        mode: Literal["append", "patch"] = "append" if upload.mode == "append" else "patch"
        onto = Onto(mode, held, row.people, partition)
        if row.definition == definition(table):
            return onto, row.generation, False
        before = queries.table_before(session, version, table.name)
        fits = before is not None and definition(before) == row.definition and goes_on_from(before, table)
        return onto, row.generation, not fits

    def _run(self, job: JobContext, work: _Work, put: list[str]) -> TableReport:
        """The report; `put` is given what the check has put into the vault, also where it did not come to an end."""
        table = next((t for t in work.dictionary.tables if t.name == work.table), None)
        if table is None:
            gone = Finding("unknown_table", "the dictionary has no such table any more", work.table)
            return TableReport(work.table, findings=[gone])
        if work.at_odds:
            detail = "the dictionary says otherwise of the rows that the table has, or it has none"
            hint = "replace the table"
            return TableReport(
                work.table, findings=[Finding("dictionary_changed", detail, work.table, hint=hint)]
            )
        # No two checks share an object, not even of the same bytes: what one of them discards is named by no other.
        place = f"{work.version_id}/{job.id}"
        with self.engine.open(job.id) as intake:
            intake.put = put
            return intake.check(
                self.inbox.local_path(work.upload_id, intake.folder),
                table, work.dictionary, work.parents,
                lambda batches: self._keys(work, table.kind == "participant", batches),
                place, job.progress, work.onto,
            )  # fmt: skip

    def _keys(self, work: _Work, enrols: bool, batches: Iterator[pa.Array]) -> pa.Table:
        """Source ids to keys: the participant table makes people known, every other table only looks them up."""
        ids = list(
            batches
        )  # drained before the transaction, which holds the database's only writer on SQLite
        if work.made_of is not None:
            if self.returned is None:
                raise RuntimeError("returned data without the gate")
            return self.returned.returned_people(*work.made_of, ids)
        if not enrols:
            with self.db.read() as session:
                hasher = register.hasher_of(self.keyring, session.get_one(Cohort, work.cohort_id))
                return identities.keys_of(session, hasher, work.cohort_id, ids)
        return self.db.again(lambda: self._enrolled(work, ids))

    def _enrolled(self, work: _Work, ids: list[pa.Array]) -> pa.Table:
        with self.db.unit_of_work() as session:
            # Locked, for who loads a register meanwhile counts on it that nobody else makes people known.
            hasher = register.hasher_of(self.keyring, epochs.lock(session, work.cohort_id))
            return identities.enrolled_keys(session, hasher, work.cohort_id, ids, self.clock())

    def _decide(self, work: _Work, report: TableReport, put: Sequence[str] = ()) -> None:
        """Write the outcome in one transaction: the upload, the table of the vault, the audit line, who waited. `put`:
        what a check that broke off had put into the vault."""
        unused: list[str] = []
        with self.db.unit_of_work() as session:
            upload, version, holder = lock_with_target(session, work.upload_id)
            kept = report.kept
            overtaken = kept is not None and work.onto is not None and self._moved_on(session, work)
            if upload.state != "checking" or overtaken:
                # It was superseded while it was read: what it brought is dropped, its bytes go. Where the rows that it
                # is laid onto are others by now (people were destroyed), it is read again.
                if upload.state == "checking":
                    enqueue(session, "check_upload", subject=upload.id, at=self.clock())
                else:
                    self.remove_original(session, upload)
                unused = [n for n in (*report.objects, *put) if not queries.is_named(session, n)]
            else:
                unused = [name for name in put if not queries.is_named(session, name)]
                upload.state = step(upload.state, _VERBS[report.outcome])
                upload.report = report.to_dict()
                if kept is not None and version is not None:
                    self._keep(session, work, report)
                session.flush()
                for other in queries.waiting(session, work.version_id):
                    enqueue(session, "check_upload", subject=other, at=self.clock())
                if report.outcome == "accepted" or report.destroy:
                    self.remove_original(session, upload)
                data = {"version": work.version_id, "rows": report.rows, "problems": len(report.findings)}
                if kept is not None:
                    data |= {"people": report.people, "left_out": report.left_out, "object": kept.sha256}
                self._note(session, upload, holder, data)
        for name in unused:
            self.engine.discard(name)

    def _moved_on(self, session: Session, work: _Work) -> bool:
        row = queries.newest_tables(session, work.version_id).get(work.table)
        return row is None or row.generation != work.generation

    def _lay(self, session: Session, work: _Work, report: TableReport, kept: Kept) -> None:
        """The table with what was laid onto it: its segments, those that a patch rewrote in their old places."""
        row, said = queries.newest_tables(session, work.version_id)[work.table], report.replaced or {}
        held: list[Segment] = []
        for one in segments(session, row):
            made = said.get(one.object_name)
            if one.object_name not in said:
                held.append(one)
            elif made is not None:
                rest = segment_of(made, one.left_out, one.upload_id)
                columns = recounted(one, made.columns)
                held.append(replace(rest, left_out_name=one.left_out_name, columns=columns))
        held.append(segment_of(kept, report.left_out, work.upload_id))
        table = work.dictionary.table(work.table)
        grow(session, row, work.upload_id, held, report.people_in_all, definition(table), self.clock())

    def _keep(self, session: Session, work: _Work, report: TableReport) -> None:
        kept = report.kept
        if kept is None:
            raise ValueError("nothing was kept")
        if work.onto is not None:
            self._lay(session, work, report, kept)
            return
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
