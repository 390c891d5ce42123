"""A job is ended before its end where somebody says so: at its next step, or inside the query that it runs.

What was asked stands in the job's row, so that it reaches whichever process runs it. A job that serves a withdrawal is
never asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Problem
from app.jobs.kinds import SERVES_WITHDRAWAL
from app.jobs.states import ENDED, TRANSITIONS
from app.models import Job

ALIVE: Final = tuple(state for state in TRANSITIONS if state not in ENDED)
LAST: Final = "publish"
"""The step at which the database says already that the work is done: what is asked from then on comes too late."""
_here = threading.local()  # .stops: what breaks off the queries of the job in this thread
_stops: dict[str, list[Callable[[], object]]] = {}


def cancelled() -> Problem:
    """What a job that was asked to end meets at its next step."""
    return Problem("cancelled", "It was ended before its end, as somebody asked; nothing of it is left.")


def must_not_serve_withdrawal(job: Job) -> None:
    """A Problem `conflict` where somebody has left and the job carries it on."""
    if job.kind in SERVES_WITHDRAWAL:
        raise Problem("conflict", "The job serves a withdrawal: it cannot be cancelled.")


def ask(job: Job, now: datetime) -> None:
    """Ask a job, whose row is locked, to end; one that waits begins for that alone."""
    must_not_serve_withdrawal(job)
    job.cancel_asked_at, job.not_before = job.cancel_asked_at or now, None


def cancel(session: Session, kind: str, subject: str, now: datetime) -> int:
    """Ask every job of a kind that works on something to end, in the caller's transaction; how many."""
    query = select(Job).where(Job.subject == subject, Job.kind == kind, Job.state.in_(ALIVE))
    jobs = session.scalars(query.order_by(Job.id).with_for_update()).all()
    for job in jobs:
        ask(job, now)
    session.flush()
    return len(jobs)


def comes_to_rest(session: Session, kind: str, subject: str) -> bool:
    """Whether a job that was asked to end has not done so yet."""
    query = select(Job.id).where(Job.subject == subject, Job.kind == kind, Job.state.in_(ALIVE))
    return session.scalar(query.where(Job.cancel_asked_at.is_not(None)).limit(1)) is not None


@contextmanager
def stoppable(job_id: str) -> Iterator[None]:
    """While the job runs in this thread: what `breaks_off` is told belongs to it."""
    around = getattr(_here, "stops", None)  # a job may be run from within another, as an engine in line does
    _here.stops = _stops[job_id] = []
    try:
        yield
    finally:
        del _stops[job_id]
        _here.stops = around


def breaks_off(stop: Callable[[], object]) -> None:
    """Tell what breaks off a query of this thread's job from another thread; nothing where no job runs here."""
    stops: list[Callable[[], object]] | None = getattr(_here, "stops", None)
    if stops is not None:
        stops.append(stop)


def break_off(job_id: str) -> None:
    """Break off whatever query a job of this process runs."""
    for stop in tuple(_stops.get(job_id, ())):
        with suppress(Exception):  # it was closed meanwhile
            stop()
