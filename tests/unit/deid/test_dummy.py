"""Dummy data: of dictionary and plan alone, as the release will look, and of no one."""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.deid.choices import chosen
from app.deid.dummy import dummy, write
from app.deid.plan import draft
from app.deid.roles import check_dictionary
from app.schemas.plan import Privacy

DOCUMENT: dict[str, Any] = {
    "hierarchies": {
        "region": {"kind": "table", "levels": [["Jongno", "Seoul", "*"], ["Haeundae", "Busan", "*"]]},
        "age": {"kind": "interval", "bounds": [0, 120], "widths": [5, 10, 20]},
    },
    "tables": [
        {
            "name": "people", "kind": "participant",
            "fields": [
                {"name": "id", "role": {"kind": "participant_id"}},
                {"name": "region", "role": {"kind": "quasi_identifier", "hierarchy": "region"}},
                {"name": "age", "type": "integer",
                 "role": {"kind": "quasi_identifier", "hierarchy": "age", "min_level": 2}},
                {"name": "name", "role": {"kind": "direct_identifier"}},
                {"name": "smoker", "role": {"kind": "attribute"}, "missing": {"9": "refused"},
                 "labels": {"0": {"en": "no"}, "1": {"en": "yes"}, "9": {"en": "refused"}}},
            ],
        },
        {
            "name": "visits", "kind": "event", "participant": ["id"], "primary_key": ["visit"],
            "fields": [
                {"name": "visit", "role": {"kind": "record_id", "of": "visit"}},
                {"name": "id", "role": {"kind": "participant_id"}},
                {"name": "day", "type": "date", "role": {"kind": "date", "mode": "month"}},
                {"name": "dx", "role": {"kind": "code", "vocabulary": "KCD"}, "labels": {"E11": {"en": "diabetes"}}},
            ],
        },
        {
            "name": "labs", "kind": "event", "participant_via": "visits.visit",
            "fields": [
                {"name": "visit", "role": {"kind": "record_id", "of": "visit"}},
                {"name": "value", "type": "number",
                 "role": {"kind": "number", "round": 5.0, "bottom": 10.0, "top": 50.0}},
                {"name": "note", "role": {"kind": "free_text"}},
            ],
        },
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def made():
    known = check_dictionary(DOCUMENT)
    plan = draft(known, None, (), Privacy(), "v")
    return known, plan, dummy(known, plan, people=60, seed=3)


def test_the_columns_and_types_are_those_of_the_plan(made: Any):
    known, plan, tables = made
    assert list(tables) == ["people", "visits", "labs"]
    for planned in plan.tables:
        choices = chosen(planned, known.table(planned.name))
        table = tables[planned.name]
        assert table.column_names == [c.planned.name for c in choices]
        assert [str(f.type) for f in table.schema] == [
            c.transform.released(c.column, c.params).arrow for c in choices
        ]
    assert "name" not in tables["people"].column_names
    assert "note" not in tables["labs"].column_names


def test_labels_are_of_the_hierarchies(made: Any):
    _, _, tables = made
    assert set(tables["people"]["region"].to_pylist()) <= {"Seoul", "Busan", None}
    ages = {age for age in tables["people"]["age"].to_pylist() if age}
    # Level 2 is the finest that may leave: bands of ten years.
    assert all(re.fullmatch(r"\[\d*0, \d*0\)", age) for age in ages)
    assert set(tables["people"]["smoker"].to_pylist()) <= {"0", "1", None}
    assert set(tables["people"]["smoker__missing"].to_pylist()) <= {"refused", None}
    assert set(tables["visits"]["dx"].to_pylist()) <= {"E11", None}
    assert all(re.fullmatch(r"20\d\d-[01]\d", m) for m in tables["visits"]["day"].to_pylist() if m)
    assert all(v % 5 == 0 and 10 <= v <= 50 for v in tables["labs"]["value"].to_pylist() if v is not None)


def test_ids_meet_across_tables_and_name_each_person_once(made: Any):
    _, _, tables = made
    people = tables["people"]["id"].to_pylist()
    assert len(set(people)) == len(people) == 60
    assert people == sorted(people)
    assert all(re.fullmatch("[0-9a-f]{16}", person) for person in people)
    assert set(tables["visits"]["id"].to_pylist()) <= set(people)
    visits = tables["visits"]["visit"].to_pylist()
    assert len(set(visits)) == len(visits)
    assert set(tables["labs"]["visit"].to_pylist()) <= set(visits)


def test_equal_seeds_give_equal_tables_and_other_seeds_others(made: Any, tmp_path: Path):
    known, plan, tables = made
    again, other = dummy(known, plan, people=60, seed=3), dummy(known, plan, people=60, seed=4)
    assert all(again[name].equals(table) for name, table in tables.items())
    assert not other["people"].equals(tables["people"])
    first = [path.read_bytes() for path in write(tables, tmp_path)]
    assert first == [path.read_bytes() for path in write(again, tmp_path)]
    assert pq.read_table(tmp_path / "visits.parquet").num_rows == 180


def test_a_hierarchy_that_lists_no_values_still_gives_labels():
    document = {
        "hierarchies": {"sex": {"kind": "flat"}},
        "tables": [{"name": "p", "kind": "participant", "fields": [
            {"name": "id", "role": {"kind": "participant_id"}},
            {"name": "sex", "role": {"kind": "quasi_identifier", "hierarchy": "sex"}},
            {"name": "zip", "role": {"kind": "quasi_identifier"}},
            {"name": "born", "type": "date", "role": {"kind": "quasi_identifier"}},
        ]}],
    }  # fmt: skip
    known = check_dictionary(document)
    (table,) = dummy(known, draft(known, None, (), Privacy(), "v"), people=20).values()
    assert set(table["sex"].to_pylist()) <= {"*", None}
    assert len(set(table["zip"].to_pylist())) > 2
    assert all(re.fullmatch(r"\d{4}-\d\d", born) for born in table["born"].to_pylist() if born)


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ({"kind": "region", "system": "mois", "as_of": "2026-01-01", "levels": ["province"]}, "서울특별시"),
        ({"kind": "icd", "version": "KCD-8", "lengths": [3]}, "A00"),
    ],
)
def test_hierarchies_of_codes_give_labels_of_theirs(spec: dict[str, Any], label: str):
    document = {
        "hierarchies": {"h": spec},
        "tables": [{"name": "p", "kind": "participant", "fields": [
            {"name": "id", "role": {"kind": "participant_id"}},
            {"name": "x", "role": {"kind": "quasi_identifier", "hierarchy": "h"}},
        ]}],
    }  # fmt: skip
    known = check_dictionary(document)
    (table,) = dummy(known, draft(known, None, (), Privacy(), "v"), people=200).values()
    assert label in table["x"].to_pylist()
