"""The gate and a withdrawal feed that stays silent: nothing new leaves, and whoever left is still taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.db import Database
from app.errors import Problem
from app.models import Feed
from tests import world as worlds
from tests.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    made = worlds.make(db, tmp_path, people=200)
    last = worlds.NOW - timedelta(days=20)
    with db.unit_of_work() as session:
        session.add(
            Feed(cohort_id=made.cohort_id, kind="withdrawals", every_days=7, min_share=0.0, last_at=last, size=None,
                 seen=0, declared_at=last)
        )  # fmt: skip
    yield made
    db.dispose()


def test_a_silent_cohort_gives_nothing_new_and_still_takes_people_out(world: World) -> None:
    held, new = world.permit(), world.permit()
    world.release(held)
    stopped = world.gate.settings.model_copy(update={"silent_feed_stops_after_days": 10})
    world.gate = replace(world.gate, settings=stopped)
    with pytest.raises(Problem, match="feed_overdue"):
        world.release(new)
    world.set_consent(world.keys[1], "clinical", "withdrawn")
    assert world.release(held).generation == 2
    with world.db.unit_of_work() as session:
        session.get_one(Feed, (world.cohort_id, "withdrawals")).last_at = worlds.NOW - timedelta(days=16)
    assert world.release(new).generation == 1
