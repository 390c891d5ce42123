"""The service in processes of its own: a web with neither vault nor master key, and a worker beside it."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import func, select

from app.db import Database
from app.jobs.cancelling import ALIVE
from app.main import serving
from app.models import Job
from app.settings import Settings
from tests.acceptance.service import Now, Service
from tests.ports import free_port
from tests.schema import with_migrations

PATIENCE = 240.0
ROOT = Path(__file__).parents[2]
WEB, MASTER = secrets.token_bytes(32), secrets.token_bytes(32)
OF_WORKERS = ("vault", "memory", "backup")


class Apart(Service):
    """What `Service` does, asked of other processes; `drain` waits until they have nothing left to do."""

    def __init__(self, base_url: str, settings: Settings) -> None:
        self.settings, self.now = settings, Now(datetime.now(UTC))
        self.db = Database(settings.database)
        self.http = httpx2.Client(base_url=base_url, timeout=60)  # type: ignore[assignment]
        self._secrets, self.tokens, self.ids = {}, {}, {}

    def sign_in_first(self, first: Mapping[str, str]) -> None:
        """As the platform."""
        self._secrets["platform"] = (first["client_id"], first["client_secret"])
        self.sign_in("platform")

    def drain(self) -> None:
        """Wait for the worker."""
        end = time.monotonic() + PATIENCE
        while self._left():
            assert time.monotonic() < end, self._left()
            time.sleep(0.1)

    def _left(self) -> dict[str, int]:
        with self.db.read() as session:
            alive = select(Job.kind, func.count()).where(Job.state.in_(ALIVE)).group_by(Job.kind)
            return {row[0]: row[1] for row in session.execute(alive)}

    def count(self, who: str) -> dict[str, Any]:
        """Everybody of the published version, fetched where it was not answered at once."""
        answer = self.call(who, "POST", "/v1/catalog/counts", {"version_id": self.ids["version"]})
        end = time.monotonic() + PATIENCE
        while answer.status_code == 202:
            assert time.monotonic() < end
            time.sleep(0.2)
            answer = self.call(who, "GET", answer.headers["Location"])
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def close(self) -> None:
        """Let go of the database."""
        self.http.close()
        self.db.dispose()


@contextmanager
def apart(folder: Path, database_url: str, **settings: Any) -> Iterator[Apart]:
    """A web and a worker over the database, each with a folder, settings and keys of its own."""
    port = free_port()
    shared = {
        "jobs": "separate",
        "database_url": database_url,
        "journal": folder / "journal",
        "web_key": _b64(WEB),
    }
    of_web = {name: value for name, value in settings.items() if not name.startswith(OF_WORKERS)}
    web = {**shared, **of_web, "var": folder / "web"}
    worker = {"jobs_at_once": 1, **shared, **settings, "var": folder / "worker", "master_key": _b64(MASTER)}
    of = Settings(_env_file=None, **web)
    served = serving(of)
    with_migrations(served.db)
    first = served.house.auth.bootstrap()
    served.db.dispose()
    assert first is not None
    with (folder / "log").open("ab") as log:
        running = [
            _start(["serve", "--port", str(port)], web, log),
            _start(["worker"], worker, log),
        ]
    made = Apart(f"http://127.0.0.1:{port}", of)
    try:
        _await(made, running[0])
        made.sign_in_first(first)
        made.open()
        yield made
    finally:
        made.close()
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(words: list[str], settings: Mapping[str, Any], log: Any) -> subprocess.Popen[bytes]:
    told = {f"BAEKMAN_{name.upper()}": str(value) for name, value in settings.items()}
    others = {name: value for name, value in os.environ.items() if not name.startswith("BAEKMAN_")}
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *words], cwd=ROOT, env={**others, **told}, stdout=log, stderr=log
    )


def _await(service: Apart, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, "the web did not start"
        assert time.monotonic() < end
        try:
            if service.http.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)


def _b64(key: bytes) -> str:
    return base64.b64encode(key).decode()
