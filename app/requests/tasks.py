"""The job of requests: a dry run of the plan under review, asked of the gate; running it twice is harmless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from app.audit import institution_stream, record
from app.errors import Problem
from app.jobs import JobContext, Task
from app.models import DryRun
from app.requests import permits, queries
from app.requests.service import RequestService
from app.schemas.plan import Plan


@dataclass(frozen=True)
class RequestTasks:
    """The tasks, each safe to run again."""

    service: RequestService

    def dry_run(self, job: JobContext) -> None:
        """queued -> ready with its numbers, or failed with the reason."""
        run_id = str(job.arguments["dry_run_id"])
        with self.service.db.read() as session:
            run = session.get(DryRun, run_id)
            if run is None or run.state != "queued":
                return
            row, _of = queries.request(session, run.request_id)
            plan, purpose, same = Plan.model_validate(row.plan), row.purpose, row.plan_hash == run.plan_hash
        try:
            if not same:
                raise Problem("precondition_failed", "The plan was edited before its dry run.")
            result = self.service.gate.dry_run(plan, purpose, job.progress)
        except Exception as error:
            problem = (
                error
                if isinstance(error, Problem)
                else Problem("internal", "The dry run failed on our side.")
            )
            self._finish(run_id, "failed", problem.to_dict())
            raise
        self._finish(run_id, "ready", to_jsonable_python(result))

    def suspend_permit(self, job: JobContext) -> None:
        """A permit whose holder leaves recalls unanswered is suspended."""
        with self.service.db.unit_of_work() as session:
            permits.suspend_by_platform(session, job.subject, job.arguments["reason"], self.service.clock())

    def _finish(self, run_id: str, state: str, result: dict[str, Any]) -> None:
        now = self.service.clock()
        with self.service.db.unit_of_work() as session:
            run = session.get(DryRun, run_id, with_for_update=True, populate_existing=True)
            if run is None or run.state != "queued":
                return
            run.state, run.result, run.finished_at = state, result, now
            row, of = queries.request(session, run.request_id)
            for holder in of.institutions:
                record(
                    session, stream=institution_stream(holder), event="dry_run.finished", actor="platform",
                    object_id=run.id, at=now, data={"request": row.id, "plan": run.plan_hash, "state": state},
                )  # fmt: skip


def tasks(service: RequestService) -> dict[str, Task]:
    """The tasks by the kind of their job."""
    made = RequestTasks(service)
    return {"dry_run": made.dry_run, "suspend_permit": made.suspend_permit}
