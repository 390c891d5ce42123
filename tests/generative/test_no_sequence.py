"""No sequence of events ends with a readable row of somebody who does not consent, or with a class below k.

The real services, gate, vault and outbox; jobs run when the sequence says so, also half of them. What consent covers
is kept a second time, in plain words of this file, and never read back from the register.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.auth.policy import Actor
from app.consents import register
from app.db import LOCKS, Database, new_id
from app.errors import Problem
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.gate import Gate
from app.jobs import enqueue, execute
from app.jobs.engine import InlineEngine
from app.models import (
    AuditLine,
    BlockMark,
    Cohort,
    DatasetVersion,
    Extract,
    Job,
    Part,
    Participant,
    Permit,
    Withdrawal,
)
from app.requests import permits
from app.schemas.register import USUAL_KIND
from app.withdrawals.service import WithdrawalService
from app.withdrawals.settling import Settling
from app.withdrawals.settling import tasks as withdrawal_tasks
from tests import locks
from tests import world as worlds
from tests.amounts import tries

pytestmark = pytest.mark.faults

PEOPLE, ACTIVE = 100, 30  # people of the world, and how many of them the sequence may speak of
K = 5
DOMAIN_OF = {"person": "clinical", "visit": "clinical", "steps": "lifelog"}
NOT_THIS_PURPOSE = "DS:MONDO:0005148"
PERMIT_VERBS = ("suspend", "resume", "revoke")


# Where a process may die while it carries withdrawals; the destruction has its own points.
DEATHS = [
    (Gate, "recall"),
    (Gate, "_publish"),
    (ExtractTasks, "_drop_closed"),
    (ExtractTasks, "_settle"),
    (ExtractTasks, "_order_settling"),
    (WithdrawalService, "_carry"),
    (Settling, "_note"),
]


class Killed(BaseException):
    """Nothing of ours catches it: whatever was not committed is gone."""


@contextmanager
def dying(of: type, name: str, before: bool) -> Iterator[None]:
    """A process that dies when it comes to this method, before or after it has run."""
    method = getattr(of, name)

    def dies(*args: Any, **kwargs: Any) -> Any:
        if not before:
            method(*args, **kwargs)
        raise Killed

    setattr(of, name, dies)
    try:
        yield
    finally:
        setattr(of, name, method)


@dataclass
class Said:
    """What a person says of a domain, as this file understands it."""

    granted: bool
    until: date | None = None
    other_purpose: bool = False

    def covers(self, on: date) -> bool:
        return self.granted and not self.other_purpose and (self.until is None or on <= self.until)


class Moving:
    """A clock that every look moves by a second, and the sequence by days."""

    def __init__(self) -> None:
        self.now = worlds.NOW

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


class Sequence(RuleBasedStateMachine):
    """Everything that can happen to consents, versions, permits, extracts and jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="baekman-sequence-"))
        self.db = Database(f"sqlite:///{self.folder / 'x.db'}")
        self.clock = Moving()
        self.world = world = worlds.make(self.db, self.folder, PEOPLE, rows_per_part=60, clock=self.clock,
                                         privacy={"k": K, "reserve": 1})  # fmt: skip
        self.extracts = ExtractService(self.db, self.clock, world.gate.outbox)
        self.withdrawals = WithdrawalService(self.db, self.clock, world.keyring)
        tasks = {
            **extract_tasks(ExtractTasks(self.extracts, world.gate)), **withdrawal_tasks(self.withdrawals)
        }  # fmt: skip
        self.jobs = InlineEngine(self.db, self.clock, tasks)
        with self.db.unit_of_work() as session:
            cohort = session.get_one(Cohort, world.cohort_id)
            hasher = register.hasher_of(world.keyring, cohort)
            for key in world.keys:
                session.get_one(Participant, key).identity = hasher.digest(source(key))
            home = cohort.institution_id
        self.hospital = Actor("client:hospital", "hospital", "institution", home, frozenset())
        self.steward = Actor("client:steward", "steward", "steward", None, frozenset())
        self.said: dict[tuple[int, str], Said] = {
            (key, domain): Said(bool(i % 20) and (domain == "clinical" or i % 2 == 0))
            for i, key in enumerate(world.keys)
            for domain in worlds.DOMAINS
        }
        self.versions = 1
        self.orders: list[str] = []
        self.names: dict[str, dict[str, int]] = {}
        self.read: dict[str, frozenset[str]] = {}
        self.classes: dict[str, Counter[Any]] = {}

    @initialize()
    def something_was_handed_out(self) -> None:
        """Somebody in it consents for two days more."""
        self.says(self.world.keys[ACTIVE - 1], "clinical", "until", 2)
        self.an_extract_is_approved_and_ordered()
        self.everything_settles()
        assert len(list(self._readable())) > 0

    def teardown(self) -> None:
        try:
            self.everything_settles()
        finally:
            self.close()

    def close(self) -> None:
        self.db.dispose()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what people say

    @rule(who=st.integers(0, ACTIVE - 1), domains=st.sampled_from([(), ("clinical",), ("lifelog",)]))
    def withdraws(self, who: int, domains: tuple[str, ...]) -> None:
        key = self.world.keys[who]
        self.withdrawals.take(self.hospital, self.world.cohort_id, source(key), domains, "no_further_use")
        for domain in domains or worlds.DOMAINS:
            self.said[key, domain] = Said(False)

    @rule(
        who=st.lists(st.integers(0, ACTIVE - 1), min_size=1, max_size=6, unique=True),
        domain=st.sampled_from(worlds.DOMAINS),
        what=st.sampled_from(["granted", "withdrawn", "until"]),
        days=st.integers(0, 10),
    )
    def people_say_something_else(self, who: list[int], domain: str, what: str, days: int) -> None:
        for one in who:
            self.says(self.world.keys[one], domain, what, days)

    def says(self, key: int, domain: str, what: str, days: int = 0) -> None:
        """The register and the job of a withdrawal in one transaction, as the check of an upload does it."""
        today = self.clock.now.date()
        until = today + timedelta(days=days) if what == "until" else None
        purposes = (NOT_THIS_PURPOSE,) if what == "narrowed" else ()
        given = None if what == "withdrawn" else today
        said = register.Statement(
            "withdrawn" if what == "withdrawn" else "granted",
            purposes=purposes,
            given_at=given,
            valid_until=until,
        )
        try:
            with self.db.unit_of_work() as session:
                lost = register.set_consent(
                    session,
                    self.world.cohort_id,
                    key,
                    [domain],
                    said,
                    at=self.clock(),
                    actor="client:hospital",
                )
                for kind, domains in lost.items():
                    self.withdrawals.leave(
                        session, self.world.cohort_id, kind, [(key, domains)], self.clock()
                    )
        except Problem:
            return  # the register keeps what was said before
        self.said[key, domain] = Said(what != "withdrawn", until, what == "narrowed")

    # -- versions, permits, extracts

    @precondition(lambda self: self.versions < 3)
    @rule()
    def a_version_is_published(self) -> None:
        self.versions += 1
        with self.db.unit_of_work() as session:
            old = session.get_one(DatasetVersion, self.world.version_id)
            old.state = "superseded"
            new = DatasetVersion(
                id=new_id("ver"), dataset_id=old.dataset_id, number=self.versions, state="published",
                dictionary=old.dictionary, dictionary_digest="0" * 64, report=None, people=0,
                created_at=self.clock(), published_at=self.clock(),
            )  # fmt: skip
            session.add(new)
        self.world.version_id = new.id
        worlds.fill_vault(
            self.db, self.world.gate.engine.vault, self.folder, new.id, self.world.keys[self.versions :],  # type: ignore[attr-defined]
            {"person": worlds.PEOPLE_SQL, "visit": worlds.VISIT_SQL, "steps": worlds.STEPS_SQL},
        )  # fmt: skip
        self.world.plan = self.world.plan.model_copy(update={"version_id": new.id})

    @precondition(lambda self: len(self.orders) < 3)
    @rule()
    def an_extract_is_approved_and_ordered(self) -> None:
        extract = self.world.permit()
        self.orders.append(extract)
        self._order("build_extract", extract)

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 2))
    def a_reissue_is_ordered(self, which: int) -> None:
        extract = self.orders[which % len(self.orders)]
        with self.db.read() as session:
            if session.get_one(Extract, extract).state != "ready":
                return
        self._order("reissue_extract", extract)

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 2), verb=st.sampled_from(PERMIT_VERBS))
    def a_steward_acts_on_a_permit(self, which: int, verb: str) -> None:
        with self.db.read() as session:
            permit = session.get_one(Extract, self.orders[which % len(self.orders)]).permit_id
        try:
            with self.db.unit_of_work() as session:
                permits.manage(session, self.steward, permit, verb, "", self.clock())
        except Problem as problem:
            if problem.code != "conflict":
                raise

    # -- time and work

    @rule(who=st.lists(st.integers(0, ACTIVE - 1), min_size=2, max_size=8, unique=True))
    def many_leave_in_one_word(self, who: list[int]) -> None:
        """A register that takes several people out at once, in one job."""
        keys = [self.world.keys[one] for one in who]
        taken, today = list[tuple[int, list[str]]](), self.clock.now.date()
        said = register.Statement("withdrawn", given_at=None)
        with self.db.unit_of_work() as session:
            for key in keys:
                lost = register.set_consent(
                    session, self.world.cohort_id, key, ["clinical"], said, at=self.clock(), actor="client:hospital"
                )  # fmt: skip
                taken += [(key, domains) for domains in lost.values()]
            if taken:
                self.withdrawals.leave(session, self.world.cohort_id, USUAL_KIND, taken, self.clock())
        for key in keys:
            self.said[key, "clinical"] = Said(False)
        assert today == self.clock.now.date()

    @rule(days=st.sampled_from([1, 1, 4, 100]))
    def days_pass(self, days: int) -> None:
        self.clock.now += timedelta(days=days)
        self.withdrawals.end_by_date()
        self.extracts.expire_due()

    @rule(most=st.integers(1, 3))
    def some_jobs_run(self, most: int) -> None:
        with self.db.read() as session:
            waiting = select(Job.id).where(Job.state == "waiting").order_by(Job.created_at, Job.id)
            ids = list(session.scalars(waiting.limit(most)))
        for job_id in ids:
            execute(self.db, self.clock, self.jobs.tasks, job_id)

    @rule(point=st.sampled_from(DEATHS), before=st.booleans())
    def a_process_dies_at_the_next_job(self, point: tuple[type, str], before: bool) -> None:
        """It is killed when it comes to the point; the job goes on as running, as its row says."""
        with self.db.read() as session:
            waiting = select(Job.id).where(Job.state == "waiting").order_by(Job.created_at, Job.id)
            job_id = session.scalar(waiting.limit(1))
        if job_id is not None:
            with dying(*point, before), suppress(Killed):
                execute(self.db, self.clock, self.jobs.tasks, job_id)

    @rule()
    def everything_settles(self) -> None:
        with self.db.read() as session:
            begun = list(session.scalars(select(Job.id).where(Job.state == "running").order_by(Job.id)))
        for job_id in begun:  # as the engine does when it starts again
            execute(self.db, self.clock, self.jobs.tasks, job_id)
        self.jobs.drain()
        self.nobody_is_read_who_does_not_consent()
        for extract in self.orders:
            self._classes_hold(extract)
        with self.db.read() as session:
            failed = select(Job.kind, Job.failure).where(Job.state == "failed")
            told = [(kind, (failure or {}).get("code")) for kind, failure in session.execute(failed)]
        assert [one for one in told if one[1] == "internal"] == []
        self._nothing_is_left_closed()

    # -- what must hold

    @invariant()
    def nobody_is_read_who_does_not_consent(self) -> None:
        today = self.clock.now.date()
        for extract, part in self._readable():
            known = self._known(extract)
            domain = DOMAIN_OF[part.table_name]
            if part.table_name == "person":
                self._classes_of(extract, part.name)
            for pseudonym in self._people_of(extract, part.name):
                one = (known[pseudonym], domain)
                assert self.said[one].covers(today), (part.table_name, part.state)

    def _nothing_is_left_closed(self) -> None:
        """Where a permit is live, what a withdrawal closed is built without them, or will be tried again."""
        with self.db.read() as session:
            stuck = (
                select(Part.extract_id)
                .join(Extract, Extract.id == Part.extract_id)
                .join(Permit, Permit.id == Extract.permit_id)
                .where(Part.state == "blocked", Extract.state == "ready", Permit.state == "active")
                .where(Permit.valid_until >= self.clock.now.date())
            )
            tried = select(Job.subject).where(Job.kind == "reissue_extract", Job.state == "waiting")
            held_up = set(session.scalars(tried))
            assert set(session.scalars(stuck)) <= held_up
            blocked = select(Part.extract_id).join(Extract, Extract.id == Part.extract_id)
            blocked = blocked.where(Part.state == "blocked", Extract.state.in_(("building", "ready")))
            held_up |= set(session.scalars(blocked))
            self._receipts_end_with_their_last_extract(session, held_up)

    def _receipts_end_with_their_last_extract(self, session: Session, held_up: set[str]) -> None:
        """A withdrawal is closed exactly when every extract is without the person; what is open waits for one that is
        held up, because its permit is not live or its build is tried again later. Of each it is told once."""
        told = Counter[tuple[str, str]]()
        for line in session.scalars(select(AuditLine).where(AuditLine.event == "recall.settled")):
            told[line.data["withdrawal"], line.object_id] += 1
        for row in session.scalars(select(Withdrawal)):
            marks = session.scalars(select(BlockMark).where(BlockMark.withdrawal_id == row.id)).all()
            assert all(mark.narrowed for mark in marks)
            assert {m.extract_id: told[row.id, m.extract_id] for m in marks} == {
                m.extract_id: int(m.told_at is not None) for m in marks
            }
            left = {mark.extract_id for mark in marks if mark.told_at is None}
            assert (row.state == "closed") == (not left)
            assert left <= held_up

    def _classes_hold(self, extract: str) -> None:
        """Over what was handed out together and is in circulation: the parts that are open, and those that are closed
        for a withdrawal where nothing more is built under an ended permit."""
        with self.db.read() as session:
            query = select(Part.name).where(
                Part.extract_id == extract, Part.table_name == "person", Part.state.in_(("ready", "blocked"))
            )
            names = list(session.scalars(query))
        open_ones = {part.name for of, part in self._readable() if of == extract}
        if not open_ones & set(names):
            return
        classes: Counter[Any] = Counter()
        for name in names:
            # A closed part's bytes are gone; what was never open was in nobody's hands.
            found = (
                self._classes_of(extract, name) if name in open_ones else self.classes.get(name, Counter())
            )
            classes.update(found)
        assert min(classes.values(), default=K) >= K

    def _classes_of(self, extract: str, name: str) -> Counter[Any]:
        if name not in self.classes:
            table = pq.read_table(self._path(extract, name), columns=["age", "sex"])
            rows = table.group_by(["age", "sex"]).aggregate([([], "count_all")]).to_pylist()
            self.classes[name] = Counter({(row["age"], row["sex"]): row["count_all"] for row in rows})
        return self.classes[name]

    def _readable(self) -> Iterator[tuple[str, Part]]:
        with self.db.read() as session:
            parts = list(session.scalars(select(Part).where(Part.extract_id.in_(self.orders))))
        for part in parts:
            try:
                self.extracts.check_part(part.extract_id, part.name)
            except Problem:
                continue
            yield part.extract_id, part

    def _people_of(self, extract: str, name: str) -> frozenset[str]:
        if name not in self.read:
            column = pq.read_table(self._path(extract, name), columns=["pid"])["pid"]
            self.read[name] = frozenset(pc.unique(column.cast("string")).to_pylist())
        return self.read[name]

    def _known(self, extract: str) -> dict[str, int]:
        if extract not in self.names:
            self.names[extract] = {name: key for key, name in self.world.pseudonyms(extract).items()}
        return self.names[extract]

    def _path(self, extract: str, name: str) -> Path:
        return self.folder / "outbox" / extract / name

    def _order(self, kind: str, extract: str) -> None:
        with self.db.unit_of_work() as session:
            enqueue(session, kind, subject=extract, at=self.clock())


