"""The built-in issuer: gives tokens, takes them back, and says who is asking; nothing about revocation is cached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from authlib.common.security import is_secure_transport
from authlib.oauth2.rfc6749.errors import InvalidRequestError
from sqlalchemy.orm import Session

from app.auth import queries
from app.auth.actors import actor_of
from app.auth.administration import Administration
from app.auth.endpoints import Introspection, Revocation
from app.auth.grants import CodeGrant, MachineGrant, RefreshGrant
from app.auth.keys import jwks
from app.auth.links import LinkMint
from app.auth.metadata import metadata
from app.auth.policy import Actor
from app.auth.registered import Person
from app.auth.registration import AccountOrder, ClientOrder
from app.auth.server import NO_STORE, IssuerServer
from app.auth.signin import SignIn
from app.auth.throttle import Throttle
from app.auth.tokens import InvalidToken, TokenMint
from app.auth.wire import Answer, Call, WireRequest
from app.clock import Clock
from app.db import Database
from app.errors import Problem
from app.keyring import Keyring
from app.models import Account
from app.settings import Settings

_COUNTED_FAILURES = ("invalid_client", "invalid_grant")


@dataclass(frozen=True)
class AuthService:
    """Everything about identity that the web needs. `administration` registers, `sign_in` is for people."""

    db: Database
    clock: Clock
    settings: Settings
    keyring: Keyring
    throttle: Throttle = field(default_factory=Throttle)

    def __post_init__(self) -> None:
        if not is_secure_transport(self.settings.public_url):
            raise ValueError("BAEKMAN_PUBLIC_URL must be https, or http on a loopback address")

    @property
    def issuer(self) -> str:
        """The issuer, byte-equal to what discovery is asked under; also the audience of every access token."""
        return self.settings.public_url.rstrip("/")

    @property
    def mint(self) -> TokenMint:
        """Signs and reads this issuer's tokens."""
        return TokenMint(self.issuer, self.keyring, timedelta(seconds=self.settings.access_token_seconds))

    @property
    def links(self) -> LinkMint:
        """Signs and reads links to files."""
        return LinkMint(self.db, self.clock, self.keyring, timedelta(seconds=self.settings.link_seconds))

    @property
    def administration(self) -> Administration:
        """Clients, accounts and signing keys."""
        return Administration(self.db, self.clock, self.keyring)

    @property
    def sign_in(self) -> SignIn:
        """The authorization endpoint."""
        return SignIn(self.db, self.clock, self.mint, self.throttle)

    def bootstrap(self) -> dict[str, str] | None:
        """On the first start make a signing key and a platform client; its id and secret are returned that once."""
        return self.administration.bootstrap()

    def register_client(self, actor: Actor, order: ClientOrder) -> dict[str, Any]:
        """A new client, with its secret this once."""
        return self.administration.register_client(actor, order)

    def register_account(self, actor: Actor, order: AccountOrder) -> dict[str, Any]:
        """A new account, with its password this once where none was given."""
        return self.administration.register_account(actor, order)

    def authenticate(self, bearer: str) -> Actor:
        """Who asks with this access token, now; Problem invalid_token for anything that does not hold."""
        now = self.clock()
        with self.db.glance() as connection:
            try:
                claims = self.mint.read(connection, now, bearer)
            except InvalidToken as error:
                raise invalid_token() from error
            actor = actor_of(connection, claims, now)
        if actor is None:
            raise invalid_token()
        return actor

    def token(self, call: Call) -> Answer:
        """The token endpoint: RFC 6749 3.2."""
        return self._guarded(call, lambda server: server.create_token_response(call))

    def revoke(self, call: Call) -> Answer:
        """The revocation endpoint: RFC 7009."""
        return self._guarded(call, lambda server: server.create_endpoint_response("revocation", call))

    def introspect(self, call: Call) -> Answer:
        """The introspection endpoint: RFC 7662."""
        return self._guarded(call, lambda server: server.create_endpoint_response("introspection", call))

    def userinfo(self, actor: Actor) -> dict[str, Any]:
        """Who the person of the token is: OpenID Connect Core 5.3."""
        claims: dict[str, Any] = {"sub": actor.subject, "urn:baekman:role": actor.role}
        if actor.institution_id is not None:
            claims["urn:baekman:institution"] = actor.institution_id
        if "profile" in actor.scopes:
            with self.db.read() as session:
                row = session.get(Account, actor.subject.removeprefix("account:"))
                person = None if row is None else Person.of(row)
            if person is not None:
                claims |= {"name": person.display_name, "preferred_username": person.username}
        return claims

    def jwks(self) -> dict[str, Any]:
        """The public keys that verify tokens now: RFC 7517."""
        with self.db.read() as session:
            return jwks(session.connection(), self.clock(), self.mint.token_life)

    def metadata(self) -> dict[str, Any]:
        """The document of RFC 8414 and of OpenID Connect Discovery: one, so that they cannot disagree."""
        return metadata(self.issuer)

    def sweep(self) -> int:
        """Delete codes, refresh tokens and notes of used tokens that have expired; how many. For a daily job."""
        with self.db.unit_of_work() as session:
            return queries.sweep(session, self.clock())

    def _guarded(self, call: Call, answer: Callable[[IssuerServer], Answer]) -> Answer:
        """Run one call in one unit of work. It commits on refusals too: a code that was tried is gone, a family that
        was seen twice is dead, an assertion that was shown is used."""
        name = call.claimed_client()
        try:
            self.throttle.token_call(name, call.address)
        except Problem as problem:
            body = {"error": "temporarily_unavailable", "error_description": problem.detail}
            return Answer(429, body, {**problem.headers, **NO_STORE})
        with self.db.unit_of_work() as session:
            server = self._server(session)
            if (
                call.repeated
                or call.garbled
                or (call.path.endswith("/token") and "grant_type" not in call.fields)
            ):
                given = server.handle_error_response(WireRequest(call, self.issuer), InvalidRequestError())
            else:
                given = answer(server)
        if given.body and given.body.get("error") in _COUNTED_FAILURES:
            self.throttle.token_failure(name, call.address)
        return given

    def _server(self, session: Session) -> IssuerServer:
        server = IssuerServer(session, self.mint, self.clock())
        for grant in (MachineGrant, CodeGrant, RefreshGrant):
            server.register_grant(grant, [grant.PKCE] if grant is CodeGrant else None)
        server.register_endpoint(Revocation)
        server.register_endpoint(Introspection)
        return server


def invalid_token() -> Problem:
    """The one answer to every token that does not hold: which check failed is nobody's business (RFC 6750 3.1)."""
    return Problem(
        "invalid_token",
        "The access token is expired, revoked, malformed or not for this service.",
        headers={"WWW-Authenticate": 'Bearer realm="baekman", error="invalid_token"'},
    )
