"""Revocation (RFC 7009) and introspection (RFC 7662) of access and refresh tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from app.audit import PLATFORM, record
from app.auth import credentials, queries
from app.auth.actors import FAMILY, REVOKED, active_person, actor_of
from app.auth.registered import RegisteredClient
from app.auth.server import ALL_METHODS, REFRESH_LIFE, SECRET_METHODS, IssuerServer
from app.auth.tokens import AccessClaims, InvalidToken
from app.auth.wire import WireRequest
from app.models import RefreshToken


@dataclass(frozen=True, slots=True)
class SeenToken:
    """A token that was handed in, and that holds now: either the claims or the family is its own."""

    client_id: str
    subject: str
    scope: str
    expires_at: int
    access: AccessClaims | None = None
    family: str | None = None

    def check_client(self, client: RegisteredClient) -> bool:
        """Whether it was issued to this client."""
        return client.id == self.client_id

    def is_expired(self) -> bool:
        """False: what has expired was not found."""
        return False

    def is_revoked(self) -> bool:
        """False: what was revoked was not found."""
        return False


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    """A client gives a token back. A refresh token takes its whole family along, access tokens included."""

    CLIENT_AUTH_METHODS = ALL_METHODS
    server: IssuerServer

    def check_params(self, request: WireRequest, client: RegisteredClient) -> None:
        """A token is needed; the hint is only a hint (RFC 7009 2.1)."""
        _needs_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> SeenToken | None:
        """The token, whatever the hint says."""
        return find_token(self.server, token_string)

    def revoke_token(self, token: SeenToken, request: WireRequest) -> None:
        """From the commit on no request with it succeeds, in any process."""
        server, client = self.server, request.client
        if token.access is not None:
            name = token.access.jti
            queries.remember(server.session, REVOKED, name, datetime.fromtimestamp(token.expires_at + 1, UTC))
        else:
            name = str(token.family)
            until = server.at + REFRESH_LIFE + server.mint.token_life
            queries.remember(server.session, FAMILY, name, until)
        record(
            server.session,
            stream=PLATFORM,
            event="token.revoked",
            actor=client.subject,
            object_id=name,
            at=server.at,
            data={"kind": "access_token" if token.access else "refresh_token"},
        )


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    """A client asks whether a token holds now: of its own tokens, or of all where it is the platform's."""

    CLIENT_AUTH_METHODS = SECRET_METHODS
    server: IssuerServer

    def check_params(self, request: WireRequest, client: RegisteredClient) -> None:
        """A token is needed; the hint is only a hint."""
        _needs_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> SeenToken | None:
        """The token, whatever the hint says."""
        return find_token(self.server, token_string)

    def check_permission(self, token: SeenToken, client: RegisteredClient, request: WireRequest) -> bool:
        """Others are told that it is not active (RFC 7662 2.2)."""
        return client.role == "platform" or token.check_client(client)

    def introspect_token(self, token: SeenToken) -> dict[str, Any]:
        """What RFC 7662 2.2 lists, as far as it applies."""
        body: dict[str, Any] = {
            "active": True,
            "client_id": token.client_id,
            "exp": token.expires_at,
            "iss": self.server.mint.issuer,
            "scope": token.scope,
            "sub": token.subject,
        }
        if token.access is not None:
            body |= {
                "aud": self.server.mint.issuer,
                "iat": token.access.issued_at,
                "jti": token.access.jti,
                "token_type": "Bearer",
            }
        return body


def find_token(server: IssuerServer, token: str) -> SeenToken | None:
    """The access or refresh token, if it holds now for a client and an account that are active."""
    try:
        claims = server.mint.read(server.session.connection(), server.at, token)
    except InvalidToken:
        return _find_refresh(server, token)
    if actor_of(server.session.connection(), claims, server.at) is None:
        return None
    return SeenToken(claims.client_id, claims.subject, claims.scope, claims.expires_at, access=claims)


def _find_refresh(server: IssuerServer, token: str) -> SeenToken | None:
    row = server.session.get(RefreshToken, credentials.digest(token))
    if row is None or row.used_at is not None or row.expires_at <= server.at:
        return None
    person = active_person(server.session, row.account_id, server.at)
    if person is None or queries.any_remembered(server.session, [(FAMILY, row.family)]):
        return None
    return SeenToken(
        row.client_id, person.subject, row.scope, int(row.expires_at.timestamp()), family=row.family
    )


def _needs_token(request: WireRequest) -> None:
    if "token" not in request.form:
        raise InvalidRequestError
