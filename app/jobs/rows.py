"""One job: enqueued in the caller's transaction, executed at least once, its progress and end written to its row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session

from app.clock import Clock
from app.db import Database
from app.errors import Problem
from app.jobs.cancelling import LAST, cancelled, stoppable
from app.jobs.enqueuing import enqueue
from app.jobs.kinds import ANSWERS, MUST_END, RANKS, SERVES_WITHDRAWAL, TELLS
from app.jobs.parking import Rules, is_dangerous, lost, overtake, park
from app.jobs.states import ENDED, step
from app.models import Job
from app.passing import PASSING, passing

log = structlog.get_logger(__name__)
LONGEST_WAIT = timedelta(hours=1)
NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a task sees of its job."""

    id: str
    subject: str
    arguments: dict[str, Any]
    db: Database
    kind: str = ""
    is_to_end: bool = False
    is_last_try: bool = True

    def progress(self, **counts: Any) -> None:
        """Write how far the job is; counts and step names only, people read it while they wait. A Problem `cancelled`
        where the job is to end here."""
        with self.db.unit_of_work() as session:
            if (job := session.get(Job, self.id)) is None:
                return
            job.progress = {**job.progress, **counts}
            asked = job.cancel_asked_at is not None
        if asked and counts.get("step") != LAST:
            raise cancelled()

    def refusal(self, error: BaseException, detail: str) -> Problem:
        """What those who wait are told of an error: itself where it is ours, that it was cancelled where that was
        asked, else `internal` with this detail. Where it passes and the job is tried again, nobody is told yet: it is
        raised."""
        if is_asked(self.db, self.id):
            return cancelled()
        if (passes := passing(error)) is not None:
            if not self.is_last_try or passes.code == "database_unavailable":
                raise passes from None
            return passes
        return error if isinstance(error, Problem) else Problem("internal", detail)


Task = Callable[[JobContext], None]


def execute(
    db: Database,
    clock: Clock,
    tasks: Mapping[str, Task],
    job_id: str,
    rules: Rules = NO_RULES,
    worker: str | None = None,
) -> None:
    """Run one job to its end, as `worker`. A `Problem` is the job's failure; anything else is logged by its type alone.

    A row that runs already lost its worker: it is begun again, or parked where too many were lost with it. Where the
    database goes away the error is raised and the row says that it runs: whoever called puts it back and tries again.
    """
    context = db.again(lambda: _begin(db, clock, job_id, rules, worker))
    if context is None:
        return
    failure: Problem | None = None
    try:
        if context.is_to_end and context.kind not in TELLS:
            raise cancelled()
        with stoppable(job_id):
            tasks[context.kind](context)
    except Problem as problem:
        if problem.code == "database_unavailable":
            raise
        failure = problem
    except Exception as error:
        # The message of a library may hold a value, so only the type and the place are logged.
        kind, name = context.kind, type(error).__name__
        failure = passing(error)
        if failure is not None and failure.code == "database_unavailable":
            raise
        say = log.info if is_asked(db, job_id) else log.error if failure is None else log.warning
        say("job failed", job=job_id, kind=kind, error=name, at=_place(error))
        failure = failure or Problem("internal", "The job failed on our side; it is recorded under its id.")
    db.again(lambda: _end(db, clock(), job_id, failure, rules))


def is_asked(db: Database, job_id: str) -> bool:
    """Whether somebody wants the job to end before its end."""
    with db.read() as session:
        job = session.get(Job, job_id)
        return job is not None and job.cancel_asked_at is not None


def _begin(db: Database, clock: Clock, job_id: str, rules: Rules, worker: str | None) -> JobContext | None:
    with db.unit_of_work() as session:
        job = session.get(Job, job_id, with_for_update=True)
        if job is None or job.state in ENDED:
            return None
        if job.state == "running":
            job.deaths += 1
            if job.deaths >= rules.most_deaths:
                park(session, job, lost(job.deaths), rules, clock())
                return None
        job.state, job.worker = step(job.state, "begin"), worker
        asked = job.cancel_asked_at is not None
        last = (
            job.attempt >= rules.most_tries or job.kind in ANSWERS
        )  # somebody waits for an answer at this moment
        return JobContext(job.id, job.subject, dict(job.arguments), db, job.kind, asked, last)


def _end(db: Database, now: datetime, job_id: str, failure: Problem | None, rules: Rules) -> None:
    with db.unit_of_work() as session:
        job = session.get(Job, job_id, with_for_update=True)
        if job is None or job.state in ENDED:
            return  # it stood still for so long that another worker ended it
        job.finished_at = now
        if failure is None:
            job.state = step(_ran(job), "end")
            overtake(session, job, rules, now)
            return
        if job.cancel_asked_at is not None:
            job.state, job.failure = step(_ran(job), "cancel"), cancelled().to_dict()
            return
        job.failure = failure.to_dict()
        passes = failure.code in PASSING and job.kind not in ANSWERS and job.attempt < rules.most_tries
        if job.kind not in MUST_END and not passes:
            job.state = step(_ran(job), "fail")
        elif job.attempt >= rules.most_tries:
            job.state = _ran(job)
            park(session, job, failure, rules, now)
        else:
            job.state = step(_ran(job), "retry")
            _again(session, job, now, now + backoff(job.attempt, rules.jitter()))


