"""PostgreSQL is stopped at once and started again, amid requests and a build: nothing of ours has to be restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from app.db import Database
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.jobs import JobContext, enqueue
from app.jobs.engine import DurableEngine, shared_system_url
from app.models import Extract, Institution, Job
from tests import postgres
from tests.acceptance.service import Service
from tests.faults.sound import Acknowledged, Places, must_be_sound
from tests.world import make

pytestmark = pytest.mark.faults


class Server:
    """A PostgreSQL of this module's own, that may be stopped."""

    def __init__(self) -> None:
        self.url = postgres.start_server(os.getpid())
        self.room = Path(str(make_url(self.url).query["host"]))
        self.program = os.readlink(f"/proc/{self.pid}/exe")

    @property
    def pid(self) -> int:
        """The server's process."""
        return int((self.room / "data" / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        """As `pg_ctl stop -m immediate` does: no connection is told, nothing is written down."""
        pid = self.pid
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + 60
        while postgres.alive(pid):
            assert time.monotonic() < end
            time.sleep(0.02)

    def start(self) -> None:
        """On what it left."""
        keeper = subprocess.Popen(
            [sys.executable, postgres.__file__, str(os.getpid()), str(self.room.parent), self.program],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        postgres.wait_until_it_answers(self.room, keeper)

    @contextmanager
    def database(self) -> Iterator[str]:
        """A database whose commits are on the disk when they are acknowledged, as any but a test's has them."""
        name = f"test_{uuid.uuid4().hex}"
        self._say(f"CREATE DATABASE {name}")
        self._say(f"ALTER DATABASE {name} SET synchronous_commit = on")
        yield make_url(self.url).set(database=name).render_as_string(hide_password=False)
        self._say(f"DROP DATABASE {name} WITH (FORCE)")

    def _say(self, words: str) -> None:
        plain = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(words.encode())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    os.kill(made.pid, signal.SIGINT)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_requests_are_told_and_go_on_by_themselves(server: Server, tmp_path: Path) -> None:
    with server.database() as url:
        service = Service(tmp_path / "var", url)
        try:
            made = service.ok("platform", "POST", "/v1/institutions", {"name": "before"})
            server.stop()
            with capture_logs() as said:
                for method, path, body in (
                    ("GET", "/v1/progress", None),
                    ("POST", "/v1/institutions", {"name": "during"}),
                    ("GET", f"/v1/institutions/{made['id']}", None),
                ):
                    answer = service.call("platform", method, path, body)
                    assert answer.headers["content-type"] == "application/problem+json"
                    told = answer.status_code, answer.json()["code"], answer.headers["Retry-After"]
                    assert told == (503, "database_unavailable", "5")
                assert service.http.get("/readyz").status_code == 503
                assert service.http.get("/healthz").status_code == 200
            assert {line["log_level"] for line in said} <= {"warning"}
            server.start()
            assert service.http.get("/readyz").status_code == 200
            service.ok("platform", "POST", "/v1/institutions", {"name": "after"})
            with service.db.read() as session:
                names = set(session.scalars(select(Institution.name)))
            assert names == {"before", "after"}
            acknowledged = Acknowledged(rows=[(Institution, made["id"])])
            must_be_sound(service.db, Places.under(service.settings.var), acknowledged)
        finally:
            service.close()


@pytest.mark.again
def test_a_build_goes_on_when_the_database_is_back(server: Server, tmp_path: Path) -> None:
    """It goes away while the parts are written; the job is no failure, counts no death and ends once."""
    with server.database() as url:
        db = Database(url)
        world = make(db, tmp_path, people=120)
        middle, back, met, runs = threading.Event(), threading.Event(), threading.Event(), list[str]()
        tasks = ExtractTasks(ExtractService(db, world.clock, world.gate.outbox), world.gate)

        def build(job: JobContext) -> None:
            runs.append(job.id)
            if len(runs) == 1:
                release = world.gate.release

                def stops(extract_id: str, progress: Callable[..., None]) -> object:
                    def step(**counts: object) -> None:
                        if counts.get("step") == "verify":
                            middle.set()
                            back.wait(60)
                        progress(**counts)

                    return release(extract_id, step)

                try:
                    ExtractTasks(tasks.service, _Stopping(stops)).build(job)  # type: ignore[arg-type]
                finally:
                    met.set()
            else:
                tasks.build(job)

        engine = DurableEngine(
            db,
            world.clock,
            {"build_extract": build},
            system_url=shared_system_url(url),
            executor_id="x",
            poll=0.05,
        )
        engine.away = 0.2
        try:
            with capture_logs():
                engine.start()
                extract = world.permit()
                with db.unit_of_work() as session:
                    job = enqueue(session, "build_extract", subject=extract, at=world.clock())
                assert middle.wait(120)
                server.stop()
                back.set()
                assert met.wait(60)
                server.start()

                def ended() -> bool:
                    with db.read() as session:
                        return session.get_one(Job, job).state not in ("waiting", "queued", "running")

                until(ended)
                engine.stop()
            with db.read() as session:
                row = session.get_one(Job, job)
                assert (row.state, row.deaths, row.attempt, row.failure) == ("done", 0, 1, None)
                assert session.get_one(Extract, extract).state == "ready"
            assert len(runs) == 2
            must_be_sound(db, Places.under(tmp_path), Acknowledged(rows=[(Extract, extract)]))
        finally:
            db.dispose()


class _Stopping:
    """A gate whose release stops in the middle."""

    def __init__(self, release: Callable[..., object]) -> None:
        self.release = release
