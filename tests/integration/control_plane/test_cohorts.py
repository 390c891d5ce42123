"""From an institution to a published version: each step by whom it belongs to, and no other way."""

import pytest

from tests.integration.control_plane.world import FORM, ON_BOTH, World, dictionary, together


@ON_BOTH
def test_a_version_is_published_by_a_steward_and_supersedes_the_one_before(world: World):
    institution = world.holder()
    dataset, first = world.draft(world.cohort())
    world.publish(first)
    second = world.next_draft(dataset)
    world.publish(second)
    listed = world.ok("holder", "GET", f"/v1/datasets/{dataset}/versions")["items"]
    assert [(v["number"], v["state"]) for v in listed] == [(2, "published"), (1, "superseded")]
    assert world.events("platform") == ["institution.registered"]
    assert world.events(f"institution:{institution}")[:6] == [
        "cohort.registered", "dataset.registered", "version.created", "version.dictionary_set", "version.submitted",
        "version.submitted",
    ]  # fmt: skip
    assert "version.superseded" in world.events(f"institution:{institution}")


def test_the_holder_does_not_publish_and_a_steward_does_not_edit(world: World):
    world.holder()
    _dataset, version = world.draft(world.cohort())
    world.problem(403, "insufficient_scope", "holder", "POST", f"/v1/versions/{version}/publish")
    world.problem(409, "conflict", "steward", "POST", f"/v1/versions/{version}/publish")
    world.problem(403, "insufficient_scope", "steward", "POST", f"/v1/versions/{version}/submit")


def test_what_another_institution_holds_does_not_exist(world: World):
    world.holder()
    cohort = world.cohort()
    dataset, version = world.draft(cohort)
    world.holder("neighbour")
    for path in (f"/v1/cohorts/{cohort}", f"/v1/datasets/{dataset}", f"/v1/versions/{version}/dictionary"):
        theirs = world.problem(404, "not_found", "neighbour", "GET", path)
        absent = world.problem(
            404, "not_found", "neighbour", "GET", path.replace(path.split("/")[3], "coh_none")
        )
        assert theirs["detail"] == absent["detail"]
    assert world.ok("neighbour", "GET", "/v1/cohorts")["items"] == []
    world.problem(404, "not_found", "neighbour", "POST", f"/v1/cohorts/{cohort}/datasets", {"name": "x"})


@pytest.mark.again
def test_a_steward_returns_a_version_with_a_note_and_it_is_a_draft_again(world: World):
    world.holder()
    _dataset, version = world.draft(world.cohort())
    world.ok("holder", "POST", f"/v1/versions/{version}/submit")
    world.drain()
    world.ok("holder", "POST", f"/v1/versions/{version}/submit")
    assert [v["id"] for v in world.ok("steward", "GET", "/v1/versions")["items"]] == [version]
    world.ok("steward", "POST", f"/v1/versions/{version}/return", {"note": "Say the unit."})
    assert world.ok("holder", "GET", f"/v1/versions/{version}")["state"] == "draft"
    report = world.ok("holder", "GET", f"/v1/versions/{version}/report")["report"]
    assert report["returned"]["note"] == "Say the unit."


@ON_BOTH
def test_an_edit_needs_the_revision_that_was_read(world: World):
    world.holder()
    _dataset, version = world.draft(world.cohort())
    path = f"/v1/versions/{version}/dictionary"
    tag = world.call("holder", "GET", path).headers["etag"]
    assert tag == '"2"'
    world.problem(428, "precondition_required", "holder", "PUT", path, dictionary())
    world.problem(412, "precondition_failed", "holder", "PUT", path, dictionary(), If_Match='"1"')
    world.problem(412, "precondition_failed", "holder", "PUT", path, dictionary(), If_Match=f"W/{tag}")
    assert world.ok("holder", "PUT", path, dictionary(), If_Match=f'"7", {tag}')["revision"] == 3
    assert world.ok("holder", "PUT", path, dictionary(), If_Match="*")["revision"] == 4


def test_a_dictionary_is_refused_with_everything_at_once_and_the_old_one_stays(world: World):
    world.holder()
    _dataset, version = world.draft(world.cohort())
    path = f"/v1/versions/{version}/dictionary"
    before = world.ok("holder", "GET", path)
    broken = dictionary()
    broken["tables"][0]["fields"][1]["role"] = {"kind": "quasi"}
    broken["tables"][1]["fields"][1]["colour"] = "Kim Secret"
    told = world.problem(422, "dictionary_invalid", "holder", "PUT", path, broken, If_Match="*")
    assert {p["code"] for p in told["problems"]} == {"unknown_role", "unknown_property"}
    assert "Kim Secret" not in str(told)
    assert world.ok("holder", "GET", path) == before


@pytest.mark.again
def test_a_dictionary_is_frozen_once_it_is_handed_in(world: World):
    _dataset, version = world.published()
    world.problem(
        409, "conflict", "holder", "PUT", f"/v1/versions/{version}/dictionary", dictionary(), If_Match="*"
    )


@pytest.mark.again
def test_a_version_without_a_dictionary_is_not_submitted(world: World):
    world.holder()
    cohort = world.cohort()
    dataset = world.ok("holder", "POST", f"/v1/cohorts/{cohort}/datasets", {"name": "d"})["id"]
    version = world.ok("holder", "POST", f"/v1/datasets/{dataset}/versions")["id"]
    world.problem(409, "conflict", "holder", "POST", f"/v1/versions/{version}/submit")
    world.problem(404, "not_found", "holder", "GET", f"/v1/versions/{version}/dictionary")
    world.problem(404, "not_found", "holder", "GET", f"/v1/versions/{version}/report")


@pytest.mark.again
@ON_BOTH
def test_names_are_taken_once(world: World):
    world.holder()
    cohort = world.cohort()
    body = {"name": "Cohort", "consent_form": FORM, "duo": [{"term": "GRU"}]}
    world.problem(409, "conflict", "holder", "POST", "/v1/cohorts", body)
    world.draft(cohort)
    world.problem(409, "conflict", "holder", "POST", f"/v1/cohorts/{cohort}/datasets", {"name": "Visits"})
    world.problem(409, "conflict", "platform", "POST", "/v1/institutions", {"name": "Hospital holder"})


@ON_BOTH
def test_versions_begun_at_once_have_numbers_of_their_own(world: World):
    world.holder()
    cohort = world.cohort()
    dataset = world.ok("holder", "POST", f"/v1/cohorts/{cohort}/datasets", {"name": "d"})["id"]
    answers: list[int] = []

    def begin() -> None:
        answers.append(world.house.cohorts.new_version(world.people["holder"], dataset)["number"])

    together([begin] * 6)
    assert sorted(answers) == [1, 2, 3, 4, 5, 6]


def test_consents_are_told_in_masked_numbers(world: World):
    world.holder()
    cohort = world.cohort()
    world.consenting(cohort, 23)
    world.consenting(cohort, 4, "recontact", "withdrawn")
    told = world.ok("holder", "GET", f"/v1/cohorts/{cohort}/consents/summary")
    assert told["domains"] == {"clinical": {"granted": 25}, "recontact": {"withdrawn": None}}


def test_a_withdrawn_version_leaves_the_catalogue(world: World):
    dataset, version = world.published()
    world.ok("holder", "POST", f"/v1/versions/{version}/withdraw")
    world.problem(404, "not_found", "researcher", "GET", f"/v1/catalog/{dataset}")
