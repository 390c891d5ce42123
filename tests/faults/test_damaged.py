"""Flipped bytes are found when they are read and never handed out whole: parts are made anew, tables put back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from sqlalchemy import select

from app.db import Database
from app.errors import Problem
from app.extracts.mending import close_where_damaged, look_through
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.jobs import enqueue
from app.jobs.engine import InlineEngine
from app.ledger.parts import listed
from app.models import AuditLine, Extract
from app.routers.files import deliver
from tests.faults.sound import Places, must_be_sound
from tests.integration.uploads.server import running, with_problems
from tests.world import World, make


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    db = Database(f"sqlite:///{folder / 'baekman.db'}")
    made = make(db, folder, people=120)
    extract = made.permit()
    made.release(extract)
    made.extras["extract"] = extract
    made.extras["service"] = ExtractService(db, made.clock, made.gate.outbox)
    yield made
    db.dispose()


@pytest.fixture
def extracts(world: World) -> ExtractService:
    service: ExtractService = world.extras["service"]
    return service


def jobs(world: World, extracts: ExtractService) -> InlineEngine:
    return InlineEngine(world.db, world.clock, extract_tasks(ExtractTasks(extracts, world.gate)))


def one_part(world: World) -> tuple[str, str, Path]:
    """The extract, a part of it that is open, and where it lies."""
    extract = world.extras["extract"]
    with world.db.read() as session:
        name = listed(session, extract)[-1]["name"]
    return extract, name, world.var / "outbox" / extract / name


def flip(path: Path) -> bytes:
    """Change one bit in the middle; the bytes as they were."""
    held = path.read_bytes()
    path.write_bytes(held[: len(held) // 2] + bytes([held[len(held) // 2] ^ 1]) + held[len(held) // 2 + 1 :])
    return held


def mended(world: World, extracts: ExtractService, held: bytes) -> None:
    """The part is closed and told; the next generation has its bytes again, under the same name, and all is sound."""
    extract, name, path = one_part_of(world, held)
    with pytest.raises(Problem) as closed:
        extracts.check_part(extract, name)
    assert (closed.value.code, closed.value.status) == ("part_damaged", 503)
    assert "Retry-After" in closed.value.headers
    assert not path.exists()
    assert jobs(world, extracts).drain() == 1
    extracts.check_part(extract, name)
    assert path.read_bytes() == held
    must_be_sound(world.db, Places.under(world.var))


def one_part_of(world: World, held: bytes) -> tuple[str, str, Path]:
    extract, name = world.extras["extract"], f"{hashlib.sha256(held).hexdigest()}.parquet"
    return extract, name, world.var / "outbox" / extract / name


def test_the_hourly_look_finds_it(world: World, extracts: ExtractService) -> None:
    assert look_through(extracts, all_of_them=True) == 0
    _extract, _name, path = one_part(world)
    held = flip(path)
    assert look_through(extracts, all_of_them=True) == 1
    assert look_through(extracts, all_of_them=True) == 0
    mended(world, extracts, held)
    with world.db.read() as session:
        events = list(session.scalars(select(AuditLine.event)))
    assert (events.count("part.damaged"), events.count("extract.reissued")) == (1, 1)


def test_a_part_that_is_gone_is_made_anew_too(world: World, extracts: ExtractService) -> None:
    extract, name, path = one_part(world)
    held = path.read_bytes()
    path.unlink()
    assert close_where_damaged(extracts, extract, name)
    assert not close_where_damaged(extracts, extract, name)
    mended(world, extracts, held)


def test_a_reader_never_gets_it_whole_and_closes_it(world: World, extracts: ExtractService) -> None:
    extract, name, path = one_part(world)
    held = flip(path)
    app = with_problems(FastAPI(docs_url=None, redoc_url=None))

    @app.get("/part")
    def part(request: Request) -> Response:
        extracts.check_part(extract, name)
        sha256 = hashlib.sha256(held).hexdigest()
        return deliver(
            extracts.outbox, f"{extract}/{name}", len(held), sha256, sha256, request, filename=name,
            check=lambda: extracts.check_part(extract, name),
            damaged=lambda: close_where_damaged(extracts, extract, name),
        )  # fmt: skip

    with running(app) as url, httpx2.Client(base_url=url, timeout=60) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            http.get("/part")
        answer = http.get("/part")
        assert (answer.status_code, answer.json()["code"]) == (503, "part_damaged")
        mended(world, extracts, held)
        assert http.get("/part").content == held
        path.unlink()
        answer = http.get("/part")
        assert (answer.status_code, answer.json()["code"]) == (503, "part_damaged")
        mended(world, extracts, held)


def test_a_table_of_the_vault_is_refused_until_it_is_put_back(world: World, extracts: ExtractService) -> None:
    path = next((world.var / "vault").rglob("*.parquet"))
    world.gate.engine.vault._read.clear()  # type: ignore[attr-defined]
    held = flip(path)
    extract = world.permit()
    for state, code in (("failed", "data_damaged"), ("ready", None)):
        with world.db.unit_of_work() as session:
            row = session.get_one(Extract, extract)
            row.state, row.failure = "queued", None

            enqueue(session, "build_extract", subject=extract, at=world.clock())
        jobs(world, extracts).drain()
        with world.db.read() as session:
            row = session.get_one(Extract, extract)
            assert (row.state, (row.failure or {}).get("code")) == (state, code)
        path.write_bytes(held)
    must_be_sound(world.db, Places.under(world.var))
