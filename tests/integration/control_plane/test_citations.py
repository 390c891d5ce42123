"""A version is cited by who made it and its DOI; a project tells what it published; wrong identifiers are refused."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as xml

import pytest

from app.models import Account
from app.portal import citing as cite_page
from app.standards.datacite import SCHEMA
from tests.integration.control_plane.world import ON_BOTH, START, World, asking

ORCID, ROR = "0000-0002-1694-233X", "04h9pn542"


def set_doi(world: World, version: str, doi: str, who: str = "holder") -> Any:
    return world.ok(who, "PUT", f"/v1/versions/{version}/doi", {"doi": doi})


def permitted(world: World, version: str, who: str = "researcher") -> str:
    """A permit on a version, by the way of a request that a steward decides."""
    made = world.ok(who, "POST", "/v1/requests", asking(version))["id"]
    world.ok(who, "POST", f"/v1/requests/{made}/submit")
    world.ok("steward", "POST", f"/v1/requests/{made}/claim")
    for board, state in (("DRB", "approved"), ("IRB", "exempt")):
        said = {"board": board, "state": state, "note": "adequate"}
        world.ok("steward", "POST", f"/v1/requests/{made}/reviews", said)
    world.ok("steward", "POST", f"/v1/requests/{made}/dry-run")
    world.drain()
    plan = world.ok("steward", "GET", f"/v1/requests/{made}/dry-run")["plan_hash"]
    decision = {"decision": "approve", "plan_hash": plan}
    return str(world.ok("steward", "POST", f"/v1/requests/{made}/decision", decision)["permit_id"])


@ON_BOTH
def test_a_version_is_cited_by_who_made_it_and_its_doi(world: World) -> None:
    dataset, version = world.published()
    institution = world.people["holder"].institution_id
    world.ok("platform", "PUT", f"/v1/institutions/{institution}/ror", {"ror": f"https://ror.org/{ROR}"})
    creators = [
        {
            "name": "김민지", "given_name": "Minji", "family_name": "Kim", "orcid": ORCID.lower(),
            "affiliation_id": institution,
        },
        {"name": "Data office"},
    ]  # fmt: skip
    kept = world.ok("holder", "PUT", f"/v1/datasets/{dataset}/creators", {"creators": creators})
    assert kept["creators"][0]["orcid"] == ORCID
    draft = world.ok("researcher", "GET", f"/v1/versions/{version}/citation")
    assert "doi" not in draft
    found = world.problem(409, "conflict", "researcher", "GET", f"/v1/versions/{version}/citation?form=xml")
    assert [p["code"] for p in found["problems"]] == ["doi_missing"]
    assert set_doi(world, version, "https://doi.org/10.1234/ABC")["doi"] == "10.1234/abc"
    told = world.ok("researcher", "GET", f"/v1/versions/{version}/citation")
    assert (told["doi"], told["url"]) == ("10.1234/abc", f"https://baekman.example/cite/{version}")
    assert told["creators"][0]["name"] == "Kim, Minji"
    assert told["creators"][0]["affiliation"][0]["affiliationIdentifier"] == f"https://ror.org/{ROR}"
    assert told["publicationYear"] == "2026"
    assert [t["title"] for t in told["titles"]] == ["Visits", "방문"]
    answer = world.call("researcher", "GET", f"/v1/versions/{version}/citation?form=xml")
    assert answer.headers["content-type"].startswith("application/xml")
    assert xml.fromstring(answer.text).findtext(f"{{{SCHEMA}}}identifier") == "10.1234/abc"
    for form, word in (("text", "Kim, Minji; Data office (2026): Visits. Version 1."), ("ris", "DO  - 10.1234/abc"),
                       ("bibtex", "doi = {10.1234/abc}")):  # fmt: skip
        assert word in world.call("researcher", "GET", f"/v1/versions/{version}/citation?form={form}").text
    assert world.ok("researcher", "GET", f"/v1/catalog/{dataset}")["doi"] == "10.1234/abc"
    assert world.ok("platform", "GET", f"/v1/institutions/{institution}")["ror"] == ROR


@pytest.mark.again
@ON_BOTH
def test_versions_name_each_other_and_one_doi_is_one_version(world: World) -> None:
    dataset, first = world.published()
    set_doi(world, first, "10.1234/one")
    second = world.next_draft(dataset)
    world.problem(409, "conflict", "holder", "PUT", f"/v1/versions/{second}/doi", {"doi": "10.1234/two"})
    world.publish(second)
    world.problem(409, "conflict", "holder", "PUT", f"/v1/versions/{second}/doi", {"doi": "10.1234/ONE"})
    set_doi(world, second, "10.1234/two")
    for version, relation, other in (
        (second, "IsNewVersionOf", "10.1234/one"), (first, "IsPreviousVersionOf", "10.1234/two"),
    ):  # fmt: skip
        told = world.ok("researcher", "GET", f"/v1/versions/{version}/citation")["relatedIdentifiers"]
        assert [(one["relationType"], one["relatedIdentifier"]) for one in told] == [(relation, other)]
    world.problem(404, "not_found", "other", "GET", f"/v1/versions/{world.next_draft(dataset)}/citation")


def test_wrong_identifiers_are_refused_all_at_once(world: World) -> None:
    dataset, version = world.published()
    creators = [
        {"name": "A", "orcid": "0000-0002-1694-2330"},
        {"name": "B", "orcid": ORCID},
        {"name": "C", "orcid": f"https://orcid.org/{ORCID}", "affiliation_id": "ins_none"},
    ]
    found = world.problem(
        422, "invalid_request", "holder", "PUT", f"/v1/datasets/{dataset}/creators", {"creators": creators}
    )
    assert [(p["code"], p["pointer"]) for p in found["problems"]] == [
        ("bad_orcid", "/creators/0/orcid"),
        ("duplicate", "/creators/2/orcid"),
        ("unknown_institution", "/creators/2/affiliation_id"),
    ]
    assert "1694" not in str(found["problems"])  # by chance four digits are in an id
    institution = world.people["holder"].institution_id
    for who, path, body in (
        ("platform", f"/v1/institutions/{institution}/ror", {"ror": "04h9pn543"}),
        ("holder", f"/v1/versions/{version}/doi", {"doi": "11.1234/x"}),
    ):
        world.problem(422, "invalid_request", who, "PUT", path, body)
    # Only the platform says who an institution is, only who holds a version gives it a DOI.
    assert world.call("holder", "PUT", f"/v1/institutions/{institution}/ror", {"ror": ROR}).status_code == 403
    world.holder("other hospital")
    world.problem(
        404, "not_found", "other hospital", "PUT", f"/v1/versions/{version}/doi", {"doi": "10.1234/x"}
    )
    world.problem(
        404, "not_found", "other hospital", "PUT", f"/v1/datasets/{dataset}/creators", {"creators": []}
    )


@pytest.mark.again
def test_the_orcid_of_an_account_is_set_by_the_platform(world: World) -> None:
    with world.db.unit_of_work() as session:
        session.add(
            Account(id="acc_1", username="minji", password_hash="x", role="researcher", created_at=START)
        )
    path = "/v1/accounts/acc_1/orcid"
    assert world.ok("platform", "PUT", path, {"orcid": ORCID})["orcid"] == ORCID
    world.problem(422, "invalid_request", "platform", "PUT", path, {"orcid": "0000-0002-1694-2330"})
    assert world.ok("platform", "PUT", path, {"orcid": None})["orcid"] is None
    assert "account.identified" in world.events("platform")
    world.problem(404, "not_found", "platform", "PUT", "/v1/accounts/acc_2/orcid", {"orcid": ORCID})


@pytest.mark.again
@ON_BOTH
def test_a_project_tells_what_it_published_once(world: World) -> None:
    _dataset, version = world.published()
    permit = permitted(world, version)
    paper = {"doi": "https://doi.org/10.1000/Paper", "title": "Smoking and height", "year": 2026}
    made = world.ok("researcher", "POST", f"/v1/permits/{permit}/publications", paper)
    assert made["doi"] == "10.1000/paper"
    world.problem(409, "conflict", "researcher", "POST", f"/v1/permits/{permit}/publications", paper)
    world.problem(404, "not_found", "other", "POST", f"/v1/permits/{permit}/publications", paper)
    for who, path in (("steward", f"/v1/permits/{permit}"), ("other", f"/v1/versions/{version}")):
        assert [one["id"] for one in world.ok(who, "GET", f"{path}/publications")["items"]] == [made["id"]]
    told = world.ok("other", "GET", f"/v1/versions/{version}/citation")["relatedIdentifiers"]
    assert [(one["relationType"], one["relatedIdentifier"]) for one in told] == [
        ("IsCitedBy", "10.1000/paper")
    ]
    assert "researcher" not in str(told)
    world.problem(404, "not_found", "other", "DELETE", f"/v1/permits/{permit}/publications/{made['id']}")
    assert (
        world.call("researcher", "DELETE", f"/v1/permits/{permit}/publications/{made['id']}").status_code
        == 204
    )
    assert world.ok("other", "GET", f"/v1/versions/{version}/publications")["items"] == []


@pytest.mark.again
def test_a_doi_leads_to_a_page_that_stays(world: World) -> None:
    world.also(cite_page)
    _dataset, version = world.published()
    closed = world.call(None, "GET", f"/cite/{version}?lang=en")
    assert closed.status_code == 404
    assert "Visits" not in closed.text
    set_doi(world, version, "10.1234/abc")
    for language, words in (("ko", ("방문", "만든 이")), ("en", ("Visits", "Creators", "10.1234/abc"))):
        page = world.call(None, "GET", f"/cite/{version}?lang={language}")
        assert page.status_code == 200
        assert all(word in page.text for word in words)
    world.ok("holder", "POST", f"/v1/versions/{version}/withdraw")
    page = world.call(None, "GET", f"/cite/{version}?lang=en")
    assert "took this version out of use" in page.text
