"""Accounts, OAuth clients, authorization codes, refresh tokens, revocations and signing keys."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Account(Base):
    """A person who can sign in. `role` bounds the scopes that any token of theirs can have."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    username: Mapped[str] = mapped_column(String(120), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    display_name: Mapped[str] = mapped_column(String(200), default="")
    role: Mapped[str] = mapped_column(String(20))  # platform | institution | steward | researcher | inspector
    institution_id: Mapped[str | None] = mapped_column(ForeignKey("institutions.id"))
    active: Mapped[bool] = mapped_column(default=True)
    orcid: Mapped[str | None] = mapped_column(String(19))
    created_at: Mapped[datetime]
    valid_from: Mapped[date | None]  # first and last day (UTC) on which it counts
    valid_until: Mapped[date | None]


class Client(Base):
    """An OAuth client. A confidential client acts by itself (client_credentials) as `subject` with `role`."""

    __tablename__ = "clients"

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), default="")
    secret_hash: Mapped[str | None] = mapped_column(String(255))
    jwks: Mapped[dict[str, Any] | None]
    public: Mapped[bool] = mapped_column(default=False)
    grant_types: Mapped[list[Any]]
    redirect_uris: Mapped[list[Any]]
    scopes: Mapped[list[Any]]
    role: Mapped[str] = mapped_column(String(20))
    institution_id: Mapped[str | None] = mapped_column(ForeignKey("institutions.id"))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    valid_from: Mapped[date | None]
    valid_until: Mapped[date | None]
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"), index=True)  # who answers for it
    tokens_from: Mapped[datetime | None]  # tokens made before this count no more


class AuthorizationCode(Base):
    """A code of the authorization code grant; taken by one DELETE ... RETURNING. Only its hash is stored."""

    __tablename__ = "authorization_codes"

    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("clients.id"))
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    redirect_uri: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(Text)
    code_challenge: Mapped[str] = mapped_column(String(128))
    nonce: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime]


class RefreshToken(Base):
    """A refresh token, by its hash. A used one presented again kills its whole family."""

    __tablename__ = "refresh_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    family: Mapped[str] = mapped_column(String(40), index=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("clients.id"))
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    scope: Mapped[str] = mapped_column(Text)
    used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]


class UsedToken(Base):
    """A token id that may not be used (again): revoked access tokens and seen client assertions."""

    __tablename__ = "used_tokens"
    __table_args__ = (Index("ix_used_tokens_expires_at", "expires_at"),)

    jti: Mapped[str] = mapped_column(String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)  # revoked | assertion
    expires_at: Mapped[datetime]


class SigningKey(Base):
    """A key of the built-in issuer; the private part is wrapped by the master key."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(String(64), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(10))
    public_jwk: Mapped[dict[str, Any]]
    private_wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
