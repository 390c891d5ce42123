"""The three grants: client_credentials, authorization_code with PKCE S256, refresh_token with rotation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.errors import (
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
)
from authlib.oauth2.rfc7636 import CodeChallenge

from app.auth import credentials, queries
from app.auth.actors import CODE, FAMILY, active_person
from app.auth.queries import TakenCode
from app.auth.registered import Person, RegisteredClient, granted_scope
from app.auth.server import ALL_METHODS, CODE_LIFE, REFRESH_LIFE, SECRET_METHODS, IssuerServer, Lineage
from app.auth.wire import WireRequest
from app.models import AuthorizationCode, RefreshToken

_FAMILY_CHARACTERS = 40
_S256_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of 32 bytes
_MAX_NONCE = 500


class MachineGrant(grants.ClientCredentialsGrant):  # type: ignore[misc]
    """A client acts by itself. A public client has no secret and therefore no such tokens."""

    TOKEN_ENDPOINT_AUTH_METHODS = SECRET_METHODS


class S256(CodeChallenge):  # type: ignore[misc]
    """PKCE for every client, confidential ones too (RFC 9700 2.1.1), and never `plain`, which protects nothing.

    Authlib lets a request without a challenge pass, and takes a missing method as `plain`.
    """

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Refuse where the challenge is missing or not of S256."""
        asked = grant.request.payload.data
        challenge = asked.get("code_challenge", "")
        if asked.get("code_challenge_method") != "S256" or not _S256_CHALLENGE.fullmatch(challenge):
            raise InvalidRequestError

    def get_authorization_code_challenge_method(self, authorization_code: Any) -> str:
        """S256: no other was ever stored."""
        return "S256"


@dataclass(frozen=True, slots=True)
class Code:
    """A taken code, as Authlib asks about it."""

    taken: TakenCode

    @property
    def code_challenge(self) -> str:
        """The S256 challenge."""
        return self.taken.code_challenge

    def get_redirect_uri(self) -> str:
        """Where the code was sent to."""
        return self.taken.redirect_uri

    def get_scope(self) -> str:
        """What the person agreed to."""
        return self.taken.scope


class CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    """A person signs in and agrees; the client redeems the code once, with its verifier."""

    TOKEN_ENDPOINT_AUTH_METHODS = ALL_METHODS
    PKCE = S256(required=True)
    server: IssuerServer
    request: WireRequest

    @staticmethod
    def validate_authorization_redirect_uri(request: WireRequest, client: RegisteredClient) -> str:
        """The redirect URI, named and registered byte by byte. No redirect where it is not: the error is shown here."""
        uri = request.payload.redirect_uri
        if not uri or not client.check_redirect_uri(uri):
            raise InvalidRequestError
        return str(uri)

    def validate_authorization_request(self) -> str:
        """Authlib's checks, and no parameter that would have to be obeyed and is not."""
        redirect_uri = str(super().validate_authorization_request())
        asked = self.request.payload.data
        for name in ("request", "request_uri"):
            if name in asked:
                raise OAuth2Error(error=f"{name}_not_supported", redirect_uri=redirect_uri)
        if asked.get("response_mode", "query") != "query" or len(asked.get("nonce", "")) > _MAX_NONCE:
            raise InvalidRequestError(redirect_uri=redirect_uri)
        return redirect_uri

    def generate_authorization_code(self) -> str:
        """256 random bits."""
        return credentials.new_secret()

    def save_authorization_code(self, code: str, request: WireRequest) -> None:
        """Keep the code by its digest, with what the person's role leaves of what was asked for."""
        asked = request.payload.data
        scope = granted_scope(request.scope, request.client, request.user)
        if scope is None:
            raise InvalidScopeError(redirect_uri=request.payload.redirect_uri)
        self.server.session.add(
            AuthorizationCode(
                code_hash=credentials.digest(code),
                client_id=request.client.id,
                account_id=request.user.id,
                redirect_uri=request.payload.redirect_uri,
                scope=scope,
                code_challenge=asked["code_challenge"],
                nonce=asked.get("nonce"),
                expires_at=self.server.at + CODE_LIFE,
            )
        )
        self.server.session.flush()

    def query_authorization_code(self, code: str, client: RegisteredClient) -> Code | None:
        """Take the code. Whatever is wrong with this attempt, the code is gone; if it was gone before, it was seen
        twice, and what came of it ends (RFC 6749 4.1.2)."""
        server, code_hash = self.server, credentials.digest(code)
        taken = queries.take_code(server.session, code_hash)
        if taken is None:
            if queries.any_remembered(server.session, [(CODE, code_hash)]):
                server.kill_family(_family(code_hash), client.id, "code")
            return None
        queries.remember(server.session, CODE, code_hash, server.at + REFRESH_LIFE + server.mint.token_life)
        if taken.client_id != client.id or taken.expires_at <= server.at:
            return None
        server.lineage = Lineage(
            family=_family(code_hash),
            scope=taken.scope,
            until=server.at + REFRESH_LIFE,
            nonce=taken.nonce,
            signed_in=taken.expires_at - CODE_LIFE,
        )
        return Code(taken)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """It was deleted when it was taken."""

    def authenticate_user(self, authorization_code: Code) -> Person | None:
        """The person, if the account is still active."""
        return active_person(self.server.session, authorization_code.taken.account_id, self.server.at)


@dataclass(frozen=True, slots=True)
class Refresh:
    """A stored refresh token, as Authlib asks about it."""

    token_hash: str
    family: str
    client_id: str
    account_id: str
    scope: str
    until: Any

    def check_client(self, client: RegisteredClient) -> bool:
        """Whether it was issued to this client."""
        return client.id == self.client_id

    def get_scope(self) -> str:
        """What the person agreed to: a refresh may ask for less, never for more."""
        return self.scope


class RefreshGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
    """Each refresh token counts once and is replaced; one that comes again ends its whole family (RFC 9700 4.14)."""

    TOKEN_ENDPOINT_AUTH_METHODS = ALL_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: IssuerServer
    request: WireRequest

    def authenticate_refresh_token(self, refresh_token: str) -> Refresh | None:
        """The token, if this client's, unused, unexpired, and of a living family."""
        server, client = self.server, self.request.client
        row = server.session.get(RefreshToken, credentials.digest(refresh_token))
        if row is None or row.client_id != client.id:
            return None
        if row.used_at is not None:
            server.kill_family(row.family, client.id, "refresh_token")
        if row.expires_at <= server.at or queries.any_remembered(server.session, [(FAMILY, row.family)]):
            return None
        return Refresh(row.token_hash, row.family, row.client_id, row.account_id, row.scope, row.expires_at)

    def authenticate_user(self, refresh_token: Refresh) -> Person:
        """The person, if the account is still active."""
        person = active_person(self.server.session, refresh_token.account_id, self.server.at)
        if person is None:
            raise InvalidGrantError
        return person

    def issue_token(self, user: Person, refresh_token: Refresh) -> Any:
        """Use the token up, by one statement: of two uses at the same time the second ends the family."""
        server = self.server
        if not queries.use_refresh_token(server.session, refresh_token.token_hash, server.at):
            server.kill_family(refresh_token.family, refresh_token.client_id, "refresh_token")
            raise InvalidGrantError
        server.lineage = Lineage(refresh_token.family, refresh_token.scope, refresh_token.until)
        return super().issue_token(user, refresh_token)

    def revoke_old_credential(self, refresh_token: Refresh) -> None:
        """It was used up before the new one was made."""


def _family(code_hash: str) -> str:
    return code_hash[:_FAMILY_CHARACTERS]
