"""Destroy the rows of people who asked for it: in every version and table of their cohort, and in what has arrived.

Every step ends in one transaction and may be run again: a process that dies between any two goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.clock import Clock
from app.cohorts import destruction_queries as queries
from app.cohorts.segments import Left, add_next
from app.consents import epochs
from app.consents.forgetting import forget
from app.db import Database, new_id
from app.engines.destruction import DestructionEngine, Rewritten
from app.jobs import JobContext, enqueue
from app.models import Cohort, DatasetVersion, Destruction, VaultTable
from app.schemas.dictionary import Dictionary
from app.schemas.register import DESTROYING, ENDED
from app.storage.held import objects_of

SYSTEM = "system"
FORGOTTEN_AT_ONCE = 2_000  # people a transaction
WAIT = timedelta(seconds=2)  # until it is looked again whether those who still read have ended
MOST_WAIT = timedelta(minutes=5)
"""Where it has been waited for long: each look is a job, and what is parked ends by hand."""


@dataclass(frozen=True)
class DestructionService:
    """Rewrites the vault of a cohort. `end_uploads` removes what has arrived, as the upload service knows how."""

    db: Database
    clock: Clock
    engine: DestructionEngine
    end_uploads: Callable[[str, datetime, Callable[[Session], None]], int]
    min_cell: int = 11

    def destroy_rows(self, job: JobContext) -> None:
        """One destruction for all of a cohort who wait for it; those who come while it runs are the next one's."""
        run = self._begun(job)
        if run is None:
            return
        with self.db.read() as session:
            everybody = queries.of_everybody(session, run.withdrawals)
        if run.state == "begun":
            if everybody:
                self._forget_everybody(run)
            run = self._forgotten(run)
        if run.state == "forgotten":
            if self._must_wait(job, run):
                return
            job.progress(step="originals", people=len(run.keys))
            self._end_originals(run)
            with self.db.read() as session:
                tables = queries.tables(session, run.cohort_id)
            known: dict[str, Rewritten | None] = {}
            for done, (version_id, table) in enumerate(tables):
                job.progress(step="rewriting", done=done, total=len(tables))
                self._leave(job, run, version_id, table, known, everybody=everybody)
            self._rewritten(run)
        self._remove_objects(run)
        self._finish(run)
        self.db.drop_old_pages()

    def sweep(self, older_than: timedelta | None = timedelta(days=1)) -> int:
        """Destroy objects of known versions that no table names, for a process died before it could commit; how many.

        Without an age only where nothing is being checked or rewritten, as before the worker has begun. The database's
        pages of before go too, where a reader kept them when somebody was destroyed."""
        names = self.engine.names(None if older_than is None else self.clock() - older_than)
        with self.db.read() as session:
            ours = queries.known_versions(session, {name.partition("/")[0] for name in names})
            here = {name for name in names if name.partition("/")[0] in ours}
            orphans = sorted(here - queries.named(session, here))
        for name in orphans:
            self.engine.discard(name)
        self.db.drop_old_pages()
        return len(orphans)

    # -- the steps, in their order

    def _begun(self, job: JobContext) -> Destruction | None:
        """The destruction to work on: one that was left unfinished, or a new one of all who wait. The people are
        forgotten here, before their rows go: nothing that arrives from now on finds their keys."""
        with self.db.unit_of_work() as session:
            cohort = epochs.lock(session, job.subject)
            if queries.others_at_work(session, cohort.id, job.id):
                self._later(session, cohort.id)
                return None
            run = queries.unfinished(session, cohort.id)
            if run is None:
                run = self._new(session, cohort)
            if run is not None:
                session.expunge(run)
            return run

    def _new(self, session: Session, cohort: Cohort) -> Destruction | None:
        waiting = queries.waiting(session, cohort.id)
        not_yet = queries.not_carried(session, cohort.id)
        settled = not not_yet and queries.is_settled(session, cohort.id)
        not_yet |= queries.unsettled(session, {row.participant_key for row in waiting if row.participant_key})
        leaving = [
            row for row in waiting if (settled if row.kind == ENDED else row.participant_key not in not_yet)
        ]
        if len(leaving) < len(waiting):
            since = self.clock() - min(row.taken_at for row in waiting)
            self._later(session, cohort.id, min(max(WAIT, since / 20), MOST_WAIT))
        if not leaving:
            return None
        run = Destruction(
            id=new_id("dsn"), cohort_id=cohort.id, state="begun", withdrawals=[row.id for row in leaving],
            keys=sorted({row.participant_key for row in leaving if row.participant_key is not None}),
            waits_for=[], counts={}, begun_at=self.clock(), ended_at=None,
        )  # fmt: skip
        people = forget(session, run.keys, run.begun_at)  # of a whole cohort the rest follows, in batches
        run.counts = {"people": people, "rows": 0, "objects": 0, "originals": 0}
        session.add(run)
        session.flush()
        data = {"people": len(run.keys), "withdrawals": run.withdrawals}
        self._note(session, cohort, "destruction.begun", run.id, data)
        return run

    def _forget_everybody(self, run: Destruction) -> None:
        """A cohort that has ended is forgotten in batches; a process that died goes on where it stood."""
        while True:
            with self.db.unit_of_work() as session:
                epochs.lock(session, run.cohort_id)
                keys = queries.not_forgotten(session, run.cohort_id, FORGOTTEN_AT_ONCE)
                if not keys:
                    return
                held = session.get_one(Destruction, run.id, with_for_update=True)
                people = held.counts["people"] + forget(session, keys, run.begun_at)
                held.counts = {**held.counts, "people": people}

    def _forgotten(self, run: Destruction) -> Destruction:
        """In a transaction after the one that forgot: only what is being checked now can have found a key before it."""
        with self.db.unit_of_work() as session:
            held = session.get_one(Destruction, run.id, with_for_update=True)
            held.state, held.waits_for = "forgotten", queries.uploads_being_checked(session, run.cohort_id)
            session.flush()
            session.expunge(held)
            return held

    def _must_wait(self, job: JobContext, run: Destruction) -> bool:
        """Whether rows of the people may still be on their way into the vault; then this is tried again soon."""
        with self.db.unit_of_work() as session:
            waits = queries.still_checked(session, run.waits_for)
            if waits:
                self._later(session, run.cohort_id)
        if waits:
            job.progress(step="waiting", uploads=len(waits))
        return bool(waits)

    def _end_originals(self, run: Destruction) -> None:
        def count(session: Session) -> None:
            held = session.get_one(Destruction, run.id, with_for_update=True)
            held.counts = {**held.counts, "originals": held.counts["originals"] + 1}

        with self.db.read() as session:
            before = queries.newest_taken(session, run.withdrawals)
        self.end_uploads(run.cohort_id, before, count)

    def _leave(
        self,
        job: JobContext,
        run: Destruction,
        version_id: str,
        table: str,
        known: dict[str, Rewritten | None],
        *,
        everybody: bool,
    ) -> None:
        """The newest generation of a table without the people, and none before it; without any row where it is
        `everybody`. Where another generation came while this one was rewritten, that one is rewritten. `known`: what
        became of objects that other versions share."""
        while True:
            with self.db.read() as session:
                held = queries.held(session, version_id, table)
                objects = objects_of(session, held[-1]) if held else ()
            if not held:
                return
            for name in objects:
                if name not in known:
                    known[name] = (
                        self.engine.emptied(job.id, name, version_id, table)
                        if everybody
                        else self.engine.without(job.id, name, version_id, table, run.keys)
                    )
            made = {name: found for name in objects if (found := known[name]) is not None}
            if not made and len(held) == 1:
                return
            if self._replace(run, held[-1], self._left(job, objects, made) if made else None):
                return

    def _left(self, job: JobContext, objects: Sequence[str], made: Mapping[str, Rewritten]) -> Left:
        if len(objects) == 1:
            people = made[objects[0]].people
        else:
            people = self.engine.people(job.id, [made[n].object_name if n in made else n for n in objects])
        return Left(made, people, sum(one.gone for one in made.values()))

    def _replace(self, run: Destruction, newest: VaultTable, made: Left | None) -> bool:
        with self.db.unit_of_work() as session:
            version = session.get_one(DatasetVersion, newest.version_id, with_for_update=True)
            held = queries.held(session, newest.version_id, newest.table_name)
            if held[-1].generation != newest.generation:
                return False
            old = held if made else held[:-1]
            for row in old:
                row.removed_by = run.id
            if made:
                add_next(session, held[-1], made, self.clock(), self.min_cell)
                of_people = Dictionary.model_validate(version.dictionary).people.name
                if version.people - made.people >= self.min_cell and newest.table_name == of_people:
                    version.people = (
                        made.people
                    )  # the catalogue shows it: nobody sees that one person has gone
            ours = session.get_one(Destruction, run.id, with_for_update=True)
            ours.counts = {
                **ours.counts,
                "rows": ours.counts["rows"] + (made.gone if made else 0),
                "objects": ours.counts["objects"] + len(old),
            }
        return True

    def _rewritten(self, run: Destruction) -> None:
        with self.db.unit_of_work() as session:
            held = session.get_one(Destruction, run.id, with_for_update=True)
            held.state, held.waits_for = "rewritten", queries.readers(session)

    def _remove_objects(self, run: Destruction) -> None:
        with self.db.read() as session:
            names = queries.removed(session, run.id)
        for name in names:
            self.engine.discard(name)

    def _finish(self, run: Destruction) -> None:
        """Every copy is gone and nobody reads one any more: the numbers of the people go too, the receipts say so."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            cohort = epochs.lock(session, run.cohort_id)
            held = session.get_one(Destruction, run.id, with_for_update=True)
            if held.state == "destroyed":
                return
            if queries.still_running(session, held.waits_for):
                self._later(session, cohort.id)
                return
            counts = {**held.counts, "destruction": held.id}
            keys = None if queries.of_everybody(session, held.withdrawals) else set(held.keys)
            concerned = queries.withdrawals_of(session, cohort.id, keys)
            for row in concerned:
                row.participant_key = None
            session.flush()
            queries.forget_arguments(session, cohort.id, {row.id for row in concerned}, keys)
            queries.forget_answers(session, {row.id for row in concerned})
            for row in concerned:
                # Also what was ordered twice and is not settled yet: without its key nothing would pick it up again.
                if row.kind in DESTROYING and "destroyed_at" not in row.receipt:
                    row.receipt = {**row.receipt, "destroyed_at": now.isoformat(), "destroyed": counts}
                    data = {**counts, "commitment": row.commitment}
                    self._note(session, cohort, "withdrawal.destroyed", row.id, data)
                    enqueue(session, "settle_withdrawal", subject=row.id, at=now)
            held.state, held.keys, held.waits_for, held.ended_at = "destroyed", [], [], now
            if queries.waiting(session, cohort.id):
                self._later(session, cohort.id)

    def _later(self, session: Session, cohort_id: str, wait: timedelta = WAIT) -> None:
        if not queries.waits_already(session, cohort_id):
            now = self.clock()
            enqueue(session, "destroy_rows", subject=cohort_id, at=now, not_before=now + wait)

    def _note(
        self, session: Session, cohort: Cohort, event: str, object_id: str, data: dict[str, object]
    ) -> None:
        record(
            session, stream=institution_stream(cohort.institution_id), event=event, actor=SYSTEM,
            object_id=object_id, at=self.clock(), data=data,
        )  # fmt: skip
