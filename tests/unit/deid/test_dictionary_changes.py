"""Each change of a dictionary is compatible or breaking, and what is only said otherwise is no change."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.deid.dictionary_changes import BREAKING, COMPATIBLE, changes, concerned
from app.deid.roles import check_dictionary
from app.workbench import deid_app

DOCUMENT: dict[str, Any] = {
    "hierarchies": {
        "age": {"kind": "interval", "bounds": [0, 100], "widths": [5, 10]},
        "city": {"kind": "table", "levels": [["강남", "서울", "*"], ["해운대", "부산", "*"]]},
    },
    "tables": [
        {
            "name": "person", "kind": "participant", "primary_key": ["pid"],
            "fields": [
                {"name": "pid", "role": {"kind": "participant_id"}},
                {"name": "age", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "age"}},
                {"name": "city", "role": {"kind": "quasi_identifier", "hierarchy": "city"}},
                {"name": "smokes", "role": {"kind": "attribute"}, "labels": {"1": {"en": "yes"}, "2": {"en": "no"}},
                 "missing": {"9": "refused"}},
                {"name": "weight", "type": "number", "unit": "kg", "role": {"kind": "number"}},
            ],
        },
        {
            "name": "visit", "kind": "event", "primary_key": ["vid"],
            "fields": [
                {"name": "vid", "role": {"kind": "record_id"}},
                {"name": "pid", "role": {"kind": "participant_id"}},
            ],
        },
    ],
}  # fmt: skip
Edit = Callable[[Any], object]
ROW = {"name": "note", "role": {"kind": "attribute"}}
TABLE = {
    "name": "seen",
    "kind": "event",
    "fields": [{"name": "pid", "role": {"kind": "participant_id"}}, ROW],
}


def field(document: Any, name: str) -> Any:
    return next(one for one in document["tables"][0]["fields"] if one["name"] == name)


CASES: dict[str, tuple[Edit, tuple[str, str, str, str] | None]] = {
    "another title": (lambda d: field(d, "age").update(title={"en": "Age"}), None),
    "another encoding of the file": (lambda d: d["tables"][0].update(encoding="cp949"), None),
    "a label in other words": (lambda d: field(d, "smokes")["labels"].update({"1": {"en": "smokes"}}), None),
    "a new column": (
        lambda d: d["tables"][0]["fields"].append(ROW), ("person", "note", "column_added", COMPATIBLE),
    ),
    "a new table": (lambda d: d["tables"].append(TABLE), ("seen", "", "table_added", COMPATIBLE)),
    "one label more": (
        lambda d: field(d, "smokes")["labels"].update({"3": {"en": "used to"}}),
        ("person", "smokes", "labels", COMPATIBLE),
    ),
    "a longer ladder": (
        lambda d: d["hierarchies"]["age"].update(widths=[5, 10, 20]), ("", "age", "hierarchy", COMPATIBLE),
    ),
    "a value more in a table": (
        lambda d: d["hierarchies"]["city"]["levels"].append(["중구", "대구", "*"]),
        ("", "city", "hierarchy", COMPATIBLE),
    ),
    "a level more below the root": (
        lambda d: d["hierarchies"]["city"].update(
            levels=[["강남", "서울", "수도권", "*"], ["해운대", "부산", "영남", "*"]]
        ),
        ("", "city", "hierarchy", COMPATIBLE),
    ),
    "one label less": (lambda d: field(d, "smokes")["labels"].pop("2"), ("person", "smokes", "labels", BREAKING)),
    "a code that now is missing": (
        lambda d: field(d, "smokes")["missing"].update({"8": "unknown"}),
        ("person", "smokes", "missing_codes", BREAKING),
    ),
    "another unit": (lambda d: field(d, "weight").update(unit="g"), ("person", "weight", "unit", BREAKING)),
    "no unit": (lambda d: field(d, "weight").pop("unit"), ("person", "weight", "unit", BREAKING)),
    "another role": (
        lambda d: field(d, "weight").update(role={"kind": "sensitive"}), ("person", "weight", "role", BREAKING),
    ),
    "another type": (lambda d: field(d, "weight").update(type="integer"), ("person", "weight", "type", BREAKING)),
    "a removed column": (
        lambda d: d["tables"][0]["fields"].pop(3), ("person", "smokes", "column_removed", BREAKING),
    ),
    "a removed table": (lambda d: d["tables"].pop(1), ("visit", "", "table_removed", BREAKING)),
    "another domain": (lambda d: d["tables"][1].update(domain="lifelog"), ("visit", "", "domain", BREAKING)),
    "another key": (lambda d: d["tables"][1].update(primary_key=[]), ("visit", "", "primary_key", BREAKING)),
    "a ladder of other steps": (
        lambda d: d["hierarchies"]["age"].update(widths=[10, 20]), ("", "age", "hierarchy", BREAKING),
    ),
    "a value that moves": (
        lambda d: d["hierarchies"]["city"]["levels"][0].__setitem__(1, "경기"),
        ("", "city", "hierarchy", BREAKING),
    ),
    "a value that goes": (
        lambda d: d["hierarchies"]["city"]["levels"].pop(), ("", "city", "hierarchy", BREAKING),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_change(name: str) -> None:
    edit, expected = CASES[name]
    document = copy.deepcopy(DOCUMENT)
    edit(document)
    found = changes(check_dictionary(DOCUMENT), check_dictionary(document))
    assert [(one.table, one.column, one.change, one.kind) for one in found] == (
        [expected] if expected else []
    )


def test_a_plan_is_concerned_by_what_it_uses_alone() -> None:
    old, document = check_dictionary(DOCUMENT), copy.deepcopy(DOCUMENT)
    field(document, "weight").update(unit="g")
    document["hierarchies"]["age"].update(widths=[10, 20])
    document["tables"][1].update(domain="lifelog")
    unit, ladder, domain = (
        next(one for one in changes(old, check_dictionary(document)) if one.change == change)
        for change in ("unit", "hierarchy", "domain")
    )
    asked = {"person": ["pid", "age"]}
    assert [concerned(one, asked, old) for one in (unit, ladder, domain)] == [False, True, False]
    asked = {"person": ["weight"], "visit": ["vid"]}
    assert [concerned(one, asked, old) for one in (unit, ladder, domain)] == [True, False, True]


def test_the_shell_tells_what_breaks(tmp_path: Path) -> None:
    old, new, document = tmp_path / "old.json", tmp_path / "new.json", copy.deepcopy(DOCUMENT)
    field(document, "weight").update(unit="g")
    document["tables"][0]["fields"].append(ROW)
    old.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    new.write_text(json.dumps(document), encoding="utf-8")
    told = CliRunner().invoke(deid_app, ["changes", str(old), str(new), "--json"])
    assert (told.exit_code, json.loads(told.stdout)["breaking"]) == (1, 1)
    plain = CliRunner().invoke(deid_app, ["changes", str(old), str(new)])
    assert "  breaking: unit: person.weight" in plain.stdout.splitlines()
    assert CliRunner().invoke(deid_app, ["changes", str(old), str(old)]).exit_code == 0
