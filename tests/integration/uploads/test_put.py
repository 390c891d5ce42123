"""One plain PUT with curl: small files stream to the inbox, and what fails half way is ended."""

import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db import Database
from app.models import Upload
from tests.integration.uploads.server import running, upload_app
from tests.integration.uploads.world import World

DATA = os.urandom(900_000)
TABLE, CONSENTS = "/v1/versions/ver_a/tables/person", "/v1/cohorts/coh_a/consents"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    yield World(tmp_path, db).furnish()
    db.dispose()


@pytest.fixture
def url(world: World) -> Iterator[str]:
    (world.folder / "file").write_bytes(DATA)
    with running(upload_app(world)) as url:
        yield url


def curl(url: str, *options: str, token: str = "a") -> tuple[int, Any]:
    command = ["curl", "-sS", "-o", "-", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {token}"]
    done = subprocess.run([*command, *options, url], capture_output=True, check=True, timeout=60)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), json.loads(body)


def uploads(world: World) -> list[Upload]:
    with world.db.read() as session:
        found = list(session.scalars(select(Upload).order_by(Upload.id)))
        session.expunge_all()
        return found


@pytest.mark.parametrize("path", [TABLE, CONSENTS])
def test_a_file_arrives_in_one_piece(url: str, world: World, path: str) -> None:
    status, view = curl(url + path, "-T", str(world.folder / "file"))
    assert (status, view["state"], view["sha256"]) == (202, "complete", hashlib.sha256(DATA).hexdigest())
    assert world.content(view["id"]) == DATA
    assert world.jobs() == [view["id"]]
    assert curl(f"{url}/v1/uploads/{view['id']}") == (200, view)


def test_an_empty_file_arrives_too(url: str, world: World) -> None:
    (world.folder / "file").write_bytes(b"")
    status, view = curl(url + TABLE, "-X", "PUT", "--data-binary", f"@{world.folder / 'file'}")
    assert (status, view["state"], view["length"]) == (202, "complete", 0)


def test_the_second_of_two_files_is_the_one(url: str, world: World) -> None:
    _, first = curl(url + TABLE, "-T", str(world.folder / "file"))
    (world.folder / "file").write_bytes(b"other")
    _, second = curl(url + TABLE, "-T", str(world.folder / "file"))
    assert [upload.state for upload in uploads(world)] == ["expired", "complete"]
    assert world.inbox.names() == [second["id"]]
    assert world.row(first["id"]).report == {"reason": "superseded"}


@pytest.mark.parametrize(
    ("path", "options", "token", "expected"),
    [
        (TABLE, ["-H", "Transfer-Encoding: chunked"], "a", (411, "length_required")),
        (TABLE, ["-H", "Content-Encoding: gzip"], "a", (415, "unsupported_media_type")),
        (TABLE, ["-H", "Upload-Checksum: sha256 AAAA"], "a", (460, "upload_checksum_mismatch")),
        (TABLE, [], "b", (404, "not_found")),
        (TABLE, [], "nobody", (401, "invalid_token")),
        (CONSENTS, [], "a-tables", (403, "insufficient_scope")),
        ("/v1/versions/ver_a/tables/persn", [], "a", (422, "invalid_request")),
    ],
)
def test_files_that_are_refused_leave_nothing(
    url: str, world: World, path: str, options: list[str], token: str, expected: tuple[int, str]
) -> None:
    status, problem = curl(url + path, "-T", str(world.folder / "file"), *options, token=token)
    assert (status, problem["code"]) == expected
    assert {upload.state for upload in uploads(world)} <= {"expired"}
    assert world.inbox.names() == []
    assert world.jobs() == []


def test_a_file_above_the_limit_is_refused_before_it_is_sent(url: str, world: World) -> None:
    (world.folder / "file").write_bytes(b"\0" * (world.settings.upload_put_max_bytes + 1))
    status, problem = curl(url + TABLE, "-T", str(world.folder / "file"))
    assert (status, problem["code"]) == (413, "payload_too_large")
    assert uploads(world) == []


def test_a_file_cut_off_half_way_is_no_file(url: str, world: World) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"PUT {TABLE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n"
            f"Content-Length: {len(DATA)}\r\n\r\n".encode()
        )
        connection.sendall(DATA[:-1])
    end = time.monotonic() + 60
    while [upload.state for upload in uploads(world)] != ["expired"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert world.inbox.names() == []
    assert world.jobs() == []
