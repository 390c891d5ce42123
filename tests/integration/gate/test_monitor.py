"""The daily monitor finds whoever left and can still be read, and says so at the highest level; else it is quiet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.alarms.service import AlarmService
from app.auth.policy import Actor
from app.consents import register
from app.consents.register import Statement
from app.db import Database
from app.errors import Problem
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.extracts.watching import watch
from app.jobs.engine import InlineEngine
from app.models import Alarm, AuditLine, Cohort, Part
from app.withdrawals.service import WithdrawalService
from app.withdrawals.settling import tasks as withdrawal_tasks
from tests import world as worlds
from tests.world import World

STEWARD = Actor("client:steward", "steward", "steward", None, frozenset())


class Site:
    """An extract from which somebody was recalled."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.now = worlds.NOW
        self.world: World = worlds.make(db, folder, people=120, clock=self.clock)
        self.db = db
        self.extracts = ExtractService(db, self.clock, self.world.gate.outbox)
        self.alarms = AlarmService(db, self.clock)
        self.withdrawals = WithdrawalService(db, self.clock, self.world.keyring)
        tasks = {
            **extract_tasks(ExtractTasks(self.extracts, self.world.gate)),
            **withdrawal_tasks(self.withdrawals),
        }
        self.jobs = InlineEngine(db, self.clock, tasks)
        self.extract = self.world.permit()
        self.world.release(self.extract)
        self.old = self.parts()

    def clock(self):
        self.now += timedelta(seconds=1)
        return self.now

    def parts(self) -> dict[str, bytes]:
        """The bytes of every part on the disk, by name."""
        folder = self.world.var / "outbox" / self.extract
        return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}

    def withdraw(self, key: int, domains: tuple[str, ...] = ()) -> None:
        with self.db.read() as session:
            home = session.get_one(Cohort, self.world.cohort_id).institution_id
        hospital = Actor("client:h", "h", "institution", home, frozenset())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.consents.register.find", lambda *_: key)
            self.withdrawals.take(hospital, self.world.cohort_id, "who", domains, "no_further_use")
        self.jobs.drain()

    def look(self, *, close: bool = True) -> int:
        self.now += timedelta(days=1)
        return self.alarms.monitor(lambda: watch(self.extracts, close=close))

    def leak(self) -> None:
        """A planted fault: the parts of the first generation are open again, and their bytes are back."""
        with self.db.unit_of_work() as session:
            gone = session.scalars(
                select(Part).where(Part.name.in_(self.old), Part.state == "replaced")
            ).all()
            assert gone
            for part in gone:
                (self.world.var / "outbox" / self.extract / part.name).write_bytes(self.old[part.name])
                part.state = "ready"

    def alarm(self) -> Alarm:
        with self.db.read() as session:
            return session.scalars(select(Alarm).order_by(Alarm.id.desc())).all()[0]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield Site(db, tmp_path)
    db.dispose()


def test_a_leak_raises_the_highest_alarm_and_closes_the_extract_until_a_steward_has_looked(
    site: Site,
) -> None:
    site.withdraw(site.world.keys[2])
    assert site.look() == 0
    site.leak()
    assert site.look() == 1
    found = site.alarm()
    assert (found.level, found.kind, found.subject) == ("critical", "withdrawn_readable", site.extract)
    assert (found.data["people"], found.institution_id) == (1, None)
    name = next(iter(site.parts()))
    with pytest.raises(Problem, match="part_checking"):
        site.extracts.check_part(site.extract, name)
    assert site.look() == 0  # it is closed: nobody is read any more
    with site.db.unit_of_work() as session:
        for part in session.scalars(select(Part).where(Part.name.in_(site.old))):
            part.state = "replaced"
    site.alarms.acknowledge(STEWARD, found.id, "looking")
    site.alarms.close(STEWARD, found.id, "mended")
    site.jobs.drain()
    with site.db.read() as session:
        open_ones = [one.name for one in session.scalars(select(Part).where(Part.state == "ready"))]
    site.extracts.check_part(site.extract, open_ones[0])
    site.leak()
    assert site.look() == 1  # and it closes again
    with pytest.raises(Problem, match="part_checking"):
        site.extracts.check_part(site.extract, open_ones[0])


def test_who_left_one_domain_or_came_back_is_no_leak(site: Site) -> None:
    half, back = site.world.keys[2], site.world.keys[4]
    site.withdraw(half, ("lifelog",))
    site.withdraw(back)
    assert site.look() == 0
    with site.db.unit_of_work() as session:
        given = site.now.date()
        register.set_consent(session, site.world.cohort_id, back, worlds.DOMAINS, Statement("granted", given_at=given),
                             at=site.clock(), actor="client:h")  # fmt: skip
    site.world.release(site.extract)
    name = site.world.pseudonyms(site.extract)[back]
    assert site.world.rows(site.extract, "person", f"SELECT count(*) FROM parts WHERE pid = '{name}'") == [
        (1,)
    ]
    assert site.look() == 0


def test_it_looks_once_a_day_and_says_what_it_looked_at(site: Site) -> None:
    site.withdraw(site.world.keys[2])
    site.look()
    site.alarms.monitor(lambda: pytest.fail("twice in one day"))
    with site.db.read() as session:
        [line] = session.scalars(select(AuditLine).where(AuditLine.event == "monitor.looked")).all()
    assert (line.data["extracts"], line.data["people"], line.data["leaks"]) == (1, 1, 0)
    assert line.data["parts"] > 0


def test_where_it_may_not_close_it_only_says_so(site: Site) -> None:
    site.withdraw(site.world.keys[2])
    site.leak()
    assert site.look(close=False) == 1
    site.extracts.check_part(site.extract, next(iter(site.old)))
