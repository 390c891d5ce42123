"""private_key_jwt (RFC 7523): a client proves itself by a JWT of its own key, each of which counts once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from authlib.oauth2.rfc6749.errors import InvalidClientError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.auth.registered import RegisteredClient

# SMART Backend Services asks for RS384 or ES384; the 256s are what most other clients send. No symmetric algorithm.
ALGORITHMS = ("ES256", "ES384", "PS256", "PS384", "RS256", "RS384")
# SMART Backend Services clients send at most five minutes; Authlib's client sends an hour unless told otherwise.
# Each is accepted once only, so that a longer one is no worse than its bearer.
MAX_LIFE_SECONDS = 3600
LEEWAY_SECONDS = 30
MAX_ASSERTION_CHARACTERS = 8192

# (client id, jti, until) -> whether it is the first time
OnceOnly = Callable[[str, str, datetime], bool]


class ClientAssertion(JWTBearerClientAssertion):  # type: ignore[misc]
    """Authlib's parsing, with our clock, our algorithms, exact audiences, and one refusal for every fault."""

    def __init__(self, audiences: tuple[str, ...], at: datetime, once_only: OnceOnly) -> None:
        super().__init__()
        self._audiences, self._now, self._once_only = audiences, int(at.timestamp()), once_only

    def __call__(self, query_client: Callable[[str], RegisteredClient | None], request: Any) -> Any:
        """The client of the assertion in the request; None where there is no assertion."""
        if len(request.form.get("client_assertion", "")) > MAX_ASSERTION_CHARACTERS:
            _refuse()
        try:
            return super().__call__(query_client, request)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise InvalidClientError from error

    def get_audiences(self) -> list[str]:
        """The issuer (what some clients send) and the token endpoint (what others send), and nothing else."""
        return list(self._audiences)

    def resolve_client_public_key(self, client: RegisteredClient) -> KeySet:
        """The keys the client was registered with; a client without keys cannot come this way."""
        return client.keys() or _refuse()

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> dict[str, Any]:
        """The claims, signed by one of the client's keys and meant for us, now and for the first time."""
        kid = self.extract_assertion(assertion)[0].get("kid")
        for key in resolve_key.keys:
            if kid is not None and key.kid != kid:
                continue
            try:
                claims = jwt.decode(assertion, key, algorithms=ALGORITHMS).claims
            except (JoseError, ValueError):
                continue
            self._check(claims)
            return claims
        return _refuse()

    def _check(self, claims: dict[str, Any]) -> None:
        audience, jti = claims.get("aud"), claims.get("jti")
        audiences = audience if isinstance(audience, list) else [audience]
        expires, begins = _seconds(claims, "exp", 0), _seconds(claims, "nbf", self._now)
        issued = _seconds(claims, "iat", self._now)
        if (
            claims.get("iss") != claims["sub"]
            or not audiences
            or any(each not in self._audiences for each in audiences)
            or not self._now - LEEWAY_SECONDS < expires <= self._now + MAX_LIFE_SECONDS + LEEWAY_SECONDS
            or max(begins, issued) > self._now + LEEWAY_SECONDS
            or not (isinstance(jti, str) and jti)
        ):
            _refuse()
        until = datetime.fromtimestamp(expires + LEEWAY_SECONDS + 1, UTC)
        if not self._once_only(claims["sub"], str(jti), until):
            _refuse()


def _seconds(claims: dict[str, Any], name: str, absent: int) -> float:
    value = claims.get(name, absent)
    if not isinstance(value, int | float) or isinstance(value, bool):
        _refuse()
    return value


def _refuse() -> NoReturn:
    raise InvalidClientError