def source(key: int) -> str:
    """How the hospital knows a person."""
    return f"P-{key:05}"


def run(machine: type[Sequence], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps,
            suppress_health_check=list(HealthCheck), phases=(Phase.generate,), verbosity=Verbosity.quiet,
        ),
    )  # fmt: skip


def test_one_sequence_that_touches_everything() -> None:
    """The same verbs in an order in which each matters; what must hold is looked at between any two. None of them locks
    against the agreed order."""
    with locks.recorded() as order:
        _everything()
    assert len(order.after) >= 4  # it was looked at
    assert order.against(LOCKS) == []


def _everything() -> None:
    one = Sequence()
    steps: list[Callable[[], None]] = [
        one.something_was_handed_out,
        lambda: one.withdraws(4, ()),
        lambda: one.some_jobs_run(1),  # narrowed to parts, and the next generation not yet built
        one.an_extract_is_approved_and_ordered,
        lambda: one.withdraws(6, ("lifelog",)),
        one.everything_settles,
        lambda: one.says(one.world.keys[7], "clinical", "withdrawn"),
        one.a_version_is_published,
        lambda: one.days_pass(4),  # somebody's consent has ended by its date
        one.everything_settles,
        lambda: one.a_steward_acts_on_a_permit(0, "suspend"),
        lambda: one.many_leave_in_one_word([8, 10, 12]),
        lambda: one.a_process_dies_at_the_next_job((WithdrawalService, "_carry"), False),
        lambda: one.withdraws(13, ()),
        one.everything_settles,
        lambda: one.a_steward_acts_on_a_permit(0, "resume"),
        one.everything_settles,
        lambda: one.says(one.world.keys[4], "clinical", "granted"),
        lambda: one.a_reissue_is_ordered(1),
        one.everything_settles,
        lambda: one.days_pass(100),
        one.everything_settles,
    ]
    try:
        for step in steps:
            step()
            one.nobody_is_read_who_does_not_consent()
    finally:
        one.close()


@pytest.mark.again
def test_no_sequence_leaves_a_row_of_somebody_who_does_not_consent(rounds: int) -> None:
    run(Sequence, rounds, 7)


@pytest.mark.again
def test_a_consent_that_is_narrowed_to_another_purpose_leaves_every_copy() -> None:
    """Found by the sequence: the next generation left them out, but nobody ordered it."""
    sequence = Sequence()
    try:
        sequence.something_was_handed_out()
        sequence.says(sequence.world.keys[1], "clinical", "narrowed")
        sequence.everything_settles()
    finally:
        sequence.close()


@pytest.mark.long
def test_no_long_sequence_does_either() -> None:
    run(Sequence, tries(6, 60), 40)
