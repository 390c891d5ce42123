"""What a decision rests on: numbers of this plan and purpose, laid on what others hold by now; and when it was made."""

from __future__ import annotations

import base64
from typing import Any

from pyroaring import BitMap

from app.db import new_id
from app.models import Extract, Part, Permit
from app.requests.measures import DAYS, observe
from tests.integration.control_plane.world import World, approval, asking, person, settle, submitted


def over(*people: int) -> dict[str, Any]:
    """What a dry run over these people tells of them to who keeps it, beside how many they are."""
    basis = {"clinical": base64.b64encode(BitMap(people).serialize()).decode()}
    return {"people": len(people), "basis": basis}


def sent_back(world: World, request: str, **other: Any) -> None:
    """Return it, let the applicant change this, and take it on again with settled boards."""
    world.ok("steward", "POST", f"/v1/requests/{request}/return", {"note": "Say what it is for."})
    edited = asking(world.ok("researcher", "GET", f"/v1/requests/{request}")["version_id"], **other)
    del edited["version_id"]
    world.ok("researcher", "PUT", f"/v1/requests/{request}", edited, If_Match="*")
    world.ok("researcher", "POST", f"/v1/requests/{request}/submit")
    world.ok("steward", "POST", f"/v1/requests/{request}/claim")
    for board in ("DRB", "IRB"):
        world.ok("steward", "POST", f"/v1/requests/{request}/reviews", {"board": board, "state": "approved"})


def released(world: World, request: str) -> str:
    """The project of an approved request, once its extract can be fetched."""
    decision = f"/v1/requests/{request}/decision"
    plan_hash = world.ok("steward", "GET", f"/v1/requests/{request}")["plan_hash"]
    made = world.ok("steward", "POST", decision, approval(plan_hash))
    with world.db.unit_of_work() as session:
        permit = session.get_one(Permit, made["permit_id"])
        extract = Extract(
            id=new_id("ext"), permit_id=permit.id, project_id=permit.project_id, version_id=permit.version_id,
            state="ready", generation=1, epoch=0, created_at=world.now(), ready_at=world.now(),
        )  # fmt: skip
        session.add(extract)
        session.flush()
        session.add(
            Part(id=new_id("prt"), extract_id=extract.id, table_name="person", position=0, generation=1, name="n",
                 sha256="0" * 64, rows=1, bytes=1, state="ready")
        )  # fmt: skip
    return str(made["project_id"])


def test_a_dry_run_from_before_anothers_release_does_not_count(world: World) -> None:
    """Two are run dry before either is released: the second approval would rest on numbers that know of nobody."""
    world.now.pass_days(1)
    first, _hash = submitted(world)
    version = world.ok("steward", "GET", f"/v1/requests/{first}")["version_id"]
    made = world.ok("other", "POST", "/v1/requests", asking(version))
    second, path = made["id"], f"/v1/requests/{made['id']}/decision"
    world.ok("other", "POST", f"/v1/requests/{second}/submit")
    for request in (first, second):
        settle(world, request)
    project = released(world, first)
    told = world.problem(409, "dry_run_required", "steward", "POST", path, approval(made["plan_hash"]))
    assert [p["code"] for p in told["problems"]] == ["dry_run_required"]
    why = world.ok("steward", "GET", f"/v1/why?verb=request.approve&object={second}")
    assert [c["condition"] for c in why["conditions"] if not c["met"]] == ["dry_run"]
    # One that could not be laid on it says so, and is signed for.
    world.gate.tells = {"risk": {"intersections": [], "not_compared": [project]}}
    world.ok("steward", "POST", f"/v1/requests/{second}/dry-run")
    world.drain()
    told = world.problem(409, "intersection_unsigned", "steward", "POST", path, approval(made["plan_hash"]))
    assert [p["code"] for p in told["problems"]] == ["intersection_unknown"]
    world.gate.tells = {"risk": {"intersections": [{"other": project, "needs_signature": False}]}}
    world.ok("steward", "POST", f"/v1/requests/{second}/dry-run")
    world.drain()
    world.ok("steward", "POST", path, approval(made["plan_hash"]))


def test_a_dry_run_for_another_purpose_does_not_count(world: World) -> None:
    """The plan is the same; who consents to it is not."""
    request, plan_hash = submitted(world)
    settle(world, request)
    sent_back(world, request, purpose={"term": "HMB"})
    assert world.ok("steward", "GET", f"/v1/requests/{request}")["plan_hash"] == plan_hash
    path = f"/v1/requests/{request}/decision"
    world.problem(409, "dry_run_required", "steward", "POST", path, approval(plan_hash))
    world.problem(404, "not_found", "steward", "GET", f"/v1/requests/{request}/dry-run/page")
    world.ok("steward", "POST", f"/v1/requests/{request}/dry-run")
    world.drain()
    # What nobody's consent is judged by leaves the numbers as they are.
    sent_back(world, request, purpose={"term": "HMB", "commercial": False})
    world.ok("steward", "POST", path, approval(plan_hash))


