"""Secrets: made of unreserved characters, stored as digests, compared in constant time; passwords by argon2id."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

SECRET_BYTES = 32
MIN_PASSWORD = 12
MAX_PASSWORD = 200  # argon2 reads all of it: a bound keeps one sign-in from costing seconds


def new_secret() -> str:
    """256 random bits in 43 characters of A-Z a-z 0-9 - _ : some clients send Basic credentials without encoding."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> str:
    """SHA-256 in hex. Enough for what `new_secret` made: 256 random bits cannot be guessed, so a slow hash would only
    slow every token call down. Passwords are chosen by people and take argon2 instead."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, stored_digest: str) -> bool:
    """Whether the secret is the stored one, in constant time."""
    return hmac.compare_digest(digest(secret).encode(), stored_digest.encode())


def hash_password(password: str) -> str:
    """The argon2id hash of a password; takes about half a second of CPU: never inside a transaction."""
    return _hasher().hash(password)


def check_password(password: str, stored: str | None) -> bool:
    """Whether the password fits. An unknown user (`stored` is None) costs the same time as a wrong password, so that
    the answer does not tell which names exist."""
    if len(password) > MAX_PASSWORD:
        return False
    right = _hasher().verify(password, stored or _nobody())
    return right and stored is not None


@cache
def _hasher() -> PasswordHash:
    return PasswordHash((Argon2Hasher(),))


@cache
def _nobody() -> str:
    return _hasher().hash(new_secret())
