"""Of every withdrawal and extract it is told once that the extract is handed out without the person, or not at all."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.audit import project_stream, record_each
from app.models import BlockMark, Extract, Part, Withdrawal


def lock(session: Session, withdrawals: Collection[str]) -> None:
    """Until the end of the transaction nobody else moves marks of these withdrawals: of the jobs of several extracts
    that end at the same time, the last one sees what the others did."""
    query = select(Withdrawal.id).where(Withdrawal.id.in_(withdrawals)).order_by(Withdrawal.id)
    session.scalars(query.with_for_update()).all()


def narrowed_everywhere(session: Session, withdrawals: Collection[str]) -> list[str]:
    """Those of the withdrawals whose parts are singled out in every extract, sorted."""
    query = select(BlockMark.withdrawal_id).where(
        BlockMark.withdrawal_id.in_(withdrawals), BlockMark.narrowed.is_(False)
    )
    return sorted({*withdrawals} - set(session.scalars(query)))


def told_everywhere(session: Session, withdrawals: Collection[str]) -> list[str]:
    """Those of the withdrawals whose every extract is handed out without the person, or not at all, sorted."""
    query = select(BlockMark.withdrawal_id).where(
        BlockMark.withdrawal_id.in_(withdrawals), BlockMark.told_at.is_(None)
    )
    return sorted({*withdrawals} - set(session.scalars(query)))


def untold(session: Session, extract_id: str) -> list[str]:
    """The withdrawals on their way whose parts of the extract are singled out and which are not told yet, sorted."""
    query = (
        select(BlockMark.withdrawal_id)
        .join(Withdrawal, Withdrawal.id == BlockMark.withdrawal_id)
        .where(
            BlockMark.extract_id == extract_id,
            BlockMark.narrowed,
            BlockMark.told_at.is_(None),
            Withdrawal.state != "closed",
        )
    )
    return sorted(session.scalars(query))


def is_without_them(session: Session, extract: Extract) -> bool:
    """Whether nobody whose parts are singled out is in the extract: nothing of it is closed, or nothing handed out."""
    closed = (
        select(func.count()).select_from(Part).where(Part.extract_id == extract.id, Part.state == "blocked")
    )
    return extract.state not in ("building", "ready") or not session.scalar(closed)


def tell(session: Session, extract: Extract, withdrawals: Collection[str], at: datetime) -> None:
    """The extract is handed out without them now, or not at all; of withdrawals (locked by `lock`) that are told
    already nothing is told again."""
    news = [one for one in untold(session, extract.id) if one in set(withdrawals)]
    if not news:
        return
    session.execute(
        update(BlockMark)
        .where(BlockMark.extract_id == extract.id, BlockMark.withdrawal_id.in_(news))
        .values(told_at=at)
        .execution_options(synchronize_session="fetch")
    )
    after = {"generation": extract.generation, "extract": extract.state}
    record_each(
        session, stream=project_stream(extract.project_id), event="recall.settled", actor="platform", at=at,
        lines=[(extract.id, {"withdrawal": one, **after}) for one in news],
    )  # fmt: skip
