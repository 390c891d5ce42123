"""What wraps keys: a key of 32 bytes that is in this process, or a program in front of a KMS, whose key never is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

KEY_BYTES = 32
ID_BYTES = 8
_SECONDS = 20.0


class KeyringError(Exception):
    """The master key is unusable, or wrapped bytes belong to another one; the text holds no key."""


class Master(Protocol):
    """Wraps and unwraps keys of a multiple of 8 bytes, at least 16."""

    @property
    def key_id(self) -> bytes:
        """Eight bytes that name the master key and tell nothing of it."""

    def wrap(self, key: bytes) -> bytes:
        """`key` so that only `unwrap` of the same master brings it back."""

    def unwrap(self, wrapped: bytes) -> bytes:
        """The key; `KeyringError` where the bytes were altered."""


class LocalMaster:
    """AES key wrap (RFC 3394) under 32 bytes that this process holds."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise KeyringError("a master key has 32 bytes")
        self._key = key
        self.key_id = hashlib.sha256(b"baekman master key id" + key).digest()[:ID_BYTES]

    def wrap(self, key: bytes) -> bytes:
        """`key` by AES key wrap."""
        return aes_key_wrap(self._key, key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """The key inside; its integrity is part of the algorithm."""
        try:
            return aes_key_unwrap(self._key, wrapped)
        except (InvalidUnwrap, ValueError) as error:
            raise KeyringError("the wrapped key was altered") from error


class CommandMaster:
    """A program of the operator's in front of a KMS (AWS, Vault, an HSM), called with `id`, `wrap` or `unwrap`.

    `id` prints the name of the key in use. The others read one line of base64 and print one. What the program says on
    its error output is not told on. It gets PATH and what begins with KMS_ or AWS_ or VAULT_ of our environment.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        name = self._run("id", b"").strip()
        if not name:
            raise KeyringError("the KMS program told no key")
        self.key_id = hashlib.sha256(b"baekman kms key id" + name).digest()[:ID_BYTES]

    def wrap(self, key: bytes) -> bytes:
        """What the KMS makes of `key`."""
        wrapped = self._ask("wrap", key)
        if key in wrapped:
            raise KeyringError("the KMS program gave the key back unwrapped")
        return wrapped

    def unwrap(self, wrapped: bytes) -> bytes:
        """The key, as the KMS gives it."""
        return self._ask("unwrap", wrapped)

    def _ask(self, verb: str, content: bytes) -> bytes:
        try:
            return base64.b64decode(self._run(verb, base64.b64encode(content) + b"\n").strip(), validate=True)
        except binascii.Error:
            raise KeyringError(f"the KMS program answered {verb} with no base64") from None

    def _run(self, verb: str, line: bytes) -> bytes:
        passed = ("KMS_", "AWS_", "VAULT_")
        told = {k: v for k, v in os.environ.items() if k == "PATH" or k.startswith(passed)}
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own program, from the settings
                [*self._command, verb],
                input=line,
                capture_output=True,
                env=told,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            raise KeyringError(
                f"the KMS program did not {verb}: it cannot be started, or takes too long"
            ) from None
        if done.returncode != 0:
            raise KeyringError(f"the KMS program refused to {verb} (exit code {done.returncode})")
        return done.stdout


def decoded(text: str, where: str) -> bytes:
    """The bytes of a key in base64; `KeyringError` naming `where` it came from."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise KeyringError(f"{where} is not base64") from None
    if len(key) != KEY_BYTES:
        raise KeyringError(f"{where} is not 32 bytes in base64")
    return key


def read_keys(path: Path, where: str) -> list[bytes]:
    """The keys of a file, one line each, in base64."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        raise KeyringError(f"{where} names a file that cannot be read") from None
    if not lines:
        raise KeyringError(f"{where} names a file without a key")
    return [decoded(line, where) for line in lines]
