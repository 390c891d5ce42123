"""The authorization endpoint: a person signs in and agrees, and the client gets a code at its own address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from authlib.oauth2.rfc6749.errors import InvalidRequestError, OAuth2Error
from sqlalchemy.orm import Session

from app.auth import credentials, queries
from app.auth.actors import active_person
from app.auth.grants import CodeGrant
from app.auth.policy import ROLE_SCOPES, Actor, Role
from app.auth.registered import Person
from app.auth.server import IssuerServer
from app.auth.throttle import Throttle
from app.auth.tokens import TokenMint
from app.auth.wire import Answer, Call, WireRequest
from app.clock import Clock
from app.db import Database

PAGE = "page"  # stands for a client where a person reads a page of ours
SIGN_IN_FAILED = "sign_in_failed"  # the `error` of an answer that the page shows again, with a word
_RESPONSE_TYPE = re.compile(r"[A-Za-z_ ]{0,100}")
_MAX_NAME = 120


@dataclass(frozen=True, slots=True)
class Consent:
    """What the person is asked to agree to."""

    client_name: str
    redirect_uri: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Password:
    """What a person typed."""

    username: str
    password: str


@dataclass(frozen=True)
class SignIn:
    """There is no session: each authorization asks for the password, so that nothing is left in a shared browser."""

    db: Database
    clock: Clock
    mint: TokenMint
    throttle: Throttle

    def ask(self, call: Call) -> Consent | Answer:
        """What to show for this authorization request; or the answer to one that is wrong: a redirect with the
        error where the client and its address are sure, else a 400 to be shown here."""
        with self.db.read() as session:
            server, request = self._server(session), WireRequest(call, self.mint.issuer)
            try:
                grant = self._grant(server, request)
                if "none" in call.fields.get("prompt", "").split():
                    uri, state = grant.redirect_uri, request.payload.state
                    raise OAuth2Error(error="login_required", redirect_uri=uri, state=state)
            except OAuth2Error as error:
                return server.handle_error_response(request, error)
            return Consent(grant.client.name, str(grant.redirect_uri), tuple(sorted(request.scope.split())))

    def answer(self, call: Call, password: Password | None) -> Answer:
        """What the person decided: a redirect with a code, or with access_denied where `password` is None.

        A wrong password answers 403 `sign_in_failed`. Problem too_many_requests where there were too many tries.
        """
        asked = self.ask(call)
        if isinstance(asked, Answer):
            return asked
        person = None
        if password is not None:
            person = self._signed_in(password, call.address)
            if person is None:
                return Answer(403, {"error": SIGN_IN_FAILED})
        with self.db.unit_of_work() as session:
            server, request = self._server(session), WireRequest(call, self.mint.issuer)
            try:
                grant = self._grant(server, request)
            except OAuth2Error as error:
                return server.handle_error_response(request, error)
            answer: Answer = server.create_authorization_response(request, person, grant)
            return answer

    def actor(self, typed: Password, address: str) -> Actor | None:
        """Who typed this, with all that their role may, for one page alone: no token is made and nothing is kept. None
        for a wrong name or password alike; Problem too_many_requests where there were too many tries."""
        person = self._signed_in(typed, address)
        if person is None or person.role not in ROLE_SCOPES:
            return None
        role = cast("Role", person.role)
        return Actor(
            person.subject, PAGE, role, person.institution_id, frozenset(map(str, ROLE_SCOPES[role]))
        )

    def _signed_in(self, typed: Password, address: str) -> Person | None:
        name = typed.username.strip().lower()[:_MAX_NAME]
        self.throttle.password_try(name, address)
        known = name.isprintable()
        with self.db.read() as session:
            row = queries.account_by_name(session, name) if known else None
            account = None if row is None else (row.id, row.password_hash)
        # Outside any transaction: half a second of argon2 would hold up every writer.
        right = credentials.check_password(typed.password, account[1] if account else None)
        if not right or account is None:
            return None
        with self.db.read() as session:
            return active_person(session, account[0], self.clock())

    def _server(self, session: Session) -> IssuerServer:
        server = IssuerServer(session, self.mint, self.clock())
        server.register_grant(CodeGrant, [CodeGrant.PKCE])
        return server

    @staticmethod
    def _grant(server: IssuerServer, request: WireRequest) -> CodeGrant:
        asked = request.call
        if (
            asked.repeated
            or asked.garbled
            or not _RESPONSE_TYPE.fullmatch(asked.fields.get("response_type", ""))
        ):
            raise InvalidRequestError
        grant: CodeGrant = server.get_consent_grant(request)
        return grant
