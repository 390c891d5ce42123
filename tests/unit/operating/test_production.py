"""Production starts only where nothing speaks against the settings, and every reason is told at once."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Any

import pytest

from app.operating.production import objections, unaccepted
from app.settings import Settings

KEY = base64.b64encode(secrets.token_bytes(32)).decode()


def _fit(folder: Path) -> dict[str, Any]:
    """Settings that nothing speaks against."""
    key = folder / "master"
    key.write_text(KEY)
    key.chmod(0o400)
    rooms = ("inbox", "vault", "outbox", "memory")
    return {
        "var": folder,
        "production": True,
        "jobs": "separate",
        "public_url": "https://share.example.kr",
        "master_key_file": key,
        "database_url": "postgresql+psycopg://baekman:hRw2kQz81mLx0pVt@db.example.kr/baekman?sslmode=verify-full",
        "s3_endpoint": "https://s3.example.kr",
        **{f"{room}_url": f"s3://baekman-{room}" for room in rooms},
        **{f"{room}_key_id": f"key-of-{room}" for room in rooms},
        **{f"{room}_secret": secrets.token_hex(20) for room in rooms},
    }


def _codes(given: dict[str, Any]) -> set[tuple[str, str]]:
    found = objections(Settings(_env_file=None, **given))
    secret = {
        str(given.get(name)) for name in ("vault_secret", "database_url", "master_key") if given.get(name)
    }
    assert not any(word in str(finding) for word in secret for finding in found)
    assert all(finding.hint for finding in found)
    return {(finding.code, (finding.pointer or "").removeprefix("BAEKMAN_").lower()) for finding in found}


def test_nothing_speaks_against_good_settings(tmp_path: Path) -> None:
    assert _codes(_fit(tmp_path)) == set()
    embedded = {
        "database_url": None,
        "jobs": "embedded",
        **{f"{r}_url": None for r in ("inbox", "vault", "outbox", "memory")},
    }
    assert _codes(_fit(tmp_path) | embedded) == set()  # one process on one machine may use SQLite and folders
    by_socket = {"database_url": "postgresql+psycopg://baekman@/baekman?host=/run/postgresql"}
    assert _codes(_fit(tmp_path) | by_socket) == set()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"public_url": "http://share.example.kr"}, ("plain_http", "public_url")),
        ({"s3_endpoint": "http://s3.example.kr"}, ("plain_http", "s3_endpoint")),
        ({"master_key_file": None}, ("demo_key", "master_key")),
        (
            {"master_key_file": None, "master_key": base64.b64encode(b"0" * 32).decode()},
            ("demo_key", "master_key"),
        ),
        (
            {
                "master_key_file": None,
                "master_key": base64.b64encode(b"a-passphrase-of-32-letters-here!").decode(),
            },
            ("demo_key", "master_key"),
        ),
        ({"master_key_file": None, "master_key": "short"}, ("unusable_key", "master_key")),
        ({"master_key_file": Path("/nowhere/key")}, ("unusable_key", "master_key")),
        ({"database_url": None}, ("sqlite_shared", "database_url")),
        ({"database_url": "nonsense"}, ("unusable_database", "database_url")),
        (
            {"database_url": "postgresql+psycopg://baekman:postgres@db/baekman?sslmode=require"},
            ("default_password", "database_url"),
        ),
        (
            {"database_url": "postgresql+psycopg://baekman@db/b?sslmode=require"},
            ("default_password", "database_url"),
        ),
        (
            {"database_url": "postgresql+psycopg://baekman:hRw2kQz81mLx0pVt@db/baekman"},
            ("plain_database", "database_url"),
        ),
        ({"vault_secret": "minioadmin"}, ("default_password", "vault_secret")),
        ({"vault_secret": None}, ("default_password", "vault_secret")),
        ({"outbox_url": "memory://"}, ("volatile_store", "outbox_url")),
        ({"proxy_mark": secrets.token_hex(24)}, ("proxy_without_folder", "proxy_mark")),
        ({"proxy_mark": "short", "outbox_url": "file:///srv/out"}, ("default_password", "proxy_mark")),
        ({"outbox_url": "s3://baekman-vault/out"}, ("shared_store", "outbox_url")),
        ({"outbox_url": "s3://baekman-vault"}, ("shared_store", "outbox_url")),
    ],
)
def test_what_speaks_against_it_is_told(
    tmp_path: Path, changed: dict[str, Any], told: tuple[str, str]
) -> None:
    assert _codes(_fit(tmp_path) | changed) == {told}


def _bare(folder: Path) -> dict[str, Any]:
    """Settings of a web beside workers that nothing speaks against."""
    key = folder / "web"
    key.write_text(KEY)
    key.chmod(0o400)
    too_much = ("master_key_file", "vault_key_id", "vault_secret", "memory_key_id", "memory_secret")
    return {name: value for name, value in _fit(folder).items() if name not in too_much} | {
        "web_key_file": key
    }


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, set()),
        ({"web_key_file": None}, {("web_without_key", "web_key")}),
        ({"master_key": KEY}, {("web_holds_keys", "master_key")}),
        ({"vault_key_id": "v"}, {("web_holds_store", "vault_secret"), ("default_password", "vault_secret")}),
        ({"memory_key_id": "m", "memory_secret": "x" * 40}, {("web_holds_store", "memory_secret")}),
        ({"web_key_file": None, "web_key": base64.b64encode(b"a" * 32).decode()}, {("demo_key", "web_key")}),
        ({"web_key_file": None, "web_key": "short"}, {("unusable_key", "web_key")}),
    ],
)  # fmt: skip
def test_a_web_beside_workers_holds_only_what_it_needs(
    tmp_path: Path, changed: dict[str, Any], told: set[tuple[str, str]]
) -> None:
    found = objections(Settings(_env_file=None, **(_bare(tmp_path) | changed)), web=True)
    assert {(f.code, (f.pointer or "").removeprefix("BAEKMAN_").lower()) for f in found} == told
    assert all(finding.hint for finding in found)


def test_rooms_that_open_with_one_key(tmp_path: Path) -> None:
    given = _fit(tmp_path)
    given |= {"outbox_key_id": given["vault_key_id"], "outbox_secret": given["vault_secret"]}
    assert _codes(given) == {("shared_store_key", "outbox_key_id")}


def test_a_key_file_that_others_can_read(tmp_path: Path) -> None:
    given = _fit(tmp_path)
    told = {("open_key_file", "master_key_file")}
    for mode, expected in ((0o440, set()), (0o644, told), (0o460, told)):
        given["master_key_file"].chmod(mode)
        assert _codes(given) == expected


def test_what_was_weighed_is_accepted_by_name_and_nothing_else(tmp_path: Path) -> None:
    given = _fit(tmp_path) | {"s3_endpoint": "http://store:8333", "public_url": "http://share.example.kr"}
    assert len(_codes(given)) == 2
    for accepts, left in (
        ("plain_http:BAEKMAN_S3_ENDPOINT", {"BAEKMAN_PUBLIC_URL"}),
        ("plain_http", {"BAEKMAN_PUBLIC_URL", "BAEKMAN_S3_ENDPOINT"}),
        ("plain_http:BAEKMAN_S3_ENDPOINT, plain_http:BAEKMAN_PUBLIC_URL", set()),
    ):
        settings = Settings(_env_file=None, **given, production_accepts=accepts)
        assert {finding.pointer for finding in unaccepted(settings)} == left


def test_every_reason_is_told_at_once(tmp_path: Path) -> None:
    given = {"var": tmp_path, "production": True, "jobs": "separate", "s3_endpoint": "http://x"}
    told = {code for code, _ in _codes(given)}
    assert told == {"plain_http", "demo_key", "sqlite_shared"}
    assert len(_codes(given)) == 4
