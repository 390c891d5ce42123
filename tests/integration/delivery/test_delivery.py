"""Delivery by ranges: each range is the slice it names, one ETag, and a refusal reaches a running download."""

import asyncio
import hashlib
import os
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import Problem
from app.routers.files import deliver
from app.storage.kinds import open_store
from app.storage.outbox import Outbox
from app.storage.store import Store, Stored
from tests.integration.uploads.server import file_app, running

MIB = 1 << 20
DATA = os.urandom(5 * MIB + 77)
SMALL = bytes(range(40))


class Gate:
    """Refuses from the given call on; counts the calls."""

    def __init__(self) -> None:
        self.calls, self.last = 0, 10**9

    def __call__(self) -> None:
        self.calls += 1
        if self.calls > self.last:
            raise Problem("part_withdrawn", "This part is being replaced.")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def part(tmp_path: Path) -> tuple[Outbox, Stored]:
    outbox = Outbox.open((tmp_path / "outbox").as_uri())
    (tmp_path / "staged").write_bytes(DATA)
    return outbox, outbox.put_file(tmp_path / "staged", "ext_1/part.parquet")


@pytest.fixture
def url(part: tuple[Outbox, Stored], gate: Gate) -> Iterator[str]:
    with running(file_app(part[0], part[1], gate)) as base:
        yield f"{base}/part"


def curl(*options: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["curl", "-sS", *options], capture_output=True, check=False, timeout=60)


