"""One release over two institutions: united by the mapping, linked only where everyone allows, judged by people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.auth.policy import ROLE_SCOPES, Actor
from app.db import Database
from app.deid import counts
from app.engines.duckdb import people as engine_people
from app.errors import Problem
from app.gate import recording
from app.models import Consent, DatasetVersion, Extract, LinkedPerson
from app.schemas.counts import CountQuestion
from app.schemas.plan import Plan, PlannedTable, Privacy, plan_hash
from tests import united
from tests.united import Two
from tests.world import NOW


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """One for the tests that change nothing but the releases they make."""
    folder = tmp_path_factory.mktemp("united")
    db = Database(f"sqlite:///{folder / 'baekman.db'}")
    yield united.make(db, folder)
    db.dispose()


@pytest.fixture
def two(database_url: str, tmp_path: Path) -> Iterator[Two]:
    db = Database(database_url)
    yield united.make(db, tmp_path)
    db.dispose()


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def released(two: Two, *, linkage: bool, holder: str) -> str:
    extract = two.permit(two.plan(linkage=linkage), holder)
    two.release(extract)
    return extract


def sources_by_person(two: Two, extract: str, table: str = "people") -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, source in two.rows(extract, table, "SELECT id, source FROM parts ORDER BY 1, 2"):
        found[name].append(source)
    return found


def test_names_codes_and_units_are_one_and_each_row_names_its_source(shared: Two) -> None:
    extract = released(shared, linkage=False, holder="client:a")
    counted = "SELECT source, count(*), count(DISTINCT id), min(weight), max(weight) FROM parts GROUP BY 1 ORDER BY 1"
    # 60000 g and 60 kg are one weight; the other hospital's 50 to 89 kg stay what they were.
    assert shared.rows(extract, "people", counted) == [
        ("hanbit", 120, 120, 50.0, 89.0),
        ("saebom", 120, 120, 60.0, 60.0),
    ]
    sexes = "SELECT source, sex, count(*) FROM parts GROUP BY ALL ORDER BY ALL"
    assert shared.rows(extract, "people", sexes) == [
        ("hanbit", "F", 60), ("hanbit", "M", 60), ("saebom", "F", 60), ("saebom", "M", 60),
    ]  # fmt: skip
    codes = "SELECT source, code, count(*) FROM parts GROUP BY ALL ORDER BY ALL"
    # The one code that KCD-9 writes differently has its new text; the others stay.
    assert shared.rows(extract, "visits", codes) == [
        ("hanbit", "E11.9", 80), ("hanbit", "I10", 80), ("hanbit", "U07.3", 80),
        ("saebom", "E11.9", 80), ("saebom", "I10", 80), ("saebom", "U07.1", 80),
    ]  # fmt: skip


@pytest.mark.again
def test_equal_record_ids_of_two_sources_stay_two_records(shared: Two) -> None:
    extract = released(shared, linkage=True, holder="client:b")
    ((rows, ids),) = shared.rows(extract, "visits", "SELECT count(*), count(DISTINCT visit) FROM parts")
    assert (rows, ids) == (480, 480)


def test_without_approved_linkage_nobody_shares_a_pseudonym(shared: Two) -> None:
    extract = released(shared, linkage=False, holder="client:c")
    assert all(len(sources) == 1 for sources in sources_by_person(shared, extract).values())
    with shared.db.read() as session:
        certificate = session.get_one(Extract, extract).certificate or {}
        assert session.scalars(select(LinkedPerson)).all() == [] or not certificate["linkage"]
    assert (certificate["sources"], certificate["linkage"]) == (["hanbit", "saebom"], False)
    assert "a pseudonym in each" in certificate["linkage_means"]["en"]


@pytest.mark.again
def test_linked_people_have_one_pseudonym_and_one_shift(shared: Two) -> None:
    extract = released(shared, linkage=True, holder="client:d")
    found = sources_by_person(shared, extract)
    assert sorted(map(tuple, found.values())).count(("hanbit", "saebom")) == 40
    assert len(found) == 200
    # The two hospitals saw the same people on the same days: after one shift they are equal still.
    days = "SELECT id, source, list_sort(list(day)) FROM parts GROUP BY ALL"
    seen: dict[str, set[Any]] = defaultdict(set)
    for name, _source, moved in shared.rows(extract, "visits", days):
        seen[name].add(tuple(moved))
    assert all(len(seen[name]) == 1 for name, sources in found.items() if len(sources) == 2)


@pytest.mark.again
def test_two_projects_know_linked_people_by_nothing_in_common(shared: Two) -> None:
    one, other = (released(shared, linkage=True, holder=f"client:{name}") for name in "ef")
    assert not set(sources_by_person(shared, one)) & set(sources_by_person(shared, other))


@pytest.mark.parametrize(("linkage", "pseudonyms"), [(True, 200), (False, 240)])
def test_a_dry_run_measures_people(shared: Two, linkage: bool, pseudonyms: int) -> None:
    others = released(shared, linkage=True, holder="client:g")
    with shared.db.read() as session:
        project = session.get_one(Extract, others).project_id
    told = shared.gate.dry_run(shared.plan(linkage=linkage), united.PURPOSE, lambda **_: None)
    found = told["risk"]
    assert (found["people"], found["released"]) == (pseudonyms, pseudonyms)
    # 30 of each hospital in each of the four classes, of whom 10 are in both.
    sizes = {True: [10, 20, 20], False: [30, 30]}[linkage]
    for side in ("before", "after"):
        risk = found["uniqueness"][side]
        assert (risk["classes"], risk["smallest"], risk["people"]) == (
            4 * len(sizes),
            sizes[0],
            4 * sum(sizes),
        )
    assert {c["loss"] for c in found["columns"] if c["table"] == "people"} == {0.0}
    (met,) = [one for one in found["intersections"] if one["other"] == project]
    # The other project knows whoever is in both as one, whichever of their participants is asked for.
    assert (met["both"]["people"], met["both"]["smallest"], met["only_first"]) == (pseudonyms, 10, 0)


@on_sqlite
def test_who_does_not_allow_linkage_in_either_cohort_is_two_people(two: Two) -> None:
    two.may_not_be_linked(two.hanbit.keys[0])
    two.may_not_be_linked(two.saebom.keys[1])
    extract = released(two, linkage=True, holder="client:a")
    found = sources_by_person(two, extract)
    assert sum(len(sources) == 2 for sources in found.values()) == 38
    assert len(found) == 202


@pytest.mark.again
def test_a_set_of_sources_that_too_few_have_in_common_is_not_linked(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'few.db'}")
    few = united.make(db, tmp_path, both=6)  # k + reserve is 7
    found = sources_by_person(few, released(few, linkage=True, holder="client:a"))
    assert all(len(sources) == 1 for sources in found.values())
    db.dispose()


def smallest_class_of_people(two: Two, extract: str) -> int:
    """By our own count: people (not participants) of each class of released labels, where each participant's class
    holds every participant with the same labels."""
    one = dict(zip(two.saebom.keys, two.hanbit.keys, strict=False))
    linked = {b: a for a, b in two.linked}
    with two.db.read() as session:
        project = session.get_one(Extract, extract).project_id
    names = two.names(project)
    person = {names[key]: linked.get(key, key) for key in [*two.hanbit.keys, *two.saebom.keys]}
    assert one
    classes: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for name, *labels in two.rows(extract, "people", "SELECT id, sex, born FROM parts"):
        classes[tuple(labels)].add(person[name])
    return min(map(len, classes.values()))


@pytest.mark.again
def test_k_counts_people_not_their_participants_though_the_project_may_not_link_them(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'k.db'}")
    # Everyone is in both cohorts: a class of sex and year has 6 participants of each source and 6 people in all.
    both = united.make(db, tmp_path, people=24, both=24)
    columns = {"people": ["sex", "born"]}
    plan = both.plan_of(columns, k=7)
    without_source = plan.model_copy(
        update={"tables": tuple(t.model_copy(update={"columns": tuple(c for c in t.columns if c.name != "source")})
                                for t in plan.tables)}
    )  # fmt: skip
    extract = both.permit(without_source)
    both.release(extract)
    assert smallest_class_of_people(both, extract) >= 7
    db.dispose()


def test_the_verifier_counts_people_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = Database(f"sqlite:///{tmp_path / 'v.db'}")
    both = united.make(db, tmp_path, people=24, both=24)
    plan = both.plan_of({"people": ["sex", "born"]}, k=7)
    bare = plan.model_copy(
        update={"tables": tuple(t.model_copy(update={"columns": tuple(c for c in t.columns if c.name != "source")})
                                for t in plan.tables)}
    )  # fmt: skip
    # The planted fault: the engine forgets that two participants are one person.
    monkeypatch.setattr(engine_people, "_family", lambda table: "'p' || x.key AS family")
    with pytest.raises(Problem) as refused:
        both.release(both.permit(bare))
    assert refused.value.code == "verification_failed"
    assert {f.code for f in refused.value.findings} == {"class_below_k"}
    db.dispose()


def test_people_without_labels_are_counted_once_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for document, table in ((united.HANBIT, 1), (united.SAEBOM, 1), (united.UNITED, 1)):
        monkeypatch.setitem(document["tables"][table], "domain", "lifelog")
    db = Database(f"sqlite:///{tmp_path / 'o.db'}")
    two = united.make(db, tmp_path, people=30, both=3)
    with db.unit_of_work() as session:
        for side in (two.hanbit, two.saebom):
            for key in side.keys:
                session.add(Consent(participant_key=key, domain="lifelog", cohort_id=side.cohort_id, state="granted",
                                    purposes=[], given_at=None, valid_until=None, changed_at=NOW))  # fmt: skip
            for key in side.keys[:3]:
                session.get_one(Consent, (key, "clinical")).state = "withdrawn"
    extract = released(two, linkage=False, holder="client:a")
    # Six participants of three people have visits and no labels: fewer people than k, so none of them leaves.
    assert len(sources_by_person(two, extract, "visits")) == 54
    db.dispose()


@on_sqlite
def test_the_rows_of_a_linked_person_together_are_shared_by_k(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The planted fault: the tuple of a linked person forgets in which sources they are.
    monkeypatch.setattr(
        engine_people, "_gather_persons",
        lambda con, source, filters: con.execute(
            "CREATE OR REPLACE TABLE people_rows AS FROM people; CREATE OR REPLACE TABLE people AS "
            "SELECT key, min(family) AS family, min(qi_0) AS qi_0, min(qi_1) AS qi_1, 'hanbit' AS qi_2 "
            "FROM people_rows GROUP BY key"
        ),
    )  # fmt: skip
    plan = two.plan(linkage=True, k=25)
    assert plan.linkage
    with pytest.raises(Problem) as refused:
        two.release(two.permit(plan))
    assert "class_below_k" in {f.code for f in refused.value.findings}


@pytest.mark.again
def test_a_withdrawal_from_one_cohort_takes_its_rows_only(two: Two) -> None:
    extract = released(two, linkage=True, holder="client:a")
    before = sources_by_person(two, extract)
    key_there, key_here = two.linked[3]
    two.withdraw(two.hanbit, key_there)
    told = two.gate.recall(extract, {"wdr": (key_there, ["clinical"])})["wdr"]
    assert (before[told.pseudonym], told.lost, told.source) == (["hanbit", "saebom"], ("clinical",), "hanbit")
    assert told.stays == "sources"
    assert two.gate.recall(extract, {"wdr": (key_here, ["clinical"])})["wdr"].lost == ()
    two.release(extract)
    after = sources_by_person(two, extract)
    assert after[told.pseudonym] == ["saebom"]
    assert {name: s for name, s in after.items() if name != told.pseudonym} == {
        name: s for name, s in before.items() if name != told.pseudonym
    }
    assert sources_by_person(two, extract, "visits")[told.pseudonym] == ["saebom"] * 2


@pytest.mark.again
@on_sqlite
def test_someone_who_takes_back_linkage_during_the_build_is_not_released_linked(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = two.permit(two.plan(linkage=True))
    record, left = recording.record_generation, iter([True])

    def late(*arguments: Any) -> int:
        if next(left, False):
            two.may_not_be_linked(two.hanbit.keys[0])
            two.move_epoch(two.hanbit)
        return record(*arguments)

    monkeypatch.setattr(recording, "record_generation", late)
    two.release(extract)
    assert sum(len(s) == 2 for s in sources_by_person(two, extract).values()) == 39


@pytest.mark.again
@on_sqlite
def test_a_source_that_is_taken_out_of_use_stops_the_united_version(two: Two) -> None:
    extract = two.permit(two.plan())
    with two.db.unit_of_work() as session:
        session.get_one(DatasetVersion, two.saebom.version_id).state = "withdrawn"
    with pytest.raises(Problem) as refused:
        two.release(extract)
    assert refused.value.code == "version_not_ready"


def reader(name: str) -> Actor:
    return Actor(f"client:{name}", name, "researcher", None, frozenset(map(str, ROLE_SCOPES["researcher"])))


@pytest.mark.again
def test_counts_are_of_people_and_are_not_subtracted_from_those_of_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'c.db'}")
    most = united.make(db, tmp_path, people=30, both=28)
    seen: list[int] = []

    def masked(count: int, _key: int, _rule: counts.CountRule) -> counts.CountShown:
        seen.append(count)
        return counts.CountShown(count, False)

    monkeypatch.setattr(counts, "masked", masked)
    question = CountQuestion(version_id=most.version_id, conditions=())
    most.gate.count(question, reader("x"))
    assert seen == [32]  # 60 participants
    of_one = CountQuestion(version_id=most.hanbit.version_id, conditions=())
    with pytest.raises(Problem) as refused:  # the difference would speak of the two who are in the other only
        most.gate.count(of_one, reader("x"))
    assert refused.value.code == "count_refused"
    most.gate.count(of_one, reader("y"))
    assert seen[-1] == 30
    db.dispose()


def test_a_plan_without_linkage_keeps_the_hash_it_had_before_there_was_any() -> None:
    plan = Plan(version_id="v", tables=(PlannedTable(name="t", columns=()),), privacy=Privacy())
    assert "linkage" not in plan.model_dump(mode="json")
    linked = plan.model_copy(update={"linkage": True})
    assert linked.model_dump(mode="json")["linkage"] is True
    assert Plan.model_validate(linked.model_dump(mode="json")) == linked
    assert plan_hash(plan) != plan_hash(linked)
