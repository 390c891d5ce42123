"""Whatever is reported, frozen, thawed and ended in whatever order: a byte flows if and only if nothing it hangs on is
frozen, nothing stays frozen for an incident that is over, and the chains hold."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from app.audit.chain import verify
from app.auth import freezes
from app.auth.policy import Target
from app.db import Database
from app.errors import Problem
from app.incidents.states import LIVE, TRANSITIONS
from app.models import AuditHead, Freeze, Incident
from tests.integration.incidents.site import PLATFORM as ADMIN
from tests.integration.incidents.site import Site

KINDS = ("permit", "project", "cohort", "institution", "platform", "client")
VERBS = ("contain", "thaw", "assess", "people", "authority", "recover", "close", "dismiss")


@pytest.mark.parametrize("sequences", [3, pytest.param(60, marks=pytest.mark.long)])
def test_no_sequence_freezes_too_little_or_too_long(sequences: int) -> None:
    """One world is shared: what a sequence leaves is ended before the next."""
    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{Path(folder) / 'baekman.db'}")
        site = Site(db, Path(folder), people=40)
        parts = {site.extract: site.part(), site.second: site.part(site.second)}

        class Life(RuleBasedStateMachine):
            @initialize()
            def begin(self) -> None:
                self.state: dict[str, str] = {}
                self.held: dict[str, set[Target]] = {}

            def of(self, kind: str) -> Target:
                ids = {"permit": site.permit, "project": site.project, "cohort": site.world.cohort_id,
                       "institution": site.home, "platform": "", "client": "researcher"}  # fmt: skip
                return Target(kind, ids[kind])

            @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=2, unique=True))
            def report(self, kinds: list[str]) -> None:
                made = site.report(*map(self.of, kinds), by=ADMIN)
                self.state[made], self.held[made] = "reported", set()

            @precondition(lambda self: self.state)
            @rule(which=st.integers(0, 99), verb=st.sampled_from(VERBS), kind=st.sampled_from(KINDS))
            def act(self, which: int, verb: str, kind: str) -> None:
                incident = sorted(self.state)[which % len(self.state)]
                target, service = self.of(kind), site.incidents
                before = self.state[incident]
                try:
                    if verb in ("contain", "thaw"):
                        view = getattr(service, verb)(ADMIN, incident, [target])
                    elif verb == "assess":
                        view = service.assess(ADMIN, incident, "some", "")
                    elif verb in ("people", "authority"):
                        view = service.notify(ADMIN, incident, verb, None, "")
                    else:
                        view = getattr(service, verb)(ADMIN, incident, "said")
                except Problem as refused:
                    said = refused.code
                    assert (said, verb in TRANSITIONS[before]) == ("conflict", False)
                    return
                self.state[incident] = view["state"]
                held = self.held[incident]
                if verb == "contain":
                    held.add(target)
                elif verb == "thaw":
                    held.discard(target)
                elif verb in ("recover", "dismiss", "close"):
                    held.clear()

            @invariant()
            def a_byte_flows_if_nothing_it_hangs_on_is_frozen(self) -> None:
                held = set().union(*self.held.values()) if getattr(self, "held", None) else set[Target]()
                own = {self.of(kind) for kind in ("permit", "project", "client")}
                for extract, name in parts.items():
                    stopped = bool(held if extract == site.extract else held - own)
                    assert stopped == (not flows(extract, name))

            @invariant()
            def nothing_is_frozen_for_what_is_over(self) -> None:
                with db.read() as session:
                    ended = select(Incident.id).where(Incident.state.not_in(LIVE))
                    query = select(Freeze.id).where(Freeze.lifted_at.is_(None), Freeze.incident_id.in_(ended))
                    assert session.scalars(query).all() == []

            def teardown(self) -> None:
                with db.unit_of_work() as session:
                    for one in session.scalars(select(Freeze).where(Freeze.lifted_at.is_(None))):
                        one.lifted_at, one.lifted_by = site.now, "teardown"

        def flows(extract: str, name: str) -> bool:
            try:
                site.extracts.check_part(extract, name)
            except Problem as refused:
                assert refused.code == "frozen"  # noqa: PT017
                return False
            return True

        found = settings(
            max_examples=sequences, stateful_step_count=12, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        run_state_machine_as_test(Life, settings=found)
        with db.read() as session:
            assert all(
                verify(session, one)[1] is None for one in session.scalars(select(AuditHead.stream)).all()
            )
            assert not freezes.standing(session, [Target("platform")])
        db.dispose()
