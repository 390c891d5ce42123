"""Each rule of the dictionary, shown to refuse: one change to a good dictionary, one finding with its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from app.deid.roles import check_dictionary, person_columns, stored
from app.errors import Problem
from tests.acceptance.second_cohort.cohort import second_cohort

GOOD = second_cohort(people=2).dictionary
PEOPLE, CLAIM, LINE, PAIR, LAB, BOOK = range(6)
Change = Callable[[list[dict[str, Any]]], Any]


def field(tables: list[dict[str, Any]], table: int, column: int) -> dict[str, Any]:
    found: dict[str, Any] = tables[table]["fields"][column]
    return found


def add(tables: list[dict[str, Any]], table: int, name: str, kind: str, **more: Any) -> None:
    tables[table]["fields"].append({"name": name, "role": {"kind": kind}, **more})


def key(column: str, table: str, references: str) -> dict[str, str]:
    return {"column": column, "table": table, "references": references}


CHANGES: dict[str, tuple[str, Change]] = {
    "no participant table": ("participant_tables", lambda t: t.pop(PEOPLE)),
    "two participant tables": ("participant_tables", lambda t: t.append({**t[PEOPLE], "name": "people2"})),
    "names differ in case only": ("duplicate_table", lambda t: t.append({**t[BOOK], "name": "CODE_BOOK"})),
    "column twice": ("duplicate_column", lambda t: add(t, LAB, "단위", "attribute")),
    "no participant id": ("participant_columns", lambda t: t[CLAIM]["fields"].pop(1)),
    "own id and a way": ("participant_columns", lambda t: t[LAB].update(participant_via="claim.청구번호")),
    "link of one": ("participant_columns", lambda t: t[PAIR]["fields"][1].update(role={"kind": "attribute"})),
    "participant names others": ("contradiction", lambda t: t[CLAIM].update(participant=["진료일"])),
    "way to a reference": (
        "contradiction", lambda t: t[LINE].update(participant_via="code_book.코드", via_column="청구번호"),
    ),
    "way that is no key": ("via_not_key", lambda t: t[CLAIM].update(primary_key=["청구번호", "진료일"])),
    "way to nowhere": ("unknown_table", lambda t: t[LINE].update(participant_via="klaim.청구번호")),
    "way in a circle": ("circle", lambda t: t[LINE].update(participant_via="claim_line.명세번호")),
    "keys in a circle": (
        "circle",
        lambda t: t[CLAIM].update(foreign_keys=[key("청구번호", "claim_line", "명세번호")]),
    ),
    "key to no primary key": ("key_not_primary", lambda t: t[LAB]["foreign_keys"][0].update(references="한글명")),
    "key of another type": ("types_differ", lambda t: field(t, LINE, 1).update(type="integer")),
    "key that is dropped": ("contradiction", lambda t: field(t, LAB, 3).update(role={"kind": "free_text"})),
    "ids in two spaces": ("record_spaces_differ", lambda t: field(t, LINE, 1)["role"].update(of="bill")),
    "person in a reference": ("person_in_reference", lambda t: field(t, BOOK, 1).update(role={"kind": "sensitive"})),
    "primary key absent": ("unknown_column", lambda t: t[LAB].update(primary_key=["검사 번호"])),
    "primary key dropped": ("contradiction", lambda t: field(t, BOOK, 0).update(role={"kind": "free_text"})),
    "unit column absent": ("unknown_column", lambda t: field(t, LAB, 4).update(unit_column="단 위")),
    "two units": ("contradiction", lambda t: field(t, LAB, 4).update(unit="mg/dL")),
    "unknown hierarchy": ("unknown_hierarchy", lambda t: field(t, PEOPLE, 6)["role"].update(hierarchy="regions")),
    "no hierarchy for it": ("hierarchy_needed", lambda t: add(t, PEOPLE, "q", "quasi_identifier", type="boolean")),
    "levels beyond": ("out_of_range", lambda t: field(t, PEOPLE, 6)["role"].update(max_level=9)),
    "levels upside down": ("contradiction", lambda t: field(t, PEOPLE, 6)["role"].update(min_level=2, max_level=1)),
    "label of another type": ("bad_label", lambda t: field(t, PEOPLE, 8)["labels"].update({"셋": {"ko": "x"}})),
    "date of a number": ("contradiction", lambda t: add(t, LAB, "d", "date", type="integer")),
    "format of a text": ("contradiction", lambda t: add(t, LAB, "d", "attribute", format="%Y")),
    "format unknown": ("bad_format", lambda t: field(t, PEOPLE, 5).update(format="yyyymmdd")),
    "reserved": ("reserved_name", lambda t: add(t, LAB, "__participant", "attribute")),
    "required yet missing": ("contradiction", lambda t: field(t, PEOPLE, 8).update(required=True)),
    "share of a reference": ("contradiction", lambda t: t[BOOK].update(max_unmatched=0.5)),
    "share above one": ("out_of_range", lambda t: t[LAB].update(max_unmatched=1.5)),
    "unknown property": ("unknown_property", lambda t: t[LAB].update(primarykey=[])),
    "unknown kind": ("unknown_word", lambda t: t[LAB].update(kind="evnt")),
    "role as text": ("wrong_shape", lambda t: field(t, LAB, 5).update(role="attribute")),
}  # fmt: skip


def test_the_good_one_is_accepted_in_its_normal_form() -> None:
    checked = check_dictionary(GOOD)
    assert checked.people.primary_key == checked.people.participant == ("등록번호",)
    assert checked.table("claim_line").via_column == "청구번호"
    assert person_columns(checked.table("mother_child")) == ("__participant_1", "__participant_2")
    assert [c.name for c in stored(checked.people)] == ["성별", "생년월일", "시도", "키", "흡연"]
    assert check_dictionary(checked.model_dump(mode="json")) == checked


@pytest.mark.parametrize("name", CHANGES)
def test_refused(name: str) -> None:
    code, change = CHANGES[name]
    document = copy.deepcopy(GOOD)
    change(document["tables"])
    with pytest.raises(Problem) as refused:
        check_dictionary(document)
    assert refused.value.code == "dictionary_invalid"
    assert code in [finding.code for finding in refused.value.findings]
    assert all(finding.pointer or finding.code == "circle" for finding in refused.value.findings)


@pytest.mark.parametrize(
    "spec",
    [{"kind": "no such"}, {}, {"kind": "interval", "bounds": [9, 1], "widths": [5]}, {"kind": "interval", "widths": 5},
     {"kind": "table", "levels": [["a", "b"], ["c"]]}, {"kind": "flat", "groups": ["x"]}],
)  # fmt: skip
def test_hierarchies_are_tried(spec: dict[str, Any]) -> None:
    document = {**copy.deepcopy(GOOD), "hierarchies": {**GOOD["hierarchies"], "bad": spec}}
    with pytest.raises(Problem) as refused:
        check_dictionary(document)
    assert [finding.pointer for finding in refused.value.findings] == ["/hierarchies/bad"]


def test_labels_outside_the_hierarchy_are_found_before_any_data() -> None:
    document = copy.deepcopy(GOOD)
    document["hierarchies"]["sex"] = {"kind": "flat", "groups": {"known": ["1"]}}
    with pytest.raises(Problem) as refused:
        check_dictionary(document)
    assert [(f.code, f.column) for f in refused.value.findings] == [("hierarchy_not_covered", "성별")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"table": "codebook"}, "unknown_table"),
        ({"table": "lab"}, "contradiction"),
        ({"parent": "nothing"}, "unknown_column"),
        ({"steps": 0}, "hierarchy_bad_steps"),
    ],
)
def test_a_hierarchy_may_be_read_from_a_reference_table(change: dict[str, Any], code: str | None) -> None:
    document = copy.deepcopy(GOOD)
    book = document["tables"][BOOK]
    names = [one["name"] for one in book["fields"]]
    spec = {"kind": "ancestors", "table": book["name"], "child": names[0], "parent": names[-1], **change}
    document["hierarchies"]["from_table"] = spec
    if code is None:
        check_dictionary(document)
        return
    with pytest.raises(Problem) as refused:
        check_dictionary(document)
    assert [(f.code, f.pointer) for f in refused.value.findings] == [(code, "/hierarchies/from_table")]