def test_one_that_is_queued_for_another_purpose_is_not_the_answer(world: World) -> None:
    request, _plan_hash = submitted(world)
    world.ok("steward", "POST", f"/v1/requests/{request}/claim")
    path = f"/v1/requests/{request}/dry-run"
    before = world.ok("steward", "POST", path)["id"]
    sent_back(world, request, purpose={"term": "HMB"})
    after = world.ok("steward", "POST", path)["id"]
    assert after not in (before, None)
    world.drain()
    told = world.ok("steward", "GET", path)
    assert (told["id"], told["state"], world.gate.asked) == (after, "ready", 1)


def test_numbers_move_in_batches_whoever_asks(world: World) -> None:
    """One person leaves between two applicants' dry runs of one plan: the difference would be that person's class."""
    first, plan_hash = submitted(world)
    version = world.ok("steward", "GET", f"/v1/requests/{first}")["version_id"]
    requests = [first]
    for who, purpose in (
        ("other", {"term": "GRU"}),
        ("researcher", {"term": "HMB"}),
        ("other", {"term": "GRU"}),
    ):
        made = world.ok(who, "POST", "/v1/requests", asking(version, purpose=purpose))
        assert made["plan_hash"] == plan_hash
        world.ok(who, "POST", f"/v1/requests/{made['id']}/submit")
        requests.append(made["id"])
    told = []
    # Far fewer people consent to the third's purpose; the fourth is held against the first all the same.
    for request, people in zip(requests, (range(90), range(1, 90), range(40), range(2, 90)), strict=True):
        world.gate.tells = over(*people)
        world.ok("steward", "POST", f"/v1/requests/{request}/dry-run")
        world.drain()
        told.append(world.ok("steward", "GET", f"/v1/requests/{request}/dry-run")["result"]["people"])
    assert told == [90, 90, 40, 90]


def test_numbers_that_were_measured_otherwise_do_not_count(world: World) -> None:
    """The same people, before and after an upgrade that mends the measuring: what was wrong is not told once more."""
    request, plan_hash = submitted(world)
    people, path = over(*range(90)), f"/v1/requests/{request}"
    world.gate.tells = {**people, "risk": {"profile": "baekman-risk/1"}}
    settle(world, request)
    world.gate.tells = {**people, "people": 70}
    world.ok("steward", "POST", f"{path}/dry-run")
    world.drain()
    assert world.ok("steward", "GET", f"{path}/dry-run")["result"]["people"] == 70
    world.ok("steward", "POST", f"{path}/decision", approval(plan_hash))


def test_an_approval_does_not_rest_on_numbers_that_were_measured_otherwise(world: World) -> None:
    request, plan_hash = submitted(world)
    world.gate.tells = {"risk": {"profile": "baekman-risk/1"}}
    settle(world, request)
    path = f"/v1/requests/{request}/decision"
    world.problem(409, "dry_run_required", "steward", "POST", path, approval(plan_hash))


def test_the_clock_runs_until_the_decision_that_stands(world: World) -> None:
    """A conditional approval is none yet: what is sent back, reviewed anew and approved took as long as that took."""
    request, plan_hash = submitted(world)
    settle(world, request)
    path = f"/v1/requests/{request}"
    world.now.pass_days(1)
    body = {"decision": "conditional", "plan_hash": plan_hash, "conditions": ["Show the letter"]}
    world.ok("steward", "POST", f"{path}/decision", body)
    world.now.pass_days(1)
    told = world.ok("steward", "GET", path)
    assert (told["state"], told["decided_at"], told["days"]) == ("conditionally_approved", None, 2.0)
    observe(world.db, world.now)
    (measured,) = DAYS.collect()
    assert measured.samples[0].value != 1.0
    sent_back(world, request)
    world.now.pass_days(3)
    world.ok("steward", "POST", f"{path}/decision", approval(plan_hash))
    told = world.ok("steward", "GET", path)
    assert (told["days"], told["decided_at"][:10]) == (5.0, world.now().date().isoformat())


def test_a_colleague_decides_what_was_approved_on_conditions(world: World) -> None:
    request, plan_hash = submitted(world)
    settle(world, request)
    path = f"/v1/requests/{request}"
    body = {"decision": "conditional", "plan_hash": plan_hash, "conditions": ["Show the letter"]}
    world.ok("steward", "POST", f"{path}/decision", body)
    world.people["second"] = person("second", "steward")
    world.problem(409, "conflict", "second", "POST", f"{path}/decision", approval(plan_hash))
    world.problem(409, "conflict", "second", "POST", f"{path}/claim", {})
    taken = world.ok("second", "POST", f"{path}/claim", {"take_over": True})
    assert (taken["state"], taken["claimed_by"]) == ("conditionally_approved", "client:second")
    world.ok("second", "POST", f"{path}/decision", approval(plan_hash))
