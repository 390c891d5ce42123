"""What anyone may find, and what the public may know: no value, no small number, no number that moves by one."""

import pytest
from sqlalchemy import select

from app.catalog import progress
from app.catalog.watching import watch
from app.models import Participant
from app.portal import pages
from app.routers import operations
from app.settings import Settings
from tests.integration.control_plane.world import ON_BOTH, World, told_without_chance


@pytest.mark.parametrize(
    "words", ["", "visits", "방문", "흡연", "SMOKER height", "omop person", "Ｓｍｏｋｅｒ"]
)
def test_a_dataset_is_found_by_any_of_its_words(world: World, words: str):
    dataset, version = world.published()
    found = world.ok("researcher", "GET", f"/v1/catalog?q={words}")["items"]
    assert [(item["id"], item["version_id"]) for item in found] == [(dataset, version)]


@pytest.mark.parametrize("words", ["secret", "smoker cancer", "131.5"])
def test_a_dataset_is_not_found_by_what_it_must_not_show(world: World, words: str):
    world.published()
    assert world.ok("researcher", "GET", f"/v1/catalog?q={words}")["items"] == []


def test_the_detail_shows_structure_and_no_value(world: World):
    dataset, _version = world.published()
    told = world.ok("researcher", "GET", f"/v1/catalog/{dataset}")
    columns = {c["name"]: c for t in told["tables"] for c in t["columns"]}
    assert columns["SMOKES"]["labels"] == {"1": {"ko": "흡연", "en": "smoker"}}
    assert columns["HEIGHT"]["unit"] == "cm"
    assert (columns["NAME"]["leaves"], columns["NAME"]["labels"]) == (False, {})
    for hidden in ("131.5", "202.5", "1900", "2020", "Secret", "987654"):
        assert hidden not in told_without_chance(told)


def test_what_is_not_published_is_not_there(world: World):
    world.holder()
    dataset, _version = world.draft(world.cohort())
    assert world.ok("researcher", "GET", "/v1/catalog")["items"] == []
    world.problem(404, "not_found", "researcher", "GET", f"/v1/catalog/{dataset}")


@ON_BOTH
def test_the_catalogue_comes_in_pages(world: World):
    datasets = [world.published(who=f"holder{i}")[0] for i in range(3)]
    first = world.ok("researcher", "GET", "/v1/catalog?limit=2")
    rest = world.ok("researcher", "GET", f"/v1/catalog?limit=2&cursor={first['next_cursor']}")
    assert [item["id"] for item in first["items"] + rest["items"]] == datasets
    assert rest["next_cursor"] is None


def test_a_count_is_asked_of_the_gate_for_published_versions_only(world: World):
    _dataset, version = world.published()
    question = {
        "version_id": version,
        "conditions": [{"table": "person", "column": "SMOKES", "values": ["1"]}],
    }
    told = world.ok("researcher", "POST", "/v1/catalog/counts", question)
    assert (told["value"], world.gate.reader) == (40, "client:researcher")
    draft = world.next_draft(world.draft(world.cohort_of(_dataset), name="Other")[0])
    world.problem(404, "not_found", "researcher", "POST", "/v1/catalog/counts", {"version_id": draft})
    world.problem(409, "version_not_ready", "holder", "POST", "/v1/catalog/counts", {"version_id": draft})
    assert world.gate.asked == 1


def people(world: World) -> int:
    return int(world.ok(None, "GET", "/v1/progress")["people"])


@ON_BOTH
def test_progress_moves_with_publication_and_in_batches(world: World):
    assert people(world) == 0
    institution = world.holder()
    cohort = world.cohort()
    _dataset, version = world.draft(cohort)
    world.consenting(cohort, 40)
    world.consenting(cohort, 15, "recontact")
    assert people(world) == 0
    world.publish(version)
    told = world.ok(None, "GET", "/v1/progress")
    assert (told["people"], told["goal"]) == (40, 1_000_000)
    assert [(i["id"], i["people"]) for i in told["institutions"]] == [(institution, 40)]
    world.withdraw(cohort, 10)
    assert people(world) == 40
    world.now.pass_days(1)
    assert people(world) == 40  # ten have left; nobody who watches can tell
    world.withdraw(cohort, 1)
    assert people(world) == 40  # today's figures stand until tomorrow
    world.now.pass_days(1)
    assert people(world) == 30
    world.consenting(cohort, 10)
    world.now.pass_days(1)
    told = world.ok(None, "GET", "/v1/progress")
    assert (told["people"], told["participations"], told["counted_twice"]) == (30, 30, 0)
    assert [one["people"] for one in told["history"]] == [40, 40, 30, 30]
    assert told["projection"] is None  # there are four days of figures


@ON_BOTH
def test_a_person_in_two_cohorts_counts_once_where_a_token_says_so(world: World):
    for who, count in (("one", 60), ("two", 50)):
        dataset, version = world.published(who=who)
        world.set_version(version, people=count)
        world.consenting(world.cohort_of(dataset), count)
    with world.db.unit_of_work() as session:
        cohorts = session.scalars(
            select(Participant.cohort_id).distinct().order_by(Participant.cohort_id)
        ).all()
        for cohort_id in cohorts:
            of = select(Participant).where(Participant.cohort_id == cohort_id).order_by(Participant.key)
            for n, row in enumerate(session.scalars(of.limit(20))):
                row.linkage = n.to_bytes(16)
    told = world.ok(None, "GET", "/v1/progress")
    assert (told["people"], told["participations"], told["counted_twice"]) == (90, 110, 20)
    assert sorted(i["people"] for i in told["institutions"]) == [50, 60]


