"""A real service as a process, after the demo's story up to the extract; and a load on it by wrk."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.demo import sample as omop
from app.demo.screen import Screen
from app.demo.server import running
from app.demo.story import Story

SCENES = (
    "platform_opens", "institution_registers", "institution_uploads", "steward_publishes", "researcher_asks",
    "steward_decides", "researcher_receives",
)  # fmt: skip


@contextmanager
def told(folder: Path, scenes: Sequence[str] = SCENES, **chosen: Any) -> Iterator[Story]:
    """The service after these scenes, with a delivered extract where none are named, still running."""
    folder.mkdir(parents=True, exist_ok=True)
    with running(folder) as server:
        story = Story(server, folder, Screen(quiet=True), **chosen)
        story.sample = omop.export(folder / "hospital")
        for scene in scenes:
            getattr(story, scene)()
        yield story


@contextmanager
def bare(app: str) -> Iterator[str]:
    """Another application on the same server with the same settings; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen([*command, "--no-server-header"])
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int, process: subprocess.Popen[Any]) -> None:
    """Until something listens on the port."""
    for _ in range(600):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the server did not come up")


def process_at(url: str) -> int:
    """The process that listens on the port of a URL of this machine."""
    wanted = f"{int(url.rpartition(':')[2]):04X}"
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    inode = next(f[9] for f in map(str.split, lines) if f[1].endswith(f":{wanted}") and f[3] == "0A")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                links = [os.readlink(file) for file in (entry / "fd").iterdir()]
            except OSError:
                continue
            if f"socket:[{inode}]" in links:
                return int(entry.name)
    raise RuntimeError("no process listens there")


def cpu_of(pids: list[int]) -> float:
    """CPU seconds of processes until now."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def rss_of(pid: int) -> int:
    """The peak resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) // 1024


def loaded(url: str, pids: list[int], seconds: int, connections: int, token: str = "") -> dict[str, float]:
    """Requests per CPU second of the server under wrk, its latency in ms; any answer but 2xx fails."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise FileNotFoundError("wrk")
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "60s"]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    before, begun = cpu_of(pids), time.perf_counter()
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    cpu, wall = cpu_of(pids) - before, time.perf_counter() - begun
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"answers were refused: {done.stdout}")
    requests = int(re.findall(r"(\d+) requests in", done.stdout)[0])
    return {
        "requests": requests, "per_cpu_s": requests / cpu, "cpu_s": cpu, "wall_s": wall,
        "p99_ms": _time(re.findall(r"99%\s+([\d.]+\w+)", done.stdout)[0]),
    }  # fmt: skip


def _time(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}[unit]
