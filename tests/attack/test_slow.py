"""On a real socket: heads that are huge or never end, bodies that trickle, files of 2 GB on a full quota."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from app.db import Database
from app.operating import listening
from app.routers import arriving, problems, uploads
from tests.amounts import first
from tests.integration.uploads.server import Tokens
from tests.integration.uploads.world import World

PATIENCE = 20.0
GB2 = 2 * 2**30
TUS = "Tus-Resumable: 1.0.0\r\nAuthorization: Bearer a\r\n"


class Said(BaseModel):
    word: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("slow")
    made = World(folder, Database(f"sqlite:///{folder / 'baekman.db'}"), now=datetime.now(UTC)).furnish()
    yield made
    made.db.dispose()


@pytest.fixture(scope="module")
def port(world: World) -> Iterator[int]:
    """The routes of uploads and one that takes JSON, behind our middleware, as `baekman serve` listens."""
    app = FastAPI(docs_url=None, redoc_url=None)
    app.state.house = SimpleNamespace(uploads=world.service, auth=Tokens())
    app.include_router(uploads.router)

    @app.post("/said")
    def said(body: Said) -> Said:
        return body

    problems.install(app)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", **listening.LIMITS))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(PATIENCE)
    listener.close()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits as they are, but a second: longer than a loaded machine takes to send a head."""
    monkeypatch.setattr(listening, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(arriving, "GRACE", 1.0)
    monkeypatch.setattr(arriving, "LEAST", 2**20)


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as line:
        yield line


def answered(line: socket.socket, trickle: bytes = b"") -> bytes:
    """All that comes until the server closes the connection; meanwhile a byte is sent now and then. Fails where the
    server does not."""
    line.settimeout(0.05)
    end, told = time.monotonic() + PATIENCE, b""
    while time.monotonic() < end:
        try:
            if trickle:
                line.sendall(trickle)
        except OSError:  # reset, or a pipe that is closed; what was told before lies here still
            trickle = b""
        try:
            piece = line.recv(2**16)
        except TimeoutError:
            continue
        except OSError:
            return told
        if not piece:
            return told
        told += piece
    raise AssertionError("the server keeps the connection")


def problem(told: bytes) -> tuple[int, str]:
    head, _, body = told.partition(b"\r\n\r\n")
    return int(head.split()[1]), str(json.loads(body)["code"])


def head(method: str, path: str, more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


@pytest.mark.parametrize(
    "begun", first(1, [b"GET /said HTTP/1.1\r\nX: ", b"GET / HT", b""]), ids=["a header", "a line", "nothing"]
)
def test_a_head_that_does_not_end_closes_the_connection(port: int, hurry: None, begun: bytes) -> None:
    with connected(port) as line:
        line.sendall(begun)
        assert answered(line, b"a") == b""


def test_a_head_that_trickles_after_an_answer_does_too(port: int, hurry: None) -> None:
    """uvicorn alone forgets its own limit with the first byte that comes."""
    with connected(port) as line:
        line.sendall(head("GET", "/nothing"))
        assert answered(line, b"G").startswith(b"HTTP/1.1 404")


def test_connections_that_are_used_stay(port: int) -> None:
    with connected(port) as line:
        for _ in range(3):
            line.sendall(head("POST", "/said", "Content-Type: application/json\r\nContent-Length: 12\r\n"))
            line.sendall(b'{"word":"a"}')
            told = b""
            while b'{"word":"a"}' not in told:
                told += line.recv(2**16)
            assert told.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("length", first(1, ["Content-Length: 1000", "Transfer-Encoding: chunked"]))
def test_a_body_that_trickles_is_ended(port: int, hurry: None, length: str) -> None:
    with connected(port) as line:
        line.sendall(head("POST", "/said", f"Content-Type: application/json\r\n{length}\r\n"))
        told = answered(line, b"1\r\n \r\n" if "chunked" in length else b" ")
        assert problem(told) == (408, "request_timeout")
        assert b"connection: close" in told.lower()


def test_a_body_that_goes_on_after_its_answer_is_not_waited_for(port: int, hurry: None) -> None:
    with connected(port) as line:
        line.sendall(head("POST", "/nothing", "Content-Length: 1000000\r\n"))
        assert answered(line, b" ").startswith(b"HTTP/1.1 404")


def test_an_upload_that_trickles_gives_its_writer_back_and_keeps_what_came(
    port: int, hurry: None, world: World
) -> None:
    upload = world.begin(100_000)
    sent = f"{TUS}Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: 100000\r\n"
    with connected(port) as line:
        line.sendall(head("PATCH", f"/v1/uploads/{upload}", sent) + b"x" * 1000)
        assert problem(answered(line, b"x")) == (408, "request_timeout")
    kept = world.row(upload).received
    assert 1000 <= kept < 100_000
    world.service.append(world_actor(), upload, kept, [b"y" * 10])  # nobody else holds it


def test_a_huge_head_is_refused(port: int) -> None:
    with connected(port) as line:
        line.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n")
        told = b""
        try:
            for number in range(200):
                line.sendall(f"X-{number}: {'a' * 4000}\r\n".encode())
                time.sleep(0.001)
        except OSError:
            pass
        told = answered(line)
        assert told == b"" or told.startswith(b"HTTP/1.1 400")


def test_two_gigabytes_on_a_full_quota_are_refused_before_their_first_byte(port: int, world: World) -> None:
    """No byte of any body is ever sent here, so an answer is one that did not wait for it."""
    full = replace(world.service, settings=world.settings.model_copy(
        update={"quota_inbox_bytes": 1, "upload_max_bytes": 20 * 2**30, "upload_put_max_bytes": 20 * 2**30}
    ))  # fmt: skip
    meta = "Upload-Metadata: version dmVyX2E=,table cGVyc29u\r\n"
    octets = f"Content-Type: application/offset+octet-stream\r\nContent-Length: {GB2}\r\n"
    put = "/v1/versions/ver_a/tables/person"
    cases = {
        head("POST", "/v1/uploads", f"{TUS}Upload-Length: {GB2}\r\n{meta}"): (409, "quota_exceeded"),
        head("POST", "/v1/uploads", f"{TUS}Upload-Length: {GB2}\r\n{meta}{octets}"): (409, "quota_exceeded"),
        head("PUT", put, f"{TUS}Content-Length: {GB2}\r\n"): (409, "quota_exceeded"),
        head("PUT", put, f"{TUS}Content-Length: {GB2}\r\nExpect: 100-continue\r\n"): (409, "quota_exceeded"),
        head("PUT", put, f"{TUS}Transfer-Encoding: chunked\r\n"): (411, "length_required"),
        head("POST", "/v1/uploads", f"{TUS}Upload-Defer-Length: 1\r\n{meta}"): (422, "invalid_request"),
        head("POST", "/v1/uploads", f"{TUS}Upload-Length: {10**17}\r\n{meta}"): (413, "payload_too_large"),
    }
    listed: Any = world.inbox.names()
    before = set(listed)
    with swapped(world, full):
        for sent, wanted in cases.items():
            with connected(port) as line:
                line.sendall(sent)
                assert problem(one_answer(line)) == wanted, sent
    assert set(world.inbox.names()) == before


def test_more_bytes_than_announced_are_cut_off(port: int, world: World) -> None:
    upload = world.begin(10)
    sent = (
        f"{TUS}Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: {GB2}\r\n"
    )
    with connected(port) as line:
        line.sendall(head("PATCH", f"/v1/uploads/{upload}", sent) + b"x" * 2**20)
        assert problem(one_answer(line)) == (413, "payload_too_large")
    assert world.row(upload).received == 0


def world_actor() -> Any:
    return Tokens().authenticate("a")


def one_answer(line: socket.socket) -> bytes:
    told = b""
    line.settimeout(PATIENCE)
    while b"\r\n\r\n" not in told or b"}" not in told:
        piece = line.recv(2**16)
        assert piece, told
        told += piece
        if told.startswith(b"HTTP/1.1 100"):
            told = told.partition(b"\r\n\r\n")[2]
    return told


@contextmanager
def swapped(world: World, service: Any) -> Iterator[None]:
    """The routes ask the world's service: for a while it has other settings."""
    was = world.service.settings
    object.__setattr__(world.service, "settings", service.settings)
    try:
        yield
    finally:
        object.__setattr__(world.service, "settings", was)
