"""One person's consent over the API: entered, read as of any moment, told by token; no identifier stays."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.models import AuditLine, Consent, IdempotentAnswer, Participant
from tests.amounts import first
from tests.integration.control_plane.world import ON_BOTH, World

WORD = {
    "participant": "HOSP-77",
    "domains": ["clinical", "genomic"],
    "given_at": "2026-01-10",
    "purposes": ["HMB"],
}
CHILD = {"by_proxy": True, "assent": "given", "birth_month": "2007-05", "given_at": "2025-01-10"}


def enter(world: World, cohort: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = world.ok("holder", "POST", f"/v1/cohorts/{cohort}/consents", WORD | more)
    return answer


def of(world: World, cohort: str, **more: Any) -> dict[str, Any]:
    body = {"participant": "HOSP-77", **more}
    answer: dict[str, Any] = world.ok("holder", "POST", f"/v1/cohorts/{cohort}/consents/of", body)
    return answer


@ON_BOTH
def test_a_word_is_entered_once_and_read_as_of_any_moment(world: World) -> None:
    world.holder()
    cohort = world.cohort()
    form = {"language": "ko", "form_version": "2"}
    first = enter(world, cohort, linkage_token="agency:0000000000000001", may_link=True, **form)
    assert (first["changed"], first["epoch"]) == (True, 1)
    assert enter(world, cohort, **form) == first | {"changed": False}
    before = world.now.at
    world.now.pass_days(30)
    assert (
        enter(world, cohort, domains=["clinical"], purposes=["GRU"], given_at="2026-03-20", deceased=True)[
            "epoch"
        ]
        == 2
    )
    now, then = of(world, cohort), of(world, cohort, as_of=before.isoformat())
    assert [(one["domain"], one["purposes"], one["state"]) for one in now["domains"]] == [
        ("clinical", ["GRU"], "granted"), ("genomic", ["HMB"], "granted"),
    ]  # fmt: skip
    assert [one["purposes"] for one in then["domains"]] == [["HMB"], ["HMB"]]
    assert (now["deceased"], then["deceased"], now["may_link"], then["may_link"]) == (True, False, True, True)
    assert now["return_token"] == then["return_token"] == first["return_token"]
    assert of(world, cohort, as_of=(before - timedelta(days=9)).isoformat())["domains"] == []


def test_a_minor_is_in_force_until_they_are_asked_themselves(world: World) -> None:
    world.holder()
    cohort = world.cohort()
    enter(world, cohort, **CHILD)
    said = of(world, cohort)["domains"][0]
    assert (said["by_proxy"], said["adult_due"], said["state"]) == (True, "2026-05-01", "granted")
    assert of(world, cohort, as_of="2026-05-01T00:00:00Z")["domains"][0]["state"] == "reconsent_due"
    world.now.pass_days(90)
    body = WORD | {"given_at": "2026-04-30"}
    told = world.problem(409, "conflict", "holder", "POST", f"/v1/cohorts/{cohort}/consents", body)
    assert told["problems"][0]["code"] == "reconsent_needed"
    enter(world, cohort, given_at="2026-05-02")
    assert of(world, cohort)["domains"][0]["adult_due"] is None


def test_a_word_that_is_not_later_grants_nothing_again(world: World) -> None:
    world.holder()
    cohort = world.cohort()
    enter(world, cohort)
    with world.db.unit_of_work() as session:
        for row in session.scalars(select(Consent)):
            row.state, row.kind, row.given_at = "withdrawn", "no_further_use", world.now.at.date()
    path = f"/v1/cohorts/{cohort}/consents"
    told = world.problem(409, "conflict", "holder", "POST", path, WORD)
    assert [(one["code"], one["count"]) for one in told["problems"]] == [("withdrawn_since", 2)]
    enter(world, cohort, given_at=world.now.at.date().isoformat())  # said today, by someone who stands there


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"participant": " "}, "missing_value"), ({"participant": "900101-1234567"}, "identifier"),
    ({"linkage_token": "a" * 64}, "bare_digest"), ({"linkage_token": "9001011234567"}, "identifier"),
    ({"linkage_token": "x"}, "bad_token"), ({"purposes": ["DS"]}, "bad_purpose"),
    ({"given_at": "2026-03-05"}, "bad_date"), ({"valid_until": "2026-01-09"}, "bad_date"),
    ({"birth_month": "2010-13"}, "bad_date"), ({"birth_month": "2026-02"}, "bad_date"),
    ({"by_proxy": True}, "missing_value"), ({**CHILD, "assent": ""}, "assent_missing"),
    ({**CHILD, "assent": "refused"}, "assent_refused"), ({**CHILD, "by_proxy": False}, "proxy_missing"),
    ({"form_version": "900101-1234567"}, "identifier"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "code"), first(6, REFUSED))
def test_a_word_that_cannot_be_is_refused(world: World, wrong: dict[str, Any], code: str) -> None:
    world.holder()
    cohort = world.cohort()
    told = world.problem(
        422, "invalid_request", "holder", "POST", f"/v1/cohorts/{cohort}/consents", WORD | wrong
    )
    assert code in {one["code"] for one in told["problems"]}
    assert "1234567" not in json.dumps(told)
    with world.db.read() as session:
        assert session.scalars(select(Participant)).all() == []


@pytest.mark.parametrize(
    "body",
    [{**WORD, "domains": []}, {**WORD, "domains": ["all"]}, {**WORD, "state": "withdrawn"},
     {**WORD, "language": "korean"},
     {**WORD, "by_proxy": "yes"}, {**WORD, "given_at": "10.1.2026"}, {}],
)  # fmt: skip
def test_a_body_that_is_none_is_refused(world: World, body: dict[str, Any]) -> None:
    world.holder()
    world.problem(422, "invalid_request", "holder", "POST", f"/v1/cohorts/{world.cohort()}/consents", body)


@ON_BOTH
def test_tokens_are_told_in_the_order_of_the_question(world: World) -> None:
    world.holder()
    cohort = world.cohort()
    token = enter(world, cohort)["return_token"]
    path = f"/v1/cohorts/{cohort}/return-tokens"
    told = world.ok("holder", "POST", path, {"participants": ["nobody", "HOSP-77", "HOSP-77 "]})
    assert told == {"tokens": [None, token, token]}
    world.problem(422, "invalid_request", "holder", "POST", path, {"participants": []})
    world.problem(422, "invalid_request", "holder", "POST", path, {"participants": ["x"] * 20_001})


@pytest.mark.parametrize("path", ["consents", "consents/of", "return-tokens"])
def test_nobody_else_asks_for_a_participant(world: World, path: str) -> None:
    world.holder()
    cohort = world.cohort()
    enter(world, cohort)
    body = {
        "consents": WORD,
        "consents/of": {"participant": "HOSP-77"},
        "return-tokens": {"participants": ["HOSP-77"]},
    }
    world.holder("stranger")
    world.problem(404, "not_found", "stranger", "POST", f"/v1/cohorts/{cohort}/{path}", body[path])
    world.problem(404, "not_found", "holder", "POST", f"/v1/cohorts/coh_nowhere/{path}", body[path])
    answer = world.call("researcher", "POST", f"/v1/cohorts/{cohort}/{path}", body[path])
    assert answer.status_code in (403, 404)
    if path == "consents/of":
        world.problem(
            404, "not_found", "holder", "POST", f"/v1/cohorts/{cohort}/{path}", {"participant": "nobody"}
        )


def test_the_summary_is_read_as_of_any_moment(world: World) -> None:
    world.holder()
    cohort = world.cohort()
    for n in range(30):
        enter(
            world,
            cohort,
            participant=f"P{n}",
            domains=["clinical"],
            valid_until="2026-04-01" if n < 14 else None,
        )
    path = f"/v1/cohorts/{cohort}/consents/summary"
    assert world.ok("holder", "GET", path)["domains"]["clinical"] == {"granted": 30}
    later = world.ok("holder", "GET", f"{path}?as_of=2026-04-02T00:00:00Z")["domains"]["clinical"]
    assert later == {"ended": 15, "granted": 15}
    assert world.ok("holder", "GET", f"{path}?as_of=2026-01-01T00:00:00Z")["domains"]["clinical"] == {}
    for wrong in ("2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00Z"):
        world.problem(422, "invalid_request", "holder", "GET", f"{path}?as_of={wrong}")


def test_an_identifier_is_written_nowhere(world: World) -> None:
    world.holder()
    cohort = world.cohort()
    world.ok("holder", "POST", f"/v1/cohorts/{cohort}/consents", WORD, Idempotency_Key="k1")
    of(world, cohort)
    with world.db.read() as session:
        lines = [[line.event, line.data] for line in session.scalars(select(AuditLine))]
        answers = [row.answer for row in session.scalars(select(IdempotentAnswer))]
    assert "HOSP-77" not in json.dumps([lines, answers])
    assert {"consent.changed", "consent.read"} <= {line[0] for line in lines}
