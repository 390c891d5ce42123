"""From a draft to a permit: what each step needs, who may take it, and what two at once come to."""

import json
import re
from functools import partial
from typing import Any

import pytest

from app.errors import Problem
from app.models import AccessRequest, Cohort, Permit, Project
from app.requests.decisions import Decided
from tests.amounts import first
from tests.integration.control_plane.world import (
    ON_BOTH,
    World,
    approval,
    asking,
    person,
    settle,
    submitted,
    together,
)


@ON_BOTH
def test_the_whole_way_to_an_active_permit(world: World):
    request, plan_hash = submitted(world)
    settle(world, request)
    world.now.pass_days(3)
    made = world.ok(
        "steward", "POST", f"/v1/requests/{request}/decision", approval(plan_hash, conditions=["Cite us"])
    )
    assert made["state"] == "approved"
    seen = world.ok("researcher", "GET", f"/v1/requests/{request}")
    assert (seen["permit_id"], seen["days"]) == (made["permit_id"], 3.0)
    permit = f"/v1/permits/{made['permit_id']}"
    told = world.ok("researcher", "GET", f"{permit}/agreement")
    assert "Cite us" in told["text"]
    assert "데이터 이용 약정" in told["text"]
    world.problem(
        412, "precondition_failed", "researcher", "POST", f"{permit}/agreement", {"digest": "0" * 64}
    )
    accepted = world.ok("researcher", "POST", f"{permit}/agreement", {"digest": told["digest"]})
    assert accepted["state"] == "active"
    assert world.ok("researcher", "GET", "/v1/permits")["items"][0]["id"] == made["permit_id"]
    assert world.events(f"project:{made['project_id']}") == ["permit.issued", "agreement.accepted"]


def test_whoever_approves_makes_no_key(world: World):
    request, plan_hash = submitted(world)
    settle(world, request)
    made = world.ok("steward", "POST", f"/v1/requests/{request}/decision", approval(plan_hash))
    with world.db.read() as session:
        assert (
            session.get_one(Project, made["project_id"]).key_wrapped is None
        )  # a worker does, when it builds
        assert session.get_one(Permit, made["permit_id"]).plan_hash == plan_hash
    seen = json.dumps(world.ok("researcher", "GET", f"/v1/permits/{made['permit_id']}"))
    assert [
        name for name in re.findall(r'"([^"]*)":', seen) if "key" in name
    ] == []  # in an id it is by chance


def test_an_approval_tells_everything_that_it_lacks(world: World):
    request, plan_hash = submitted(world)
    path = f"/v1/requests/{request}/decision"
    world.problem(409, "conflict", "steward", "POST", path, approval(plan_hash))
    world.ok("steward", "POST", f"/v1/requests/{request}/claim")
    told = world.problem(409, "reviews_required", "steward", "POST", path, approval(plan_hash))
    assert [p["code"] for p in told["problems"]] == [
        "reviews_required",
        "reviews_required",
        "dry_run_required",
    ]
    for board in ("DRB", "IRB"):
        world.ok("steward", "POST", f"/v1/requests/{request}/reviews", {"board": board, "state": "approved"})
    world.problem(409, "dry_run_required", "steward", "POST", path, approval(plan_hash))
    world.problem(412, "precondition_failed", "steward", "POST", path, approval("0" * 64))


def test_a_dry_run_of_an_older_plan_does_not_count(world: World):
    request, plan_hash = submitted(world)
    settle(world, request)
    world.ok("steward", "POST", f"/v1/requests/{request}/return", {"note": "Fewer columns."})
    seen = world.call("researcher", "GET", f"/v1/requests/{request}")
    edited = asking(seen.json()["version_id"], tables={"person": ["YEAR_OF_BIRTH"]})
    del edited["version_id"]
    tag = seen.headers["etag"]
    after = world.ok("researcher", "PUT", f"/v1/requests/{request}", edited, If_Match=tag)
    assert after["plan_hash"] != plan_hash
    world.problem(
        412, "precondition_failed", "researcher", "PUT", f"/v1/requests/{request}", edited, If_Match=tag
    )
    world.ok("researcher", "POST", f"/v1/requests/{request}/submit")
    world.ok("steward", "POST", f"/v1/requests/{request}/claim")
    path = f"/v1/requests/{request}/decision"
    told = world.problem(409, "reviews_required", "steward", "POST", path, approval(after["plan_hash"]))
    assert "dry_run_required" in {p["code"] for p in told["problems"]}


