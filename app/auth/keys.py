"""The issuer's signing keys: made here, stored wrapped by the master key, rotated with both ends in the JWKS."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc.jwk import KeySet, RSAKey
from sqlalchemy import Connection, Text, bindparam, cast, or_, select
from sqlalchemy.orm import Session

from app.keyring import Keyring
from app.models import SigningKey
from app.questions import Question

# RFC 9068 2.1 and OpenID Connect Discovery 3 both require RS256 of every issuer, so it is the one we sign with.
ALGORITHM = "RS256"
KEY_BITS = 2048
_LENGTH_BYTES = 4
# Of every request it is the first question.
_VERIFYING = Question(
    select(cast(SigningKey.public_jwk, Text))
    .where(or_(SigningKey.retired_at.is_(None), SigningKey.retired_at > bindparam("since")))
    .order_by(SigningKey.created_at.desc(), SigningKey.kid)
)
_OF_LINKS = Question(
    select(SigningKey.private_wrapped).where(
        SigningKey.kid == bindparam("kid"),
        or_(SigningKey.retired_at.is_(None), SigningKey.retired_at > bindparam("since")),
    )
)
_BLOCK = 8  # AES key wrap takes multiples of 8 bytes


def make_key(session: Session, keyring: Keyring, at: datetime) -> str:
    """Add a signing key; its kid (the RFC 7638 thumbprint) is returned. From its commit on it signs every token."""
    key = RSAKey.generate_key(KEY_BITS, parameters={"alg": ALGORITHM, "use": "sig"})
    kid = key.thumbprint()
    row = SigningKey(
        kid=kid,
        algorithm=ALGORITHM,
        public_jwk={**key.as_dict(private=False), "kid": kid},
        private_wrapped=keyring.wrap(_padded(key.as_der(private=True))),
        created_at=at,
        retired_at=None,
    )
    session.add(row)
    session.flush()
    return kid


def retire_others(session: Session, kid: str, at: datetime) -> list[str]:
    """Let every key but `kid` stop signing; they verify until the tokens they signed have expired."""
    others = session.scalars(
        select(SigningKey).where(SigningKey.kid != kid, SigningKey.retired_at.is_(None))
    ).all()
    for row in others:
        row.retired_at = at
    session.flush()
    return [row.kid for row in others]


def signing_key(session: Session, keyring: Keyring) -> RSAKey:
    """The newest key that is not retired, with its private part. Raises where `bootstrap` has not run."""
    newest = select(SigningKey).where(SigningKey.retired_at.is_(None))
    row = session.scalars(newest.order_by(SigningKey.created_at.desc(), SigningKey.kid)).first()
    if row is None:
        raise LookupError("there is no signing key: bootstrap has not run")
    der = _unpadded(keyring.unwrap(row.private_wrapped))
    return RSAKey.import_key(der, parameters={"kid": row.kid, "alg": row.algorithm, "use": "sig"})


def link_key(session: Session, keyring: Keyring) -> tuple[str, bytes]:
    """The kid of the key that signs now, and the 32 bytes of it that sign links to files."""
    newest = select(SigningKey.kid, SigningKey.private_wrapped).where(SigningKey.retired_at.is_(None))
    row = session.execute(newest.order_by(SigningKey.created_at.desc(), SigningKey.kid).limit(1)).first()
    if row is None:
        raise LookupError("there is no signing key: bootstrap has not run")
    return row[0], _for_links(keyring, row[1])


def link_key_of(connection: Connection, keyring: Keyring, kid: str, since: datetime) -> bytes | None:
    """The 32 bytes of a named key that sign links, where it signs still or was retired after `since`. Which keys count
    is asked of the database each time."""
    row = _OF_LINKS.first(connection, kid=kid, since=since)
    return None if row is None else _for_links(keyring, row[0])


@lru_cache(maxsize=16)
def _for_links(keyring: Keyring, wrapped: bytes) -> bytes:
    """Derived by HKDF (RFC 5869) under a name of its own, so that a signed link tells nothing that signs a token.
    Remembered, for a master key may be a program that is run, and a data client asks six times a link."""
    private = _unpadded(keyring.unwrap(wrapped))
    return HKDF(SHA256(), length=32, salt=None, info=b"baekman links 1").derive(private)


def public_keys(connection: Connection, at: datetime, token_life: timedelta) -> tuple[str, ...]:
    """The keys that verify at `at`, as JSON: those that sign, and those retired less than a token's life ago."""
    return tuple([row[0] for row in _VERIFYING.all(connection, since=at - token_life)])


def key_set(public: tuple[str, ...]) -> KeySet:
    """The keys of `public_keys`, to verify with."""
    return KeySet([RSAKey.import_key(json.loads(one)) for one in public])


def jwks(connection: Connection, at: datetime, token_life: timedelta) -> dict[str, Any]:
    """The JWKS document (RFC 7517): public parts only."""
    return {"keys": [json.loads(one) for one in public_keys(connection, at, token_life)]}


def _padded(der: bytes) -> bytes:
    framed = len(der).to_bytes(_LENGTH_BYTES, "big") + der
    return framed + bytes(-len(framed) % _BLOCK)


def _unpadded(framed: bytes) -> bytes:
    length = int.from_bytes(framed[:_LENGTH_BYTES], "big")
    return framed[_LENGTH_BYTES : _LENGTH_BYTES + length]
