"""A state machine over the register: whatever is said, loaded, taken back, outlived: every reading equals a model."""

from __future__ import annotations

import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.consents import epochs, history, register
from app.consents.minors import adult_due
from app.consents.queries import covered
from app.db import Database
from app.errors import Problem
from app.models import Cohort
from tests.amounts import tries
from tests.integration.consents.world import FIRST, RegisterWorld, line

PEOPLE, DOMAINS = ("A", "B", "C"), ("clinical", "genomic")
AGE = 19
BORN = date(2007, 5, 1)  # comes of age on 1 May 2026; the world begins on 2 March 2026

days = st.integers(-400, 0)
said = st.fixed_dictionaries(
    {"who": st.sampled_from(PEOPLE), "domain": st.sampled_from(DOMAINS), "ago": days,
     "purposes": st.sampled_from(["", "HMB", "GRU;HMB"]), "lasts": st.none() | st.integers(0, 60),
     "proxy": st.booleans(), "withdraws": st.booleans(), "dated": st.booleans()}
)  # fmt: skip


class Said:
    """What the model holds of one person and domain."""

    def __init__(
        self, state: str, given: date | None, until: date | None, due: date | None, purposes: str, proxy: bool
    ):
        self.state, self.given, self.until, self.due, self.purposes, self.proxy = (
            state,
            given,
            until,
            due,
            purposes,
            proxy,
        )

    def same(self, other: Said) -> bool:
        fields = ("given", "until", "due", "purposes", "proxy")
        return all(getattr(self, name) == getattr(other, name) for name in fields)

    def holds(self, on: date, purpose: str | None) -> bool:
        alive = self.state == "granted" and (self.until is None or self.until >= on)
        grown = self.due is not None and self.due <= on
        wide = purpose is None or not self.purposes or "GRU" in self.purposes or purpose == "HMB"
        return alive and not grown and wide


