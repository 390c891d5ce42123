"""Everyone who has left an extract is looked for at once: their parts are closed, their marks settled, and all told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy.orm import Session

from app import ledger
from app.audit import project_stream, record_each
from app.db import new_id
from app.ledger import telling
from app.ledger.parts import block_each
from app.models import Extract, RecallNotice

MOST_AT_ONCE = 1000  # people whom one transaction carries
Leaving = Mapping[str, tuple[int, Sequence[str]]]
"""By withdrawal: who leaves (participant key), and the domains that they took back."""


class Found(Protocol):
    """Where a person is: the pseudonym in this project, and the (table, position) places with rows of theirs."""

    @property
    def pseudonym(self) -> str:
        """As the holder of the project knows them."""

    @property
    def source(self) -> str | None:
        """Of a united version, the source whose rows are meant."""

    @property
    def lost(self) -> tuple[str, ...]:
        """The domains of the extract that they took back."""

    @property
    def stays(self) -> str:
        """What the extract goes on to hold under the pseudonym: `domains`, `sources` or nothing."""

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """(table, position)."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What became of the marks: the parts that were open until now, and the withdrawals that are told everywhere."""

    closed: bool
    everywhere: list[str]


def to_narrow(session: Session, extract_id: str, arguments: Mapping[str, Any]) -> list[Leaving]:
    """Whose marks are open now, in portions. A mark from before marks said what was taken back has a job of its own,
    whose arguments say so."""
    leaving: dict[str, tuple[int, Sequence[str]]] = {}
    for withdrawal_id, (key, domains) in ledger.leaving(session, extract_id).items():
        if domains is None and withdrawal_id == arguments.get("withdrawal_id"):
            domains = arguments["domains"]
        if domains is not None:
            leaving[withdrawal_id] = (key, domains)
    ids = list(leaving)
    starts = range(0, len(ids), MOST_AT_ONCE)
    return [{one: leaving[one] for one in ids[start : start + MOST_AT_ONCE]} for start in starts]


def narrow(
    session: Session, row: Extract, found: Mapping[str, Found], now: datetime, recall_days: int
) -> Narrowed:
    """In one transaction, under the extract's lock: what was found for each withdrawal is closed and told. Marks that
    another run has settled meanwhile are left out."""
    telling.lock(session, found)
    still = ledger.open_marks(session, row.id)
    news = {one: at for one, at in found.items() if one in set(still)}
    closed = block_each(session, row.id, {one: at.places for one, at in news.items()}, ledger.WITHDREW)
    ledger.settle(session, row.id, list(news))
    # Whoever took back nothing of this extract, or said so before, gives its holder nothing to delete.
    if row.generation > 0:
        due_at = now + timedelta(days=recall_days)
        session.add_all(_notice(row.id, one, at, now, due_at) for one, at in news.items() if at.lost)
        session.flush()
    record_each(
        session, stream=project_stream(row.project_id), event="part.blocked", actor="platform", at=now,
        lines=[(row.id, {"withdrawal": one, "parts_closed": len(closed[one])}) for one in news],
    )  # fmt: skip
    return Narrowed(any(closed.values()), telling.narrowed_everywhere(session, news))


def _notice(
    extract_id: str, withdrawal_id: str, found: Found, now: datetime, due_at: datetime
) -> RecallNotice:
    return RecallNotice(
        id=new_id("rcl"), withdrawal_id=withdrawal_id, erratum_id=None, extract_id=extract_id,
        pseudonym=found.pseudonym, source=found.source, stays=found.stays, state="open", ground="", at=now,
        attested_at=None, due_at=due_at, frozen_until=None, overdue_at=None,
    )  # fmt: skip
