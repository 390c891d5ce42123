"""A count that a worker answers: the same answers and refusals as the gate's, at once or fetched later, by its asker
alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from app.auth.policy import Actor
from app.catalog.asking import KEPT, CountsByWorkers, CountTasks, tasks
from app.catalog.service import CatalogService
from app.db import Database
from app.errors import Problem
from app.jobs import Task
from app.jobs.engine import InlineEngine
from app.models import CountOrder, Job
from app.schemas.counts import CountQuestion
from tests.integration.control_plane.world import World

ANSWER = {"value": 40, "hidden": False, "min_cell": 11, "round_to": 5}


@dataclass
class Gate:
    """Answers, refuses or breaks; remembers who asked."""

    asked: list[tuple[str, str | None]] = field(default_factory=list)
    raises: Exception | None = None

    def count(self, _question: CountQuestion, reader: Actor) -> dict[str, Any]:
        self.asked.append((reader.subject, reader.institution_id))
        if self.raises is not None:
            raise self.raises
        return ANSWER


@dataclass
class Site:
    world: World
    gate: Gate
    dataset: str
    version: str
    engine: InlineEngine
    counts: CountTasks

    def patient(self, seconds: float) -> None:
        waiting = CountsByWorkers(self.world.db, self.world.now, seconds)
        catalog = CatalogService(self.world.db, self.world.now, self.world.house.catalog.settings, waiting)
        object.__setattr__(self.world.house, "catalog", catalog)

    def ask(self, who: str = "researcher") -> Any:
        return self.world.call(who, "POST", "/v1/catalog/counts", {"version_id": self.version})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    world, gate = World(db), Gate()
    dataset, version = world.published()
    counts = CountTasks(db, world.now, gate)
    known: dict[str, Task] = {**tasks(counts), "index_variables": lambda _job: None}
    made = Site(world, gate, dataset, version, InlineEngine(db, world.now, known), counts)
    made.patient(0)
    yield made
    db.dispose()


def test_it_is_fetched_where_it_was_not_there_in_time(site: Site) -> None:
    ordered = site.ask()
    where = ordered.headers["Location"]
    assert (ordered.status_code, ordered.json()["state"], ordered.headers["Retry-After"]) == (
        202,
        "waiting",
        "2",
    )
    early = site.world.call("researcher", "GET", where)
    assert (early.status_code, early.headers["Location"]) == (202, where)
    site.engine.drain()
    assert site.world.ok("researcher", "GET", where) == ANSWER
    assert site.gate.asked == [(site.world.people["researcher"].subject, None)]
    site.world.problem(404, "not_found", "other", "GET", where)


def test_whoever_waits_has_it_at_once(site: Site) -> None:
    site.patient(30)
    found: list[Any] = []
    asks = threading.Thread(target=lambda: found.append(site.ask()))
    asks.start()
    while asks.is_alive():
        site.engine.drain()
        asks.join(0.05)
    assert (found[0].status_code, found[0].json()) == (200, ANSWER)


def test_a_refusal_is_the_gates_and_no_failed_job(site: Site) -> None:
    site.gate.raises = Problem("count_budget_spent", "Tomorrow.", headers={"Retry-After": "3600"})
    where = site.ask().headers["Location"]
    site.engine.drain()
    answer = site.world.call("researcher", "GET", where)
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"], answer.headers["Retry-After"]) == (
        429, "count_budget_spent", "Tomorrow.", "3600",
    )  # fmt: skip
    with site.world.db.read() as session:
        assert session.scalars(select(Job.state).where(Job.kind == "count")).all() == ["done"]


def test_what_breaks_says_nothing_of_itself(site: Site) -> None:
    site.gate.raises = ValueError("880101-1234567")
    where = site.ask().headers["Location"]
    with capture_logs():
        site.engine.drain()
    answer = site.world.call("researcher", "GET", where)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "880101" not in answer.text


def test_the_policy_is_asked_before_anything_is_ordered(site: Site) -> None:
    draft = site.world.next_draft(site.dataset)
    site.world.problem(404, "not_found", "researcher", "POST", "/v1/catalog/counts", {"version_id": draft})
    with site.world.db.read() as session:
        assert session.scalar(select(func.count()).select_from(CountOrder)) == 0


def test_questions_are_forgotten_and_no_job_holds_one(site: Site) -> None:
    site.ask()
    with site.world.db.read() as session:
        (job,) = session.scalars(select(Job).where(Job.kind == "count"))
    assert job.arguments == {}
    assert site.counts.forget() == 0
    site.world.now.at += KEPT + timedelta(seconds=1)
    assert site.counts.forget() == 1
    site.engine.drain()  # nothing is left to be answered
    assert site.gate.asked == []
