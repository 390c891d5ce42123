"""Variables are found across cohorts by any of their words, and nothing is told that the catalogue may not show."""

from __future__ import annotations

import copy
import json
import unicodedata
from typing import Any

import pytest
from sqlalchemy import delete
from typer.testing import CliRunner

from app.cli import app as shell
from app.models import Variable, VariableIndex, VariableVersion, VaultTable
from app.portal import pages
from app.portal import variables as variables_page
from tests.integration.control_plane.world import ON_BOTH, World, dictionary, told_without_chance

PRESSURE = {
    "name": "SBP_1st",
    "type": "integer",
    "title": {"ko": "수축기 혈압", "en": "Systolic blood pressure"},
    "description": "앉은 자세에서 처음 잰 값, 100_% of them",
    "role": {"kind": "attribute"},
    "unit": "mm[Hg]",
    "concepts": ["LOINC:8480-6", "SNOMED:271649006"],
}
DIAGNOSIS = {
    "name": "dx",
    "title": {"ko": "진단", "en": "Diagnosis"},
    "role": {"kind": "code", "vocabulary": "KCD", "version": "8"},
    "labels": {
        "E11": {"ko": "2형 당뇨병", "en": "Type 2 diabetes"},
        "I10": {"ko": "고혈압", "en": "Hypertension"},
    },
}