@ON_BOTH
def test_two_decisions_at_once_come_to_one_outcome(world: World):
    request, plan_hash = submitted(world)
    settle(world, request)
    steward, outcomes = world.people["steward"], []

    def decide(decision: Any) -> None:
        try:
            outcomes.append(
                world.house.requests.decide(steward, request, Decided(decision, plan_hash))["state"]
            )
        except Problem as problem:
            outcomes.append(problem.code)

    together([partial(decide, d) for d in ("approve", "reject", "approve", "reject")])
    assert outcomes.count("conflict") == 3
    final = world.ok("researcher", "GET", f"/v1/requests/{request}")
    assert final["state"] in outcomes
    assert (final["permit_id"] is not None) == (final["state"] == "approved")


@ON_BOTH
def test_two_claims_at_once_have_one_claimant(world: World):
    request, _plan_hash = submitted(world)
    world.people["second"] = world.people["steward"].__class__(
        "client:second", "second", "steward", None, world.people["steward"].scopes
    )
    world.ok("steward", "POST", f"/v1/requests/{request}/claim")
    world.problem(409, "conflict", "second", "POST", f"/v1/requests/{request}/claim", {})
    assert world.ok("second", "GET", "/v1/requests?queue=mine")["items"] == []
    taken = world.ok("second", "POST", f"/v1/requests/{request}/claim", {"take_over": True})
    assert taken["claimed_by"] == "client:second"


@pytest.mark.again
def test_unknown_columns_are_told_all_at_once_with_near_matches(world: World):
    _dataset, version = world.published()
    body = asking(version, tables={"person": ["SMOKE", "YEAR_OF_BIRT"], "measurment": []})
    told = world.problem(422, "plan_invalid", "researcher", "POST", "/v1/requests", body)
    near = {(p.get("table"), p.get("column")): p["near"] for p in told["problems"]}
    assert near["person", "SMOKE"] == ["SMOKES"]
    assert near["person", "YEAR_OF_BIRT"][0] == "YEAR_OF_BIRTH"
    assert near["measurment", None] == ["measurement"]


@pytest.mark.again
def test_a_request_asks_for_the_most_rows_of_a_person(world: World):
    _dataset, version = world.published()
    wish = asking(version, max_rows_per_person={"measurement": 3})
    made = world.ok("researcher", "POST", "/v1/requests", wish)
    plan = world.ok("researcher", "GET", f"/v1/requests/{made['id']}")["plan"]
    told = {t["name"]: t.get("max_rows_per_person") for t in plan["tables"]}
    assert told == {"person": None, "measurement": 3}
    wish = asking(version, max_rows_per_person={"person": 3, "measurements": 1})
    answer = world.problem(422, "plan_invalid", "researcher", "POST", "/v1/requests", wish)
    assert {one["code"] for one in answer["problems"]} == {"cap_not_allowed", "unknown_table"}


def test_limits_are_made_stricter_never_looser(world: World):
    _dataset, version = world.published()
    strict = world.ok("researcher", "POST", "/v1/requests", asking(version, privacy={"k": 20}))
    assert world.ok("researcher", "GET", f"/v1/requests/{strict['id']}")["plan"]["privacy"]["k"] == 20
    body = asking(version, privacy={"k": 3, "max_suppression": 0.9, "reserve": 5})
    told = world.problem(422, "plan_invalid", "researcher", "POST", "/v1/requests", body)
    assert {p["pointer"] for p in told["problems"]} == {"/privacy/k", "/privacy/max_suppression"}


