"""The tus routes on a real server: a real client aborts and resumes, a killed server loses nothing acknowledged."""

import hashlib
import os
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.uploader.baseuploader import BaseUploader

from app.db import Database
from app.routers import tus
from tests.integration.uploads.server import running, upload_app
from tests.integration.uploads.world import World
from tests.ports import free_port

DATA = os.urandom(3_000_000)
TABLE = {"purpose": "table", "version": "ver_a", "table": "person"}
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    yield World(tmp_path, db).furnish()
    db.dispose()


@pytest.fixture
def url(world: World) -> Iterator[str]:
    with running(upload_app(world)) as url:
        yield url


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, headers={"Authorization": "Bearer a"}, timeout=20) as client:
        yield client


def metadata(**pairs: str) -> dict[str, str]:
    return {"Upload-Metadata": ",".join(f"{k} {b64encode(v.encode()).decode()}" for k, v in pairs.items())}


def begin(http: httpx2.Client, length: int = len(DATA)) -> str:
    answer = http.post("/v1/uploads", headers={**TUS, **metadata(**TABLE), "Upload-Length": str(length)})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


def offset(http: httpx2.Client, place: str) -> int:
    answer = http.head(place, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["Upload-Offset"])


@pytest.fixture
def client(url: str) -> TusClient:
    return TusClient(f"{url}/v1/uploads", headers={"Authorization": "Bearer a"})


def uploaded(uploader: Any) -> str:
    """The id of what tuspy sent."""
    return str(uploader.url).rsplit("/", 1)[1]


def test_tuspy_aborts_and_resumes(client: TusClient, world: World) -> None:
    stream = BytesIO(DATA)
    first = client.uploader(file_stream=stream, chunk_size=700_000, metadata={**TABLE, "filename": "김.csv"})
    first.upload(stop_at=1_500_000)
    second = client.uploader(file_stream=stream, url=first.url, chunk_size=10**9, upload_checksum=True)
    assert second.offset == 1_500_000
    second.upload()
    assert world.row(uploaded(second)).state == "complete"
    assert world.content(uploaded(second)) == DATA
    assert world.jobs() == [uploaded(second)]


def test_tuspy_uploads_nothing(client: TusClient, world: World) -> None:
    uploader = client.uploader(file_stream=BytesIO(), metadata=TABLE)
    uploader.upload()
    assert world.row(uploaded(uploader)).state == "complete"


def test_tuspy_learns_of_wrong_bytes(client: TusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ("sha1", lambda chunk: hashlib.sha1(chunk + b"!"))
    monkeypatch.setattr(BaseUploader, "CHECKSUM_ALGORITHM_PAIR", wrong)
    uploader = client.uploader(file_stream=BytesIO(DATA), metadata=TABLE, upload_checksum=True)
    with pytest.raises(TusUploadFailed) as caught:
        uploader.upload()
    assert caught.value.status_code == 460
    assert uploader.get_offset() == 0


def test_the_server_says_what_it_speaks(http: httpx2.Client, world: World) -> None:
    answer = http.request("OPTIONS", "/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Max-Size"] == str(world.settings.upload_max_bytes)
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha256,sha1"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation", "creation-with-upload", "checksum", "expiration", "termination",
    }  # fmt: skip


def test_creation_with_upload_head_patch_and_get(http: httpx2.Client, world: World) -> None:
    headers = {**BYTES, **metadata(**TABLE), "Upload-Length": "10"}
    created = http.post("/v1/uploads", headers=headers, content=b"12345")
    assert (created.status_code, created.headers["Upload-Offset"]) == (201, "5")
    place = created.headers["Location"]
    head = http.head(place, headers=TUS)
    assert (head.status_code, head.headers["Upload-Offset"], head.headers["Upload-Length"]) == (
        200,
        "5",
        "10",
    )
    assert head.headers["Cache-Control"] == "no-store"
    assert head.headers["Tus-Resumable"] == "1.0.0"
    assert dict(p.split(" ") for p in head.headers["Upload-Metadata"].split(",")) == {
        key: b64encode(value.encode()).decode() for key, value in TABLE.items()
    }
    expires = parsedate_to_datetime(head.headers["Upload-Expires"])
    assert (expires - world.now).days == world.settings.upload_expiry_days
    checksum = {"Upload-Checksum": "sha256 " + b64encode(hashlib.sha256(b"67890").digest()).decode()}
    patched = http.patch(place, headers={**BYTES, "Upload-Offset": "5", **checksum}, content=b"67890")
    assert (patched.status_code, patched.headers["Upload-Offset"], patched.content) == (204, "10", b"")
    view = http.get(place).json()
    assert (view["state"], view["sha256"]) == ("complete", hashlib.sha256(b"1234567890").hexdigest())
    assert http.head(place, headers=TUS).headers["Upload-Offset"] == "10"


