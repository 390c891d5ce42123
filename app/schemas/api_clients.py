"""The bodies of /v1/clients and /v1/accounts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.api_parts import Day

RoleName = Literal["platform", "institution", "steward", "researcher", "inspector"]
_LINE = r"^[^\x00-\x1f\x7f]*$"  # one line of text


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class NewClient(_Body):
    """A client to register: with a role it acts by itself, without one people sign in through it."""

    name: str = Field(min_length=1, max_length=200, pattern=_LINE)
    authentication: Literal["client_secret", "private_key_jwt", "none"] = "client_secret"
    scopes: list[str] = Field(min_length=1, max_length=50)
    role: RoleName | None = None
    institution_id: str | None = Field(None, pattern=r"^[a-z0-9_]{1,40}$")
    redirect_uris: list[str] = Field(default_factory=list, max_length=20)
    jwks: dict[str, Any] | None = None
    owner_id: str | None = Field(
        None,
        pattern=r"^[a-z0-9_]{1,40}$",
        description="The person who answers for it; of its role and institution.",
    )
    valid_from: Day | None = Field(None, description="First day (UTC) on which it counts.")
    valid_until: Day | None = Field(None, description="Last day; an inspector has one.")


class NewAccount(_Body):
    """A person to register; without a password one is made and shown once."""

    username: str = Field(max_length=120)
    role: RoleName
    display_name: str = Field("", max_length=200, pattern=_LINE)
    institution_id: str | None = Field(None, pattern=r"^[a-z0-9_]{1,40}$")
    password: str | None = Field(None, max_length=200)
    valid_from: Day | None = Field(None, description="First day (UTC) on which it counts.")
    valid_until: Day | None = Field(None, description="Last day; an inspector has one.")


class ClientView(BaseModel):
    """A client; `client_secret` only in the answer that made it."""

    id: str
    name: str
    authentication: Literal["client_secret", "private_key_jwt", "none"]
    grant_types: list[str]
    redirect_uris: list[str]
    scopes: list[str]
    role: str | None = None
    institution_id: str | None = None
    active: bool
    created_at: str
    owner_id: str | None = None
    valid_from: str | None = None
    valid_until: str | None = None
    client_secret: str | None = None


class AccountView(BaseModel):
    """An account; `password` only in the answer that made it, and only where none was given."""

    id: str
    username: str
    display_name: str
    role: str
    institution_id: str | None = None
    active: bool
    orcid: str | None = None
    created_at: str
    valid_from: str | None = None
    valid_until: str | None = None
    password: str | None = None


class ClientPage(BaseModel):
    """One page of clients."""

    items: list[ClientView]
    next_cursor: str | None = None


class AccountPage(BaseModel):
    """One page of accounts."""

    items: list[AccountView]
    next_cursor: str | None = None