def document(*more: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(dictionary())
    made["tables"][1]["fields"] += copy.deepcopy(list(more))
    return made


def published(
    world: World, *more: dict[str, Any], who: str = "holder", people: int = 1000
) -> tuple[str, str]:
    """A published and indexed version with these columns beside the usual ones."""
    world.holder(who)
    cohort = world.cohort(who)
    body = {"name": "Visits", "name_ko": "방문", "keywords": []}
    dataset = world.ok(who, "POST", f"/v1/cohorts/{cohort}/datasets", body)["id"]
    return dataset, again(world, dataset, *more, who=who, people=people)


def again(world: World, dataset: str, *more: dict[str, Any], who: str = "holder", people: int = 1000) -> str:
    """The next version of a dataset, published and indexed; a vault table, so that there is something to count."""
    version = world.next_draft(dataset, who, document(*more))
    with world.db.unit_of_work() as session:
        session.add(
            VaultTable(
                version_id=version, table_name="measurement", generation=1, object_name=f"{version}/m", rows=1,
                people=people, bytes=1, sha256="0" * 64, created_at=world.now(),
            )
        )  # fmt: skip
    world.publish(version, who)
    world.drain()
    return version


def search(world: World, query: str = "", **more: str) -> list[dict[str, Any]]:
    items = world.client.get(
        "/v1/catalog/variables", params={"q": query, **more}, headers={"Authorization": "Bearer researcher"}
    )
    assert items.status_code == 200, items.text
    return list(items.json()["items"])


def names(world: World, query: str = "", **more: str) -> list[str]:
    return [one["name"] for one in search(world, query, **more)]


@ON_BOTH
def test_a_variable_is_found_by_name_label_code_and_concept_in_both_languages(world: World) -> None:
    published(world, PRESSURE, DIAGNOSIS)
    apart = unicodedata.normalize("NFD", "혈압")
    assert apart != "혈압"
    for query in (
        "sbp",
        "혈압",
        apart,
        "SYSTOLIC Blood",
        "ＳＢＰ",
        "loinc:8480-6",
        "8480",
        "271649006",
        "잰 값",
    ):
        assert "SBP_1st" in names(world, query), query
    for query in ("당뇨병", "diabetes", "e11", "KCD-8", "kcd"):
        assert names(world, query) == ["dx"], query
    assert names(world, "혈압") == ["dx", "SBP_1st"]  # 고혈압 is the label of a diagnosis
    assert names(world, "수축기 diabetes") == []


@pytest.mark.again
@ON_BOTH
def test_a_field_and_the_beginning_of_a_word_narrow_what_is_found(world: World) -> None:
    published(world, PRESSURE, DIAGNOSIS)
    assert names(world, "혈압", match="begins") == ["SBP_1st"]  # not 고혈압
    assert names(world, "1st", match="begins") == ["SBP_1st"]  # a part of a name is a word too
    assert names(world, "bp", match="begins") == []
    assert names(world, "혈압", field="name") == []
    assert names(world, "i10", field="code") == ["dx"]
    assert names(world, "i10", field="label") == []
    assert names(world, "loinc", field="concept") == ["SBP_1st"]
    # What means something to LIKE means itself.
    assert names(world, "100_%") == ["SBP_1st"]
    assert names(world, "1__%") == []
    for wrong in ({"field": "value"}, {"match": "like"}, {"q": "\0"}):
        answer = world.client.get(
            "/v1/catalog/variables", params=wrong, headers={"Authorization": "Bearer researcher"}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_nothing_is_told_that_the_catalogue_does_not_show(world: World) -> None:
    published(world, PRESSURE)
    told = search(world)
    assert {one["name"] for one in told} == {"YEAR_OF_BIRTH", "SMOKES", "HEIGHT", "SBP_1st"}
    for hidden in ("Secret", "131.5", "202.5", "1900", "2020", "987654", "PERSON_ID", "by_name"):
        assert hidden not in told_without_chance(told)
    for query in ("Secret", "NAME", "PERSON_ID", "987654", "refused", "131"):
        assert names(world, query, match="begins") == [], query
    world.problem(401, "invalid_token", None, "GET", "/v1/catalog/variables")


@pytest.mark.again
@ON_BOTH
def test_the_same_concept_in_two_cohorts_stands_together_with_its_versions(world: World) -> None:
    published(world, PRESSURE)
    dataset, _first = published(world, {**PRESSURE, "name": "sys", "title": {"ko": "최고 혈압"}}, who="other")
    second = again(world, dataset, {**PRESSURE, "name": "sys", "title": {"ko": "최고 혈압"}}, who="other")
    found = search(world, key="LOINC:8480-6")
    assert {one["name"] for one in found} == {"SBP_1st", "sys"}
    assert {one["key"] for one in found} == {"loinc:8480-6"}
    theirs = next(one for one in found if one["name"] == "sys")
    assert [(v["number"], v["state"]) for v in theirs["versions"]] == [(1, "superseded"), (2, "published")]
    assert theirs["versions"][1]["id"] == second
    assert theirs["held_by"][0]["institution"]["en"] == "Hospital other"
    # Said otherwise it is told apart, with the versions that say so.
    again(world, dataset, {**PRESSURE, "name": "sys", "unit": "kPa"}, who="other")
    theirs_now = [one for one in search(world, key="loinc:8480-6") if one["name"] == "sys"]
    assert {(one["unit"], *(v["number"] for v in one["versions"])) for one in theirs_now} == {
        ("mm[Hg]", 1, 2),
        ("kPa", 3),
    }


@ON_BOTH
def test_what_is_withdrawn_is_gone_from_the_next_search_on(world: World) -> None:
    dataset, _first = published(world, PRESSURE)
    second = again(world, dataset, PRESSURE, DIAGNOSIS)
    assert names(world, "혈압") == ["dx", "SBP_1st"]
    world.ok("holder", "POST", f"/v1/versions/{second}/withdraw")
    # The older version is superseded: nobody can ask for the dataset any more.
    assert names(world) == []
    third = again(world, dataset, PRESSURE)
    assert names(world, "혈압") == ["SBP_1st"]
    assert [v["number"] for v in search(world, "SBP")[0]["versions"]] == [1, 3]
    world.ok("holder", "POST", f"/v1/versions/{third}/withdraw")
    assert names(world) == []


@pytest.mark.parametrize(
    ("counted", "told"),
    [
        ((1000, 1000), (1000, 1.0)),
        ((1000, 0), (1000, 0.0)),
        ((1003, 498), (1005, 0.5)),
        ((1000, 10), (1000, None)),  # few have a value
        ((1000, 990), (1000, None)),  # few have none
        ((1000, 11), (1000, None)),  # eleven rounds to ten
        ((1000, 13), (1000, 0.01)),
        ((10, 10), (None, None)),
    ],
)
def test_the_share_of_people_with_a_value_hides_a_few(
    world: World, counted: tuple[int, int], told: tuple[int | None, float | None]
) -> None:
    world.counted[("measurement", "SBP_1st")] = counted
    published(world, PRESSURE)
    shown = search(world, "sbp")[0]["versions"][0]
    assert (shown["people"], shown["filled"]) == told
    other = search(world, "height")[0]["versions"][0]
    assert (other["people"], other["filled"]) == (None, None)  # nothing was counted


@pytest.mark.again
@ON_BOTH
def test_variables_come_in_pages_without_twins_or_gaps(world: World) -> None:
    published(world, PRESSURE, DIAGNOSIS)
    published(world, PRESSURE, DIAGNOSIS, who="other")
    every, cursor = list[str](), None
    for _ in range(20):
        page = world.ok(
            "researcher", "GET", f"/v1/catalog/variables?limit=3{f'&cursor={cursor}' if cursor else ''}"
        )
        every += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(every) == len(set(every)) == 10
    assert every == [one["id"] for one in search(world)]
    assert world.ok("researcher", "GET", "/v1/catalog/variables?cursor=var_none")["items"] == []


@pytest.mark.again
@ON_BOTH
def test_what_the_index_lacks_is_caught_up_once(world: World) -> None:
    published(world, PRESSURE)
    with world.db.unit_of_work() as session:
        for table in (VariableVersion, Variable, VariableIndex):
            session.execute(delete(table))
    assert names(world) == []
    assert world.indexing.catch_up() == 1
    assert world.indexing.catch_up() == 0  # a job is on its way
    world.drain()
    assert "SBP_1st" in names(world)
    assert world.indexing.catch_up() == 0


def test_the_page_is_closed_until_the_operator_opens_it(world: World) -> None:
    published(world, {**PRESSURE, "title": {"ko": "<b>혈압</b>", "en": "pressure"}})
    world.also(pages, variables_page)
    closed = world.call(None, "GET", "/variables?q=sbp&lang=ko")
    assert closed.status_code == 403
    assert "공개되어 있지 않습니다" in closed.text
    assert "SBP_1st" not in closed.text
    assert "/variables" not in world.call(None, "GET", "/?lang=en").text
    world.house.catalog.settings.catalog_public = True
    assert "/variables" in world.call(None, "GET", "/?lang=en").text
    korean = world.call(None, "GET", "/variables?q=sbp&lang=ko").text
    assert "SBP_1st" in korean
    assert "&lt;b&gt;혈압&lt;/b&gt;" in korean
    assert "버전 1" in korean
    english = world.call(None, "GET", "/variables?q=sbp&lang=en&field=name").text
    assert "pressure" in english
    assert "version 1" in english
    assert "No variable was found" in world.call(None, "GET", "/variables?q=nothing&lang=en").text


@pytest.mark.again
def test_the_shell_finds_what_the_web_finds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    published(world, PRESSURE, DIAGNOSIS)
    monkeypatch.setenv("BAEKMAN_DATABASE_URL", world.db.url)
    told = CliRunner().invoke(shell, ["variables", "혈압", "--limit", "1", "--json"])
    page = json.loads(told.output)
    assert [one["name"] for one in page["items"]] == ["dx"]
    rest = CliRunner().invoke(shell, ["variables", "혈압", "--cursor", page["next_cursor"]])
    assert "measurement.SBP_1st" in rest.output
    assert CliRunner().invoke(shell, ["variables", "--field", "value"]).exit_code == 2
