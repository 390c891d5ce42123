"""The daily monitor finds whoever left and can still be read, and says so at the highest level; else it is quiet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, true

from app import crosswalk
from app.alarms.service import AlarmService
from app.auth.policy import Actor
from app.catalog.figures import FIGURE
from app.catalog.watching import watch as watch_figures
from app.consents import register
from app.consents.register import Statement
from app.db import Database
from app.errors import Problem
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.extracts.watching import watch
from app.jobs.engine import InlineEngine
from app.models import Alarm, AuditLine, Cohort, Part, ShownFigures, VaultTable
from app.settings import Settings
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
        return self.alarms.monitor(
            lambda: watch(self.extracts, close=close),
            lambda: (self.world.gate.look(), watch_figures(self.db, self.clock, Settings())),
        )

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


@pytest.mark.again
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


@pytest.mark.again
def test_it_looks_once_a_day_and_says_what_it_looked_at(site: Site) -> None:
    site.withdraw(site.world.keys[2])
    site.look()
    site.alarms.monitor(lambda: pytest.fail("twice in one day"))
    with site.db.read() as session:
        [line] = session.scalars(select(AuditLine).where(AuditLine.event == "monitor.looked")).all()
    assert (line.data["extracts"], line.data["people"], line.data["leaks"]) == (1, 1, 0)
    assert line.data["parts"] > 0


@pytest.mark.again
def test_where_it_may_not_close_it_only_says_so(site: Site) -> None:
    site.withdraw(site.world.keys[2])
    site.leak()
    assert site.look(close=False) == 1
    site.extracts.check_part(site.extract, next(iter(site.old)))


def everyone_for(purposes: bool) -> Callable[[Site, pytest.MonkeyPatch], None]:
    """A planted fault: consent is not asked, of counts (which have no purpose) or of builds (which have one)."""

    def plant(site: Site, patch: pytest.MonkeyPatch) -> None:
        real, everyone = crosswalk.covered_now, np.array(site.world.keys, dtype=np.int32)

        def covered(session: Any, of: Any, domains: Any, purpose: Any, on: Any) -> Any:
            if (purpose is not None) == purposes:
                return dict.fromkeys(domains, everyone)
            return real(session, of, domains, purpose, on)

        patch.setattr("app.crosswalk.covered_now", covered)

    return plant


def a_trace_that_asks_nobody(site: Site, patch: pytest.MonkeyPatch) -> None:
    everyone = np.array(site.world.keys, dtype=np.int32)
    patch.setattr(
        "app.gate.tracing.covered_now", lambda _s, _of, domains, *_: dict.fromkeys(domains, everyone)
    )


def a_count_of_everyone(_site: Site, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("app.catalog.counted.in_force", lambda _on: true())


def a_figure_that_stands_still(site: Site, _patch: pytest.MonkeyPatch) -> None:
    with site.db.unit_of_work() as session:
        day = (site.now + timedelta(days=1)).date()
        session.add(ShownFigures(name=FIGURE, basis=day.isoformat(), people={"ins_x": 11}, at=site.now))


def a_catalogue_that_stands_still(site: Site, _patch: pytest.MonkeyPatch) -> None:
    with site.db.unit_of_work() as session:
        for row in session.scalars(select(VaultTable)):
            row.people_shown = row.people + 11


FAULTS: list[tuple[Callable[[Site, pytest.MonkeyPatch], None], str]] = [
    (everyone_for(False), "counts"), (everyone_for(True), "dry_run"), (a_trace_that_asks_nobody, "tracing"),
    (a_count_of_everyone, "progress"), (a_figure_that_stands_still, "progress"),
    (a_catalogue_that_stands_still, "catalogue"),
]  # fmt: skip


def test_a_fault_on_any_other_way_raises_the_highest_alarm(site: Site) -> None:
    site.withdraw(site.world.keys[2])
    assert site.look() == 0
    with site.db.read() as session:
        [line] = session.scalars(select(AuditLine).where(AuditLine.event == "monitor.looked")).all()
    assert set(line.data["asked"]) == {way for _fault, way in FAULTS}
    known: set[str] = set()
    for fault, way in FAULTS:
        with pytest.MonkeyPatch.context() as patch:
            fault(site, patch)
            assert site.look() > 0, way
        with site.db.read() as session:
            alarms = [one for one in session.scalars(select(Alarm)) if one.id not in known]
        assert {(one.kind, one.level) for one in alarms} == {("withdrawn_counted", "critical")}, way
        assert {one.subject.partition(":")[0] for one in alarms} == {way}
        known |= {one.id for one in alarms}
    # The catalogue still stands still: it is found again, and is one alarm while it lasts.
    assert site.look() > 0
    with site.db.read() as session:
        assert len(session.scalars(select(Alarm)).all()) == len(known)


@pytest.mark.again
def test_who_came_back_is_on_no_way_by_mistake(site: Site) -> None:
    back = site.world.keys[4]
    site.withdraw(back)
    with site.db.unit_of_work() as session:
        register.set_consent(
            session, site.world.cohort_id, back, worlds.DOMAINS, Statement("granted", given_at=site.now.date()),
            at=site.clock(), actor="client:h",
        )  # fmt: skip
    site.withdraw(site.world.keys[2], ("lifelog",))
    assert site.look() == 0
