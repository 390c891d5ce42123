"""What may be registered as a client or an account; every problem is found at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey

from app.auth.credentials import MAX_PASSWORD, MIN_PASSWORD
from app.auth.policy import ROLE_SCOPES
from app.auth.registered import KNOWN_SCOPES
from app.errors import Finding
from app.models import Account, Client

Authentication = Literal["client_secret", "private_key_jwt", "none"]

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@-]{2,119}")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_MAX_KEYS = 10
_MIN_RSA_BITS = 2048
_JWK_MEMBERS = ("kty", "kid", "use", "alg", "n", "e", "crv", "x", "y")
_CURVES = {"P-256", "P-384"}


@dataclass(frozen=True, slots=True)
class ClientOrder:
    """A client to register. With a `role` it acts by itself (client_credentials); without one, people sign in
    through it (authorization_code with PKCE, refresh_token) and each acts with their own role."""

    name: str
    authentication: Authentication
    scopes: Sequence[str]
    role: str | None = None
    institution_id: str | None = None
    redirect_uris: Sequence[str] = ()
    jwks: dict[str, Any] | None = None
    owner_id: str | None = None
    valid_from: date | None = None
    valid_until: date | None = None


@dataclass(frozen=True, slots=True)
class AccountOrder:
    """A person to register; without a password one is made and shown once."""

    username: str
    role: str
    display_name: str = ""
    institution_id: str | None = None
    password: str | None = None
    valid_from: date | None = None
    valid_until: date | None = None


def client_findings(order: ClientOrder) -> Iterator[Finding]:
    """Everything that is wrong with a client, as far as it can be seen without the database."""
    yield from _scope_findings(order)
    if order.role is None:
        if not order.redirect_uris:
            yield _finding("/redirect_uris", "A client of people needs at least one redirect URI.")
        if order.institution_id is not None:
            yield _finding("/institution_id", "A client of people belongs to no institution; its people do.")
    else:
        yield from _holder_findings(order)
        if order.redirect_uris:
            yield _finding("/redirect_uris", "A client that acts by itself has no redirect URIs.")
        if order.authentication == "none":
            yield _finding("/authentication", "A client that acts by itself must be able to prove itself.")
    for place, uri in enumerate(order.redirect_uris):
        if not is_redirect_uri(uri):
            yield _finding(
                f"/redirect_uris/{place}",
                "Use https, http on a loopback address, or a private scheme with a dot.",
            )
    if (order.jwks is not None) != (order.authentication == "private_key_jwt"):
        yield _finding("/jwks", "Keys are given for private_key_jwt, and only for it.")
    elif order.jwks is not None and not _public_keys_only(order.jwks):
        yield _finding(
            "/jwks", "One to ten public RSA keys of 2048 bits or more, or EC keys on P-256 or P-384."
        )


def account_findings(order: AccountOrder) -> Iterator[Finding]:
    """Everything that is wrong with an account, as far as it can be seen without the database."""
    if not _USERNAME.fullmatch(order.username):
        yield _finding("/username", "3 to 120 of a-z 0-9 . _ @ -, beginning with a letter or digit.")
    if order.password is not None and not MIN_PASSWORD <= len(order.password) <= MAX_PASSWORD:
        yield _finding("/password", f"{MIN_PASSWORD} to {MAX_PASSWORD} characters.")
    yield from _holder_findings(order)


def is_redirect_uri(uri: str) -> bool:
    """Whether a code may be sent there: https, http to loopback (RFC 8252 7.3), or an app's own scheme (7.1)."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return False
    if (
        parts.fragment
        or not uri.isascii()
        or not uri.isprintable()
        or " " in uri
        or parts.username is not None
    ):
        return False
    if parts.scheme in ("http", "https"):
        return host is not None and (parts.scheme == "https" or host in _LOOPBACK)
    return "." in parts.scheme