@pytest.mark.parametrize(
    ("headers", "status", "code", "pointers"),
    [
        ({}, 422, "invalid_request", ["Upload-Length", "Upload-Metadata/version", "Upload-Metadata/table"]),
        ({"Upload-Length": "-1", **metadata(**TABLE)}, 422, "invalid_request", ["Upload-Length"]),
        ({"Upload-Length": "1", "Upload-Defer-Length": "1", **metadata(**TABLE)}, 422, "invalid_request",
         ["Upload-Defer-Length"]),
        ({"Upload-Length": "1", **metadata(**TABLE), "Upload-Concat": "partial"}, 422, "invalid_request",
         ["Upload-Concat"]),
        ({"Upload-Length": "1", "Upload-Metadata": "version ***,table"}, 422, "invalid_request",
         ["Upload-Metadata", "Upload-Metadata/version", "Upload-Metadata/table"]),
        ({"Upload-Length": "1", **metadata(purpose="tabel")}, 422, "invalid_request", ["Upload-Metadata/purpose"]),
        ({"Upload-Length": "1", **metadata(purpose="consents")}, 422, "invalid_request",
         ["Upload-Metadata/cohort"]),
        ({"Upload-Length": str(64 * 2**20 + 1), **metadata(**TABLE)}, 413, "payload_too_large", None),
        ({"Upload-Length": "1", **metadata(**{**TABLE, "version": "ver_b"})}, 404, "not_found", None),
        ({"Upload-Length": "1", **metadata(**TABLE), "Upload-Checksum": "md5 eA=="}, 422, "invalid_request",
         ["Upload-Checksum"]),
        ({"Tus-Resumable": "0.2.2"}, 412, "tus_version_unsupported", None),
        ({"Content-Type": "text/csv"}, 415, "unsupported_media_type", None),
        ({"Authorization": "Bearer nobody"}, 401, "invalid_token", None),
    ],
)  # fmt: skip
def test_creations_that_cannot_be(
    http: httpx2.Client, headers: dict[str, str], status: int, code: str, pointers: list[str] | None
) -> None:
    body = {"content": b"x"} if "Content-Type" in headers else {}
    answer = http.post("/v1/uploads", headers={**TUS, **headers}, **body)  # type: ignore[arg-type]
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    if pointers is not None:
        assert sorted(p["pointer"] for p in problem["problems"]) == sorted(pointers)


def test_patches_that_cannot_be(http: httpx2.Client, world: World) -> None:
    place = begin(http, 10)
    upload_id = place.rsplit("/", 1)[1]

    def patch(expected: tuple[int, str], content: bytes = b"123", **headers: str) -> Any:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        answer = http.patch(place, headers={**BYTES, "Upload-Offset": "0", **named}, content=content)
        assert (answer.status_code, answer.json()["code"]) == expected
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        return answer

    wrong = "sha1 " + b64encode(b"\0" * 20).decode()
    patch((415, "unsupported_media_type"), Content_Type="application/octet-stream")
    patch((412, "tus_version_unsupported"), Tus_Resumable="2.0.0")
    patch((422, "invalid_request"), Upload_Offset="here")
    patch((422, "invalid_request"), Upload_Checksum="sha256 $")
    assert patch((409, "upload_offset_mismatch"), Upload_Offset="3").headers["Upload-Offset"] == "0"
    patch((460, "upload_checksum_mismatch"), Upload_Checksum=wrong)
    patch((413, "payload_too_large"), content=b"12345678901")
    patch((404, "not_found"), Authorization="Bearer b")
    assert offset(http, place) == 0
    world.pass_days(14)
    patch((410, "upload_gone"))
    assert http.head(place, headers=TUS).status_code == 410
    world.service.expire_due()
    patch((410, "upload_gone"))
    assert world.row(upload_id).state == "expired"


def test_termination(http: httpx2.Client, world: World) -> None:
    place = begin(http)
    http.patch(place, headers={**BYTES, "Upload-Offset": "0"}, content=DATA[:1000])
    assert http.delete(place, headers={**TUS, "Authorization": "Bearer b"}).status_code == 404
    assert http.delete(place, headers=TUS).status_code == 204
    assert http.head(place, headers=TUS).status_code == 410
    assert http.delete(place, headers=TUS).status_code == 410
    assert world.inbox.names() == []
    assert http.head("/v1/uploads/upl_absent", headers=TUS).status_code == 404