def test_the_data_use_terms_deny_before_a_steward_sees_it(world: World):
    _dataset, version = world.published([{"term": "DS", "diseases": ["MONDO:0005015"]}])
    made = world.ok("researcher", "POST", "/v1/requests", asking(version))
    told = world.problem(403, "duo_denied", "researcher", "POST", f"/v1/requests/{made['id']}/submit")
    assert told["problems"]
    assert world.ok("researcher", "GET", f"/v1/requests/{made['id']}")["state"] == "draft"
    assert world.ok("steward", "GET", "/v1/requests")["items"] == []


@pytest.mark.again
def test_terms_that_change_before_the_decision_are_matched_again(world: World):
    request, plan_hash = submitted(world)
    settle(world, request)
    with world.db.unit_of_work() as session:
        cohort = session.get_one(AccessRequest, request).cohort_id
        session.get_one(Cohort, cohort).duo = [{"term": "DS", "diseases": ["MONDO:0005015"]}]
    world.problem(
        403, "duo_denied", "steward", "POST", f"/v1/requests/{request}/decision", approval(plan_hash)
    )


def test_a_draft_is_its_applicants_own(world: World):
    _dataset, version = world.published()
    made = world.ok("researcher", "POST", "/v1/requests", asking(version))
    for who in ("other", "steward"):
        world.problem(404, "not_found", who, "GET", f"/v1/requests/{made['id']}")
        assert world.ok(who, "GET", "/v1/requests")["items"] == []
    world.problem(404, "not_found", "other", "POST", f"/v1/requests/{made['id']}/submit")


def test_only_a_published_version_can_be_asked_for(world: World):
    world.holder()
    _dataset, version = world.draft(world.cohort())
    world.problem(404, "not_found", "researcher", "POST", "/v1/requests", asking(version))


@ON_BOTH
def test_a_dry_run_is_ordered_once_and_tells_how_it_goes(world: World):
    request, plan_hash = submitted(world)
    path = f"/v1/requests/{request}/dry-run"
    first = world.call("steward", "POST", path)
    assert (first.status_code, first.headers["location"]) == (202, path)
    assert first.headers["retry-after"]
    assert world.ok("steward", "POST", path)["id"] == first.json()["id"]
    world.drain()
    told = world.ok("steward", "GET", path)
    assert (told["state"], told["plan_hash"], told["progress"]) == (
        "ready", plan_hash, {"step": "run", "done": 1, "total": 1},
    )  # fmt: skip
    assert told["result"]["smallest_k"] == 13
    assert world.gate.asked == 1
    world.problem(403, "insufficient_scope", "researcher", "GET", path)


@pytest.mark.again
def test_a_dry_run_that_is_refused_says_why_and_can_be_repeated(world: World):
    request, _plan_hash = submitted(world)
    world.gate.refuses = Problem("anonymity_unreachable", "There are too few people.")
    world.ok("steward", "POST", f"/v1/requests/{request}/dry-run")
    world.drain()
    told = world.ok("steward", "GET", f"/v1/requests/{request}/dry-run")
    assert (told["state"], told["result"]["code"]) == ("failed", "anonymity_unreachable")
    world.gate.refuses = None
    world.ok("steward", "POST", f"/v1/requests/{request}/dry-run")
    world.drain()
    assert world.ok("steward", "GET", f"/v1/requests/{request}/dry-run")["state"] == "ready"


@pytest.mark.again
@ON_BOTH
def test_a_repeated_decision_answers_the_same(world: World):
    request, plan_hash = submitted(world)
    settle(world, request)
    path = f"/v1/requests/{request}/decision"
    first = world.ok("steward", "POST", path, approval(plan_hash), Idempotency_Key="d1")
    assert world.ok("steward", "POST", path, approval(plan_hash), Idempotency_Key="d1") == first
    world.problem(409, "conflict", "steward", "POST", path, approval(plan_hash))


