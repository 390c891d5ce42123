"""Who is a worker, who is taken for dead, and that nobody's clock is believed but one's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from app.db import Database
from app.jobs.chores import Chores
from app.jobs.workers import Membership
from app.models import Worker
from tests.postgres import fresh_database
from tests.schema import with_tables

START = datetime(2026, 11, 25, tzinfo=UTC)


@dataclass
class Machine:
    """One worker with clocks of its own; it looks when the test says so."""

    db: Database
    name: str
    skew: timedelta = timedelta(0)
    at: float = 0.0
    taken: list[str] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.life = Membership(
            self.db, self.clock, self.name, self._take, beat=3600, dead_after=45, end=self.ended.append,
            now=lambda: self.at,
        )  # fmt: skip
        self.life.start()

    def clock(self) -> datetime:
        return START + self.skew + timedelta(seconds=self.at)

    def _take(self, worker: str) -> int:
        self.taken.append(worker)
        return 1

    def look(self, seconds: float) -> list[str]:
        self.at += seconds
        with capture_logs():
            return self.life.look()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with_tables(database)
    yield database
    database.dispose()


def _names(db: Database) -> set[str]:
    with db.read() as session:
        return set(session.scalars(select(Worker.id)))


def test_who_gives_signs_is_left_alone_whatever_the_clocks_say(db: Database) -> None:
    one, two = Machine(db, "one"), Machine(db, "two", skew=timedelta(days=-400))
    for _ in range(30):
        assert one.look(5) == two.look(5) == []
    assert _names(db) == {"one", "two"}
    assert one.ended == two.ended == []


def test_who_gives_none_is_taken_over_once_and_ends_itself(db: Database) -> None:
    one, two, three = (Machine(db, name) for name in ("one", "two", "three"))
    one.look(5)
    for _ in range(8):
        assert two.look(5) == three.look(5) == []
    assert two.look(10) == ["one"]
    assert three.look(10) == []
    assert (two.taken, three.taken) == (["one"], [])
    assert _names(db) == {"two", "three"}
    one.look(100)  # it stood still, and was taken for dead
    assert one.ended == [70]


def test_who_says_goodbye_is_taken_over_at_once(db: Database) -> None:
    one, two = Machine(db, "one"), Machine(db, "two")
    two.look(5)
    one.life.stop()
    assert two.look(1) == ["one"]
    assert _names(db) == {"two"}


def test_a_death_between_mark_and_take_over_leaves_it_to_the_next(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (Machine(db, name) for name in ("one", "two", "three"))
    for machine in (two, three):
        machine.look(1)
    one.life.stop()

    def dies(_worker: str) -> int:
        raise ConnectionError

    monkeypatch.setattr(two.life, "take_over", dies)
    with pytest.raises(ConnectionError):
        two.look(1)
    assert three.look(1) == ["one"]
    assert three.taken == ["one"]


def test_without_the_database_it_ends_when_others_must_have_taken_over(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Machine(db, "one")

    def away() -> bool:
        raise ConnectionError

    monkeypatch.setattr(one.life, "_sign", away)
    one.look(40)
    assert one.ended == []
    one.look(6)
    assert one.ended == [70]


def test_a_chore_is_done_by_one_worker_at_a_time(postgres_url: str) -> None:
    done: list[str] = []
    with fresh_database(postgres_url) as url:
        one, two = Database(url), Database(url)
        inner = Chores(
            {"count": lambda: done.append("two"), "other": lambda: done.append("other")}, 3600, two.alone
        )

        def chore() -> None:
            done.append("one")
            assert inner.round() == []

        assert Chores({"count": chore}, 3600, one.alone).round() == []
        assert done == ["one", "other"]
        assert inner.round() == []
        assert done == ["one", "other", "two", "other"]
        one.dispose()
        two.dispose()
