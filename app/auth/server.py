"""The authorization server of one call: Authlib's core over one session, with our errors and our tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.authorization_server import AuthorizationServer
from authlib.oauth2.rfc6749.errors import (
    InvalidClientError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
)
from sqlalchemy.orm import Session

from app.audit import PLATFORM, record
from app.auth import credentials, queries
from app.auth.actors import ASSERTION, FAMILY, active_client, first_use
from app.auth.assertions import ClientAssertion
from app.auth.registered import KNOWN_SCOPES, Person, RegisteredClient, granted_scope
from app.auth.tokens import TokenMint
from app.auth.wire import Answer, Call, WireRequest
from app.models import RefreshToken

CODE_LIFE = timedelta(seconds=60)
REFRESH_LIFE = timedelta(days=30)  # of the whole family: rotation does not lengthen it
TOKEN_PATH = "/oauth/token"  # noqa: S105  # a path
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
ALL_METHODS = ["client_secret_basic", "client_secret_post", "client_assertion_jwt", "none"]
SECRET_METHODS = [method for method in ALL_METHODS if method != "none"]

# Our own words, one per error: a library's may repeat what was sent, and would tell an unknown client from a wrong
# secret. RFC 6749 5.2 allows printable ASCII without quotation marks and backslashes.
DESCRIPTIONS = {
    "access_denied": "The request was denied.",
    "invalid_client": "Client authentication failed.",
    "invalid_grant": "The grant is unknown, expired, used, revoked, or was issued to another client.",
    "invalid_request": "A parameter is missing, repeated, malformed or not supported.",
    "invalid_scope": "A requested scope is unknown, or nothing that was requested may be granted.",
    "login_required": "The person has to sign in.",
    "request_not_supported": "Request objects are not supported.",
    "request_uri_not_supported": "Request objects are not supported.",
    "unauthorized_client": "The client is not registered for this grant.",
    "unsupported_grant_type": "This grant type is not supported.",
    "unsupported_response_type": "The response type is not supported: use code.",
}


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where tokens of a person descend from: the refresh family, its scope and end, and the sign-in of its code."""

    family: str
    scope: str
    until: datetime
    nonce: str | None = None
    signed_in: datetime | None = None


class IssuerServer(AuthorizationServer):  # type: ignore[misc]
    """One per call: it holds the session of the unit of work that the call runs in."""

    def __init__(self, session: Session, mint: TokenMint, at: datetime) -> None:
        super().__init__(scopes_supported=sorted(KNOWN_SCOPES))
        self.session, self.mint, self.at = session, mint, at
        self.lineage: Lineage | None = None
        self.register_token_generator("default", self._tokens)
        audiences = (mint.issuer, mint.issuer + TOKEN_PATH)
        self.register_client_auth_method(
            "client_assertion_jwt", ClientAssertion(audiences, at, self._first_assertion)
        )

    def query_client(self, client_id: str) -> RegisteredClient | None:
        """The active client of that id."""
        return active_client(self.session, client_id, self.at)

    def create_oauth2_request(self, request: Call | WireRequest) -> WireRequest:
        """The call as Authlib reads it."""
        return request if isinstance(request, WireRequest) else WireRequest(request, self.mint.issuer)

    def authenticate_client(self, request: WireRequest, methods: list[str], endpoint: str = "token") -> Any:
        """The client, by exactly one kind of credential, and the one it was registered for (RFC 6749 2.3)."""
        call = request.call
        kinds = [call.authorization, call.fields.get("client_secret"), call.fields.get("client_assertion")]
        if sum(kind is not None for kind in kinds) > 1:
            raise InvalidRequestError
        try:
            call.basic()
        except ValueError:
            raise InvalidClientError from None
        client = super().authenticate_client(request, methods, endpoint)
        if call.fields.get("client_id", client.id) != client.id:
            raise InvalidClientError
        return client

    def save_token(self, token: dict[str, Any], request: WireRequest) -> None:
        """Keep the refresh token, by its digest. Access tokens need no row: they are read by their signature."""
        if "refresh_token" not in token or self.lineage is None:
            return
        self.session.add(
            RefreshToken(
                token_hash=credentials.digest(token["refresh_token"]),
                family=self.lineage.family,
                client_id=request.client.id,
                account_id=request.user.id,
                scope=self.lineage.scope,
                used_at=None,
                expires_at=self.lineage.until,
            )
        )
        self.session.flush()

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens: what matters is in the audit chain."""

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Answer:
        """Every answer is no-store; every authorization answer, errors too, names its issuer (RFC 9207)."""
        answer = Answer(status, None if body == "" else body, {**dict(headers), **NO_STORE})
        if answer.location is not None:
            answer.headers["Location"] = add_params_to_uri(answer.location, [("iss", self.mint.issuer)])
        return answer

    def handle_error_response(self, request: WireRequest, error: OAuth2Error) -> Answer:
        """RFC 6749 5.2 with our words; a client that failed to prove itself is always answered 401 with a scheme."""
        error.description = DESCRIPTIONS.get(error.error, "")
        if not isinstance(error, InvalidClientError):
            return self.handle_response(*error())
        body = {"error": error.error, "error_description": error.description}
        return self.handle_response(
            401, body, [("WWW-Authenticate", 'Basic realm="baekman", charset="UTF-8"')]
        )

    def kill_family(self, family: str, client_id: str, what: str) -> None:
        """End every refresh and access token that descends from a code: one of them was seen twice."""
        until = self.at + REFRESH_LIFE + self.mint.token_life
        if queries.remember(self.session, FAMILY, family, until):
            record(
                self.session,
                stream=PLATFORM,
                event="token.reuse_detected",
                actor=f"client:{client_id}",
                object_id=family,
                at=self.at,
                data={"what": what},
            )

    def _first_assertion(self, client_id: str, jti: str, until: datetime) -> bool:
        return first_use(self.session, ASSERTION, f"{client_id} {jti}", until)

    def _tokens(
        self,
        grant_type: str,
        client: RegisteredClient,
        user: Person | None = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        granted = granted_scope(scope, client, user)
        if granted is None:
            raise InvalidScopeError
        who = user or client
        access = self.mint.access_token(
            self.session,
            self.at,
            subject=who.subject,
            client_id=client.id,
            scope=granted,
            role=who.role,
            institution_id=who.institution_id,
            family=self.lineage.family if self.lineage else None,
        )
        token: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": int(self.mint.token_life.total_seconds()),
            "scope": granted,
        }
        if include_refresh_token and user is not None:
            token["refresh_token"] = credentials.new_secret()
        if self.lineage and self.lineage.signed_in and "openid" in granted.split():
            token["id_token"] = self.mint.id_token(
                self.session,
                self.at,
                subject=who.subject,
                client_id=client.id,
                nonce=self.lineage.nonce,
                signed_in=self.lineage.signed_in,
            )
        return token