@pytest.mark.again
def test_the_permit_ends_within_what_was_asked(world: World):
    request, plan_hash = submitted(world)
    settle(world, request)
    path = f"/v1/requests/{request}/decision"
    late = approval(plan_hash, valid_until="2027-02-01")
    world.problem(422, "invalid_request", "steward", "POST", path, late)
    past = approval(plan_hash, valid_until="2026-03-01")
    world.problem(422, "invalid_request", "steward", "POST", path, past)
    made = world.ok("steward", "POST", path, approval(plan_hash, valid_until="2026-12-31"))
    assert world.ok("steward", "GET", f"/v1/permits/{made['permit_id']}")["valid_until"] == "2026-12-31"


@pytest.mark.again
def test_a_conditional_approval_gives_no_permit_yet(world: World):
    request, plan_hash = submitted(world)
    settle(world, request)
    path = f"/v1/requests/{request}/decision"
    body = {"decision": "conditional", "plan_hash": plan_hash, "conditions": ["Show the IRB letter"]}
    made = world.ok("steward", "POST", path, body)
    assert (made["state"], made.get("permit_id")) == ("conditionally_approved", None)
    assert "Show the IRB letter" in str(world.ok("researcher", "GET", f"/v1/requests/{request}")["notes"])
    assert world.ok("steward", "POST", path, approval(plan_hash))["permit_id"]


@pytest.mark.parametrize(
    ("verbs", "state"),
    first(1, [(["suspend", "resume"], "active"), (["suspend"], "suspended"), (["revoke"], "revoked")]),
)
def test_a_steward_manages_a_permit(world: World, verbs: list[str], state: str):
    request, plan_hash = submitted(world)
    settle(world, request)
    permit = world.ok("steward", "POST", f"/v1/requests/{request}/decision", approval(plan_hash))["permit_id"]
    digest = world.ok("researcher", "GET", f"/v1/permits/{permit}/agreement")["digest"]
    world.problem(404, "not_found", "other", "POST", f"/v1/permits/{permit}/agreement", {"digest": digest})
    world.ok("researcher", "POST", f"/v1/permits/{permit}/agreement", {"digest": digest})
    for verb in verbs:
        told = world.ok("steward", "POST", f"/v1/permits/{permit}/{verb}", {"note": "because"})
    assert told["state"] == state
    world.problem(
        403, "insufficient_scope", "researcher", "POST", f"/v1/permits/{permit}/revoke", {"note": "x"}
    )


def test_why_tells_what_is_missing_and_who_can_mend_it(world: World):
    request, plan_hash = submitted(world)
    world.ok("steward", "POST", f"/v1/requests/{request}/claim")
    told = world.ok("steward", "GET", f"/v1/why?verb=request.approve&object={request}")
    unmet = {c["condition"]: c["who"] for c in told["conditions"] if not c["met"]}
    assert (told["allowed"], unmet) == (
        False, {"review_drb": "steward", "review_irb": "steward", "dry_run": "steward"},
    )  # fmt: skip
    settle(world, request)
    assert world.ok("steward", "GET", f"/v1/why?verb=request.approve&object={request}")["allowed"]
    permit = world.ok("steward", "POST", f"/v1/requests/{request}/decision", approval(plan_hash))["permit_id"]
    ordering = f"/v1/why?verb=extract.order&object={permit}"
    told = world.ok("researcher", "GET", ordering)
    assert [c["condition"] for c in told["conditions"] if not c["met"]] == ["agreement"]
    world.problem(404, "not_found", "other", "GET", ordering)
    world.problem(422, "invalid_request", "researcher", "GET", f"/v1/why?verb=dance&object={permit}")


def test_the_audit_is_read_and_checked_by_those_it_concerns(world: World):
    institution = world.holder()
    world.cohort()
    stream = f"institution:{institution}"
    read = world.ok("holder", "GET", f"/v1/audit?stream={stream}&limit=1")
    assert read["items"][0]["event"] == "cohort.registered"
    verdict = world.ok("steward", "GET", f"/v1/audit/verify?stream={stream}")
    assert (verdict["holds"], verdict["lines"]) == (True, 1)
    world.holder("neighbour")
    world.problem(404, "not_found", "neighbour", "GET", f"/v1/audit?stream={stream}")
    world.problem(404, "not_found", "holder", "GET", "/v1/audit?stream=platform")


