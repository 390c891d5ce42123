"""The jobs of extracts: build, narrow a block to the person's parts, reissue, destroy what expired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.errors import Problem
from app.extracts import queries
from app.extracts.correcting import recall_erratum
from app.extracts.ending import recall_cohort
from app.extracts.narrowing import Found, Leaving, narrow, to_narrow
from app.extracts.service import ExtractService
from app.extracts.states import step
from app.extracts.watching import reopen
from app.jobs import JobContext, Task, order
from app.ledger import telling
from app.ledger.parts import listed
from app.models import Extract
from app.permits.following import CANNOT_FOLLOW, go_back
from app.schemas.plan import digest


class Releasing(Protocol):
    """The side of the gate that extracts use."""

    def release(self, extract_id: str, progress: Callable[..., None]) -> Any:
        """Build, verify, record and publish the next generation of an extract."""

    def recall(self, extract_id: str, leaving: Leaving) -> Mapping[str, Found]:
        """By withdrawal, where in this extract the person is, and by which pseudonym its holder knows them."""

    def forget(self, extract_id: str) -> None:
        """Remove what builds of an extract left for each other."""


@dataclass(frozen=True)
class ExtractTasks:
    """The tasks, each safe to run again."""

    service: ExtractService
    gate: Releasing
    recall_days: int = 30

    def build(self, job: JobContext) -> None:
        """queued -> building -> ready, or failed with the reason."""
        self._move(job.subject, "build")
        try:
            self.gate.release(job.subject, job.progress)
        except Exception as error:
            self._fail(job.subject, job.refusal(error, "The build failed on our side."))
            self._settle(job.subject)
            raise
        self._order_if_closed(job.subject)
        self._drop_closed(job.subject)

    def narrow(self, job: JobContext) -> None:
        """Find the parts of everyone whose mark is open now, close them, tell the holder, and order the one generation
        without all of them. A mark that comes meanwhile has ordered another such job, which begins after it."""
        extract_id = job.subject
        with self.service.db.read() as session:
            portions = to_narrow(session, extract_id, job.arguments)
        for leaving in portions:
            found = self.gate.recall(extract_id, leaving)
            now = self.service.clock()
            with self.service.db.unit_of_work() as session:
                row = queries.extract(session, extract_id, lock=True)
                done = narrow(session, row, found, now, self.recall_days)
                self._order_reissue(session, row, done.closed)
                self._order_settling(session, done.everywhere)
        self._drop_closed(extract_id)  # also after a run that died before this

    def reissue(self, job: JobContext) -> None:
        """Build the next generation without those who left; parts that are equal keep their name and bytes.

        Where the permit is no longer live, or frozen, or the extract's time was over meanwhile, nothing is built: the
        closed parts stay closed."""
        with self.service.db.read() as session:
            leaving = telling.untold(
                session, job.subject
            )  # whoever they are, no build that begins now holds them
        try:
            self.gate.release(job.subject, job.progress)
        except Problem as problem:
            stopped = problem.code in ("permit_not_live", "agreement_required", "frozen")
            if not stopped and not self._is_over(job.subject):
                if not self._goes_back(job.subject, problem.code):
                    raise
                return
            self.gate.forget(job.subject)  # it would hold who left until a build that may never come
            leaving = []
        else:
            self._order_if_closed(job.subject)
        self._settle(job.subject, leaving)
        self._sweep(job.subject)
        self._drop_closed(job.subject)

    def recall_cohort(self, job: JobContext) -> None:
        """A cohort of the extract has ended: all closes, its holder is told; what others hold is built anew."""
        withdrawal_id = str(job.arguments["withdrawal_id"])
        now = self.service.clock()
        with self.service.db.unit_of_work() as session:
            stays = recall_cohort(session, job.subject, withdrawal_id, self.recall_days, now)
            row = queries.extract(session, job.subject, lock=True)
            self._order_reissue(session, row, stays and bool(listed(session, row.id, ("blocked",))))
            self._order_settling(session, telling.narrowed_everywhere(session, [withdrawal_id]))
        self._drop_closed(job.subject)

    def recall_erratum(self, job: JobContext) -> None:
        """Wrong values are recalled as a person's rows are: closed, told, and built anew of the corrected version."""
        now = self.service.clock()
        with self.service.db.unit_of_work() as session:
            recall_erratum(session, job.subject, str(job.arguments["erratum_id"]), self.recall_days, now)
            row = queries.extract(session, job.subject, lock=True)
            self._order_reissue(session, row, row.version_id != queries.version_of(session, row))
        self._drop_closed(job.subject)

    def _is_over(self, extract_id: str) -> bool:
        with self.service.db.read() as session:
            return queries.extract(session, extract_id).state in ("expired", "destroyed")

    def _goes_back(self, extract_id: str, code: str) -> bool:
        """Where the permit went on to a version that cannot be released, it stays on the one before; whoever left
        meanwhile is taken out of that."""
        now = self.service.clock()
        with self.service.db.unit_of_work() as session:
            # The permit before its extract, as whoever records a build locks them.
            queries.permit(session, queries.extract(session, extract_id).permit_id, lock=True)
            row = queries.extract(session, extract_id, lock=True)
            version_id = go_back(session, row) if code in CANNOT_FOLLOW else None
            if version_id is None:
                return False
            stream, data = project_stream(row.project_id), {"version": version_id, "code": code}
            record(
                session, stream=stream, event="permit.follow_failed", actor="platform", object_id=row.permit_id,
                at=now, data=data,
            )  # fmt: skip
            self._order_reissue(session, row, bool(listed(session, row.id, ("blocked",))))
        return True

    def destroy(self, job: JobContext) -> None:
        """Remove every part of an expired extract from the outbox: what was closed in it for a withdrawal is gone. What
        it was stays: plan, manifest, certificate, and in the chain the digest and size of every part."""
        with self.service.db.read() as session:
            parts = listed(session, job.subject, ("ready", "blocked", "replaced", "staged"))
        for part in parts:
            self.service.outbox.delete(f"{job.subject}/{part['name']}")
        self.gate.forget(job.subject)
        self._destroyed(job.subject)
        self._settle(job.subject)

    def _settle(self, extract_id: str, without: Sequence[str] = ()) -> None:
        """Tell of the withdrawals that the extract is without their people: of those that a generation was built
        `without`, and of all where nothing is closed any more. Whose last extract it was has a receipt to close."""
        now = self.service.clock()
        with self.service.db.unit_of_work() as session:
            row = queries.extract(session, extract_id)
            waiting = telling.untold(session, extract_id)
            telling.lock(session, waiting)
            rid = waiting if telling.is_without_them(session, row) else sorted({*waiting} & {*without})
            telling.tell(session, row, rid, now)
            self._order_settling(session, telling.told_everywhere(session, rid))

    def _order_settling(self, session: Session, withdrawals: Sequence[str]) -> None:
        # When the last extract knows where the person is, and when the last one is without them: twice a receipt.
        for withdrawal_id in withdrawals:
            order(session, "settle_withdrawal", withdrawal_id, self.service.clock())

    def _drop_closed(self, extract_id: str) -> None:
        """The bytes of closed parts go at once, also where nothing will take their place. Under the extract's lock:
        a part that the next generation finds equal is staged first and put there after that."""
        with self.service.db.unit_of_work() as session:
            queries.extract(session, extract_id, lock=True)
            for part in listed(session, extract_id, ("blocked",)):
                self.service.outbox.delete(f"{extract_id}/{part['name']}")

    def _sweep(self, extract_id: str) -> None:
        """Replaced parts are gone for good: their bytes too. A blocked part is replaced by the next generation."""
        with self.service.db.read() as session:
            gone = listed(session, extract_id, ("replaced",))
        for part in gone:
            self.service.outbox.delete(f"{extract_id}/{part['name']}")

    def _move(self, extract_id: str, verb: str) -> None:
        with self.service.db.unit_of_work() as session:
            row = queries.extract(session, extract_id, lock=True)
            if (verb, row.state) in (("build", "ready"), ("destroy", "destroyed")):
                return  # done already; the job runs again after a crash
            row.state = step(row.state, verb)

    def _destroyed(self, extract_id: str) -> None:
        now = self.service.clock()
        with self.service.db.unit_of_work() as session:
            row = queries.extract(session, extract_id, lock=True)
            if row.state == "destroyed":
                return  # done already; the job runs again after a crash
            row.state = step(row.state, "destroy")
            parts = listed(session, extract_id, ("ready", "blocked", "replaced"))
            data = {
                "generation": row.generation, "outcome": row.outcome_hash,
                "certificate": digest(row.certificate) if row.certificate else None,
                "parts": [{k: p[k] for k in ("table", "sha256", "rows", "bytes", "generation")} for p in parts],
            }  # fmt: skip
            record(
                session, stream=project_stream(row.project_id), event="extract.destroyed", actor="platform",
                object_id=extract_id, at=now, data=data,
            )  # fmt: skip

    def _fail(self, extract_id: str, problem: Problem) -> None:
        now = self.service.clock()
        with self.service.db.unit_of_work() as session:
            row = queries.extract(session, extract_id, lock=True)
            if row.state == "failed":
                return  # it was cancelled, and says so already
            row.state, row.failure = step(row.state, "fail"), problem.to_dict()
            self.service.drop_staged(session, extract_id)
            record(
                session,
                stream=project_stream(row.project_id),
                event="extract.failed",
                actor="platform",
                object_id=extract_id,
                at=now,
                data={"code": problem.code},
            )

    def _order_if_closed(self, extract_id: str) -> None:
        """Somebody may have left between record and publish: then the parts that hold them are closed already."""
        with self.service.db.unit_of_work() as session:
            row = queries.extract(session, extract_id, lock=True)
            self._order_reissue(session, row, bool(listed(session, row.id, ("blocked",))))

    def _order_reissue(self, session: Session, row: Extract, closed: bool) -> None:
        # One that has not begun reads consent when it does, so that it takes along whoever has left until then; one
        # that failed and waits is tried now: somebody else has left.
        wanted, now = row.state == "ready" and closed, self.service.clock()
        order(session, "reissue_extract", row.id, now, wanted=wanted, project=row.project_id)


def tasks(extracts: ExtractTasks) -> dict[str, Task]:
    """The tasks by the kind of their job."""
    return {
        "build_extract": extracts.build,
        "narrow_block": extracts.narrow,
        "reissue_extract": extracts.reissue,
        "recall_cohort": extracts.recall_cohort,
        "recall_erratum": extracts.recall_erratum,
        "destroy_extract": extracts.destroy,
        "reopen_extract": lambda job: reopen(extracts.service, job.subject),
    }
