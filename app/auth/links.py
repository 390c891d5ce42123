"""Signed links to files: what a link binds, how it is signed, and who asks with it now; nothing in it is secret.

A link is two query parameters: `link`, what it says, and `X-Amz-Signature`, an HMAC-SHA256 over it and over the file's
place, so that neither can be changed. The name is Amazon's because clients that know signed links know them by it.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from app.auth.actors import actor_of
from app.auth.keys import link_key, link_key_of
from app.auth.policy import Actor, Scope
from app.auth.tokens import AccessClaims
from app.clock import Clock
from app.db import Database
from app.errors import Problem
from app.keyring import Keyring

SIGNATURE = "X-Amz-Signature"
_LINK = "link"
_SHAPE = re.compile(r"[A-Za-z0-9_-]{1,2000}")
_SIGNED = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says: of which call it is, the part's generation, for whom, by which token, until when (seconds since
    1970), signed by which key. Place and name of the file are in the URL itself."""

    id: str
    generation: int
    subject: str
    client: str
    jti: str
    family: str | None
    issued: int
    until: int
    kid: str


@dataclass(frozen=True, slots=True)
class Linked:
    """Who asks with a link, and the link."""

    actor: Actor
    link: Link


@dataclass(frozen=True)
class LinkMint:
    """Signs links and reads them. `life`: the longest that a link lives, and as long a key that was retired counts."""

    db: Database
    clock: Clock
    keyring: Keyring
    life: timedelta

    def sign(
        self, session: Session, actor: Actor, until: datetime, files: Iterable[tuple[str, str, int]]
    ) -> tuple[str, list[str]]:
        """The id of this call, and for each file, (place, name, generation), the query of its link.

        The actor asks by a token, and `until` is not after its end: what was noted of a token that was taken back is
        forgotten when the token would have expired.
        """
        by = actor.by
        if by is None or until.timestamp() > by.expires_at:
            raise ValueError("a link lives no longer than the token it is asked for with")
        kid, key = link_key(session, self.keyring)
        link_id, queries = secrets.token_hex(8), []
        for place, name, generation in files:
            link = Link(
                link_id, generation, actor.subject, actor.client_id, by.jti, by.family, by.issued_at,
                int(until.timestamp()), kid,
            )  # fmt: skip
            said = urlsafe_b64encode(json.dumps(asdict(link), separators=(",", ":")).encode())
            text = said.decode().rstrip("=")
            queries.append(urlencode({_LINK: text, SIGNATURE: _signature(key, place, name, text)}))
        return link_id, queries

    def read(self, place: str, name: str, query: list[tuple[str, str]]) -> Linked:
        """Who asks with this link for this file, now.

        `Problem`: link_invalid for all that we did not sign, link_expired, and link_revoked where the token it was
        asked for with, its client or account counts no more or has lost the scope.
        """
        given = dict(query)
        text, signature = given.get(_LINK, ""), given.get(SIGNATURE, "")
        if len(given) != len(query) or set(given) != {_LINK, SIGNATURE}:
            raise _invalid()
        if not _SHAPE.fullmatch(text) or not _SIGNED.fullmatch(signature):
            raise _invalid()
        link, now = _said(text), self.clock()
        with self.db.glance() as connection:
            key = link_key_of(connection, self.keyring, link.kid, now - self.life)
            if key is None or not hmac.compare_digest(_signature(key, place, name, text), signature):
                raise _invalid()
            if now.timestamp() >= link.until:
                raise Problem("link_expired", "Its time is over.")
            actor = actor_of(connection, _claims(link), now)
        if actor is None or Scope.EXTRACTS_READ not in actor.scopes:
            raise Problem("link_revoked", "The token it was asked for with counts no more.")
        return Linked(actor, link)


def moment(seconds: int) -> datetime:
    """That many seconds after the beginning of 1970, UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _signature(key: bytes, place: str, name: str, text: str) -> str:
    # None of the three of a link of ours holds a line break, so that no other three give the same lines.
    return hmac.new(key, f"{place}\n{name}\n{text}".encode(), sha256).hexdigest()


def _said(text: str) -> Link:
    """What a link says, before it is known whether we said it: of the right shape, or link_invalid."""
    try:
        told: Any = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        link = Link(**told)
    except (ValueError, TypeError, RecursionError):
        raise _invalid() from None
    if not isinstance(link.kid, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", link.kid):
        raise _invalid()
    return link


def _claims(link: Link) -> AccessClaims:
    """The token of a link, cut down to what a link opens."""
    return AccessClaims(
        subject=link.subject,
        client_id=link.client,
        scope=Scope.EXTRACTS_READ,
        jti=link.jti,
        issued_at=link.issued,
        expires_at=link.until,
        family=link.family,
        role="",
        institution_id=None,
    )


def _invalid() -> Problem:
    return Problem("link_invalid", "It is not as it was given.")