@pytest.mark.again
def test_an_applicant_takes_a_request_back(world: World):
    request, plan_hash = submitted(world)
    assert (
        world.ok("researcher", "POST", f"/v1/requests/{request}/withdraw")["state"]
        == "withdrawn_by_applicant"
    )
    world.problem(409, "conflict", "steward", "POST", f"/v1/requests/{request}/claim")
    world.problem(409, "conflict", "steward", "POST", f"/v1/requests/{request}/dry-run")
    world.problem(409, "conflict", "steward", "POST", f"/v1/requests/{request}/decision", approval(plan_hash))


def test_who_asks_is_known_and_not_what_they_say(world: World):
    """A researcher of a company who calls the organisation not for profit is denied by NPU."""
    made = world.ok("platform", "POST", "/v1/institutions", {"name": "Company", "for_profit": True})
    world.people["company"] = person("company", "researcher", made["id"])
    _dataset, version = world.published([{"term": "GRU"}, {"term": "NPU"}])
    body = asking(version, purpose={"term": "GRU", "for_profit_organisation": False})
    drafted = world.ok("company", "POST", "/v1/requests", body)["id"]
    told = world.problem(403, "duo_denied", "company", "POST", f"/v1/requests/{drafted}/submit")
    assert [p["code"] for p in told["problems"]] == ["for_profit_organisation"]


@pytest.mark.again
def test_terms_that_leave_it_open_need_a_steward_who_says_why(world: World):
    _dataset, version = world.published([{"term": "GRU"}, {"term": "NPU"}])
    made = world.ok("researcher", "POST", "/v1/requests", asking(version))
    submitted_view = world.ok("researcher", "POST", f"/v1/requests/{made['id']}/submit")
    assert submitted_view["duo_match"]["answer"] == "abstain"
    settle(world, made["id"])
    path = f"/v1/requests/{made['id']}/decision"
    world.problem(422, "invalid_request", "steward", "POST", path, approval(made["plan_hash"]))
    world.ok(
        "steward", "POST", path, approval(made["plan_hash"], note="A public university, by its charter.")
    )


@pytest.mark.again
def test_the_terms_lay_conditions_and_a_last_day_on_the_permit(world: World):
    _dataset, version = world.published(
        [{"term": "GRU"}, {"term": "PUB"}, {"term": "TS", "until": "2026-09-30"}]
    )
    made = world.ok("researcher", "POST", "/v1/requests", asking(version))
    world.ok("researcher", "POST", f"/v1/requests/{made['id']}/submit")
    settle(world, made["id"])
    path = f"/v1/requests/{made['id']}/decision"
    late = approval(made["plan_hash"], valid_until="2026-10-01")
    world.problem(422, "invalid_request", "steward", "POST", path, late)
    decided = world.ok("steward", "POST", path, approval(made["plan_hash"]))
    permit = world.ok("researcher", "GET", f"/v1/permits/{decided['permit_id']}")
    assert (permit["valid_until"], permit["conditions"]) == (
        "2026-09-30",
        ["publication", "use_until:2026-09-30"],
    )
    text = world.ok("researcher", "GET", f"/v1/permits/{decided['permit_id']}/agreement")["text"]
    assert "The results are made public (PUB)." in text
    assert "2026-09-30까지만 이용한다 (TS)." in text


def test_a_purpose_is_read_whole_and_no_value_is_told(world: World):
    _dataset, version = world.published()
    body = asking(version, purpose={"term": "Kim Secret", "diseases": ["Kim Secret"], "colour": 1})
    told = world.problem(422, "invalid_request", "researcher", "POST", "/v1/requests", body)
    assert {p["pointer"] for p in told["problems"]} == {
        "/purpose/term",
        "/purpose/diseases/0",
        "/purpose/colour",
    }
    assert "Secret" not in str(told)
