"""Registers clients and accounts, switches them off, rotates the signing key; secrets are shown once, never again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import PLATFORM, record
from app.auth import credentials, queries
from app.auth.keys import make_key, retire_others
from app.auth.policy import ROLE_SCOPES, Actor, must_administer
from app.auth.registered import MACHINE_GRANTS, PEOPLE, PEOPLE_GRANTS
from app.auth.registration import (
    AccountOrder,
    ClientOrder,
    account_findings,
    account_view,
    client_findings,
    client_view,
    public_jwks,
)
from app.clock import Clock
from app.db import Database, new_id
from app.errors import Finding, Problem, not_found, refuse_all
from app.keyring import Keyring
from app.models import Account, Client

_SYSTEM = "system"  # the actor of what happens at the first start


@dataclass(frozen=True)
class Administration:
    """Every verb but `bootstrap` is refused to whoever is not the platform's administration."""

    db: Database
    clock: Clock
    keyring: Keyring

    def bootstrap(self) -> dict[str, str] | None:
        """On the first start make a signing key and a platform client; its id and secret are returned that once.

        Does nothing where both exist, so that every process may call it when it starts.
        """
        with self.db.unit_of_work() as session:
            now = self.clock()
            queries.lock_first_start(session)
            if queries.count_signing_keys(session) == 0:
                self._new_key(session, _SYSTEM, now)
            if queries.count_platform_clients(session) > 0:
                return None
            order = ClientOrder(
                "platform administration", "client_secret", sorted(ROLE_SCOPES["platform"]), role="platform"
            )
            made = _add_client(session, order, _SYSTEM, now)
            return {"client_id": made["id"], "client_secret": made["client_secret"]}

    def rotate_key(self, actor: Actor) -> str:
        """Sign with a new key from now on; tokens of the old ones verify until they expire. The new kid is returned."""
        must_administer(actor)
        with self.db.unit_of_work() as session:
            return self._new_key(session, actor.subject, self.clock())

    def register_client(self, actor: Actor, order: ClientOrder) -> dict[str, Any]:
        """The new client with its secret, if it has one; Problem invalid_request with everything that is wrong."""
        must_administer(actor)
        with self.db.unit_of_work() as session:
            _refuse(
                session, [*client_findings(order), *_owner_findings(session, order)], order.institution_id
            )
            return _add_client(session, order, actor.subject, self.clock())

    def register_account(self, actor: Actor, order: AccountOrder) -> dict[str, Any]:
        """The new account, with its password where none was given; Problem invalid_request, or conflict for a name
        that is taken."""
        must_administer(actor)
        with self.db.read() as session:
            _refuse(session, account_findings(order), order.institution_id)
        password = order.password or credentials.new_secret()
        hashed = credentials.hash_password(password)  # before the transaction: it takes half a second
        with self.db.unit_of_work() as session:
            view = _add_account(session, order, hashed, actor.subject, self.clock())
        return view if order.password else {**view, "password": password}

    def clients(self, actor: Actor, after: str = "", limit: int = 50) -> list[dict[str, Any]]:
        """Up to `limit` clients after that id, oldest first."""
        must_administer(actor)
        with self.db.read() as session:
            return [client_view(row) for row in queries.page(session, Client, after, limit)]

    def accounts(self, actor: Actor, after: str = "", limit: int = 50) -> list[dict[str, Any]]:
        """Up to `limit` accounts after that id, oldest first."""
        must_administer(actor)
        with self.db.read() as session:
            return [account_view(row) for row in queries.page(session, Account, after, limit)]

    def deactivate_client(self, actor: Actor, client_id: str) -> None:
        """Switch a client off: its tokens are refused from the next request on. Not the one that asks."""
        must_administer(actor)
        if client_id == actor.client_id:
            raise Problem("conflict", "A client cannot switch itself off.")
        self._switch_off(actor, Client, client_id, "client")

    def deactivate_account(self, actor: Actor, account_id: str) -> None:
        """Switch an account off: its tokens are refused from the next request on. Not the one that asks."""
        must_administer(actor)
        if f"account:{account_id}" == actor.subject:
            raise Problem("conflict", "An account cannot switch itself off.")
        self._switch_off(actor, Account, account_id, "account")

    def _switch_off(self, actor: Actor, table: type[Client] | type[Account], row_id: str, noun: str) -> None:
        with self.db.unit_of_work() as session:
            row = queries.client_or_account(session, table, row_id)
            if row is None:
                raise not_found(noun)
            if not row.active:
                return
            row.active = False
            session.flush()
            _note(session, f"{noun}.deactivated", actor.subject, row_id, self.clock())

    def _new_key(self, session: Session, actor: str, at: datetime) -> str:
        kid = make_key(session, self.keyring, at)
        retired = retire_others(session, kid, at)
        _note(session, "key.rotated", actor, kid, at, {"retired": len(retired)})
        return kid


def _add_client(session: Session, order: ClientOrder, actor: str, at: datetime) -> dict[str, Any]:
    secret = credentials.new_secret() if order.authentication == "client_secret" else None
    row = Client(
        id=new_id("cli"),
        name=order.name,
        secret_hash=credentials.digest(secret) if secret else None,
        jwks=None if order.jwks is None else public_jwks(order.jwks),
        public=order.authentication == "none",
        grant_types=sorted(PEOPLE_GRANTS if order.role is None else MACHINE_GRANTS),
        redirect_uris=list(order.redirect_uris),
        scopes=sorted(set(order.scopes)),
        role=order.role or PEOPLE,
        institution_id=order.institution_id,
        active=True,
        created_at=at,
        valid_from=order.valid_from,
        valid_until=order.valid_until,
        owner_id=order.owner_id,
        tokens_from=None,
    )
    session.add(row)
    session.flush()
    _note(session, "client.registered", actor, row.id, at, {"role": row.role})
    return client_view(row) | ({"client_secret": secret} if secret else {})


def _add_account(
    session: Session, order: AccountOrder, hashed: str, actor: str, at: datetime
) -> dict[str, Any]:
    row = Account(
        id=new_id("acc"),
        username=order.username,
        password_hash=hashed,
        display_name=order.display_name,
        role=order.role,
        institution_id=order.institution_id,
        active=True,
        created_at=at,
        valid_from=order.valid_from,
        valid_until=order.valid_until,
    )
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError as error:
        raise Problem("conflict", "There is an account of this name already.") from error
    _note(session, "account.registered", actor, row.id, at, {"role": row.role})
    return account_view(row)


def _owner_findings(session: Session, order: ClientOrder) -> list[Finding]:
    """An owner is a person of the same institution and role, who can be asked."""
    if order.owner_id is None:
        return []
    row = queries.client_or_account(session, Account, order.owner_id)
    if (
        row is not None
        and row.active
        and (row.role, row.institution_id) == (order.role, order.institution_id)
    ):
        return []
    return [Finding("invalid", "Not an active person of this role and institution.", pointer="/owner_id")]


def _refuse(session: Session, findings: Iterable[Finding], institution_id: str | None) -> None:
    found = list(findings)
    if institution_id is not None and not queries.institution_exists(session, institution_id):
        found.append(Finding("invalid", "There is no such institution.", pointer="/institution_id"))
    refuse_all("invalid_request", "The registration cannot be accepted.", found)


def _note(
    session: Session, event: str, actor: str, object_id: str, at: datetime, data: dict[str, Any] | None = None
) -> None:
    record(session, stream=PLATFORM, event=event, actor=actor, object_id=object_id, at=at, data=data)
