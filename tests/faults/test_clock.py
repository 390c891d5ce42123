"""The machine's clock jumps: what ended stays ended, chains hold, and nobody who lives is taken for dead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.audit import PLATFORM, newest, record, verify
from app.clock import SteadyClock
from app.db import Database
from app.errors import Problem
from app.extracts.service import ExtractService
from app.jobs.workers import Membership
from app.ledger.parts import listed
from app.main import build, go_on_from_the_last_line
from app.models import Extract, Permit, Worker
from app.operating.doctor import _clock
from app.settings import Settings
from app.storage.outbox import Outbox
from tests.schema import with_tables
from tests.world import NOW, make


class Machine:
    """A clock that is set, over seconds that go on."""

    def __init__(self) -> None:
        self.said, self.seconds = NOW, 0.0
        self.clock = SteadyClock(lambda: self.said, lambda: self.seconds)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    with_tables(made)
    yield made
    made.dispose()


def test_an_extract_and_a_permit_that_ended_by_their_date_do_not_open_again(tmp_path: Path) -> None:
    machine = Machine()
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    world = make(db, tmp_path, people=120, clock=machine.clock)
    try:
        extract = world.permit()
        world.release(extract)
        service = ExtractService(db, machine.clock, Outbox.open((tmp_path / "outbox").as_uri()))
        with db.read() as session:
            name = listed(session, extract)[0]["name"]
        service.check_part(extract, name)
        for days, code in ((91, "extract_expired"), (400, "permit_not_live")):
            machine.said = NOW + timedelta(days=days)
            with pytest.raises(Problem) as ended:
                service.check_part(extract, name)
            machine.said, machine.seconds = NOW, machine.seconds + 60
            with pytest.raises(Problem) as still:
                service.check_part(extract, name)
            assert (ended.value.code, still.value.code) == (code, code)
        assert service.expire_due() == 1
        with db.read() as session:
            assert session.get_one(Extract, extract).state == "expired"
            assert session.scalars(select(Permit.state)).one() == "active"
    finally:
        db.dispose()


def test_a_process_that_begins_behind_the_chains_goes_on_from_them(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, var=tmp_path)
    for allowed in (False, True):
        machine = Machine()
        built = build(settings.model_copy(update={"clock_may_go_back": allowed}), machine.clock)
        with_tables(built.db)
        ahead = NOW + timedelta(days=30)
        with built.db.unit_of_work() as session:
            record(session, stream=PLATFORM, event="job.parked", actor="platform", object_id="x", at=ahead)
        with built.db.read() as session:
            assert newest(session) == ahead
        go_on_from_the_last_line(built)
        assert (machine.clock() >= ahead) is not allowed
        assert [check.state for check in _clock(built.db, NOW)] == ["failed"]
        assert [check.state for check in _clock(built.db, ahead)] == ["ok"]
        with built.db.unit_of_work() as session:  # a line of before the last one breaks no chain
            record(session, stream=PLATFORM, event="job.parked", actor="platform", object_id="x", at=NOW)
        with built.db.read() as session:
            assert verify(session, PLATFORM)[1] is None
        built.db.dispose()


def _takes(took: list[str]) -> Callable[[str], int]:
    def take(who: str) -> int:
        took.append(who)
        return 0

    return take


def test_a_worker_whose_clock_jumps_is_not_taken_for_dead_and_takes_nobody(db: Database) -> None:
    """Signs of life are read by how they change, and patience is counted in seconds that nobody sets."""
    machine, seconds, took, ends = Machine(), [0.0], list[str](), list[int]()
    lives = {
        name: Membership(db, clock, name, _takes(took), now=lambda: seconds[0], end=ends.append)
        for name, clock in (("jumps", machine.clock), ("steady", lambda: datetime.now(UTC)))
    }
    for life in lives.values():
        life._last = seconds[0]
        with db.unit_of_work() as session:
            session.add(
                Worker(id=life.worker_id, started_at=life.clock(), seen_at=life.clock(), dead_at=None)
            )
    for jump in (0, 86400, -400 * 86400, 3600, -1, 0, 0, 0, 0, 0, 0, 0):
        machine.said += timedelta(seconds=5 + jump)
        machine.seconds, seconds[0] = machine.seconds + 5, seconds[0] + 5
        for life in lives.values():
            life.look()
    assert took == []
    for _ in range(10):  # and one that shows no sign any more is
        seconds[0] += 5
        lives["steady"].look()
    assert (took, ends) == (["jumps"], [])
