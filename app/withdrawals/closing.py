"""What holds somebody who leaves is closed in the transaction of the withdrawal; one job an extract narrows it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.consents import linking
from app.jobs import order
from app.models import Extract
from app.schemas.register import UNLINKED


def holding(session: Session, keys: Sequence[int], kind: str) -> list[str]:
    """The extracts that a withdrawal of this kind by any of these people closes, sorted; of linkage, those that were
    given somebody as linked."""
    if kind == "no_further_contact":
        return []
    if kind == UNLINKED and not (projects := linking.projects_of(session, keys)):
        return []
    held = ledger.extracts_holding_any(session, keys)
    if kind != UNLINKED:
        return held
    query = select(Extract.id).where(Extract.id.in_(held), Extract.project_id.in_(projects))
    return sorted(session.scalars(query))


def holding_each(session: Session, keys: Collection[int], kind: str) -> dict[int, list[str]]:
    """`holding` for each of the people; what holds any of them is read once."""
    if kind == UNLINKED:
        return {key: holding(session, [key], kind) for key in keys}
    if kind == "no_further_contact":
        return {key: [] for key in keys}
    return ledger.extracts_holding_each(session, sorted(keys))


def order_narrowing(session: Session, extracts: Iterable[str], at: datetime) -> None:
    """One job an extract takes along every mark that is there when it begins, so one that waits is enough."""
    for extract_id in sorted(set(extracts)):
        order(session, "narrow_block", extract_id, at)
