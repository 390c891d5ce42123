"""A check of a version that breaks off, is ended, or is given up says so, and the version can be handed in again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.alarms import parked
from app.alarms.desk import JobDesk
from app.db import Database
from app.engines.intake import IntakeEngine
from app.errors import Problem
from app.jobs import Rules, execute
from app.jobs.engine import InlineEngine
from tests.integration.intake.world import csv_bytes
from tests.integration.test_bad_inputs import PEOPLE, VISITS, bills
from tests.integration.versions.world import HOLDER, VersionsWorld, document

SECRET = "880101-1234567"


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every table was accepted; every test goes on from a copy."""
    folder = tmp_path_factory.mktemp("uploaded")
    db = Database(f"sqlite:///{folder / 'baekman.db'}")
    made = VersionsWorld(folder, db, document())
    tables = {"person": csv_bytes(PEOPLE), "visit": csv_bytes(VISITS), "bill": bills([1, 2])}
    for table, content in tables.items():
        assert made.upload(table, content).state == "accepted"
    db.dispose()
    return folder


@pytest.fixture
def world(uploaded: Path, tmp_path: Path) -> Iterator[VersionsWorld]:
    shutil.copytree(uploaded, tmp_path, dirs_exist_ok=True)
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    made = VersionsWorld(tmp_path, db, document())
    made.jobs = InlineEngine(db, made.clock, made.jobs.tasks, Rules(3, 1, parked.parked, parked.overtaken))
    yield made
    db.dispose()


class _Breaks:
    """A check of the whole version that meets this instead, so often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException, times: int = 1) -> None:
        self.left, self.error, self.whole = times, error, IntakeEngine.whole
        monkeypatch.setattr(IntakeEngine, "whole", lambda engine, *args: self(engine, *args))

    def __call__(self, engine: IntakeEngine, *args: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return self.whole(engine, *args)


def told(world: VersionsWorld) -> tuple[str, list[str]]:
    problems = world.cohorts.report(HOLDER, world.version)["report"]["problems"]
    return world.state(world.version), [one["code"] for one in problems]


def test_one_that_breaks_off_says_so_and_the_next_is_whole(
    world: VersionsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Breaks(monkeypatch, ValueError(f"no such person: {SECRET}"))
    with capture_logs():
        world.hand_in()
    assert told(world) == ("quarantined", ["check_failed"])
    assert SECRET not in world.said()
    assert world.hand_in()["outcome"] == "ready"
    assert world.state(world.version) == "ready"


@pytest.mark.again
def test_one_that_met_what_passes_is_tried_again_and_nobody_is_told(
    world: VersionsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Breaks(monkeypatch, Problem("store_unavailable", "Silent."))
    world.cohorts.submit(HOLDER, world.version)
    world.jobs.drain()
    for _ in range(10):  # the clock moves a second each time it is read
        world.jobs.drain()
    assert world.state(world.version) == "ready"
    assert "version.quarantined" not in world.said()


@pytest.mark.again
def test_one_that_the_operator_ends_says_so(world: VersionsWorld) -> None:
    world.cohorts.submit(HOLDER, world.version)
    desk = JobDesk(world.db, world.clock)
    (job,) = desk.listed()
    desk.cancel(job["id"])
    world.jobs.drain()
    assert told(world) == ("quarantined", ["check_cancelled"])
    assert world.hand_in()["outcome"] == "ready"


def give_up(world: VersionsWorld, monkeypatch: pytest.MonkeyPatch) -> JobDesk:
    """The version's check has ended its worker, as often as it may."""
    dies = _Breaks(monkeypatch, KeyboardInterrupt())
    world.cohorts.submit(HOLDER, world.version)
    with pytest.raises(KeyboardInterrupt):
        world.jobs.drain()
    assert dies.left == 0
    (job,) = (desk := JobDesk(world.db, world.clock)).listed()
    with pytest.raises(Problem, match="validating cannot reopen"):  # it is checked at this moment
        world.cohorts.reopen(HOLDER, world.version)
    execute(world.db, world.clock, world.jobs.tasks, job["id"], world.jobs.rules)
    assert [one["state"] for one in desk.listed()] == ["parked"]
    view = world.cohorts.version(HOLDER, world.version)
    assert view["state"] == "validating"
    assert (view["progress"]["failure"]["code"], view["progress"]["failure"]["reason"]) == (
        "job_parked",
        "worker_lost",
    )
    return desk


def test_one_that_was_given_up_is_taken_back_and_handed_in_anew(
    world: VersionsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = give_up(world, monkeypatch)
    assert world.cohorts.reopen(HOLDER, world.version)["state"] == "draft"
    assert world.hand_in()["outcome"] == "ready"
    assert desk.listed() == []  # the parked one was overtaken: there is nothing left to look at


def test_one_that_was_given_up_goes_on_when_the_operator_releases_it(
    world: VersionsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = give_up(world, monkeypatch)
    desk.release(desk.listed()[0]["id"])
    with pytest.raises(Problem, match="validating cannot reopen"):  # it may be checked at any moment
        world.cohorts.reopen(HOLDER, world.version)
    world.jobs.drain()
    assert world.state(world.version) == "ready"


@pytest.mark.again
def test_one_that_was_taken_back_is_not_checked_by_a_release(
    world: VersionsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = give_up(world, monkeypatch)
    world.cohorts.reopen(HOLDER, world.version)
    desk.release(desk.listed()[0]["id"])
    world.jobs.drain()
    assert world.state(world.version) == "draft"


@pytest.mark.again
def test_one_that_was_given_up_and_is_ended_says_so(
    world: VersionsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = give_up(world, monkeypatch)
    desk.cancel(desk.listed()[0]["id"])
    world.jobs.drain()
    assert told(world) == ("quarantined", ["check_cancelled"])