def raw_patch(url: str, place: str, at: int, announced: int) -> socket.socket:
    """A connection with the head of a PATCH already sent."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(
        f"PATCH {place} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nTus-Resumable: 1.0.0\r\n"
        f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: {at}\r\n"
        f"Content-Length: {announced}\r\n\r\n".encode()
    )
    return connection


def until(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_broken_connection_keeps_what_came(http: httpx2.Client, url: str, world: World) -> None:
    place = begin(http)
    with raw_patch(url, place, 0, len(DATA)) as connection:
        connection.sendall(DATA[:1_234_567])
        spill = world.folder / "spill" / place.rsplit("/", 1)[1]
        until(lambda: spill.stat().st_size > 700_000)

        def is_busy() -> bool:
            at = {**BYTES, "Upload-Offset": str(offset(http, place))}
            answer = http.patch(place, headers=at, content=b"\0" * 9)
            code = answer.json()["code"]
            # The first sender may pass a checkpoint between the HEAD and the PATCH: then the offset is what is wrong.
            assert code in ("upload_locked", "upload_offset_mismatch")
            return bool(answer.status_code == 423)

        until(is_busy)

    def resumes() -> bool:
        reached = offset(http, place)
        rest = {**BYTES, "Upload-Offset": str(reached)}
        return (
            reached > 700_000 and http.patch(place, headers=rest, content=DATA[reached:]).status_code == 204
        )

    until(resumes)
    assert world.content(place.rsplit("/", 1)[1]) == DATA


@pytest.mark.again
def test_a_silent_sender_gives_the_upload_back(
    http: httpx2.Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tus, "IDLE_SECONDS", 2.0)
    place = begin(http)
    with raw_patch(url, place, 0, len(DATA)) as connection:
        connection.sendall(DATA[:10_000])
        connection.settimeout(15)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 408 ")
    assert offset(http, place) == 10_000


@pytest.mark.again
def test_many_uploads_at_once_do_not_stop_other_requests(http: httpx2.Client, url: str, world: World) -> None:
    """Bodies have their own threads: forty senders that hang leave the forty threads of the handlers free."""
    places = [begin(http) for _ in range(45)]
    connections = [raw_patch(url, place, 0, len(DATA)) for place in places]
    try:
        for connection in connections:
            connection.sendall(DATA[:100])
        time.sleep(0.3)
        assert (
            http.get(places[0]).status_code == 200
        )  # within the client's patience: 20 s, less than a sender's
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.again
@pytest.mark.faults
def test_a_killed_server_loses_nothing_it_acknowledged(world: World, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.integration.uploads.server", str(tmp_path), str(port)]

    def start(http: httpx2.Client) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command)

        def answers() -> bool:
            assert process.poll() is None
            try:
                return http.request("OPTIONS", "/v1/uploads").status_code == 204
            except httpx2.TransportError:
                return False

        until(answers)
        return process

    with httpx2.Client(base_url=url, headers={"Authorization": "Bearer a"}, timeout=60) as http:
        process = start(http)
        try:
            place = begin(http)
            spill = tmp_path / "spill" / place.rsplit("/", 1)[1]
            reached = 0
            for share in (0.3, 0.7):
                stop = int(len(DATA) * share) + 7
                connection = raw_patch(url, place, reached, len(DATA) - reached)
                connection.sendall(DATA[reached:stop])
                until(lambda at=reached: offset(http, place) > at)
                process.kill()
                process.wait()
                connection.close()
                with spill.open("ab") as file:  # what a power cut may leave: a length without its bytes
                    file.write(b"\0" * 100_000)
                process = start(http)
                acknowledged = offset(http, place)
                assert reached < acknowledged <= stop
                assert spill.stat().st_size > acknowledged
                assert spill.read_bytes()[:acknowledged] == DATA[:acknowledged]
                reached = acknowledged
            done = http.patch(place, headers={**BYTES, "Upload-Offset": str(reached)}, content=DATA[reached:])
            assert done.status_code == 204
            assert http.get(place).json()["sha256"] == hashlib.sha256(DATA).hexdigest()
        finally:
            process.kill()
            process.wait()
    assert world.content(place.rsplit("/", 1)[1]) == DATA
    assert world.jobs() == [place.rsplit("/", 1)[1]]
