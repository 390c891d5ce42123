"""Links with real clients, over a real server: what a data client does with a URL; no line of a log holds it."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import uvicorn

from app.auth.links import SIGNATURE
from app.operating.listening import LIMITS
from tests.amounts import first
from tests.attack.links import Site, parted, standing


class Remote(io.RawIOBase):
    """A file behind a URL, read as fsspec and httpfs read one: HEAD for its size, then ranges."""

    def __init__(self, url: str) -> None:
        self.url, self.at, self.asked = url, 0, 0
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
            self.size, self.tag = int(answer.headers["Content-Length"]), str(answer.headers["ETag"])
            assert answer.headers["Accept-Ranges"] == "bytes"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + {0: 0, 1: self.at, 2: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self.at + len(buffer), self.size)
        if end <= self.at:
            return 0
        wanted = {"Range": f"bytes={self.at}-{end - 1}", "If-Range": self.tag}
        with urllib.request.urlopen(urllib.request.Request(self.url, headers=wanted)) as answer:
            assert answer.status == 206
            got = answer.read()
        self.asked += 1
        buffer[: len(got)] = got
        self.at += len(got)
        return len(got)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("links")) as made:
        yield made


@pytest.fixture(scope="module")
def links(site: Site) -> Iterator[dict[str, str]]:
    """Name of a part -> its link, at a server that runs as `baekman serve` does, but at the loudest."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(site.app, log_level="debug", log_config=None, **LIMITS))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        found = (parted(url)[0] + url[url.index("?") :] for url in site.links())
        yield {path.split("?")[0].rpartition("/")[2]: base + path for path in found}
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("client", first(1, ["curl", "wget"]))
def test_a_broken_download_goes_on(links: dict[str, str], tmp_path: Path, client: str) -> None:
    name, url = max(links.items())
    whole = urllib.request.urlopen(url).read()
    assert hashlib.sha256(whole).hexdigest() == name.partition(".")[0]
    copy = tmp_path / name
    copy.write_bytes(whole[:100])
    how = {
        "curl": ("curl", "-sS", "-f", "-C", "-", "-o", str(copy), url),
        "wget": ("wget", "-q", "-c", "-O", str(copy), url),
    }
    run(*how[client])
    assert copy.read_bytes() == whole


def test_a_reader_of_columns_asks_a_link_many_times(links: dict[str, str]) -> None:
    for url in links.values():
        remote = Remote(url)
        table = pq.read_table(remote, columns=["pid"])
        assert table.num_rows > 0
        assert table.column_names == ["pid"]
        assert remote.asked > 1


def test_no_line_of_a_log_holds_a_signature(
    links: dict[str, str], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    url = min(links.values())
    signature = parted(url)[1][SIGNATURE]
    with caplog.at_level(logging.DEBUG):
        run("curl", "-sS", "-o", "/dev/null", url)
        run("curl", "-sS", "-o", "/dev/null", url.replace(signature, "0" * 64))
        # A failure nobody foresaw, whose message holds the URL.
        monkeypatch.setattr("app.extracts.service.state_of", lambda *_: 1 / int("0" * len(url)))
        told = run("curl", "-sS", "-H", f"Referer: {url}", url)
    assert '"internal"' in told
    written = "".join((caplog.text, *capfd.readouterr(), told))
    assert "request failed" in written
    assert signature not in written
    assert not re.search(rf"{SIGNATURE}|link=", written)
