"""A build that its holder or a steward ends hands out nothing, leaves nothing behind, and can be ordered anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from app.auth.policy import Actor
from app.db import Database
from app.errors import Problem
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.gate import building, recording
from app.jobs import enqueue
from app.jobs.engine import InlineEngine
from app.models import AuditLine, Extract, Job, Part
from tests import world as worlds
from tests.world import World

HOLDER = Actor("client:researcher", "researcher", "researcher", None, frozenset())
STEWARD = Actor("client:steward", "steward", "steward", None, frozenset())
OTHER = Actor("client:other", "other", "researcher", None, frozenset())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("cancelled")
    db = Database(f"sqlite:///{folder / 'x.db'}")
    yield worlds.make(db, folder, people=120)
    db.dispose()


@pytest.fixture
def extracts(world: World) -> ExtractService:
    return ExtractService(world.db, world.clock, world.gate.outbox)


def _ordered(world: World) -> str:
    extract = world.permit()
    with world.db.unit_of_work() as session:
        session.get_one(Extract, extract).state = "queued"
        enqueue(session, "build_extract", subject=extract, at=world.clock())
    return extract


def _engine(world: World, extracts: ExtractService) -> InlineEngine:
    return InlineEngine(world.db, world.clock, extract_tasks(ExtractTasks(extracts, world.gate)))


def _is_gone(world: World, extract: str, by: str) -> None:
    with world.db.read() as session:
        row = session.get_one(Extract, extract)
        assert (row.state, (row.failure or {})["code"], row.generation) == ("failed", "cancelled", 0)
        assert session.scalar(select(func.count()).where(Part.extract_id == extract)) == 0
        jobs = session.scalars(select(Job.state).where(Job.subject == extract)).all()
        lines = session.execute(
            select(AuditLine.event, AuditLine.actor).where(AuditLine.object_id == extract)
        ).all()
    assert jobs == ["cancelled"]
    assert [tuple(line) for line in lines] == [("extract.cancelled", by)]
    assert not [name for name in _outbox(world) if name.startswith(extract)]
    assert not list((world.var / "spill").glob("job-*"))


@pytest.mark.again
def test_before_it_began(world: World, extracts: ExtractService) -> None:
    extract = _ordered(world)
    with pytest.raises(Problem):
        extracts.cancel(OTHER, extract)
    assert extracts.cancel(HOLDER, extract)["state"] == "failed"
    with pytest.raises(Problem):
        extracts.cancel(HOLDER, extract)
    with pytest.raises(Problem):  # its job has not come to rest
        extracts.order(HOLDER, _permit(world, extract))
    _engine(world, extracts).drain()
    _is_gone(world, extract, "client:researcher")
    assert extracts.order(HOLDER, _permit(world, extract))["state"] == "queued"
    _engine(world, extracts).drain()
    assert extracts.get(HOLDER, extract)["state"] == "ready"


@pytest.mark.again
def test_while_it_is_built(world: World, extracts: ExtractService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for between two steps: by the steward after everything was written and before it was verified."""
    extract = _ordered(world)

    def written(*args: Any, **more: Any) -> Any:
        made = build(*args, **more)
        extracts.cancel(STEWARD, extract)
        return made

    build: Callable[..., Any] = building.build
    monkeypatch.setattr("app.gate.door.build", written)
    _engine(world, extracts).drain()
    _is_gone(world, extract, "client:steward")


def test_the_moment_before_it_is_recorded(
    world: World, extracts: ExtractService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step that could have noticed has passed: the row itself says that it is over."""
    extract = _ordered(world)

    def record(*args: Any) -> int:
        extracts.cancel(HOLDER, extract)
        return kept(*args)

    kept = recording.record_generation
    monkeypatch.setattr(recording, "record_generation", record)
    _engine(world, extracts).drain()
    _is_gone(world, extract, "client:researcher")


@pytest.mark.again
def test_what_is_recorded_is_handed_out(
    world: World, extracts: ExtractService, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, refused = _ordered(world), list[str]()

    def publish(*args: Any) -> None:
        try:
            extracts.cancel(HOLDER, extract)
        except Problem as problem:
            refused.append(problem.code)
        kept(*args)

    kept = recording.publish_generation
    monkeypatch.setattr(recording, "publish_generation", publish)
    _engine(world, extracts).drain()
    assert (refused, extracts.get(HOLDER, extract)["state"]) == (["conflict"], "ready")
    with pytest.raises(Problem):
        extracts.cancel(HOLDER, extract)


def _outbox(world: World) -> list[str]:
    folder = world.var / "outbox"
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def _permit(world: World, extract: str) -> str:
    with world.db.read() as session:
        return session.get_one(Extract, extract).permit_id
