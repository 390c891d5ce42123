"""People of several cohorts count once: the project knows them as one (one pseudonym), or may not (two)."""

import random
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app.deid.risk import Bounds, Intersection, measure
from app.deid.risk.classes import uniqueness
from app.deid.risk.codes import code_losses
from app.deid.risk.columns import column_losses
from app.deid.risk.events import event_uniqueness
from app.deid.risk.frame import frames
from app.deid.risk.groups import suppressed_by_group
from app.deid.risk.inference import inferences
from tests.unit.deid.risk_tables import crosswalk, dictionary, files_of, plan, standing, twins, united

# Three people, each with two participants: the keys 0 to 2 of one cohort, 3 to 5 of the other.
SAME = {3: 0, 4: 1, 5: 2}
RAW: list[dict[str, Any]] = [{"key": key, "sex": "F", "age": 30, "salary": "low"} for key in range(6)]
OUT = [{**row, "age": "*"} for row in RAW]
LINKED = [{**row, "key": SAME.get(row["key"], row["key"])} for row in OUT]
DAY = date(2020, 1, 3)


def _visits(codes: dict[int, str]) -> list[dict[str, Any]]:
    return [
        {"key": key, "code": code, "day": DAY, "value": 1.0} for key, said in codes.items() for code in said
    ]


def _from(source: str, *keys: int) -> list[dict[str, Any]]:
    """A row of each of these keys in a source's participant table."""
    return [{"key": key, "sex": "F", "age": 30, "salary": "low", "source": source} for key in keys]


def test_a_linked_person_is_one_of_a_class(tmp_path: Path):
    with standing(tmp_path, RAW, LINKED, k=4, linked=SAME) as ground:
        found = uniqueness(ground)
        everyone = ground.number("SELECT count(*) FROM person"), ground.number("SELECT count(*) FROM out")
    assert everyone == (3, 3)
    for side in (found.before, found.after):
        assert (side.people, side.classes, side.smallest, side.below_k_share) == (3, 1, 3, 1.0)


def test_a_linked_person_is_one_of_a_column_and_of_a_group(tmp_path: Path):
    visits = _visits({0: "A", 3: "A"})
    with standing(tmp_path, RAW, LINKED, visits, _visits({0: "AA"}), linked=SAME) as ground:
        found = {one.column: one for one in column_losses(ground)}
        (by_age, by_sex) = sorted(suppressed_by_group(ground), key=lambda one: one.column)
        (salary,) = inferences(ground)
        (codes,) = code_losses(ground)
    assert (found["sex"].loss, found["sex"].levels) == (0.0, (3, 0))
    assert [step.commonest for step in found["sex"].steps] == [(("F", 3),), (("*", 3),)]
    assert (found["salary"].loss, found["salary"].cells_before, found["salary"].cells_after) == (0.0, 6, 6)
    for grouping in (by_age, by_sex):
        (group,) = grouping.groups
        # Two rows of the participant table each, and the two visits.
        assert (group.people, group.people_out, group.rows, group.rows_out) == (3, 3, 8, 8)
    assert (salary.base, salary.best, salary.raw) == (1.0, 1.0, 1.0)
    assert (codes.kept, codes.cells) == (1, 2)


def test_events_that_only_one_linked_person_has_tell_them_apart(tmp_path: Path):
    # What each has, half in one cohort and half in the other, and nobody else.
    raw = _visits({0: "AB", 3: "C", 1: "DE", 4: "F", 2: "GH", 5: "I"})
    out = _visits({0: "ABC", 1: "DEF", 2: "GHI"})
    with standing(tmp_path, RAW, LINKED, raw, out, linked=SAME) as ground:
        found = event_uniqueness(ground)
    assert found is not None
    for attack in (found.before, found.after, found.codes_alone):
        assert (attack.able, attack.sampled, attack.unique_share) == (3, 3, 1.0)


def test_the_class_of_a_linked_person_is_of_all_that_is_told_of_them(tmp_path: Path):
    # Four of each source, and two of both: one by a row in each, one by a row in the first and a visit in the second.
    same = {18: 8, 19: 9}
    raw = _from("a", *range(4), 8, 9) + _from("b", *range(4, 8), 18)
    out = [{**row, "key": same.get(row["key"], row["key"]), "age": "*"} for row in raw]
    visit = {"code": "A", "day": DAY, "source": "b"}
    raw.append({**raw[-1], "key": 19})  # whose row may not leave
    with standing(
        tmp_path, raw, out, [{"key": 19, **visit}], [{"key": 9, **visit}], document=united(), linked=same
    ) as ground:
        found = uniqueness(ground).after
        by_source = {one.column: one for one in suppressed_by_group(ground)}.get("source")
    assert (found.people, found.classes, found.smallest, found.largest) == (10, 4, 1, 4)
    assert found.unique_share == pytest.approx(2 / 10)
    assert by_source is None  # there is a column of sex


def test_what_the_sources_of_a_person_agree_on_is_the_value_of_that_person(tmp_path: Path):
    same = {3: 0}
    raw = _from("a", 0, 1, 2) + _from("b", 3)
    raw[3]["age"] = 31  # another age than in the first source
    out = [{**row, "key": same.get(row["key"], row["key"]), "age": "*"} for row in raw]
    with standing(tmp_path, raw, out, document=united(), linked=same) as ground:
        found = {one.column: one for one in column_losses(ground) if one.table == "people"}
        before, after = frames(ground)
    assert found["source"].loss == 0
    assert found["source"].steps[0].commonest == (("a", 2),)
    assert (found["source"].levels[0], before.people, after.people) == (3, 3, 3)
    assert before.shares["source = a+b"].tolist() == after.shares["source = a+b"].tolist() == [1, 0, 0]
    assert str(before.numbers["age"].tolist()) == "[nan, 30.0, 30.0]"


