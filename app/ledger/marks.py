"""Block marks: set in the transaction of a withdrawal, settled when the worker has found the person's parts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.models import BlockMark


def mark(session: Session, extract_id: str, withdrawal_id: str, *, reason: str, at: datetime) -> None:
    """Close the whole extract until the mark is settled; marking twice is the same as once."""
    if session.get(BlockMark, (extract_id, withdrawal_id)) is None:
        session.add(
            BlockMark(
                extract_id=extract_id, withdrawal_id=withdrawal_id, reason=reason, narrowed=False, at=at
            )
        )
        session.flush()


def open_marks(session: Session, extract_id: str) -> list[str]:
    """The withdrawals that still close the whole extract."""
    query = select(BlockMark.withdrawal_id).where(
        BlockMark.extract_id == extract_id, BlockMark.narrowed.is_(False)
    )
    return list(session.scalars(query.order_by(BlockMark.withdrawal_id)))


def settle(session: Session, extract_id: str, withdrawal_id: str) -> None:
    """The person's parts are blocked one by one now: the mark closes nothing more."""
    session.get_one(BlockMark, (extract_id, withdrawal_id)).narrowed = True
    session.flush()


def lift(session: Session, mark_id: str) -> None:
    """Take a mark away wherever it is: those that take its place were set in this transaction."""
    session.execute(
        delete(BlockMark)
        .where(BlockMark.withdrawal_id == mark_id)
        .execution_options(synchronize_session="fetch")
    )
