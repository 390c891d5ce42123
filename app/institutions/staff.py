"""Somebody leaves: their account ends at once, and what was in their hands goes to a successor, in one order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.audit import PLATFORM, record
from app.auth import credentials, policy
from app.auth.policy import Actor
from app.clock import Clock
from app.db import Database
from app.errors import Finding, Problem, not_found, refuse_all
from app.models import Account, AuthorizationCode, Client, RefreshToken

HandOver = Callable[[Session, str, str, Actor, datetime], dict[str, int]]
"""A room's part: (session, old subject, new subject, by whom, when) -> how many of what."""


@dataclass(frozen=True)
class StaffService:
    """`hand_overs`: the parts of the rooms that hold queues, in the order of their locks."""

    db: Database
    clock: Clock
    hand_overs: Sequence[HandOver]

    def leave(self, actor: Actor, account_id: str, successor_id: str) -> dict[str, Any]:
        """`{account_id, successor_id, moved, clients}`. The person's sessions and tokens end with this; the secrets of
        clients they answered for are new, in this answer and nowhere else, and their old tokens are worth nothing. A
        client that proves itself by a key is switched off until its successor registers another: the key may have left
        with the person."""
        policy.must_administer(actor)
        if actor.subject == f"account:{account_id}":
            raise Problem("conflict", "Nobody sends themselves away.")
        now = self.clock()
        with self.db.unit_of_work() as session:
            # Locked in the order of their ids, so that two who name each other do not wait for one another.
            rows = {
                one: session.get(Account, one, with_for_update=True)
                for one in sorted({account_id, successor_id})
            }
            leaver, successor = rows[account_id], rows[successor_id]
            if leaver is None or not leaver.active:
                raise not_found("account")
            refuse_all("invalid_request", "They cannot succeed.", _unfit(leaver, successor, now))
            leaver.active = False
            _end_sessions(session, account_id)
            clients = [_renew(session, one, successor_id, now) for one in _clients_of(session, account_id)]
            moved: dict[str, int] = {"clients": len(clients)}
            for hand_over in self.hand_overs:
                moved |= hand_over(session, f"account:{account_id}", f"account:{successor_id}", actor, now)
            data = {"successor": successor_id, **moved}
            record(session, stream=PLATFORM, event="account.left", actor=actor.subject, object_id=account_id, at=now,
                   data=data)  # fmt: skip
            return {
                "account_id": account_id,
                "successor_id": successor_id,
                "moved": moved,
                "clients": clients,
            }


def _unfit(leaver: Account, successor: Account | None, now: datetime) -> list[Finding]:
    where = "/successor_id"
    if successor is None or not successor.active or (successor.valid_until or now.date()) < now.date():
        return [Finding("invalid", "There is no such active person.", pointer=where)]
    wrong = []
    if successor.id == leaver.id:
        wrong.append(Finding("invalid", "Nobody succeeds themselves.", pointer=where))
    if successor.role != leaver.role:
        wrong.append(Finding("invalid", "Their role is another.", pointer=where))
    if successor.institution_id != leaver.institution_id:
        wrong.append(Finding("invalid", "They belong to another institution.", pointer=where))
    return wrong


def _end_sessions(session: Session, account_id: str) -> None:
    """Codes and refresh tokens go; an access token is read against the account each time, which is off."""
    session.execute(delete(AuthorizationCode).where(AuthorizationCode.account_id == account_id))
    session.execute(delete(RefreshToken).where(RefreshToken.account_id == account_id))


def _clients_of(session: Session, account_id: str) -> list[Client]:
    query = select(Client).where(Client.owner_id == account_id, Client.active)
    return list(session.scalars(query.order_by(Client.id).with_for_update()))


def _renew(session: Session, client: Client, owner_id: str, now: datetime) -> dict[str, Any]:
    """The client under its new owner, with nothing that its old one knew."""
    client.owner_id = owner_id
    # A token tells its second: those of this very second end, too.
    client.tokens_from = now.replace(microsecond=0) + timedelta(seconds=1)
    told: dict[str, Any] = {"id": client.id, "name": client.name}
    if client.secret_hash is not None:
        secret = credentials.new_secret()
        client.secret_hash = credentials.digest(secret)
        told["client_secret"] = secret
    elif client.jwks is not None:
        client.active = False
    session.flush()
    return {**told, "active": client.active}
