"""A part of a gigabyte by token, by signed link and from nginx, to one client and eight: benchmarks download FOLDER."""

import argparse
import hashlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select

from app.db import Database, new_id
from app.demo.story import Story
from app.models import Part
from benchmarks._figures import figure, said, skipped
from benchmarks._service import cpu_of, process_at, rss_of, told, wait_for

GOAL = 0.9
PIECE = 1 << 20


def grown(story: Story, folder: Path, size: int) -> tuple[str, Path]:
    """One more part of the extract, of random bytes; its path in the API and its file."""
    db, extract = Database(f"sqlite:///{folder / 'baekman.db'}"), story.ids["extract"]
    digest, made = hashlib.sha256(), folder / "large"
    with made.open("wb") as file:
        for _ in range(size // PIECE):
            piece = os.urandom(PIECE)
            digest.update(piece)
            file.write(piece)
    name = f"{digest.hexdigest()}.parquet"
    with db.unit_of_work() as session:
        like = session.scalars(select(Part).where(Part.extract_id == extract, Part.state == "ready")).first()
        assert like is not None
        place = folder / "outbox" / extract / name
        made.rename(place)
        session.add(
            Part(id=new_id("prt"), extract_id=extract, table_name=like.table_name, position=like.position + 1000,
                 generation=like.generation, name=name, sha256=digest.hexdigest(), rows=1, bytes=size, state="ready",
                 reason=None, successor=None, withdrawal_id=None)
        )  # fmt: skip
    db.dispose()
    return f"/v1/extracts/{extract}/files/{name}", place


@dataclass(frozen=True)
class Static:
    """An nginx at work."""

    url: str
    process: int

    def pids(self) -> list[int]:
        """Its processes: the one that was started and its workers."""
        children = Path(f"/proc/{self.process}/task/{self.process}/children").read_text("ascii")
        return [self.process, *map(int, children.split())]


@contextmanager
def nginx(folder: Path) -> Iterator[Static]:
    """nginx over a folder, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    root = folder / "nginx"
    root.mkdir()
    (root / "nginx.conf").write_text(
        f"daemon off; worker_processes 2; pid {root}/pid; error_log {root}/error.log; user root;\n"
        "events {}\nhttp { access_log off; sendfile on; "
        f"client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; "
        f"uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; "
        f"server {{ listen 127.0.0.1:{port}; root {folder / 'outbox'}; }} }}\n",
        "utf-8",
    )
    process = subprocess.Popen(["nginx", "-p", str(root), "-c", str(root / "nginx.conf")])
    try:
        wait_for(port, process)
        yield Static(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait()


def curled(url: str, headers: dict[str, str], clients: int, size: int) -> float:
    """Wall seconds until all clients have the whole file. By curl: Python would cost more."""
    lines = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    begun = time.perf_counter()
    command = ["curl", "-sS", "-o", os.devnull, "-w", "%{size_download}", *lines, url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    got = [int(one.communicate()[0]) for one in running]
    if set(got) != {size}:
        raise RuntimeError("a download was cut short")
    return time.perf_counter() - begun


def linked(story: Story, path: str) -> str:
    """Path and query of the signed link of a part that the researcher is given now."""
    extract, name = story.ids["extract"], path.rpartition("/")[2]
    answer = story.researcher.http.post(f"/v1/extracts/{extract}/links", json={"parts": [name]})
    answer.raise_for_status()
    url = urlsplit(answer.json()["files"][0]["url"])
    return f"{url.path}?{url.query}"


def measure(folder: Path, size: int, runs: int) -> list[dict[str, Any]]:
    """nginx and the service by both ways in turns, by one client and by eight; median megabytes a second."""
    if missing := next((name for name in ("nginx", "curl") if shutil.which(name) is None), None):
        return [skipped("download", missing)]
    figures = []
    with told(folder) as story, nginx(folder) as static:
        path, file = grown(story, folder, size)
        bearer = {"Authorization": str(story.researcher.http.headers["Authorization"])}
        ways = {
            "nginx": (f"{static.url}/{file.parent.name}/{file.name}", {}),
            "download": (f"{story.server.url}{path}", bearer),
            "download_signed": (f"{story.server.url}{linked(story, path)}", {}),
        }
        pids = {name: [process_at(story.server.url)] for name in ways} | {"nginx": static.pids()}
        for clients in (1, 8):
            wall: dict[str, list[float]] = {name: [] for name in ways}
            cpu: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(runs):
                for name, (url, headers) in ways.items():
                    before = cpu_of(pids[name])
                    wall[name].append(curled(url, headers, clients, size))
                    cpu[name].append(cpu_of(pids[name]) - before)
                sys.stderr.write(f"\r{clients} clients: {turn + 1} of {runs}")
            speed = {name: clients * size / 1e6 / statistics.median(each) for name, each in wall.items()}
            for name in ("download", "download_signed"):
                figures.append(
                    figure(
                        f"{name}_{clients}", speed[name], "MB/s", baseline=speed["nginx"], goal=GOAL, at_least=True,
                        rss_mb=rss_of(pids[name][0]), cpu_s=statistics.median(cpu[name]),
                        wall_s=statistics.median(wall[name]), clients=clients, bytes=size, runs=runs,
                        baseline_cpu_s=statistics.median(cpu["nginx"]),
                    )
                )  # fmt: skip
    return figures


def main() -> None:
    """Start the service, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="an empty folder for the service; wiped at the end")
    asked.add_argument("--megabytes", type=int, default=1024)
    asked.add_argument("--runs", type=int, default=3)
    given = asked.parse_args()
    try:
        said(measure(given.folder, given.megabytes << 20, given.runs))
    finally:
        shutil.rmtree(given.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
