"""A masked count that a worker answers: the question is a row, its job goes first of all that reads, and whoever asks
waits for it a little; after that they come back for it.

The web that takes questions this way holds neither the vault nor a key (ADR 45).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, cast

from sqlalchemy import delete

from app.auth.policy import Actor
from app.auth.policy.roles import Role
from app.clock import Clock
from app.db import Database, new_id
from app.errors import Problem, not_found
from app.jobs import JobContext, Task, enqueue, held_up
from app.models import CountOrder
from app.schemas.counts import CountQuestion

KEPT = timedelta(minutes=15)  # an answered question can be fetched for so long
AT_ONCE = 12  # requests that wait in this process; beyond them the answer is `come back`
LOOK = 0.05  # seconds between two looks while waiting


class Counting(Protocol):
    """The side of the gate that the catalogue uses."""

    def count(self, question: CountQuestion, reader: Actor) -> dict[str, Any]:
        """A masked number of people, or a Problem where it would say too much."""


@dataclass(frozen=True)
class CountsByWorkers:
    """`count` as the gate's, answered by a worker. `patience`: seconds that a request waits."""

    db: Database
    clock: Clock
    patience: float
    _places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))

    def count(self, question: CountQuestion, reader: Actor) -> dict[str, Any]:
        """The masked count; `{"order": id}` where it is not there in time; a Problem as the gate would raise it."""
        order_id = self._ask(question, reader)
        if self._places.acquire(blocking=False):
            try:
                return self._await(order_id, reader)
            finally:
                self._places.release()
        return {"order": order_id}

    def fetch(self, order_id: str, reader: Actor) -> dict[str, Any] | None:
        """The answer to an earlier question of the same asker; None where there is none yet."""
        with self.db.read() as session:
            row = session.get(CountOrder, order_id)
            if row is None or row.asker != reader.subject:
                raise not_found("count")
            if row.state == "waiting":
                if (stopped := held_up(session, order_id)) is not None:
                    raise Problem("job_parked", stopped["detail"])
                return None
            answer = row.answer or {}
            if row.state == "answered":
                return dict(answer)
        told = {k: v for k, v in answer.items() if k not in ("code", "detail")}
        raise Problem(str(answer["code"]), str(answer["detail"]), headers=dict(row.headers or {}), extra=told)

    def _ask(self, question: CountQuestion, reader: Actor) -> str:
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = CountOrder(
                id=new_id("cnt"), version_id=question.version_id, asker=reader.subject, client_id=reader.client_id,
                role=reader.role, institution_id=reader.institution_id, question=question.model_dump(mode="json"),
                state="waiting", answer=None, headers=None, at=now,
            )  # fmt: skip
            session.add(row)
            session.flush()
            enqueue(session, "count", subject=row.id, at=now)
            return row.id

    def _await(self, order_id: str, reader: Actor) -> dict[str, Any]:
        end = time.monotonic() + self.patience
        while (answer := self.fetch(order_id, reader)) is None:
            if time.monotonic() >= end:
                return {"order": order_id}
            time.sleep(LOOK)
        return answer


@dataclass(frozen=True)
class CountTasks:
    """The worker's side; running it twice gives the same answer, for the gate remembers what it answered."""

    db: Database
    clock: Clock
    gate: Counting

    def count(self, job: JobContext) -> None:
        """waiting -> answered, or refused with the gate's own words, or failed."""
        with self.db.read() as session:
            row = session.get(CountOrder, job.subject)
            if row is None or row.state != "waiting":
                return
            question = CountQuestion.model_validate(row.question)
            role = cast("Role", row.role)
            reader = Actor(row.asker, row.client_id, role, row.institution_id, frozenset())
        try:
            answer = self.gate.count(question, reader)
        except Problem as problem:
            # A refusal is the answer; the job did what it was for.
            told = {"code": problem.code, "detail": problem.detail, **problem.extra}
            self._answer(job.subject, "refused", told, problem.headers)
        except Exception as error:
            why = job.refusal(error, "The count failed on our side.")
            self._answer(job.subject, "failed", {"code": why.code, "detail": why.detail}, {})
            raise
        else:
            self._answer(job.subject, "answered", answer, {})

    def forget(self) -> int:
        """Remove questions that nobody comes back for; how many."""
        with self.db.unit_of_work() as session:
            old = delete(CountOrder).where(CountOrder.at < self.clock() - KEPT)
            return session.connection().execute(old).rowcount

    def _answer(self, order_id: str, state: str, answer: dict[str, Any], headers: dict[str, str]) -> None:
        with self.db.unit_of_work() as session:
            row = session.get(CountOrder, order_id, with_for_update=True)
            if row is not None and row.state == "waiting":
                row.state, row.answer, row.headers = state, answer, headers


def tasks(counts: CountTasks) -> dict[str, Task]:
    """The tasks by the kind of their job."""
    return {"count": counts.count}
