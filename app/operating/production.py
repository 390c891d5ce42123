"""Whether these settings are fit to hold real people's data; every reason at once, so that one start is enough."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.errors import Finding
from app.keyring import web_keys
from app.keyring.masters import KEY_BYTES, KeyringError, decoded, read_keys
from app.settings import ROOMS, AnyStore, Settings

_DEFAULT_WORDS = {
    "administrator", "baekman-demo", "change-me-please", "correct horse battery staple", "minioadmin123",
    "password1234", "secretsecret", "verysecretpassword",
}  # fmt: skip
_SHORTEST = 12
_FEWEST_BYTES = 16  # distinct ones; of 32 random bytes fewer than 20 are distinct once in some 10^14


def objections(settings: Settings, *, web: bool = False) -> list[Finding]:
    """Why a service with these settings must not be started in production; empty where nothing speaks against it.

    No finding holds a value of a setting. `web`: of a web beside workers of their own, which holds nothing
    but what it needs itself.
    """
    return [
        *_addresses(settings),
        *(_bare(settings) if web else _master_key(settings)),
        *_web_key(settings),
        *_database(settings),
        *_stores(settings),
        *_proxy(settings),
    ]


def unaccepted(settings: Settings, *, web: bool = False) -> list[Finding]:
    """The objections that the operator has not weighed and accepted by name."""
    accepted = set(settings.production_accepts.replace(",", " ").split())
    return [
        finding
        for finding in objections(settings, web=web)
        if f"{finding.code}:{finding.pointer}" not in accepted
    ]


def _addresses(settings: Settings) -> Iterator[Finding]:
    if urlsplit(settings.public_url).scheme != "https":
        yield _said(
            "plain_http", "public_url", "Tokens and data would travel in the clear.", "Set an https URL."
        )
    for name in ("s3_endpoint", "backup_endpoint"):
        endpoint = getattr(settings, name)
        if endpoint is not None and urlsplit(endpoint).scheme != "https":
            yield _said("plain_http", name, "Objects would travel in the clear.", "Set an https URL.")


def _master_key(settings: Settings) -> Iterator[Finding]:
    if settings.master_key_command is not None:
        return
    file = settings.master_key_file
    if settings.master_key is None and file is None:
        yield _said(
            "demo_key", "master_key", "The master key would be made under `var`, beside what it opens.",
            "Give one by BAEKMAN_MASTER_KEY_FILE, BAEKMAN_MASTER_KEY or BAEKMAN_MASTER_KEY_COMMAND.",
        )  # fmt: skip
        return
    try:
        if settings.master_key is not None:
            keys = [decoded(settings.master_key.get_secret_value(), "BAEKMAN_MASTER_KEY")]
        else:
            keys = read_keys(file or Path(), "BAEKMAN_MASTER_KEY_FILE")
    except KeyringError as error:
        yield _said("unusable_key", "master_key", f"{error}.", "Make one: `openssl rand -base64 32`.")
        return
    yield from _weak("master_key", "The master key", keys, file)


def _weak(setting: str, what: str, keys: Sequence[bytes], file: Path | None) -> Iterator[Finding]:
    if any(len(set(key)) < _FEWEST_BYTES or _is_text(key) for key in keys):
        yield _said("demo_key", setting, f"{what} is no random one.", "Make one: `openssl rand -base64 32`.")
    if file is not None and file.stat().st_mode & (stat.S_IWGRP | stat.S_IRWXO):
        yield _said(
            "open_key_file",
            f"{setting}_file",
            "Others than its owner and group can read the file, or its group can write it.",
            "chmod 400, or 440.",
        )


def _web_key(settings: Settings) -> Iterator[Finding]:
    if not settings.has_web_key:
        return
    try:
        keys = web_keys(settings)
    except KeyringError as error:
        yield _said("unusable_key", "web_key", f"{error}.", "Make one: `openssl rand -base64 32`.")
        return
    yield from _weak("web_key", "The web's key", keys, settings.web_key_file)


def _bare(settings: Settings) -> Iterator[Finding]:
    """What a web must not be given: whoever takes it over would have it."""
    if not settings.has_web_key:
        yield _said(
            "web_without_key", "web_key", "The web would need the master key, and with it hold every project's key.",
            "Give both a key for the web, the master key to the workers alone, and run `baekman rewrap` there.",
        )  # fmt: skip
    elif settings.has_master:
        given = ("master_key", "master_key_file", "master_key_command")
        name = next(one for one in given if getattr(settings, one) is not None)
        yield _said(
            "web_holds_keys", name, "The web does not need the master key.", "Give it to the workers alone."
        )
    for room in ("vault", "memory", "backup"):
        if any(one is not None for one in settings.store_key(room)):
            yield _said(
                "web_holds_store", f"{room}_secret", f"The web does not need the key of the store {room}.",
                "Give it to the workers alone.",
            )  # fmt: skip


def _is_text(key: bytes) -> bool:
    return len(key) == KEY_BYTES and key.isascii() and key.decode("ascii").isprintable()


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        url = make_url(settings.database)
    except ArgumentError:
        yield _said(
            "unusable_database", "database_url", "It is no URL of a database.", "See docs/settings.md."
        )
        return
    if url.get_backend_name() == "sqlite":
        if settings.jobs != "embedded":
            yield _said(
                "sqlite_shared", "database_url", "SQLite serves one process; these settings ask for several.",
                "Use PostgreSQL, or BAEKMAN_JOBS=embedded.",
            )  # fmt: skip
        return
    if not _is_local(url):
        if _is_default(url.password, url.username, url.database):
            yield _said(
                "default_password", "database_url", "The password is missing or one that everybody tries first.",
                "Make a random one.",
            )  # fmt: skip
        if url.query.get("sslmode") not in ("require", "verify-ca", "verify-full"):
            yield _said(
                "plain_database", "database_url", "The database would be spoken to in the clear.",
                "Add ?sslmode=verify-full (or require).",
            )  # fmt: skip


def _is_local(url: URL) -> bool:
    """By a Unix socket, where the system itself says who asks."""
    host = url.query.get("host") or url.host
    return isinstance(host, str) and host.startswith("/")


def _stores(settings: Settings) -> Iterator[Finding]:
    rooms: list[AnyStore] = [*ROOMS] if settings.backup_url is None else [*ROOMS, "backup"]
    remote = {room: settings.store_key(room) for room in rooms if settings.store_url(room).startswith("s3:")}
    for room in rooms:
        if settings.store_url(room).startswith("memory:"):
            yield _said(
                "volatile_store",
                f"{room}_url",
                "What lies there is gone with the process.",
                "Use s3 or file.",
            )
    for room, (key_id, secret) in remote.items():
        if key_id is not None and _is_default(secret, key_id):
            yield _said(
                "default_password", f"{room}_secret", "The secret is missing or one that everybody tries first.",
                "Make a key of its own for this room.",
            )  # fmt: skip
    for (one, its), (other, theirs) in combinations(remote.items(), 2):
        if its == theirs and its != (None, None):
            yield _said(
                "shared_store_key", f"{other}_key_id", f"The rooms {one} and {other} open with the same key.",
                "Make a key for each room that opens this room alone.",
            )  # fmt: skip
    places = [settings.store_url(room).rstrip("/") for room in rooms]
    for one, other in combinations(rooms, 2):
        first, second = places[rooms.index(one)], places[rooms.index(other)]
        if f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/"):
            yield _said(
                "shared_store",
                f"{other}_url",
                f"The rooms {one} and {other} lie in one another.",
                "Give each its own.",
            )


def _proxy(settings: Settings) -> Iterator[Finding]:
    if settings.proxy_mark is None:
        return
    if _is_default(settings.proxy_mark.get_secret_value()):
        yield _said(
            "default_password", "proxy_mark", "The word is missing or one that everybody tries first.",
            "Make a random one.",
        )  # fmt: skip
    if not settings.store_url("outbox").startswith("file:"):
        yield _said(
            "proxy_without_folder", "proxy_mark", "The outbox is no folder, so the proxy sends nothing of it.",
            "Unset it, or make the outbox a folder that web and proxy share.",
        )  # fmt: skip


def _is_default(secret: str | None, *beside: str | None) -> bool:
    """Missing, short (as `postgres` or `minioadmin` are), well known, or the name itself."""
    return not secret or len(secret) < _SHORTEST or secret.lower() in _DEFAULT_WORDS or secret in beside


def _said(code: str, setting: str, detail: str, hint: str) -> Finding:
    return Finding(code, detail, pointer=f"BAEKMAN_{setting.upper()}", hint=hint)
