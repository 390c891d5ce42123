"""Institutions that leave or go over into another: two people, one order, and what becomes of everything they had."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.consents.custody import heirs, lock_all
from app.consents.queries import counts, covered
from app.db import new_id
from app.errors import Problem
from app.institutions.departure_states import TRANSITIONS, step
from app.models import (
    AccessRequest,
    Account,
    Cohort,
    Departure,
    Freeze,
    Incident,
    IncidentParty,
    Institution,
    Integration,
    IntegrationApproval,
    Quota,
    Review,
    Withdrawal,
)
from tests.amounts import first
from tests.integration.control_plane.world import (
    ON_BOTH,
    START,
    World,
    approval,
    person,
    settle,
    together,
)


@pytest.fixture
def two(world: World) -> World:
    """Two institutions with a published version each, and operators."""
    world.people["operator"] = person("operator", "platform")
    world.published(who="holder")
    world.published(who="heir")
    return world


def home(world: World, who: str) -> str:
    return str(world.people[who].institution_id)


def declared(world: World, who: str = "holder", into: str | None = None, days: int = 0) -> str:
    body = {"reason": "closed", "on": (world.now.at.date() + timedelta(days=days)).isoformat()}
    body |= {"successor_id": home(world, into)} if into else {}
    return str(world.ok(who, "POST", f"/v1/institutions/{home(world, who)}/departures", body)["id"])


def cohort_of(world: World, who: str) -> str:
    with world.db.read() as session:
        return session.scalars(select(Cohort.id).where(Cohort.institution_id == home(world, who))).one()


def test_every_verb_in_every_state() -> None:
    verbs = {verb for allowed in TRANSITIONS.values() for verb in allowed}
    for state, verb in product(TRANSITIONS, verbs):
        if verb in TRANSITIONS[state]:
            assert step(state, verb) in TRANSITIONS
        else:
            with pytest.raises(Problem, match="conflict"):
                step(state, verb)


def test_whoever_declares_does_not_confirm_and_nothing_happens_before_its_day(two: World) -> None:
    told = declared(two, days=3)
    path = f"/v1/departures/{told}"
    assert two.problem(403, "forbidden", "holder", "POST", f"{path}/confirm")["reason"] == "own_request"
    two.problem(404, "not_found", "heir", "POST", f"{path}/confirm")
    two.problem(403, "insufficient_scope", "steward", "POST", f"{path}/confirm")
    two.problem(404, "not_found", "heir", "GET", path)
    assert two.ok("operator", "POST", f"{path}/confirm")["state"] == "confirmed"
    assert two.house.departures.carry_out_due() == 0
    two.ok("holder", "GET", f"/v1/cohorts/{cohort_of(two, 'holder')}")
    two.now.pass_days(3)
    assert two.house.departures.carry_out_due() == 1
    assert two.house.departures.carry_out_due() == 0
    assert two.ok("operator", "GET", path)["state"] == "carried_out"
    two.problem(409, "conflict", "operator", "POST", f"{path}/call-off")
    assert [one["id"] for one in two.ok("operator", "GET", "/v1/departures")["items"]] == [told]
    assert two.ok("heir", "GET", "/v1/departures")["items"] == []


@pytest.mark.again
def test_all_that_is_wrong_is_told_at_once_and_one_departure_at_a_time(two: World) -> None:
    path = f"/v1/institutions/{home(two, 'holder')}/departures"
    body = {"reason": "x", "on": "2020-01-01", "successor_id": "ins_none"}
    found = two.problem(422, "invalid_request", "holder", "POST", path, body)
    assert {one["pointer"] for one in found["problems"]} == {"/successor_id", "/on"}
    body = {"reason": "x", "on": two.now.at.date().isoformat(), "successor_id": home(two, "holder")}
    two.problem(422, "invalid_request", "platform", "POST", path, body)
    two.problem(404, "not_found", "heir", "POST", path, body)
    told = declared(two)
    two.problem(409, "conflict", "holder", "POST", path, {"reason": "x", "on": body["on"]})
    assert two.ok("operator", "POST", f"/v1/departures/{told}/call-off")["state"] == "called_off"
    assert two.events(f"institution:{home(two, 'holder')}")[-2:] == [
        "departure.declared",
        "departure.called_off",
    ]


@ON_BOTH
def test_two_who_confirm_at_once_carry_it_out_once(two: World) -> None:
    told, said = declared(two), list[int]()
    together([lambda: said.append(
        two.call("operator", "POST", f"/v1/departures/{told}/confirm").status_code
    )] * 2)  # fmt: skip
    assert sorted(said) == [200, 409]
    assert two.events("platform").count("institution.left") == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("into", first(1, ["holder", None]))
def test_who_departs_at_the_same_moment_as_its_successor_goes_over_into_nobody_closed(
    two: World, monkeypatch: pytest.MonkeyPatch, into: str | None
) -> None:
    """Each is looked at while the other has not committed. On SQLite the second does not come this far."""
    both = [declared(two, into="heir"), declared(two, "heir", into=into)]
    looked_at, said = list[str](), list[int]()

    def goes_on(session: Session, institution_id: str) -> list[Cohort]:
        looked_at.append(institution_id)
        for _look in range(400):
            if len(looked_at) == 2 or _somebody_waits(two):
                break
            time.sleep(0.005)
        return lock_all(session, institution_id)

    def confirm(departure: str) -> None:
        said.append(two.call("operator", "POST", f"/v1/departures/{departure}/confirm").status_code)

    monkeypatch.setattr("app.institutions.departures.lock_all", goes_on)
    together([lambda: confirm(both[0]), lambda: confirm(both[1])])
    with two.db.read() as session:
        held = select(Institution).join(Cohort, Cohort.institution_id == Institution.id)
        assert not session.scalars(
            held.where(Institution.closed_at.is_not(None), Cohort.ended_at.is_(None))
        ).all()
        assert sum(len(heirs(session, home(two, who))) for who in ("holder", "heir")) <= 1
        states = [session.get_one(Departure, one).state for one in both]
    if into:
        assert (sorted(said), sorted(states)) == ([200, 422], ["carried_out", "confirmed"])


def _somebody_waits(world: World) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with world.db.engine.connect() as connection:
        return bool(connection.exec_driver_sql(query).scalar())


@ON_BOTH
def test_who_leaves_counts_no_more_and_every_open_thing_ends_with_the_reason(two: World) -> None:
    cohort, home_id = cohort_of(two, "holder"), home(two, "holder")
    two.consenting(cohort, 30)
    two.ok("holder", "PUT", f"/v1/cohorts/{cohort}/feeds/withdrawals", {"every_days": 1})
    two.now.pass_days(10)
    two.house.feeds.check()
    draft = two.next_draft(dataset_of(two, "holder"), "holder")
    requests = [
        asked(two, "holder", "researcher"),
        asked(two, "heir", "researcher"),
        asked(two, "heir", "inside"),
    ]
    integration = drafted(two, ("holder", "heir"))
    with two.db.unit_of_work() as session:
        session.add(Account(id="acc_2", username="lee", password_hash="", role="inspector", institution_id=home_id,
                            created_at=START))  # fmt: skip
        session.add(Account(id="acc_1", username="kim", password_hash="", role="institution", institution_id=home_id,
                            created_at=START))  # fmt: skip
    told = two.ok("operator", "POST", f"/v1/departures/{declared(two)}/confirm")
    assert {name: told["counts"][name] for name in ("cohorts", "requests", "integrations", "feeds", "accounts")} == {
        "cohorts": 1, "requests": 2, "integrations": 1, "feeds": 1, "accounts": 1
    }  # fmt: skip
    with two.db.read() as session:
        states = {one: session.get_one(AccessRequest, one).state for one in requests}
        assert list(states.values()) == ["expired", "draft", "expired"]
        assert session.get_one(AccessRequest, requests[0]).notes[-1]["on"] == "end"
        assert session.get_one(Integration, integration).state == "withdrawn"
        assert covered(session, cohort, "clinical", None, two.now.at.date()).size == 0
        assert home_id not in counts(session, two.now.at.date()).by_institution
        [row] = session.scalars(select(Withdrawal)).all()
        assert (row.kind, row.cohort_id, row.participant_key) == ("cohort_ended", cohort, None)
        assert not session.get_one(Account, "acc_1").active
        assert session.get_one(Account, "acc_2").active  # an inspector reads on until their day
    assert two.ok("steward", "GET", f"/v1/versions/{draft}")["state"] == "withdrawn"
    assert two.ok("steward", "GET", "/v1/alarms?state=open")["items"] == []
    assert "institution.left" in two.events(f"institution:{home_id}")
    found = [one["id"] for one in two.ok("researcher", "GET", "/v1/catalog")["items"]]
    assert found == [dataset_of(two, "heir")]


@ON_BOTH
@pytest.mark.again
def test_a_merger_hands_over_queues_boards_freezes_quotas_and_alarms(two: World) -> None:
    cohort, old, new = cohort_of(two, "holder"), home(two, "holder"), home(two, "heir")
    two.ok("holder", "PUT", f"/v1/cohorts/{cohort}/feeds/withdrawals", {"every_days": 1})
    for _ in range(20):  # the old chain is longer than the successor's: its numbers mean nothing there
        two.ok("holder", "POST", f"/v1/cohorts/{cohort}/feeds/withdrawals/empty")
    two.now.pass_days(10)
    two.house.feeds.check()
    request, integration = asked(two, "heir", "researcher"), drafted(two, ("holder", "heir"))
    with two.db.unit_of_work() as session:
        for board, whose, state in (
            ("DRB", old, "approved"),
            ("IRB", old, "approved"),
            ("IRB", new, "pending"),
        ):
            session.add(Review(id=new_id("rev"), request_id=request, board=board, institution_id=whose, state=state,
                               reviewer="", at=START))  # fmt: skip
        for subject, most in ((old, 100), (new, 50)):
            session.add(Quota(subject=subject, name="vault_bytes", most=most, set_by="t", set_at=START))
        session.add(Quota(subject=new, name="inbox_bytes", most=0, set_by="t", set_at=START))
        session.add(Incident(id="inc_1", kind="leak", text="", state="contained", notices=[], reported_by="t",
                             touches=[{"kind": "institution", "subject": old}], known_at=START,
                             reported_at=START))  # fmt: skip
        session.flush()
        session.add(IncidentParty(incident_id="inc_1", institution_id=old))
        session.add(
            Freeze(id="frz_1", incident_id="inc_1", kind="institution", subject=old, set_at=START, set_by="t")
        )
        said = session.get_one(IntegrationApproval, (integration, old))
        said.state, said.by = "approved", "client:theirs"
    told = declared(two, into="heir")
    done = two.ok("heir", "POST", f"/v1/departures/{told}/confirm")
    assert (done["counts"]["cohorts"], done["counts"]["feeds"]) == (1, 1)
    with two.db.read() as session:
        rows = session.scalars(select(Review).order_by(Review.board)).all()
        assert [(one.board, one.institution_id, one.state) for one in rows] == [
            ("DRB", new, "approved"), ("IRB", new, "pending")
        ]  # fmt: skip
        mosts = {one.name: one.most for one in session.scalars(select(Quota).where(Quota.subject == new))}
        assert mosts["vault_bytes"] == 150
        assert mosts["inbox_bytes"] == 0
        freezes = session.scalars(select(Freeze).where(Freeze.kind == "cohort")).all()
        assert [(one.subject, one.incident_id) for one in freezes] == [(cohort, "inc_1")]
        incident = session.get_one(Incident, "inc_1")
        assert incident.touches == [{"kind": "cohort", "subject": cohort}]
        [approval] = session.scalars(select(IntegrationApproval)).all()
        assert (approval.institution_id, approval.state) == (new, "pending")  # its own had not approved yet
        assert session.get_one(Institution, old).successor_id == new
    two.ok("heir", "GET", "/v1/incidents/inc_1")
    [alarm] = two.ok("heir", "GET", "/v1/alarms")["items"]
    assert (alarm["kind"], alarm["institution_id"]) == ("feed_missing", new)
    two.ok("heir", "POST", f"/v1/cohorts/{cohort}/feeds/withdrawals/empty")
    assert two.house.feeds.check() == 0
    assert two.ok("heir", "GET", "/v1/alarms?state=open")["items"] == []
    two.problem(404, "not_found", "holder", "GET", f"/v1/cohorts/{cohort}")  # a token that names the old one


def test_nothing_is_half_done_where_a_part_fails_and_the_chore_does_it_later(
    two: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort, service = cohort_of(two, "holder"), two.house.departures
    told = declared(two, into="heir", days=1)
    two.ok("heir", "POST", f"/v1/departures/{told}/confirm")
    two.now.pass_days(1)
    moves = service.moves

    def breaks(*_all: Any) -> dict[str, int]:
        raise RuntimeError("the machine stops here")

    object.__setattr__(service, "moves", (*moves, breaks))
    with pytest.raises(RuntimeError):
        service.carry_out_due()
    with two.db.read() as session:
        assert session.get_one(Cohort, cohort).institution_id == home(two, "holder")
        assert session.get_one(Departure, told).state == "confirmed"
        assert session.get_one(Institution, home(two, "holder")).closed_at is None
    object.__setattr__(service, "moves", moves)
    assert service.carry_out_due() == 1
    with two.db.read() as session:
        assert session.get_one(Cohort, cohort).institution_id == home(two, "heir")


@pytest.mark.again
def test_what_people_of_who_left_hold_elsewhere_is_suspended(two: World) -> None:
    request = asked(two, "heir", "inside")
    plan = two.ok("inside", "POST", f"/v1/requests/{request}/submit")["plan_hash"]
    settle(two, request)
    permit = two.ok("steward", "POST", f"/v1/requests/{request}/decision", approval(plan))["permit_id"]
    digest = two.ok("inside", "GET", f"/v1/permits/{permit}/agreement")["digest"]
    two.ok("inside", "POST", f"/v1/permits/{permit}/agreement", {"digest": digest})
    told = two.ok("operator", "POST", f"/v1/departures/{declared(two)}/confirm")
    assert (told["counts"]["permits"], told["counts"]["permits_suspended"]) == (0, 1)
    assert two.ok("steward", "GET", f"/v1/permits/{permit}")["state"] == "suspended"


def dataset_of(world: World, who: str) -> str:
    [found] = world.ok(who, "GET", f"/v1/cohorts/{cohort_of(world, who)}/datasets")["items"]
    return str(found["id"])


def asked(world: World, whose: str, who: str) -> str:
    """A draft of somebody for the published version of an institution."""
    if who == "inside":
        world.people[who] = person(who, "researcher", home(world, "holder"))
    [version] = [
        one
        for one in world.ok(whose, "GET", f"/v1/datasets/{dataset_of(world, whose)}/versions")["items"]
        if one["state"] == "published"
    ]
    body = {
        "version_id": version["id"], "title": "t", "purpose": {"term": "GRU"}, "tables": {"person": ["YEAR_OF_BIRTH"]},
        "irb_reference": "IRB", "end_date": (world.now.at.date() + timedelta(days=100)).isoformat(),
    }  # fmt: skip
    return str(world.ok(who, "POST", "/v1/requests", body)["id"])


def drafted(world: World, sources: tuple[str, str]) -> str:
    """An integration under review that the first drafts of both."""
    row = Integration(
        id=new_id("int"), institution_id=home(world, sources[0]), dataset_id=dataset_of(world, sources[0]), number=1,
        state="in_review", mapping=None, report={"unmapped": []}, created_at=START,
    )  # fmt: skip
    with world.db.unit_of_work() as session:
        session.add(row)
        session.flush()
        for one in sources:
            session.add(
                IntegrationApproval(
                    integration_id=row.id, institution_id=home(world, one), mapping_digest="d" * 64, state="pending"
                )
            )  # fmt: skip
    return row.id