def test_curl_continues_a_broken_download(url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(DATA[:1_234_567])
    done = curl("-C", "-", "-o", str(copy), "-w", "%{http_code}", url)
    assert done.stdout == b"206"
    assert copy.read_bytes() == DATA


def test_a_refusal_cuts_a_running_download(url: str, gate: Gate, tmp_path: Path) -> None:
    gate.last = 3  # the answer's own check and two chunks
    done = curl("-o", str(tmp_path / "copy"), url)
    assert done.returncode == 18, done.stderr  # "transferred a partial file"
    assert (tmp_path / "copy").read_bytes() == DATA[: 2 * MIB]
    answer = httpx2.get(url, headers={"Range": f"bytes={2 * MIB}-"})
    assert (answer.status_code, answer.json()["code"]) == (410, "part_withdrawn")


def test_each_chunk_is_checked_and_none_before_the_first(url: str, gate: Gate) -> None:
    assert httpx2.get(url).content == DATA
    assert gate.calls == 1 + 6
    gate.calls, gate.last = 0, 0
    for method in ("GET", "HEAD"):
        assert httpx2.request(method, url).status_code == 410


def test_a_part_that_is_gone_is_told_before_anything_is_sent(url: str, part: tuple[Outbox, Stored]) -> None:
    part[0].delete(part[1].name)
    for headers in ({}, {"Range": "bytes=7-"}):
        answer = httpx2.get(url, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "part_damaged")


def test_one_etag_on_every_answer(url: str, part: tuple[Outbox, Stored]) -> None:
    tag = f'"{part[1].sha256}"'
    with httpx2.Client() as http:
        whole, head = http.get(url), http.head(url)
        some = http.get(url, headers={"Range": "bytes=0-4", "If-Range": tag})
        same = http.get(url, headers={"If-None-Match": f'"x", W/{tag}'})
    assert [r.status_code for r in (whole, head, some, same)] == [200, 200, 206, 304]
    assert {r.headers["ETag"] for r in (whole, head, some, same)} == {tag}
    assert {r.headers["Cache-Control"] for r in (whole, head, some, same)} == {"private, no-store"}
    assert head.headers["Content-Length"] == whole.headers["Content-Length"] == str(len(DATA))
    assert (head.content, same.content, some.content) == (b"", b"", DATA[:5])
    assert "Content-Encoding" not in whole.headers
    assert whole.headers["Accept-Ranges"] == "bytes"
    digest = b64encode(hashlib.sha256(DATA).digest()).decode()
    assert {r.headers["Repr-Digest"] for r in (whole, head, some)} == {f"sha-256=:{digest}:"}
    assert whole.headers["Content-Disposition"] == (
        "attachment; filename=\"__ person.parquet\"; filename*=UTF-8''%EC%A7%84%EB%A3%8C%20person.parquet"
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=0-4", "If-Range": '"other"'}, 200),
        ({"Range": "bytes=0-4", "If-Range": 'W/"{tag}"'}, 200),
        ({"Range": "bytes=0-4", "If-Range": "Mon, 02 Mar 2026 09:00:00 GMT"}, 200),
        ({"Range": "bytes=0-4,6-7"}, 200),
        ({"Range": "items=0-4"}, 200),
        ({"Range": "bytes=-"}, 200),
        ({"Range": "bytes=4-0"}, 200),
        ({"Range": "bytes=a-b"}, 200),
        ({"Range": "bytes=0-4", "If-None-Match": '"{tag}"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": 'W/"{tag}"'}, 412),
        ({"If-Match": '"{tag}"', "Range": "bytes=0-4"}, 206),
    ],
)
def test_conditions(url: str, part: tuple[Outbox, Stored], headers: dict[str, str], status: int) -> None:
    filled = {name: value.replace("{tag}", part[1].sha256) for name, value in headers.items()}
    answer = httpx2.get(url, headers=filled)
    assert answer.status_code == status
    if status == 200:
        assert answer.content == DATA


@pytest.mark.parametrize("field", [f"bytes={len(DATA)}-", f"bytes={len(DATA)}-{len(DATA) + 9}", "bytes=-0"])
def test_a_range_past_the_end_names_the_length(url: str, field: str) -> None:
    answer = httpx2.get(url, headers={"Range": field})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


def called(store: Store, size: int, field: str, method: str = "GET") -> tuple[Response, bytes]:
    """The answer of `deliver` and its whole body."""
    scope: Any = {"type": "http", "method": method, "headers": [(b"range", field.encode())], "path": "/"}
    free: Callable[[], None] = lambda: None  # noqa: E731
    digest = store.digest("part")[1]
    answer = deliver(store, "part", size, "tag", digest, Request(scope), filename="part.parquet", check=free)

    async def drain() -> bytes:
        assert isinstance(answer, StreamingResponse)
        return b"".join([bytes(chunk) async for chunk in answer.body_iterator])  # type: ignore[arg-type]

    return answer, asyncio.run(drain()) if isinstance(answer, StreamingResponse) else bytes(answer.body)


SIZES = st.integers(0, len(SMALL))
POSITIONS = st.integers(0, len(SMALL) + 5)


@given(size=SIZES, first=POSITIONS, last=st.none() | POSITIONS)
@example(size=0, first=0, last=None)
@example(size=1, first=0, last=10**25)
def test_a_range_is_the_slice_it_names(
    tmp_path_factory: Any, size: int, first: int, last: int | None
) -> None:
    data = SMALL[:size]
    store = _store_of(data, tmp_path_factory)
    field = f"bytes={first}-{'' if last is None else last}"
    if last is not None and last < first:
        assert called(store, size, field)[1] == data
        return
    expected = data[first:] if last is None else data[first : last + 1]
    if first >= size:
        with pytest.raises(Problem) as caught:
            called(store, size, field)
        assert caught.value.headers == {"Content-Range": f"bytes */{size}"}
        return
    answer, body = called(store, size, field)
    assert (answer.status_code, body) == (206, expected)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/{size}"
    assert answer.headers["Content-Length"] == str(len(expected))


@given(size=SIZES, length=st.integers(1, len(SMALL) + 5))
def test_the_last_bytes_are_the_last_bytes(tmp_path_factory: Any, size: int, length: int) -> None:
    data = SMALL[:size]
    answer, body = called(_store_of(data, tmp_path_factory), size, f"bytes=-{length}")
    assert body == data[-length:]
    assert answer.status_code == (206 if size else 200)
    if size:
        assert answer.headers["Content-Range"] == f"bytes {max(0, size - length)}-{size - 1}/{size}"


@given(field=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30))
def test_nonsense_never_gives_wrong_bytes(tmp_path_factory: Any, field: str) -> None:
    store = _store_of(SMALL, tmp_path_factory)
    for value in (field, f"bytes={field}"):
        try:
            answer, body = called(store, len(SMALL), value)
        except Problem as problem:
            assert problem.code == "range_not_satisfiable"  # noqa: PT017 - any other outcome is checked below
            continue
        if answer.status_code == 206:
            bounds = answer.headers["Content-Range"].removeprefix("bytes ").partition("/")[0].split("-")
            assert body == SMALL[int(bounds[0]) : int(bounds[1]) + 1]
        else:
            assert (answer.status_code, body) == (200, SMALL)


def _store_of(data: bytes, folders: Any) -> Store:
    store = open_store("memory://")
    file = folders.getbasetemp() / f"slice-{os.getpid()}"
    file.write_bytes(data)
    store.put_file(file, "part")
    return store
