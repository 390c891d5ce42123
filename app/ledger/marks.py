"""Block marks: set in the transaction of a withdrawal, settled when the worker has found the person's parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from app.models import BlockMark, Withdrawal

WITHDREW = "participant_withdrew"  # why a withdrawal closes parts


def mark(session: Session, extract_id: str, mark_id: str, *, reason: str, at: datetime) -> None:
    """Close the whole extract until the mark is lifted or settled; marking twice is the same as once."""
    if session.get(BlockMark, (extract_id, mark_id)) is None:
        session.add(
            BlockMark(
                extract_id=extract_id, withdrawal_id=mark_id, reason=reason, narrowed=False, at=at, domains=None,
                told_at=None,
            )
        )  # fmt: skip
        session.flush()


def mark_each(
    session: Session,
    extracts: Iterable[str],
    withdrawal_id: str,
    domains: Sequence[str],
    *,
    at: datetime,
) -> None:
    """Close the extracts for a withdrawal that is new; `domains`: what the person took back by it."""
    rows = [
        {"extract_id": one, "withdrawal_id": withdrawal_id, "reason": WITHDREW, "narrowed": False, "at": at,
         "domains": list(domains)}
        for one in extracts
    ]  # fmt: skip
    if rows:
        session.execute(insert(BlockMark), rows)


def open_marks(session: Session, extract_id: str) -> list[str]:
    """The ids of the marks that still close the whole extract."""
    query = select(BlockMark.withdrawal_id).where(
        BlockMark.extract_id == extract_id, BlockMark.narrowed.is_(False)
    )
    return list(session.scalars(query.order_by(BlockMark.withdrawal_id)))


def leaving(session: Session, extract_id: str) -> dict[str, tuple[int, list[str] | None]]:
    """The withdrawals that still close the whole extract, oldest first: who leaves (participant key), and what they
    took back; None where the mark does not say."""
    query = (
        select(BlockMark.withdrawal_id, Withdrawal.participant_key, BlockMark.domains)
        .join(Withdrawal, Withdrawal.id == BlockMark.withdrawal_id)
        .where(
            BlockMark.extract_id == extract_id,
            BlockMark.narrowed.is_(False),
            Withdrawal.participant_key.is_not(None),
        )
        .order_by(BlockMark.at, BlockMark.withdrawal_id)
    )
    return {row[0]: (row[1], row[2]) for row in session.execute(query)}


def settle(session: Session, extract_id: str, mark_ids: Collection[str]) -> None:
    """The parts are blocked one by one now: the marks close nothing more."""
    session.execute(
        update(BlockMark)
        .where(BlockMark.extract_id == extract_id, BlockMark.withdrawal_id.in_(mark_ids))
        .values(narrowed=True)
        .execution_options(synchronize_session="fetch")
    )


def lift(session: Session, mark_id: str) -> None:
    """Take a mark away wherever it is: those that take its place were set in this transaction."""
    session.execute(
        delete(BlockMark)
        .where(BlockMark.withdrawal_id == mark_id)
        .execution_options(synchronize_session="fetch")
    )
