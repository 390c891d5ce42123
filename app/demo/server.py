"""The real service as a process of its own, on a free loopback port, with everything in one folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx


@dataclass(frozen=True)
class Server:
    """Where the service answers, and the platform's administration client."""

    url: str
    client_id: str
    client_secret: str


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Start the service on `folder` and stop it at the end; RuntimeError where it does not come up."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    # Small parts, so that a sample of this size shows that only some of them are refused after a withdrawal.
    environment = {
        **os.environ,
        "BAEKMAN_VAR": str(folder),
        "BAEKMAN_PUBLIC_URL": url,
        "BAEKMAN_ROWS_PER_PART": "12000",
    }
    base = [sys.executable, "-m", "app.cli"]
    made = subprocess.run(  # noqa: S603 - our own interpreter and module
        [*base, "bootstrap", "--json"], env=environment, check=True, capture_output=True, text=True
    )
    first = json.loads(made.stdout)
    log = (folder / "service.log").open("wb")
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [*base, "serve", "--port", str(port)], env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        _wait(url, process, folder)
        yield Server(url, first["client_id"], first["client_secret"])
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _wait(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + 60
    with httpx.Client(timeout=2) as client:  # one: each reads the certificates of the machine anew
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RuntimeError(f"the service stopped at once; see {folder / 'service.log'}")
            try:
                if client.get(f"{url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise RuntimeError(f"the service did not answer in time; see {folder / 'service.log'}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
