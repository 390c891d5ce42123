"""Silence is suspicious: a promised feed that is missing, empty or shrunken raises an alarm until it comes."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY

from app.audit import institution_stream, record
from app.consents.feeds import must_not_be_silent
from app.errors import Problem
from app.models import Upload, Withdrawal
from tests.integration.control_plane.world import ON_BOTH, World


@pytest.fixture
def cohort(world: World) -> str:
    """A cohort whose holder promised withdrawals weekly and a register monthly."""
    world.holder()
    made = world.cohort()
    promise(world, made, "withdrawals", {"every_days": 7})
    promise(world, made, "consents", {"every_days": 30, "min_share": 0.8})
    return made


def promise(world: World, cohort: str, kind: str, body: dict[str, Any]) -> Any:
    return world.ok("holder", "PUT", f"/v1/cohorts/{cohort}/feeds/{kind}", body)


def living(world: World, who: str = "holder", **filters: str) -> list[str]:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    found = world.ok(who, "GET", f"/v1/alarms?{query}")["items"]
    return sorted(one["kind"] for one in found if one["state"] != "closed")


def loads(world: World, cohort: str, people: int, withdrawn: int = 0) -> None:
    """The line that loading a register leaves."""
    with world.db.unit_of_work() as session:
        stream = institution_stream(world.people["holder"].institution_id or "")
        data = {"lines": people, "people": people, "changed": people, "epoch": 1, "withdrawn": withdrawn}
        record(session, stream=stream, event="consent.register_loaded", actor="client:holder", object_id=cohort,
               at=world.now(), data=data)  # fmt: skip


def withdraws(world: World, cohort: str, actor: str = "client:holder") -> None:
    """The row and the line that a withdrawal leaves."""
    with world.db.unit_of_work() as session:
        row = Withdrawal(id=f"wdr_{world.now().timestamp():.0f}{len(actor)}", cohort_id=cohort, participant_key=1,
                         domains=[], kind="no_further_use", state="taken", receipt={}, taken_at=world.now(),
                         closed_at=None)  # fmt: skip
        session.add(row)
        stream = institution_stream(world.people["holder"].institution_id or "")
        record(
            session, stream=stream, event="withdrawal.taken", actor=actor, object_id=row.id, at=world.now()
        )


def test_a_feed_that_does_not_come_raises_one_alarm_and_its_coming_resolves_it(
    world: World, cohort: str
) -> None:
    world.now.pass_days(7.5)  # due, and within the grace
    assert world.house.feeds.check() == 0
    world.now.pass_days(1)
    assert world.house.feeds.check() == 1
    assert world.house.feeds.check() == 0
    assert living(world) == living(world, "steward", state="open") == ["feed_missing"]
    [alarm] = world.ok("holder", "GET", "/v1/alarms?kind=feed_missing")["items"]
    assert (alarm["subject"], alarm["data"]["every_days"]) == (f"{cohort}:withdrawals", 7)
    assert REGISTRY.get_sample_value(
        "baekman_alarms", {"kind": "feed_missing", "level": "warning", "state": "open"}
    ) == 1  # fmt: skip
    withdraws(world, cohort)
    assert world.house.feeds.check() == 0
    assert living(world) == []
    events = world.events(institution_stream(world.people["holder"].institution_id or ""))
    assert events.count("alarm.raised") == events.count("alarm.resolved") == 1


@pytest.mark.again
def test_nothing_happened_is_news_and_silence_is_not(world: World, cohort: str) -> None:
    for _ in range(3):
        world.now.pass_days(7)
        told = world.ok("holder", "POST", f"/v1/cohorts/{cohort}/feeds/withdrawals/empty")
        assert not told["overdue"]
        assert world.house.feeds.check() == 0
    world.now.pass_days(9)
    feeds = {one["kind"]: one for one in world.ok("steward", "GET", f"/v1/cohorts/{cohort}/feeds")}
    assert (feeds["withdrawals"]["overdue"], feeds["consents"]["overdue"]) == (True, False)


@pytest.mark.again
def test_an_empty_feed_resolves_the_alarm_at_once(world: World, cohort: str) -> None:
    world.now.pass_days(20)
    world.house.feeds.check()
    world.ok("holder", "POST", f"/v1/cohorts/{cohort}/feeds/withdrawals/empty")
    assert living(world) == []


def test_what_the_platform_does_by_itself_is_no_news(world: World, cohort: str) -> None:
    """Consent that ended by its date is taken as a withdrawal too: it does not break the silence."""
    world.now.pass_days(9)
    withdraws(world, cohort, "platform")
    assert world.house.feeds.check() == 1


@pytest.mark.parametrize(("withdrawn", "alarms"), [(0, ["feed_missing"]), (2, [])])
def test_a_register_brings_withdrawals_only_where_it_holds_some(
    world: World, cohort: str, withdrawn: int, alarms: list[str]
) -> None:
    world.now.pass_days(9)
    loads(world, cohort, 100, withdrawn)
    world.house.feeds.check()
    assert living(world) == alarms


@ON_BOTH
def test_a_register_that_shrank_raises_an_alarm_until_one_of_the_old_size_comes(
    world: World, cohort: str
) -> None:
    sizes = [1000, 950, 700, 720, 900]
    found = []
    for people in sizes:
        loads(world, cohort, people)
        world.house.feeds.check()
        found.append(living(world))
    # 700 is less than 0.8 of 950, and does not become the measure of 720
    assert found == [[], [], ["feed_shrunken"], ["feed_shrunken"], []]
    shrunken = world.ok("holder", "GET", "/v1/alarms?kind=feed_shrunken")["items"]
    assert [one["data"]["people"] for one in shrunken] == [700]
    assert shrunken[0]["closed_by"] == "platform"


@pytest.mark.again
def test_a_shrunken_register_that_a_steward_accepts_is_the_new_measure(world: World, cohort: str) -> None:
    for people in (1000, 500):
        loads(world, cohort, people)
        world.house.feeds.check()
    [alarm] = world.ok("steward", "GET", "/v1/alarms?state=open")["items"]
    close = f"/v1/alarms/{alarm['id']}/close"
    world.problem(409, "conflict", "steward", "POST", close, {"note": "a site has left"})
    world.ok("holder", "POST", f"/v1/alarms/{alarm['id']}/acknowledge", {"note": "a site has left"})
    world.problem(403, "insufficient_scope", "holder", "POST", close, {"note": "fine"})
    closed = world.ok("steward", "POST", close, {"note": "seen"})
    assert (closed["state"], closed["acknowledged_by"], closed["closed_by"]) == (
        "closed", "client:holder", "client:steward",
    )  # fmt: skip
    loads(world, cohort, 480)
    assert world.house.feeds.check() == 0


@pytest.mark.again
def test_a_register_without_a_line_raises_an_alarm_until_a_whole_one_comes(world: World, cohort: str) -> None:
    loads(world, cohort, 100)
    world.house.feeds.check()
    world.now.pass_days(1)
    with world.db.unit_of_work() as session:
        problems = [{"code": "empty_file", "detail": "the register has no lines"}]
        session.add(
            Upload(id="upl_empty", version_id=None, cohort_id=cohort, purpose="consents", table_name=None, length=1,
                   received=1, state="quarantined", sha256=None, report={"problems": problems}, original="kept",
                   created_by="client:holder", created_at=world.now(), expires_at=world.now())
        )  # fmt: skip
    world.house.feeds.check()
    assert living(world) == ["feed_empty"]
    world.now.pass_days(1)
    loads(world, cohort, 101)
    world.house.feeds.check()
    assert living(world) == []


@pytest.mark.again
def test_an_alarm_that_is_closed_while_its_cause_lasts_comes_again(world: World, cohort: str) -> None:
    world.now.pass_days(9)
    world.house.feeds.check()
    [alarm] = world.ok("steward", "GET", "/v1/alarms")["items"]
    for verb in ("acknowledge", "close"):
        world.ok("steward", "POST", f"/v1/alarms/{alarm['id']}/{verb}", {"note": "yes"})
    assert living(world) == []
    assert world.house.feeds.check() == 1
    assert living(world) == ["feed_missing"]


def test_what_another_institution_runs_into_does_not_exist(world: World, cohort: str) -> None:
    world.holder("neighbour")
    world.now.pass_days(9)
    world.house.feeds.check()
    [alarm] = world.ok("holder", "GET", "/v1/alarms")["items"]
    assert world.ok("neighbour", "GET", "/v1/alarms")["items"] == []
    assert world.ok("platform", "GET", "/v1/alarms")["items"] == []
    path = f"/v1/alarms/{alarm['id']}/acknowledge"
    for who in ("neighbour", "platform"):
        world.problem(404, "not_found", who, "POST", path, {"note": "?"})
    body = {"every_days": 300}
    world.problem(404, "not_found", "neighbour", "PUT", f"/v1/cohorts/{cohort}/feeds/consents", body)
    world.problem(403, "insufficient_scope", "researcher", "GET", "/v1/alarms")


@pytest.mark.again
def test_a_rhythm_that_makes_no_sense_is_refused(world: World, cohort: str) -> None:
    for kind, body in (
        ("withdrawals", {"every_days": 7, "min_share": 0.5}),
        ("consents", {"every_days": 0}),
        ("consents", {"every_days": 7, "min_share": 1.5}),
    ):
        world.problem(422, "invalid_request", "holder", "PUT", f"/v1/cohorts/{cohort}/feeds/{kind}", body)
    other = world.ok("holder", "POST", "/v1/cohorts", _cohort())["id"]
    world.problem(409, "conflict", "holder", "POST", f"/v1/cohorts/{other}/feeds/consents/empty")


@pytest.mark.again
def test_alarms_come_in_pages(world: World, cohort: str) -> None:
    world.now.pass_days(40)
    assert world.house.feeds.check() == 2
    first = world.ok("holder", "GET", "/v1/alarms?limit=1")
    second = world.ok("holder", "GET", f"/v1/alarms?limit=1&cursor={first['next_cursor']}")
    assert len({one["id"] for one in first["items"] + second["items"]}) == 2
    assert second["next_cursor"] is None


def test_new_releases_stop_only_where_a_number_of_days_is_set(world: World, cohort: str) -> None:
    world.now.pass_days(7 + 3.5)
    with world.db.read() as session:
        must_not_be_silent(session, cohort, world.now(), 0)
        must_not_be_silent(session, cohort, world.now(), 4)
        with pytest.raises(Problem, match="feed_overdue"):
            must_not_be_silent(session, cohort, world.now(), 3)
        must_not_be_silent(session, "coh_without_feed", world.now(), 3)


def _cohort() -> dict[str, Any]:
    form = {"version": "1", "language": "ko", "sha256": "a" * 64, "domains": ["clinical"]}
    return {"name": "Second", "consent_form": form, "duo": [{"term": "GRU"}]}