def client_view(row: Client) -> dict[str, Any]:
    """A client as the administration sees it; never its secret."""
    return {
        "id": row.id,
        "name": row.name,
        "authentication": "none" if row.public else "private_key_jwt" if row.jwks else "client_secret",
        "grant_types": sorted(row.grant_types),
        "redirect_uris": list(row.redirect_uris),
        "scopes": sorted(row.scopes),
        "role": row.role if row.role in ROLE_SCOPES else None,
        "owner_id": row.owner_id,
        "institution_id": row.institution_id,
        "active": row.active,
        "created_at": row.created_at.isoformat(),
        "valid_from": row.valid_from.isoformat() if row.valid_from else None,
        "valid_until": row.valid_until.isoformat() if row.valid_until else None,
    }


def account_view(row: Account) -> dict[str, Any]:
    """An account as the administration sees it; never its password."""
    return {
        "id": row.id,
        "username": row.username,
        "display_name": row.display_name,
        "role": row.role,
        "institution_id": row.institution_id,
        "active": row.active,
        "orcid": row.orcid,
        "created_at": row.created_at.isoformat(),
        "valid_from": row.valid_from.isoformat() if row.valid_from else None,
        "valid_until": row.valid_until.isoformat() if row.valid_until else None,
    }


def _scope_findings(order: ClientOrder) -> Iterator[Finding]:
    allowed = KNOWN_SCOPES if order.role is None else frozenset(map(str, ROLE_SCOPES.get(order.role, ())))
    if not order.scopes:
        yield _finding("/scopes", "At least one scope.")
    for place, scope in enumerate(order.scopes):
        if scope not in KNOWN_SCOPES:
            yield _finding(f"/scopes/{place}", "There is no such scope.")
        elif scope not in allowed:
            yield _finding(f"/scopes/{place}", "The role cannot hold this scope.")


def _holder_findings(order: ClientOrder | AccountOrder) -> Iterator[Finding]:
    if order.role not in ROLE_SCOPES:
        yield _finding("/role", f"One of {', '.join(sorted(ROLE_SCOPES))}.")
    if order.role == "institution" and order.institution_id is None:
        yield _finding("/institution_id", "The role institution acts for one institution: name it.")
    if order.role == "platform" and order.institution_id is not None:
        yield _finding("/institution_id", "The platform's administration belongs to no institution.")
    if order.role == "inspector" and order.valid_until is None:
        yield _finding("/valid_until", "An inspector is sent until a day: name it.")
    if order.valid_from and order.valid_until and order.valid_from > order.valid_until:
        yield _finding("/valid_until", "The last day lies before the first.")


def public_jwks(jwks: dict[str, Any]) -> dict[str, Any]:
    """The JWKS with the members that verify a signature, and nothing else of what was sent."""
    return {"keys": [{name: key[name] for name in _JWK_MEMBERS if name in key} for key in jwks["keys"]]}


def _public_keys_only(jwks: dict[str, Any]) -> bool:
    entries = jwks.get("keys")
    if not isinstance(entries, list) or not 1 <= len(entries) <= _MAX_KEYS:
        return False
    # A client that uploads its private key has lost it already: refused, so that it is not kept here as well.
    if any(not isinstance(entry, dict) or "d" in entry or "k" in entry for entry in entries):
        return False
    kept = public_jwks(jwks)
    if any(
        not (isinstance(text, str) and text.isprintable()) for key in kept["keys"] for text in key.values()
    ):
        return False
    try:
        return all(_strong(key) for key in KeySet.import_key_set(kept).keys)  # type: ignore[arg-type]
    except (JoseError, ValueError, TypeError, KeyError):
        return False


def _strong(key: object) -> bool:
    if isinstance(key, RSAKey):
        return key.raw_value.key_size >= _MIN_RSA_BITS
    return isinstance(key, ECKey) and key.as_dict(private=False).get("crv") in _CURVES


def _finding(pointer: str, detail: str) -> Finding:
    return Finding("invalid", detail, pointer=pointer)
