"""Random keys wrapped by the master key: whoever lacks the master key holds nothing but wrapped bytes."""

from __future__ import annotations

import os
import secrets
import shlex
from pathlib import Path

from app.keyring.masters import (
    ID_BYTES,
    KEY_BYTES,
    CommandMaster,
    KeyringError,
    LocalMaster,
    Master,
    decoded,
    read_keys,
)
from app.settings import Settings

__all__ = ["KEY_BYTES", "Keyring", "KeyringError", "open_keyring", "open_web_keyring", "web_keys"]


class Keyring:
    """Wraps keys by the newest master key. A wrapped key starts with the id of the master that wrapped it, so that
    rotation re-wraps while both are valid: what an older one wrapped still opens."""

    def __init__(self, master: bytes | Master, *older: bytes | Master) -> None:
        self._current = LocalMaster(master) if isinstance(master, bytes) else master
        known = [LocalMaster(one) if isinstance(one, bytes) else one for one in older]
        self._masters = {one.key_id: one for one in (*known, self._current)}

    @property
    def current(self) -> str:
        """The id of the master key that wraps now, in hex; it tells nothing of the key."""
        return self._current.key_id.hex()

    @property
    def known(self) -> frozenset[str]:
        """The ids of all master keys that open, in hex."""
        return frozenset(key_id.hex() for key_id in self._masters)

    @staticmethod
    def master_of(wrapped: bytes) -> str:
        """The id of the master key that wrapped these bytes, in hex."""
        return wrapped[:ID_BYTES].hex()

    def new(self) -> bytes:
        """A fresh random 32-byte key, wrapped."""
        return self.wrap(secrets.token_bytes(KEY_BYTES))

    def wrap(self, key: bytes) -> bytes:
        """`key` wrapped by the current master key. The length must be a multiple of 8 bytes, at least 16."""
        return self._current.key_id + self._current.wrap(key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """The key inside; raises where the bytes were altered or the master key is not ours."""
        master = self._masters.get(wrapped[:ID_BYTES])
        if master is None:
            raise KeyringError("wrapped by a master key that is not here")
        return master.unwrap(wrapped[ID_BYTES:])

    def rewrap(self, wrapped: bytes) -> bytes | None:
        """The same key wrapped by the current master key; None where it is already."""
        if self.master_of(wrapped) == self.current:
            return None
        return self.wrap(self.unwrap(wrapped))


def open_keyring(settings: Settings) -> Keyring:
    """The keyring of the settings; the embedded default makes its master key once under `var`.

    The master key comes from one place: the environment, a file, or a program in front of a KMS.
    """
    return Keyring(_master(settings), *_older(settings), *web_keys(settings))


def open_web_keyring(settings: Settings, *, alone: bool = False) -> Keyring:
    """The keyring of what the web itself needs: the keys that sign tokens and those that find a person by the
    institution's own identifier. Where the web has a key of its own, that one wraps.

    `alone`: without the master key, which is not even looked for; what it wrapped earlier does not open then. Where
    the web has no key of its own, this is the master key's keyring.
    """
    own = web_keys(settings)
    if not own:
        return open_keyring(settings)
    return Keyring(*own) if alone else Keyring(own[0], *own[1:], _master(settings), *_older(settings))


def web_keys(settings: Settings) -> list[bytes]:
    """The keys of the web, the one that wraps first; none where it has none of its own."""
    if settings.web_key is not None and settings.web_key_file is not None:
        raise KeyringError("the web's key must come from one place: BAEKMAN_WEB_KEY or BAEKMAN_WEB_KEY_FILE")
    if settings.web_key is not None:
        texts = settings.web_key.get_secret_value().replace(",", " ").split()
        return [decoded(text, "BAEKMAN_WEB_KEY") for text in texts]
    if settings.web_key_file is not None:
        return read_keys(settings.web_key_file, "BAEKMAN_WEB_KEY_FILE")
    return []


def _master(settings: Settings) -> bytes | Master:
    given = [settings.master_key, settings.master_key_file, settings.master_key_command]
    if sum(one is not None for one in given) > 1:
        raise KeyringError(
            "the master key must come from one place: BAEKMAN_MASTER_KEY, _FILE or _COMMAND, not from several"
        )
    if settings.master_key is not None:
        return decoded(settings.master_key.get_secret_value(), "BAEKMAN_MASTER_KEY")
    if settings.master_key_file is not None:
        keys = read_keys(settings.master_key_file, "BAEKMAN_MASTER_KEY_FILE")
        if len(keys) > 1:
            raise KeyringError(
                "BAEKMAN_MASTER_KEY_FILE must hold one key; older ones have a file of their own"
            )
        return keys[0]
    if settings.master_key_command is not None:
        return CommandMaster(shlex.split(settings.master_key_command))
    return _embedded_master(settings.var / "master.key")


def _older(settings: Settings) -> list[bytes]:
    found = []
    if settings.older_master_keys is not None:
        texts = settings.older_master_keys.get_secret_value().replace(",", " ").split()
        found += [decoded(text, "BAEKMAN_OLDER_MASTER_KEYS") for text in texts]
    if settings.older_master_keys_file is not None:
        found += read_keys(settings.older_master_keys_file, "BAEKMAN_OLDER_MASTER_KEYS_FILE")
    return found


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
