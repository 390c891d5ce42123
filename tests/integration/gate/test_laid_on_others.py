"""A dry run is laid on what other projects hold now: none that lives is hidden behind those that are gone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.gate import measuring
from app.models import Extract
from tests import world as worlds
from tests.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield worlds.make(db, tmp_path, 120, tables=worlds.PLAN_TABLES[:1])
    db.dispose()


def project(world: World, extract: str) -> str:
    with world.db.read() as session:
        return session.get_one(Extract, extract).project_id


def gone(world: World, extract: str) -> None:
    """As an extract lies that was destroyed: it had its generation, and keeps it."""
    with world.db.unit_of_work() as session:
        row = session.get_one(Extract, extract)
        row.generation, row.state = 1, "destroyed"


def test_a_release_that_is_gone_takes_no_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "MOST_OTHERS", 1)
    lives = world.permit()
    world.release(lives)
    gone(world, world.permit())
    told = world.gate.dry_run(world.plan, worlds.PURPOSE, lambda **_: None)
    assert [one["other"] for one in told["risk"]["intersections"]] == [project(world, lives)]
    assert told["risk"]["not_compared"] == []
    assert "There is no earlier release" not in told["page"]


@pytest.mark.again
def test_those_that_cannot_be_compared_are_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the newest few, and where the bytes are gone; what cannot be read takes no place."""
    monkeypatch.setattr(measuring, "MOST_OTHERS", 1)
    older, newer, unread = world.permit(), world.permit(), world.permit()
    for extract in (older, newer, unread):
        world.release(extract)
    shutil.rmtree(world.var / "outbox" / unread)
    held, read = list[Path](), measuring._read

    def looking(gate: Any, extract: str, name: str, spill: Path, columns: list[str]) -> Any:
        held.extend(spill.glob("other-*"))
        return read(gate, extract, name, spill, columns)

    monkeypatch.setattr(measuring, "_read", looking)
    told = world.gate.dry_run(world.plan, worlds.PURPOSE, lambda **_: None)
    assert [one["other"] for one in told["risk"]["intersections"]] == [project(world, newer)]
    assert told["risk"]["not_compared"] == [project(world, unread), project(world, older)]
    assert "must be signed for: 2" in told["page"]
    assert held == []  # no copy of another's part is kept beside the next