def known_twice(world: World) -> None:
    """Everybody of a cohort is somebody of every other."""
    with world.db.unit_of_work() as session:
        number: dict[str, int] = {}
        for row in session.scalars(select(Participant).order_by(Participant.key)):
            number[row.cohort_id] = number.get(row.cohort_id, 0) + 1
            row.linkage = number[row.cohort_id].to_bytes(16)


def test_people_known_twice_whose_data_are_not_published_take_nobody_off(world: World):
    for who, count in (("one", 60), ("two", 50)):
        dataset, version = world.published(who=who)
        world.set_version(version, people=count)
        world.consenting(world.cohort_of(dataset), 80)
    known_twice(world)
    told = world.ok(None, "GET", "/v1/progress")
    assert (told["people"], told["participations"], told["counted_twice"]) == (60, 110, 50)
    assert sorted(i["people"] for i in told["institutions"]) == [50, 60]


def test_nor_do_they_within_an_institution(world: World):
    institution = world.holder()
    for name, count in (("one", 60), ("two", 50)):
        cohort = world.cohort(name=name)
        _dataset, version = world.draft(cohort)
        world.publish(version)
        world.set_version(version, people=count)
        world.consenting(cohort, 80)
    known_twice(world)
    told = world.ok(None, "GET", "/v1/progress")
    assert (told["people"], told["participations"], told["counted_twice"]) == (60, 110, 50)
    assert [(i["id"], i["people"]) for i in told["institutions"]] == [(institution, 60)]


def test_two_datasets_of_a_cohort_are_of_the_same_people(world: World):
    world.holder()
    cohort = world.cohort()
    for name in ("Visits", "Genomes"):
        _dataset, version = world.draft(cohort, name=name)
        world.publish(version)
    world.consenting(cohort, 130)
    assert people(world) == 100


def test_few_people_counted_twice_are_not_told(world: World):
    dataset, version = world.published()
    world.set_version(version, people=60)
    world.consenting(world.cohort_of(dataset), 60)
    with world.db.unit_of_work() as session:
        for n, row in enumerate(session.scalars(select(Participant).order_by(Participant.key).limit(20))):
            row.linkage = (n % 10).to_bytes(16)
    told = world.ok(None, "GET", "/v1/progress")
    # Ten are known twice within the cohort; ten is fewer than a batch, so no figure has moved for them.
    assert (told["people"], told["participations"], told["counted_twice"]) == (50, 50, 0)


@pytest.mark.again
def test_the_page_of_the_way_has_a_picture_in_both_languages(world: World):
    dataset, version = world.published()
    world.set_version(version, people=500)
    cohort = world.cohort_of(dataset)
    world.also(pages, operations)
    for week in range(10):
        world.consenting(cohort, 20 + week)
        world.ok(None, "GET", "/v1/progress")
        world.now.pass_days(7)
    told = world.ok(None, "GET", "/v1/progress")
    assert 2.5 < told["projection"]["per_day"] < 4
    for language, word in (("ko", "평소 하루"), ("en", "Usually")):
        page = world.call(None, "GET", f"/progress?lang={language}").text
        assert word in page
        assert 'class="band"' in page
        assert 'class="so-far"' in page
    measured = world.call(None, "GET", "/metrics").text
    assert f"baekman_consenting_people {float(told['people'])}" in measured


@ON_BOTH
def test_progress_counts_no_more_people_than_a_version_holds(world: World):
    dataset, _version = world.published()
    world.consenting(world.cohort_of(dataset), 130)
    assert people(world) == 100


def test_the_monitor_is_told_of_a_figure_that_stands_still_and_not_of_who_left_since_it_was_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    dataset, _version = world.published()
    cohort, settings = world.cohort_of(dataset), Settings(_env_file=None)
    world.consenting(cohort, 40)
    assert people(world) == 40
    world.withdraw(cohort, settings.min_cell)
    assert people(world) == 40  # until tomorrow, as is meant
    assert watch(world.db, world.now, settings).seen == []
    world.now.pass_days(1)
    monkeypatch.setattr(progress, "in_batches", lambda shown, now, least: shown)
    assert people(world) == 40
    [sighting] = watch(world.db, world.now, settings).seen
    assert (sighting.way, sighting.people) == ("progress", settings.min_cell)


def test_progress_hides_a_small_institution_and_what_would_betray_it(world: World):
    for name, count in (("large", 60), ("middle", 30), ("small", 12)):
        dataset, version = world.published(who=name)
        world.set_version(version, people=count)
        world.consenting(world.cohort_of(dataset), count)
    told = world.ok(None, "GET", "/v1/progress")
    assert told["people"] == 100
    assert sorted(str(i["people"]) for i in told["institutions"]) == ["60", "None", "None"]
