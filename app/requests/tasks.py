"""The job of requests: a dry run of the plan under review, asked of the gate; running it twice is harmless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.consents.purposes import purpose_digest
from app.errors import Problem
from app.jobs import JobContext, Task
from app.models import DryRun
from app.requests import batches, queries
from app.requests.holding import PermitService
from app.requests.permits import suspend_by_platform
from app.requests.service import RequestService
from app.schemas.plan import Plan


@dataclass(frozen=True)
class RequestTasks:
    """The tasks, each safe to run again."""

    service: RequestService
    permits: PermitService

    def dry_run(self, job: JobContext) -> None:
        """queued -> ready with its numbers, or failed with the reason."""
        run_id = str(job.arguments["dry_run_id"])
        with self.service.db.read() as session:
            run = session.get(DryRun, run_id)
            if run is None or run.state != "queued":
                return
            row, _of = queries.request(session, run.request_id)
            plan, purpose = Plan.model_validate(row.plan), row.purpose
            same = (row.plan_hash, purpose_digest(purpose)) == (run.plan_hash, run.purpose_digest)
        if self.service.gate is None:
            raise RuntimeError("a dry run without the gate")
        try:
            if not same:
                raise Problem("precondition_failed", "The request was edited before its dry run.")
            result = self.service.gate.dry_run(plan, purpose, job.progress)
        except Exception as error:
            problem = job.refusal(error, "The dry run failed on our side.")
            self._finish(run_id, "failed", problem.to_dict())
            raise
        basis = result.pop("basis", None)
        self._finish(run_id, "ready", to_jsonable_python(result), batches.packed(basis) if basis else None)

    def suspend_permit(self, job: JobContext) -> None:
        """A permit whose holder leaves recalls unanswered is suspended."""
        with self.permits.db.unit_of_work() as session:
            now = self.permits.clock()
            if suspend_by_platform(session, job.subject, job.arguments["reason"], now):
                self.permits.write_down(session, job.subject, now)

    def _finish(self, run_id: str, state: str, result: dict[str, Any], basis: bytes | None = None) -> None:
        now = self.service.clock()
        with self.service.db.unit_of_work() as session:
            run = session.get(DryRun, run_id, with_for_update=True, populate_existing=True)
            if run is None or run.state != "queued":
                return
            row, of = queries.request(session, run.request_id)
            result, basis = self._in_batches(session, run.plan_hash, result, basis)
            run.state, run.result, run.basis, run.finished_at = state, result, basis, now
            for holder in of.institutions:
                record(
                    session, stream=institution_stream(holder), event="dry_run.finished", actor="platform",
                    object_id=run.id, at=now, data={"request": row.id, "plan": run.plan_hash, "state": state},
                )  # fmt: skip

    def _in_batches(
        self, session: Session, plan_hash: str, result: dict[str, Any], basis: bytes | None
    ) -> tuple[dict[str, Any], bytes | None]:
        """The numbers to tell and what they are over: those of an earlier run of the plan where few people differ."""
        if basis is None:
            return result, None
        for told, over in queries.told_dry_runs(session, plan_hash):
            few = batches.differing(over, basis) < self.service.settings.min_cell
            if few and batches.may_repeat(told, result):
                return told, over
        return result, basis


def tasks(service: RequestService, permits: PermitService) -> dict[str, Task]:
    """The tasks by the kind of their job."""
    made = RequestTasks(service, permits)
    return {
        "dry_run": made.dry_run,
        "suspend_permit": made.suspend_permit,
        "correct_permit": lambda job: permits.correct(job.subject, str(job.arguments["erratum_id"])),
        "follow_version": lambda job: permits.follow(job.subject, str(job.arguments["version_id"])),
    }