class Register(RuleBasedStateMachine):
    """People say things in files and in person, time passes, chores run or do not."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.db = Database(f"sqlite:///{Path(self.folder.name) / 'b.db'}")
        self.world = RegisterWorld(self.db)
        self.model: dict[tuple[str, str], Said] = {}
        self.seen: list[tuple[datetime, dict[tuple[str, str | None], set[str]]]] = []
        self.persons: dict[str, tuple[bool, bool]] = {}
        self.world.enrol(PEOPLE)
        self.keys = {who: self.world.key(who) for who in PEOPLE}

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.dispose()
            self.folder.cleanup()

    # -- what the model makes of a word

    def _word(self, one: dict[str, Any]) -> Said:
        today = self.world.now.date()
        day = today + timedelta(days=one["ago"])
        if one["withdraws"]:
            return Said("withdrawn", day if one["dated"] else today, None, None, "", False)
        given = day if one["dated"] or one["proxy"] else None
        until = None if one["lasts"] is None else max(today, given or today) + timedelta(days=one["lasts"])
        due = adult_due(BORN, given, AGE, by_proxy=one["proxy"])
        purposes = ";".join(sorted(filter(None, one["purposes"].split(";"))))
        return Said("granted", given, until, due, purposes, one["proxy"])

    def _accepts(self, held: Said | None, word: Said, same_day: bool) -> bool:
        """Whether the register takes the word; where it does not, all stays as it was."""
        if held is None or word.state == "withdrawn":
            return True
        if held.state == "withdrawn":
            assert held.given is not None
            return word.given is not None and (
                word.given > held.given or (same_day and word.given == held.given)
            )
        if held.state in ("granted", "reconsent_due") and held.due and not word.proxy:
            return held.same(word) or (word.given is not None and word.given >= held.due)
        return True

    def _take(self, who: str, domain: str, word: Said, same_day: bool) -> bool:
        """Whether anything changed."""
        held = self.model.get((who, domain))
        if not self._accepts(held, word, same_day):
            return False
        if held is not None and held.state == word.state == "withdrawn":
            return False
        if held is not None and "withdrawn" not in (held.state, word.state) and held.same(word):
            return False
        self.model[who, domain] = word
        return True

    # -- what happens

    @rule(lines=st.lists(said, min_size=1, max_size=4, unique_by=lambda one: (one["who"], one["domain"])))
    def load(self, lines: list[dict[str, Any]]) -> None:
        words = {(one["who"], one["domain"]): self._word(one) for one in lines}
        rows = [
            line(who, domain, word.state, given_at=word.given or "", valid_until=word.until or "",
                 purposes=word.purposes, by_proxy="yes" if word.proxy else "no",
                 birth_month="2007-05" if word.proxy else "", assent="given" if word.proxy else "")
            for (who, domain), word in words.items()
        ]  # fmt: skip
        epoch = self.world.epoch()
        changed = sum(self._take(who, domain, word, same_day=False) for (who, domain), word in words.items())
        loaded = self.world.load(rows)
        assert loaded.changed == changed
        assert self.world.epoch() == epoch + bool(changed)
        assert self.world.load(rows).changed == 0  # the same file again

    @rule(one=said)
    def say(self, one: dict[str, Any]) -> None:
        word = self._word({**one, "withdraws": False, "dated": True})
        statement = register.Statement(
            "granted", tuple(filter(None, word.purposes.split(";"))), given_at=word.given, valid_until=word.until,
            by_proxy=word.proxy, assent="given" if word.proxy else "", adult_due=word.due,
        )  # fmt: skip
        held = self.model.get((one["who"], one["domain"]))
        takes = self._accepts(held, word, same_day=True)
        try:
            with self.db.unit_of_work() as session:
                register.set_consent(
                    session,
                    FIRST,
                    self.keys[one["who"]],
                    [one["domain"]],
                    statement,
                    at=self.world.clock(),
                    actor="t",
                )
            assert takes
        except Problem as refused:
            assert (refused.code, takes) == ("conflict", False)  # noqa: PT017
        self._take(one["who"], one["domain"], word, same_day=True)

    @rule(who=st.sampled_from(PEOPLE), domain=st.sampled_from(DOMAINS))
    def withdraw(self, who: str, domain: str) -> None:
        today = self.world.now.date()
        with self.db.unit_of_work() as session:
            register.withdraw(
                session, epochs.lock(session, FIRST), self.keys[who], [domain], at=self.world.clock()
            )
        self._take(who, domain, Said("withdrawn", today, None, None, "", False), same_day=True)

    @rule(who=st.sampled_from(PEOPLE), dead=st.booleans(), links=st.booleans())
    def tell_of_a_person(self, who: str, dead: bool, links: bool) -> None:
        self.world.load(
            [line(who, "recontact", deceased="yes" if dead else "no", may_link="yes" if links else "no")]
        )
        self.persons[who] = (links, dead)

    @rule(passed=st.sampled_from([1, 7, 31, 61]))
    def time_passes(self, passed: int) -> None:
        self.world.now += timedelta(days=passed)

    @rule()
    def chores(self) -> None:
        now = self.world.clock()
        on = now.date()
        with self.db.unit_of_work() as session:
            for people, state in (
                (register.of_age(session, FIRST, on), "reconsent_due"),
                (register.ended(session, FIRST, on), "ended"),
            ):
                register.end(session, session.get_one(Cohort, FIRST), people, state, at=now)
        for held in self.model.values():
            if (
                held.state == "granted"
                and held.due
                and held.due <= on
                and not (held.until and held.until < on)
            ):
                held.state = "reconsent_due"
            if held.state in ("granted", "reconsent_due") and held.until and held.until < on:
                held.state = "ended"

    # -- what must hold

    def _expected(self, on: date) -> dict[tuple[str, str | None], set[str]]:
        return {
            (domain, purpose): {
                who for (who, of), held in self.model.items() if of == domain and held.holds(on, purpose)
            }
            for domain in DOMAINS
            for purpose in (None, "GRU")
        }

    def _read(self, at: datetime, as_of: datetime | None) -> dict[tuple[str, str | None], set[str]]:
        names = {key: who for who, key in self.keys.items()}
        with self.db.read() as session:
            return {
                (domain, purpose): {
                    names[int(key)]
                    for key in covered(
                        session, FIRST, domain, {"term": purpose} if purpose else None, at.date(), as_of
                    )
                }
                for domain in DOMAINS
                for purpose in (None, "GRU")
            }

    @precondition(lambda self: hasattr(self, "model"))
    @invariant()
    def now_is_as_the_model_says(self) -> None:
        at = self.world.clock()
        expected = self._expected(at.date())
        assert self._read(at, None) == expected
        assert self._read(at, at) == expected
        self.seen.append((at, expected))
        with self.db.read() as session:
            for who, told in self.persons.items():
                assert history.person_as_of(session, self.keys[who], at) == told

    @precondition(lambda self: len(getattr(self, "seen", ())) > 1)
    @rule(which=st.integers(0, 10**6))
    def the_past_stays_as_it_was(self, which: int) -> None:
        at, expected = self.seen[which % len(self.seen)]
        assert self._read(at, at) == expected


Register.TestCase.settings = settings(
    max_examples=tries(3, 100), stateful_step_count=14,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
TestRegister = pytest.mark.faults(Register.TestCase)
