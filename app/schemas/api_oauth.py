"""The bodies of the OAuth endpoints, as OpenAPI shows them; RFC 6749, 7517, 7662, 8414."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    """An answer whose further members the RFCs allow."""

    model_config = ConfigDict(extra="allow")


class OAuthError(_Answer):
    """RFC 6749 5.2."""

    error: str
    error_description: str | None = None


class TokenAnswer(_Answer):
    """RFC 6749 5.1."""

    access_token: str
    token_type: str
    expires_in: int = Field(description="Seconds.")
    scope: str
    refresh_token: str | None = None
    id_token: str | None = None


class Introspection(_Answer):
    """RFC 7662 2.2."""

    active: bool


class UserInfo(_Answer):
    """OpenID Connect Core 5.3."""

    sub: str
    name: str | None = None
    preferred_username: str | None = None


class Jwks(_Answer):
    """RFC 7517."""

    keys: list[dict[str, Any]]


class Metadata(_Answer):
    """RFC 8414."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


def token_form(*fields: str) -> dict[str, Any]:
    """The request body of a form endpoint for OpenAPI; clients may prove themselves in the form as well."""
    names = (*fields, "client_id", "client_secret", "client_assertion", "client_assertion_type")
    schema = {
        "type": "object",
        "required": [fields[0]],
        "properties": {name: {"type": "string"} for name in names},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": schema}},
        }
    }
