"""Clients and people as Authlib asks about them: plain copies of rows, and the scopes each may be given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from joserfc.jwk import KeySet

from app.auth import credentials
from app.auth.policy import ROLE_SCOPES, Scope
from app.models import Account, Client

# OpenID Connect's own scopes: they say who the person is and open no data, so they belong to no role.
IDENTITY_SCOPES = frozenset({"openid", "profile"})
KNOWN_SCOPES = frozenset(map(str, Scope)) | IDENTITY_SCOPES

# The role of a client that never acts by itself: people sign in through it, each with their own role.
PEOPLE = "people"

MACHINE_GRANTS = frozenset({"client_credentials"})
PEOPLE_GRANTS = frozenset({"authorization_code", "refresh_token"})


@dataclass(frozen=True, slots=True)
class Person:
    """An account that has signed in, or that a code or refresh token stands for."""

    id: str
    username: str
    display_name: str
    role: str
    institution_id: str | None

    @property
    def subject(self) -> str:
        """What `sub` is in every token of theirs."""
        return f"account:{self.id}"

    @classmethod
    def of(cls, row: Account) -> Person:
        """A plain copy of the row."""
        return cls(row.id, row.username, row.display_name, row.role, row.institution_id)

    def get_user_id(self) -> str:
        """Authlib's word for the id."""
        return self.id


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """An active client; the methods are Authlib's ClientMixin."""

    id: str
    name: str
    secret_hash: str | None
    jwks: dict[str, Any] | None
    public: bool
    grant_types: frozenset[str]
    redirect_uris: tuple[str, ...]
    scopes: frozenset[str]
    role: str
    institution_id: str | None
    tokens_from: int = 0  # seconds since 1970: tokens made before count no more

    @property
    def subject(self) -> str:
        """What `sub` is in the tokens that the client gets for itself."""
        return f"client:{self.id}"

    @classmethod
    def of(cls, row: Client) -> RegisteredClient:
        """A plain copy of the row."""
        return cls(
            id=row.id,
            name=row.name,
            secret_hash=row.secret_hash,
            jwks=row.jwks,
            public=row.public,
            grant_types=frozenset(row.grant_types),
            redirect_uris=tuple(row.redirect_uris),
            scopes=frozenset(row.scopes),
            role=row.role,
            institution_id=row.institution_id,
            tokens_from=int(row.tokens_from.timestamp()) if row.tokens_from else 0,
        )

    def keys(self) -> KeySet | None:
        """The public keys that may sign its assertions."""
        return None if self.jwks is None else KeySet.import_key_set(self.jwks)  # type: ignore[arg-type]

    def get_client_id(self) -> str:
        """Its id."""
        return self.id

    def get_default_redirect_uri(self) -> None:
        """None, always: a request names its redirect URI, and it is compared byte by byte."""
        return

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether it is registered, byte by byte (RFC 9700 2.1)."""
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Whether the secret is right, in constant time."""
        return self.secret_hash is not None and credentials.matches(client_secret, self.secret_hash)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Each client has one way to authenticate, chosen when it was registered, at every endpoint."""
        if method == "client_assertion_jwt":  # Authlib's name of private_key_jwt
            return self.jwks is not None
        if method == "none":
            return self.public
        return self.secret_hash is not None

    def check_response_type(self, response_type: str) -> bool:
        """Only `code`, and only for a client of people."""
        return response_type == "code" and "authorization_code" in self.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether it was registered for the grant."""
        return grant_type in self.grant_types

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """What the client may be given of what it asks for; None (invalid_scope) where nothing is left."""
        return granted_scope(scope, self, None)


def granted_scope(asked: str | None, client: RegisteredClient, person: Person | None) -> str | None:
    """asked ∩ what the client was registered for ∩ what the role allows, alphabetical; None where nothing is left.

    Nothing asked means all of it (RFC 6749 3.3). The role is the person's; a client of people has none of its own.
    """
    wanted = set(asked.split()) if asked and asked.strip() else set(client.scopes)
    role = person.role if person is not None else client.role
    allowed: Iterable[str] = role_scopes(role)
    return " ".join(sorted(wanted & client.scopes & set(allowed))) or None


@lru_cache(maxsize=32)
def role_scopes(role: str) -> frozenset[str]:
    """The most that a token of the role holds; identity scopes are for people only."""
    if role == PEOPLE:
        return KNOWN_SCOPES
    return frozenset(map(str, ROLE_SCOPES.get(role, frozenset()))) | IDENTITY_SCOPES