def test_who_has_two_pseudonyms_counts_once_towards_k(tmp_path: Path):
    with standing(tmp_path, RAW, OUT, k=4, apart=SAME) as ground:
        found = uniqueness(ground)
    for side in (found.before, found.after):
        assert (side.people, side.smallest, side.below_k_share) == (3, 3, 1.0)


def test_two_pseudonyms_of_one_person_hide_nobody_from_who_knows_their_events(tmp_path: Path):
    visits = _visits({0: "ABC", 3: "ABC", 1: "ABD", 2: "ABD"})
    with standing(tmp_path, RAW, OUT, visits, visits, apart=SAME) as ground:
        found = event_uniqueness(ground)
    assert found is not None
    assert (found.after.sampled, found.after.unique_share, found.codes_alone.unique_share) == (4, 0.5, 0.5)


def _met(folder: Path, out: list[dict[str, Any]], earlier: dict[int, list[str]], **of: Any) -> Intersection:
    known = dictionary()
    held = [(key, label) for key, labels in earlier.items() for label in labels]
    table = pa.table({"key": pa.array([k for k, _ in held], pa.int32()), "l": [label for _, label in held]})
    report = measure(
        *files_of(folder, RAW, out, [], []), crosswalk(range(6), of.get("linked", {})), known, plan(known, 4),
        Bounds(folder, memory="512MB", threads=1), twins=of.get("twins"), earlier=[("p", table)],
    )  # fmt: skip
    return report.intersections[0]


def test_a_linked_person_is_one_of_a_crowd(tmp_path: Path):
    found = _met(tmp_path, LINKED, {key: ["x"] for key in range(6)}, linked=SAME)
    assert (found.both.people, found.both.smallest, found.needs_signature) == (3, 3, True)


def test_what_another_project_knows_of_any_participant_of_a_person_it_knows_of_the_person(tmp_path: Path):
    found = _met(tmp_path, LINKED, {3: ["x"], 1: ["x"], 2: ["x"], 5: ["y"]}, linked=SAME)
    assert (found.both.people, found.both.classes, found.both.smallest) == (3, 2, 1)
    assert (found.only_first, found.only_second) == (0, 0)
    found = _met(tmp_path, LINKED, {0: ["y", "x"], 1: ["x", "y"], 2: ["x"]}, linked=SAME)
    assert (found.both.people, found.both.classes, found.both.smallest) == (3, 2, 1)


def test_who_has_two_pseudonyms_is_one_of_a_crowd(tmp_path: Path):
    found = _met(tmp_path, OUT, {key: ["x"] for key in range(6)}, twins=twins(SAME))
    assert (found.both.people, found.both.smallest, found.needs_signature) == (3, 3, True)


@pytest.mark.parametrize("seed", range(3))
def test_people_of_all_kinds_are_measured_as_a_look_at_each_would_tell(tmp_path: Path, seed: int):
    """Alone, linked, or with two pseudonyms; three visits a pseudonym, so that the attacker knows them all."""
    drawn = random.Random(seed)
    rows = list[dict[str, Any]]
    raw, out, visits, seen = rows(), rows(), rows(), rows()
    linked, apart, human = dict[int, int](), dict[int, int](), dict[int, int]()
    for key in range(30):
        keys = [key, *([key + 30] if drawn.random() < 0.6 else [])]
        human |= dict.fromkeys(keys, key)
        if len(keys) > 1:
            (linked if drawn.random() < 0.5 else apart)[keys[1]] = key
        for one, source in zip(keys, "ab", strict=False):
            name = linked.get(one, one)
            row = {"key": one, "sex": drawn.choice("FM"), "age": 30, "source": source}
            raw.append(row)
            out.append({**row, "key": name, "age": "*"})
            if name == one:
                when = {"day": DAY, "source": drawn.choice("ab")}
                codes = drawn.sample("ABCD", 3)
                visits += [{"key": one, "code": code, **when} for code in codes]
                seen += [{"key": name, "code": code, **when} for code in codes]
    told: dict[int, set[Any]] = {}
    for said in [*out, *seen]:
        told.setdefault(said["key"], set()).add(said["source"])
        if "sex" in said:
            told[said["key"]].add((said["sex"], said["source"]))
    crowds = {frozenset(told[name]) for name in told}
    people = {crowd: len({human[n] for n in told if told[n] == crowd}) for crowd in crowds}
    events = {name: frozenset(visit["code"] for visit in seen if visit["key"] == name) for name in told}
    alone = sum(len({human[n] for n in events if events[n] == events[name]}) == 1 for name in events)
    with standing(
        tmp_path, raw, out, visits, seen, document=united(), linked=linked, apart=apart, k=3
    ) as ground:
        found, attack = uniqueness(ground), event_uniqueness(ground)
    for side in (found.before, found.after):
        assert (side.people, side.classes) == (sum(people.values()), len(people))
        assert (side.smallest, side.largest) == (min(people.values()), max(people.values()))
        assert side.below_k_share == pytest.approx(sum(n for n in people.values() if n < 3) / side.people)
    assert attack is not None
    assert (attack.after.sampled, attack.after.unique_share) == (len(told), alone / len(told))