def _ran(job: Job) -> str:
    """It ran, also where it was put back when its worker was told to end and came to rest after all."""
    return "running" if job.state == "queued" else job.state


def put_back(db: Database, job_ids: Sequence[str]) -> int:
    """Jobs whose worker is told to end before they came to rest wait again: it was not they who ended it; how many."""
    with db.unit_of_work() as session:
        query = select(Job).where(Job.id.in_(job_ids), Job.state == "running").order_by(Job.id)
        jobs = session.scalars(query.with_for_update()).all()
        for job in jobs:
            job.state = step(job.state, "put_back")
        return len(jobs)


def backoff(attempt: int, jitter: float = 0.0) -> timedelta:
    """How long after a failed try the next one begins: 1, 4, 16, ... seconds, at most an hour; and up to a quarter more
    by `jitter` (0 to 1), so that what failed together is not tried together."""
    return min(LONGEST_WAIT, timedelta(seconds=4 ** min(attempt - 1, 8))) * (1 + jitter / 4)


def order(
    session: Session,
    kind: str,
    subject: str,
    at: datetime,
    *,
    wanted: bool = True,
    project: str | None = None,
) -> None:
    """One job of a kind and subject is enough, for it sees everything that is committed before it begins: one that
    has not begun is let begin now, and else, where it is `wanted`, there is a new one, unless no worker survives it. A
    job with arguments sees what these say, and stands for no other."""
    query = select(Job).where(Job.subject == subject, Job.kind == kind, Job.state.in_(("waiting", "queued")))
    # Locked, so that it begins after this transaction and sees its changes.
    waiting = session.scalars(query.order_by(Job.created_at, Job.id).with_for_update())
    held = next((job for job in waiting if not job.arguments), None)
    if held is not None:
        held.not_before = None
    elif wanted and not is_dangerous(session, kind, subject):
        enqueue(session, kind, subject=subject, at=at, project=project)


def waiting(session: Session, at: datetime, most: int = 100, per_project: int | None = None) -> list[str]:
    """Ids of the rows that may be handed over now: by rank, then oldest first.

    `per_project`: how many of one project may be handed over and not have ended. What serves a withdrawal counts there
    and waits for nothing.
    """
    due = or_(Job.not_before.is_(None), Job.not_before <= at)
    first = case(*((Job.kind.in_(kinds), n) for n, kinds in enumerate(RANKS, 1)), else_=len(RANKS))
    query = select(Job.id, Job.kind, Job.project).where(Job.state == "waiting", due)
    if per_project is None:
        return list(session.scalars(query.order_by(first, Job.created_at, Job.id).limit(most)))
    held = _handed_over(session)
    full = [project for project, count in held.items() if count >= per_project]
    free = or_(Job.project.is_(None), Job.project.not_in(full), Job.kind.in_(SERVES_WITHDRAWAL))
    found = []
    for job_id, kind, project in session.execute(
        query.where(free).order_by(first, Job.created_at, Job.id).limit(most)
    ):
        if project is None or kind in SERVES_WITHDRAWAL or held[project] < per_project:
            found.append(job_id)
            held[project] += project is not None
    return found


def _handed_over(session: Session) -> Counter[str | None]:
    """How many jobs of each project are handed over and have not ended."""
    query = select(Job.project, func.count()).where(
        Job.state.in_(("queued", "running")), Job.project.is_not(None)
    )
    return Counter({row[0]: int(row[1]) for row in session.execute(query.group_by(Job.project))})


def requeue_failed(db: Database, clock: Clock, kinds: Sequence[str]) -> int:
    """Try failed jobs of these kinds again, each as a new row with the same arguments; how many.

    `execute` tries what must end again by itself; this finds rows of such kinds that failed before they were known.
    """
    with db.unit_of_work() as session:
        query = select(Job).where(Job.state == "failed", Job.kind.in_(kinds)).order_by(Job.created_at, Job.id)
        failed = list(session.scalars(query.with_for_update()))
        for job in failed:
            job.state = step(job.state, "retry")
            _again(session, job, clock(), None)
        return len(failed)


def _again(session: Session, job: Job, now: datetime, not_before: datetime | None) -> None:
    enqueue(
        session, job.kind, subject=job.subject, arguments=job.arguments, at=now, not_before=not_before,
        attempt=job.attempt + 1, project=job.project,
    )  # fmt: skip


def view(job: Job) -> dict[str, Any]:
    """A job as people see it."""
    return {
        "id": job.id,
        "kind": job.kind,
        "subject": job.subject,
        "state": job.state,
        "progress": job.progress,
        "failure": job.failure,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
    }


def _place(error: BaseException) -> str:
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
