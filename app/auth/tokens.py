"""Access tokens of RFC 9068, ID tokens of OpenID Connect: how they are signed, what is refused when they return."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.auth.keys import ALGORITHM, key_set, public_keys, signing_key
from app.keyring import Keyring

ROLE_CLAIM = "urn:baekman:role"
INSTITUTION_CLAIM = "urn:baekman:institution"
FAMILY_CLAIM = "urn:baekman:family"

MAX_TOKEN_CHARACTERS = 8192
LEEWAY_SECONDS = 30  # how far the clocks of two of our own machines may lie apart; never added to `exp`
_HEADER = {"alg", "kid", "typ"}
_TYPES = ("at+jwt", "application/at+jwt")
_TEXT_CLAIMS = ("iss", "sub", "jti", "client_id", "scope")


class InvalidToken(Exception):
    """The token is not one of ours that holds now. The reason is for the log, never for the answer."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid access token says. `family` links it to a refresh family, so that reuse kills it too."""

    subject: str
    client_id: str
    scope: str
    jti: str
    issued_at: int
    expires_at: int
    family: str | None
    role: str
    institution_id: str | None


@dataclass(frozen=True, slots=True)
class TokenMint:
    """Signs and reads tokens of one issuer. `issuer` is also the audience: this API is the only resource."""

    issuer: str
    keyring: Keyring
    token_life: timedelta

    def access_token(
        self,
        session: Session,
        at: datetime,
        *,
        subject: str,
        client_id: str,
        scope: str,
        role: str,
        institution_id: str | None,
        family: str | None,
    ) -> str:
        """A signed access token that lives for `token_life` seconds from `at`."""
        claims: dict[str, Any] = {
            **self._times(at),
            "iss": self.issuer,
            "sub": subject,
            "aud": self.issuer,
            "client_id": client_id,
            "scope": scope,
            "jti": secrets.token_urlsafe(16),
            ROLE_CLAIM: role,
        }
        if institution_id is not None:
            claims[INSTITUTION_CLAIM] = institution_id
        if family is not None:
            claims[FAMILY_CLAIM] = family
        return self._sign(session, "at+jwt", claims)

    def id_token(
        self,
        session: Session,
        at: datetime,
        *,
        subject: str,
        client_id: str,
        nonce: str | None,
        signed_in: datetime,
    ) -> str:
        """A signed ID token for the client; its audience is the client, so that it opens nothing here."""
        claims: dict[str, Any] = {
            **self._times(at),
            "iss": self.issuer,
            "sub": subject,
            "aud": client_id,
            "auth_time": int(signed_in.timestamp()),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        return self._sign(session, "JWT", claims)

    def read(self, connection: Connection, at: datetime, token: str) -> AccessClaims:
        """The claims of an access token that we signed and that holds at `at`; InvalidToken otherwise.

        Revocation, and whether client and account are still active, is the caller's to look up.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise InvalidToken("too long")
        return self._checked(
            _signed(token, public_keys(connection, at, self.token_life)), int(at.timestamp())
        )

    def _checked(self, claims: dict[str, Any], now: int) -> AccessClaims:
        if not isinstance(claims, dict) or any(
            not isinstance(claims.get(name), str) for name in _TEXT_CLAIMS
        ):
            raise InvalidToken("a claim is missing")
        if claims["iss"] != self.issuer or claims.get("aud") not in (self.issuer, [self.issuer]):
            raise InvalidToken("issuer or audience")
        issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
        begins = _moment(claims, "nbf") if "nbf" in claims else issued
        if expires <= now or max(issued, begins) > now + LEEWAY_SECONDS:
            raise InvalidToken("outside its time")
        return AccessClaims(
            subject=claims["sub"],
            client_id=claims["client_id"],
            scope=claims["scope"],
            jti=claims["jti"],
            issued_at=issued,
            expires_at=expires,
            family=claims.get(FAMILY_CLAIM),
            role=str(claims.get(ROLE_CLAIM, "")),
            institution_id=claims.get(INSTITUTION_CLAIM),
        )

    def _times(self, at: datetime) -> dict[str, int]:
        return {"iat": int(at.timestamp()), "exp": int((at + self.token_life).timestamp())}

    def _sign(self, session: Session, kind: str, claims: dict[str, Any]) -> str:
        key = signing_key(session, self.keyring)
        return jwt.encode(
            {"alg": ALGORITHM, "typ": kind, "kid": key.kid}, claims, key, algorithms=[ALGORITHM]
        )


@lru_cache(maxsize=512)
def _signed(token: str, public: tuple[str, ...]) -> dict[str, Any]:
    """The claims that one of these keys signed as an access token; nothing is said of whether they hold now. That a key
    signed a text stays true, so it is remembered; which keys verify is asked of the database each time."""
    try:
        decoded = jwt.decode(token, key_set(public), algorithms=[ALGORITHM])
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise InvalidToken("signature") from error
    if set(decoded.header) != _HEADER or str(decoded.header["typ"]).lower() not in _TYPES:
        raise InvalidToken("header")
    return decoded.claims


def _moment(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidToken("a time is missing")
    return value
