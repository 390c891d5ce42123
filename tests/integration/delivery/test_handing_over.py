"""Ranges that a real nginx sends: asked of the gate before each, answered as the web answers, a step at most."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.errors import Problem
from app.main.rooms import build
from app.routers.files import deliver
from app.routers.handing import MARK as MARKED
from app.routers.handing import PLACE, STEP, Proxy
from app.storage import store
from app.storage.kinds import open_store
from app.storage.outbox import Outbox
from app.storage.store import Stored
from tests import proxy as nginx
from tests.attack.links import standing
from tests.integration.destruction.house import LEAVING, settings_of, work
from tests.integration.uploads.server import file_app, running

MIB = 1 << 20
DATA = os.urandom(3 * MIB + 77)
OF_A_MESSAGE = {
    "date",
    "server",
    "connection",
    "strict-transport-security",
    "x-request-id",
    "transfer-encoding",
}
NAME = "ext_1/part.parquet"


class Watched:
    """An outbox that counts what the web itself reads of it; `says`: what is told of every file."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox, self.reads = outbox, 0
        self.says: bool | None = None

    def chunks(self, name: str, start: int, end: int) -> Iterator[bytes]:
        self.reads += 1
        return self.outbox.chunks(name, start, end)

    def is_file(self, name: str, size: int) -> bool:
        return self.outbox.is_file(name, size) if self.says is None else self.says


class Site:
    """The same part by two doors: straight at the web, and through the proxy."""

    def __init__(self, web: str, outside: str, outbox: Watched, part: Stored, calls: list[int]) -> None:
        self.web, self.outside, self.outbox, self.part, self.calls = web, outside, outbox, part, calls
        self.last = 10**9
        self.http = httpx2.Client(timeout=30)

    def check(self) -> None:
        self.calls.append(1)
        if len(self.calls) > self.last:
            raise Problem("part_withdrawn", "This part is being replaced.")

    def got(self, base: str, headers: dict[str, str], method: str = "GET") -> httpx2.Response:
        return self.http.request(method, f"{base}/part", headers=headers)


@pytest.fixture(scope="module")
def standing_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("handing")
    outbox = Watched(Outbox.open((folder / "outbox").as_uri()))
    (folder / "staged").write_bytes(DATA)
    part = outbox.outbox.put_file(folder / "staged", NAME)
    site = Site("", "", outbox, part, [])
    app = file_app(outbox, part, lambda: site.check(), Proxy(nginx.MARK))  # type: ignore[arg-type]
    with (
        running(app) as site.web,
        nginx.running(folder / "nginx", site.web, folder / "outbox") as site.outside,
    ):
        yield site
    site.http.close()


@pytest.fixture
def site(standing_site: Site, tmp_path: Path) -> Iterator[Site]:
    standing_site.calls.clear()
    standing_site.outbox.reads, standing_site.last, standing_site.outbox.says = 0, 10**9, None
    yield standing_site
    standing_site.outbox.outbox.delete(NAME)
    (tmp_path / "again").write_bytes(DATA)
    standing_site.outbox.outbox.put_file(tmp_path / "again", NAME)


def told(answer: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.multi_items() if name not in OF_A_MESSAGE}


ASKED: dict[str, tuple[dict[str, str], bool]] = {  # what is asked; whether the proxy sends it
    "a few bytes": ({"Range": "bytes=5-104"}, True),
    "one byte": ({"Range": "bytes=0-0"}, True),
    "a step": ({"Range": f"bytes=7-{MIB + 6}"}, True),
    "the last bytes": ({"Range": "bytes=-8"}, True),
    "beyond the end": ({"Range": f"bytes={3 * MIB}-{3 * MIB + 999}"}, True),
    "more than a step": ({"Range": f"bytes=7-{MIB + 7}"}, False),
    "more than a step beyond the end": ({"Range": f"bytes={3 * MIB}-{9 * MIB}"}, False),
    "more than a step from the end": ({"Range": f"bytes=-{MIB + 1}"}, False),
    "to the end": ({"Range": f"bytes={3 * MIB}-"}, False),
    "all of it": ({}, False),
    "all of it as a range": ({"Range": f"bytes=0-{len(DATA) - 1}"}, False),
    "two ranges": ({"Range": "bytes=0-4,6-7"}, False),
    "a range that nginx reads otherwise": ({"Range": "bytes= 0-4"}, False),
    "no range": ({"Range": "bytes=4-0"}, False),
    "another unit": ({"Range": "items=0-4"}, False),
    "past the end": ({"Range": f"bytes={len(DATA)}-{len(DATA) + 9}"}, False),
    "the last none": ({"Range": "bytes=-0"}, False),
    "if it is the same": ({"Range": "bytes=0-4", "If-Range": '"{tag}"'}, False),
    "if it is another": ({"Range": "bytes=0-4", "If-Range": '"other"'}, False),
    "unless it is the same": ({"Range": "bytes=0-4", "If-None-Match": '"{tag}"'}, False),
    "where it is another": ({"Range": "bytes=0-4", "If-Match": '"other"'}, False),
    "by a day": ({"Range": "bytes=0-4", "If-Modified-Since": "Mon, 02 Mar 2099 09:00:00 GMT"}, False),
    "by a day before": ({"Range": "bytes=0-4", "If-Unmodified-Since": "Mon, 02 Mar 1999 09:00:00 GMT"}, False),
}  # fmt: skip


