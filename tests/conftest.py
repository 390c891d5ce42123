"""What every test may ask for: an empty database on either engine, how much to try; and the seconds each kind took."""

from __future__ import annotations

import gc
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Engine, event
from starlette.testclient import TestClient

from app import db
from app.auth import credentials
from tests.postgres import NoPostgres, fresh_database, running_server

if TYPE_CHECKING:
    from tests.s3 import Server

# A plain run draws the same cases every time: it may be red only where something was changed. `make faults` and
# `make test-all PROFILE=thorough` take the other profile and draw anew. An example database would make one machine
# unlike another.
settings.register_profile("quick", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("thorough", derandomize=False, deadline=None, database=None, print_blob=True)
settings.load_profile("quick")

DATABASES = ("sqlite", "postgresql")
# Rooms whose tests say something of rows and files: every one asks the database the same few questions, half of them
# one database and half the other, so that the other form of each says little of SQL.
ROWS = (
    "tests/integration/gate/",
    "tests/integration/united/",
    "tests/integration/intake/",
    "tests/integration/incidents/",
    "tests/acceptance/second_cohort/",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=3, help="how many random rounds of events are played")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run on both databases take turns in `make test`, by their names: an eighth of them on PostgreSQL,
    where each needs a database of its own server, the others on SQLite. The other form is marked `again`; in a room of
    `ROWS` half are on each, and the other form is `long`. What says something of each database is
    marked `both` and always runs on both."""
    forms: dict[str, list[tuple[pytest.Item, str]]] = {}
    for item in items:
        given = (
            item.callspec.params.values()
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
            else ()
        )
        database = next((one for one in given if isinstance(one, str) and one in DATABASES), None)
        if database and not item.get_closest_marker("long") and not item.get_closest_marker("both"):
            forms.setdefault(item.nodeid.replace(database, ""), []).append((item, database))
    for name, both in forms.items():
        turns = 2 if name.startswith(ROWS) else 8
        turn = "postgresql" if zlib.crc32(name.encode()) % turns == turns - 1 else "sqlite"
        for item, database in both if len(both) > 1 else []:
            if database != turn:
                item.add_marker("long" if name.startswith(ROWS) else "again")
    items.sort(key=lambda item: _ORDER.get(_kind(item.nodeid), 4))


def _kind(nodeid: str) -> str:
    return nodeid.removeprefix("tests/").split("/")[0]


# Workers take modules in this order. The largest come first and the many small ones last, so that all end together.
_ORDER = {
    "spec": 0,
    "acceptance": 1,
    "faults": 2,
    "generative": 2,
    "browser": 3,
    "architecture": 5,
    "unit": 6,
}


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> int:
    """How many random rounds a test of kills and sequences plays: 3, in `make faults` 100."""
    return int(request.config.getoption("--rounds"))


@pytest.fixture(scope="session", autouse=True)
def one_event_loop() -> Iterator[None]:
    """The loop and its thread that every `TestClient` asks in. By itself each starts and ends one with every request,
    which takes longer than most answers."""
    with start_blocking_portal() as portal:
        TestClient.portal = portal
        yield
        TestClient.portal = None


@pytest.fixture(scope="session", autouse=True)
def power_that_stays() -> Iterator[None]:
    """Nothing is written through to the disk: no test takes the power away, and a process that is killed loses nothing
    that it gave to the system. Some seventy times a test with a release waited for the disk."""
    engine_of = db._sqlite_engine

    def relaxed(url: str) -> Engine:
        engine = engine_of(url)
        event.listen(engine, "connect", lambda raw, _record: raw.execute("PRAGMA synchronous=OFF"))
        return engine

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _file: None)
        patched.setattr(db, "_sqlite_engine", relaxed)
        yield


@pytest.fixture(scope="session", autouse=True)
def passwords_that_are_cheap() -> Iterator[Callable[[], PasswordHash]]:
    """Passwords cost next to nothing: nobody guesses those of the tests. It is a fifth of a second each as the product
    hashes them, by what the fixture hands on to the test of that."""
    cheap, own = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)), credentials._hasher
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(credentials, "_hasher", lambda: cheap)
        yield own


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The maintenance database of this run's one PostgreSQL server. Where none can be had, tests fail."""
    base = tmp_path_factory.getbasetemp()
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    try:
        return running_server(base.parent if is_worker else base, os.getppid() if is_worker else os.getpid())
    except NoPostgres as reason:
        pytest.fail(f"PostgreSQL is needed, not optional: {reason}")


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that exists and is empty; the test runs once on each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'baekman.db'}"
    else:
        with fresh_database(request.getfixturevalue("postgres_url")) as url:
            yield url


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running S3 server with a bucket and a key for each room."""
    from tests.s3 import running  # here: few tests need it, all would wait for its imports

    with running(tmp_path_factory.mktemp("s3")) as server:
        yield server


gc.disable()  # until the tests are collected: what is imported stays


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was imported to collect the tests lives until they end, so that no collection of garbage need go through it:
    a quarter of a million objects, a seventh of the time of all tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 10)
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # else DuckDB's binding prints at the end what it takes for leaked


class SecondsPerKind:
    """Sums what the tests took by kind, the first folder under tests/, where all reports arrive."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        kind = _kind(report.nodeid)
        self.seconds[kind] += report.duration  # type: ignore[assignment]  # a Counter adds up floats as well
        self.tests[kind] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.seconds:
            terminalreporter.section("seconds per kind, summed over the workers")
        for kind, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            terminalreporter.line(f"{kind:<14}{seconds:>8.1f} s {self.tests[kind]:>6} tests")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SecondsPerKind(), "seconds-per-kind")
