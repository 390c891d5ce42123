"""Random keys wrapped by the master key: whoever lacks the master key holds nothing but wrapped bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from app.settings import Settings

KEY_BYTES = 32
_ID_BYTES = 8


class KeyringError(Exception):
    """The master key is unusable, or wrapped bytes belong to another one."""


class Keyring:
    """Wraps keys by AES key wrap (RFC 3394). A wrapped key starts with the id of the master key that wrapped it,
    so that rotation can re-wrap while both master keys are valid."""

    def __init__(self, master: bytes, *older: bytes) -> None:
        if any(len(key) != KEY_BYTES for key in (master, *older)):
            raise KeyringError("a master key has 32 bytes")
        self._current = _key_id(master)
        self._masters = {_key_id(key): key for key in (*older, master)}

    @property
    def current(self) -> str:
        """The id of the master key that wraps now, in hex; it tells nothing of the key."""
        return self._current.hex()

    def new(self) -> bytes:
        """A fresh random 32-byte key, wrapped."""
        return self.wrap(secrets.token_bytes(KEY_BYTES))

    def wrap(self, key: bytes) -> bytes:
        """`key` wrapped by the current master key. The length must be a multiple of 8 bytes, at least 16."""
        return self._current + aes_key_wrap(self._masters[self._current], key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """The key inside; raises where the bytes were altered or the master key is not ours."""
        master = self._masters.get(wrapped[:_ID_BYTES])
        if master is None:
            raise KeyringError("wrapped by a master key that is not here")
        try:
            return aes_key_unwrap(master, wrapped[_ID_BYTES:])
        except InvalidUnwrap as error:
            raise KeyringError("the wrapped key was altered") from error


def open_keyring(settings: Settings) -> Keyring:
    """The keyring of the settings; the embedded default makes its master key once under `var`."""
    if settings.master_key is not None:
        try:
            return Keyring(base64.b64decode(settings.master_key.get_secret_value(), validate=True))
        except binascii.Error as error:
            raise KeyringError("BAEKMAN_MASTER_KEY is not base64") from error
    return Keyring(_embedded_master(settings.var / "master.key"))


def _embedded_master(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    return path.read_bytes()


def _key_id(master: bytes) -> bytes:
    return hashlib.sha256(b"baekman master key id" + master).digest()[:_ID_BYTES]