@nginx.needs_nginx
@pytest.mark.parametrize("what", ASKED)
def test_the_answer_is_the_webs_whoever_sends_it(site: Site, what: str) -> None:
    asked, handed = ASKED[what]
    headers = {name: value.replace("{tag}", site.part.sha256) for name, value in asked.items()}
    direct = site.got(site.web, headers)
    calls, reads = len(site.calls), site.outbox.reads
    by_proxy = site.got(site.outside, headers)
    assert (by_proxy.status_code, by_proxy.content) == (direct.status_code, direct.content)
    assert told(by_proxy) == told(direct)
    assert len(by_proxy.headers.multi_items()) == len(set(by_proxy.headers.multi_items()))
    assert "strict-transport-security" in by_proxy.headers
    if handed:
        assert (len(site.calls) - calls, site.outbox.reads) == (1, reads), "asked once, read by nginx alone"
        assert len(direct.content) <= STEP
    else:
        assert site.outbox.reads == 2 * reads


@nginx.needs_nginx
def test_a_head_is_the_webs(site: Site) -> None:
    direct, by_proxy = (site.got(base, {"Range": "bytes=0-4"}, "HEAD") for base in (site.web, site.outside))
    assert (by_proxy.status_code, told(by_proxy)) == (direct.status_code, told(direct))


@nginx.needs_nginx
@pytest.mark.parametrize(
    "path", [f"{PLACE}{NAME}", f"{PLACE}", f"/part/..{PLACE}{NAME}", f"/%5Fparts/{NAME}", f"/{PLACE}{NAME}"]
)
def test_nobody_asks_the_inner_place_from_outside(site: Site, path: str) -> None:
    for headers in ({}, {"Range": "bytes=0-4"}, {MARKED: nginx.MARK}):
        answer = site.http.get(f"{site.outside}{path}", headers=headers)
        assert answer.status_code == 404
        assert DATA[:5] not in answer.content


@nginx.needs_nginx
def test_each_range_is_asked_for_and_the_next_after_a_refusal_is_refused(site: Site) -> None:
    site.last = 2
    for first in (0, MIB):
        answer = site.got(site.outside, {"Range": f"bytes={first}-{first + MIB - 1}"})
        assert answer.content == DATA[first : first + MIB]
    answer = site.got(site.outside, {"Range": f"bytes={2 * MIB}-{3 * MIB - 1}"})
    assert (answer.status_code, answer.json()["code"], site.outbox.reads) == (410, "part_withdrawn", 0)


@nginx.needs_nginx
@pytest.mark.parametrize("harm", ["gone", "short", "long"])
def test_what_is_not_whole_is_the_webs_to_tell(site: Site, harm: str) -> None:
    path = site.outbox.outbox._store._root / NAME  # type: ignore[operator]
    content = {"gone": None, "short": DATA[:MIB], "long": DATA + b"x"}[harm]
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    asked = {"Range": f"bytes={2 * MIB}-{2 * MIB + 9}"}
    direct, by_proxy = (site.got(base, asked) for base in (site.web, site.outside))
    assert (by_proxy.status_code, by_proxy.content, told(by_proxy)) == (
        direct.status_code, direct.content, told(direct),
    )  # fmt: skip
    assert by_proxy.status_code == (206 if harm == "long" else 503)
    assert site.outbox.reads == 2, "nothing was handed over"


@nginx.needs_nginx
def test_a_part_that_goes_meanwhile_is_told_by_the_web(site: Site) -> None:
    site.outbox.outbox.delete(NAME)
    site.outbox.says = True  # it was there when the web looked, and is gone when nginx does
    answer = site.got(site.outside, {"Range": "bytes=0-4"})
    assert (answer.status_code, answer.json()["code"]) == (503, "part_damaged")
    site.outbox.says, site.last = True, 3  # and by a withdrawal: the second look is refused
    answer = site.got(site.outside, {"Range": "bytes=0-4"})
    assert (answer.status_code, answer.json()["code"]) == (410, "part_withdrawn")


