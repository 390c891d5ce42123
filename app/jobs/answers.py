"""A POST that is repeated with its Idempotency-Key makes nothing twice and answers the same.

The answer is kept in the transaction that made the thing, so a crash leaves both or neither (ADR 0008). Only the
digest of the body is stored, and an answer holds ids, states, digests and times: never what was sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from pydantic_core import to_jsonable_python
from sqlalchemy import delete, insert, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app.clock import Clock
from app.db import Database
from app.errors import Problem
from app.models import IdempotentAnswer

WAIT_MILLISECONDS = 2000  # how long a second call waits for the first one's transaction


@dataclass(frozen=True, slots=True)
class Once:
    """One call that may be repeated: who asks, under which key, on which route, with which body (SHA-256, hex)."""

    asker: str
    key: str
    route: str
    body_digest: str


def earlier(session: Session, once: Once | None, at: datetime) -> dict[str, Any] | None:
    """The answer given to the first call of this key; None where this is the first, which then must `keep` one.

    Problems: `idempotency_conflict` where the key came with another route or body, `idempotency_in_progress` where
    the first call's transaction has not ended in time. A first call that was refused left nothing: it may be repeated.
    """
    if once is None or _claim(session, once, at):
        return None
    row = session.get_one(IdempotentAnswer, (once.asker, once.key))
    if (row.route, row.body_digest) != (once.route, once.body_digest):
        raise Problem("idempotency_conflict", "Use a new Idempotency-Key for another request.")
    if row.answer is None:
        raise Problem("idempotency_in_progress", "Ask again in a moment.", headers={"Retry-After": "1"})
    return row.answer


def keep(session: Session, once: Once | None, status: int, answer: dict[str, Any]) -> dict[str, Any]:
    """Keep the answer beside what it tells of; the answer as JSON, the same now and later."""
    ready = cast("dict[str, Any]", to_jsonable_python(answer))
    if once is not None:
        row = session.get_one(IdempotentAnswer, (once.asker, once.key))
        row.status, row.answer = status, ready
        session.flush()
    return ready


def forget(session: Session, before: datetime) -> int:
    """Remove answers older than `before`; how many."""
    done = session.connection().execute(delete(IdempotentAnswer).where(IdempotentAnswer.at < before))
    return done.rowcount


def forget_answers(db: Database, clock: Clock, days: int = 7) -> int:
    """Remove answers older than `days`: after that a repeated key makes something new."""
    with db.unit_of_work() as session:
        return forget(session, clock() - timedelta(days=days))


def _claim(session: Session, once: Once, at: datetime) -> bool:
    """Whether the key is ours. PostgreSQL makes a second insert wait for the first transaction; on SQLite writers
    have queued before they come here."""
    row = {
        "asker": once.asker, "key": once.key, "route": once.route, "body_digest": once.body_digest, "at": at,
    }  # fmt: skip
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    try:
        with session.begin_nested():
            if on_postgresql:
                session.execute(text(f"SET LOCAL lock_timeout = '{WAIT_MILLISECONDS}ms'"))
            session.execute(insert(IdempotentAnswer).values(**row))
            if on_postgresql:
                session.execute(text("SET LOCAL lock_timeout = DEFAULT"))
    except IntegrityError:
        return False
    except OperationalError:
        again = {"Retry-After": "1"}
        raise Problem("idempotency_in_progress", "Ask again in a moment.", headers=again) from None
    return True
