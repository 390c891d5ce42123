"""What becomes of the people and clients of an institution that leaves or goes over into another, and of its quotas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.auth import quotas
from app.models import Account, AuthorizationCode, Client, Quota, RefreshToken
from app.settings import Settings


def end(session: Session, institution_id: str) -> dict[str, int]:
    """Nobody acts for it from the next request on: accounts and clients are off, what they hold is worthless. Who was
    sent to inspect it reads on until their day."""
    rows = [row for row in _active(session, institution_id) if row.role != "inspector"]
    for row in rows:
        row.active = False
    session.flush()
    people = select(Account.id).where(Account.institution_id == institution_id, ~Account.active)
    for table in (AuthorizationCode, RefreshToken):
        gone = delete(table).where(table.account_id.in_(people))
        session.execute(gone.execution_options(synchronize_session=False))
    return _numbers(rows)


@dataclass(frozen=True)
class Moving:
    """`settings`: what holds where an institution has no quota of its own."""

    settings: Settings

    def __call__(self, session: Session, old: str, new: str, actor: str, at: datetime) -> dict[str, int]:
        """People and clients act for the successor from the next request on, with the secrets that they have; those
        who were sent to inspect the old one stay with it. The successor may have what both might."""
        moved = [row for row in _active(session, old) if row.role != "inspector"]
        for row in moved:
            row.institution_id = new
        session.flush()
        for name in quotas.INSTITUTION:
            self._add_quota(session, old, new, name, actor, at)
        return _numbers(moved)

    def _add_quota(self, session: Session, old: str, new: str, name: str, actor: str, at: datetime) -> None:
        both = [session.get(Quota, (one, name), with_for_update=True) for one in (old, new)]
        usual = self.settings.quotas[name]
        mosts = [row.most if row is not None else usual for row in both]
        row = both[1]
        if row is None:
            row = Quota(subject=new, name=name)
            session.add(row)
        row.most, row.set_by, row.set_at = sum(mosts) if all(mosts) else 0, actor, at
        session.flush()


def _active(session: Session, institution_id: str) -> list[Account | Client]:
    """The accounts and clients of an institution that are on, locked."""
    found: list[Account | Client] = []
    for table in (Account, Client):
        query = select(table).where(table.institution_id == institution_id, table.active)
        found += session.scalars(query.order_by(table.id).with_for_update())
    return found


def _numbers(rows: Sequence[Account | Client]) -> dict[str, int]:
    accounts = sum(isinstance(row, Account) for row in rows)
    return {"accounts": accounts, "clients": len(rows) - accounts}