def test_who_is_not_the_proxy_gets_bytes_and_no_name_of_a_file(tmp_path: Path) -> None:
    outbox = Outbox.open((tmp_path / "outbox").as_uri())
    (tmp_path / "staged").write_bytes(DATA)
    part = outbox.put_file(tmp_path / "staged", NAME)
    bearing = {**_asked(), MARKED: nginx.MARK}
    for proxy, headers in (
        (Proxy(), bearing),
        (Proxy(nginx.MARK), _asked()),
        (Proxy(nginx.MARK), {**_asked(), MARKED: ""}),
        (Proxy(nginx.MARK), {**_asked(), MARKED: nginx.MARK[:-1]}),
        (Proxy(nginx.MARK), {**_asked(), MARKED: "\xe9" + nginx.MARK}),
    ):
        answer = _delivered(outbox, part, headers, proxy)
        assert isinstance(answer, StreamingResponse)
        assert "x-accel-redirect" not in answer.headers
    answer = _delivered(outbox, part, bearing, Proxy(nginx.MARK))
    assert (answer.headers["x-accel-redirect"], answer.body) == (f"{PLACE}{NAME}", b"")


def test_a_store_that_is_no_folder_is_read_by_the_web(tmp_path: Path) -> None:
    (tmp_path / "staged").write_bytes(DATA)
    memory = open_store("memory://")
    part = memory.put_file(tmp_path / "staged", NAME)
    answer = _delivered(Outbox(memory), part, {**_asked(), MARKED: nginx.MARK}, Proxy(nginx.MARK))
    assert isinstance(answer, StreamingResponse)


@pytest.mark.parametrize(
    "name", ["../secret", "ext_1/../../secret", "/etc/passwd", "ext_1/%2e%2e/x", "ext_1/a b", ""]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(DATA)
    outbox = Outbox.open((tmp_path / "outbox").as_uri())
    with pytest.raises(ValueError, match="not a name"):
        _delivered(
            outbox, Stored(name, len(DATA), "0" * 64), {**_asked(), MARKED: nginx.MARK}, Proxy(nginx.MARK)
        )


def test_a_step_and_the_place_are_the_same_everywhere() -> None:
    assert STEP == store.CHUNK
    text = nginx.FILE.read_text(encoding="utf-8")
    assert f"location {PLACE} {{" in text
    assert text.count("internal;") == 1


@pytest.mark.again
@nginx.needs_nginx
def test_a_reader_of_ranges_is_refused_at_the_next_after_a_withdrawal(tmp_path: Path) -> None:
    with standing(tmp_path / "site") as site:
        site.app.state.house = replace(site.house, proxy=Proxy(nginx.MARK))
        bearer = {"Authorization": f"Bearer {site.token('researcher')}"}
        outbox = site.world.var / "outbox"
        parts = {name: (outbox / site.extract / name).read_bytes() for name in site.names}
        with (
            running(site.app) as web,
            nginx.running(tmp_path / "nginx", web, outbox) as outside,
            httpx2.Client(base_url=outside, timeout=30) as http,
        ):

            def asked(name: str, first: int) -> httpx2.Response:
                headers = {**bearer, "Range": f"bytes={first}-{first + 99}"}
                return http.get(f"/v1/extracts/{site.extract}/files/{name}", headers=headers)

            for name, whole in parts.items():
                answer = asked(name, 0)
                assert (answer.status_code, answer.content) == (206, whole[:100])
            hospital = {"Authorization": f"Bearer {site.token('hospital')}"}
            path = f"/v1/cohorts/{site.world.cohort_id}/withdrawals"
            sent = http.post(path, json={"participant": LEAVING[0], "kind": "destroy"}, headers=hospital)
            assert sent.status_code == 202, sent.text
            at_once = [asked(name, 100) for name in parts]
            assert {(answer.status_code, answer.json()["code"]) for answer in at_once} == {
                (503, "part_checking")
            }
            work(build(settings_of(site.world.var)))
            later = {name: asked(name, 100) for name in parts}
            for name, answer in later.items():
                if answer.status_code == 206:
                    assert answer.content == parts[name][100:200]
            assert [a.json()["code"] for a in later.values() if a.status_code == 410].count(
                "part_withdrawn"
            ) >= 1
            assert {answer.status_code for answer in later.values()} <= {206, 410}


def _asked() -> dict[str, str]:
    return {"Range": "bytes=0-4"}


def _delivered(outbox: Any, part: Stored, headers: dict[str, str], proxy: Proxy) -> Response:
    lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    request = Request({"type": "http", "method": "GET", "headers": lines, "path": "/"})
    free: Any = lambda: None  # noqa: E731
    return deliver(
        outbox,
        part.name,
        part.bytes,
        part.sha256,
        part.sha256,
        request,
        filename="p.parquet",
        check=free,
        proxy=proxy,
    )
