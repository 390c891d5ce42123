"""From the claims of a token to who is asking now: what was revoked, switched off or narrowed since counts at once."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import cast

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.auth import queries
from app.auth.freezes import standing
from app.auth.policy import ROLE_SCOPES, Actor, Credential, Role, Target
from app.auth.registered import Person, RegisteredClient, role_scopes
from app.auth.tokens import AccessClaims
from app.models import Account, Client

_ID = re.compile(r"[A-Za-z0-9._~-]{1,80}")
REVOKED, FAMILY, CODE, ASSERTION = "revoked", "family", "code", "assertion"  # kinds of used tokens


def active_client(session: Session, client_id: str, at: datetime) -> RegisteredClient | None:
    """The client, if it exists, counts on this day and is not frozen. The id may come from anyone: what cannot be one
    is not looked up."""
    if not _ID.fullmatch(client_id):
        return None
    row = session.get(Client, client_id)
    if row is None or not counts(row, at) or standing(session, [Target("client", client_id)]):
        return None
    return RegisteredClient.of(row)


def counts(row: Client | Account | queries.Asker, at: datetime) -> bool:
    """Whether it is switched on, and the day (UTC) is one of its days."""
    on = at.astimezone(UTC).date()
    return row.active and (row.valid_from or on) <= on <= (row.valid_until or on)


def active_person(session: Session, account_id: str, at: datetime) -> Person | None:
    """The person, if the account exists, counts on this day and is not frozen."""
    row = session.get(Account, account_id)
    if row is None or not counts(row, at) or standing(session, [Target("account", account_id)]):
        return None
    return Person.of(row)


def actor_of(connection: Connection, claims: AccessClaims, at: datetime) -> Actor | None:
    """Who asks with this token; None where the token, its family, its client or its account no longer counts.

    Role and institution come from the row, not from the token, and the scopes are cut to what client and role may
    have now: a change of either acts on the next request.
    """
    kind, _, name = claims.subject.partition(":")
    account = name if kind == "account" else None
    token, family = (REVOKED, claims.jti), (FAMILY, claims.family or "")
    found = queries.asking(connection, claims.client_id, account, token, family)
    if found is None or found.barred or not counts(found.client, at):
        return None
    if found.tokens_from is not None and claims.issued_at < int(found.tokens_from.timestamp()):
        return None
    who = found.client if account is None else found.account
    if who is None or not counts(who, at) or who.subject != claims.subject or who.role not in ROLE_SCOPES:
        return None
    scopes = set(claims.scope.split()) & found.scopes & role_scopes(who.role)
    by = Credential(claims.jti, claims.family, claims.issued_at, claims.expires_at)
    role = cast("Role", who.role)
    return Actor(claims.subject, claims.client_id, role, who.institution_id, frozenset(scopes), by)


def first_use(session: Session, kind: str, name: str, until: datetime) -> bool:
    """Whether `name` comes for the first time; it is remembered by its digest until then."""
    return queries.remember(session, kind, hashlib.sha256(name.encode()).hexdigest(), until)
