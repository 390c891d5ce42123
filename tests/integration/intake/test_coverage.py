"""Hierarchies are laid over what was uploaded when a version is handed in: what they do not cover is told at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from tests.integration.intake.world import IntakeWorld, csv_bytes
from tests.integration.test_bad_inputs import PEOPLE, VISITS, bills, dictionary

TREE = {"kind": "ancestors", "table": "tree", "child": "low", "parent": "high", "steps": 1}
CITIES = [["서울", "수도권", "*"], ["인천", "수도권", "*"]]


def document(cities: list[list[str]], widths: list[int]) -> dict[str, Any]:
    made = copy.deepcopy(dictionary())
    made["hierarchies"] = {
        "city": {"kind": "table", "levels": cities},
        "cost": {"kind": "interval", "bounds": [0, 100], "widths": widths},
        "note": {"kind": "prefix", "lengths": [1], "strip": "ok"},
        "bill": TREE,
    }
    person, visit, bill = made["tables"]
    person["fields"][2]["role"] = {"kind": "quasi_identifier", "hierarchy": "city"}
    visit["fields"][2]["role"] = {"kind": "quasi_identifier", "hierarchy": "cost"}
    visit["fields"][3]["role"] = {"kind": "code", "vocabulary": "own", "roll_up": "note"}
    bill["fields"][2]["role"] = {"kind": "code", "vocabulary": "own", "roll_up": "bill"}
    reference = [{"name": name, "role": {"kind": "attribute"}} for name in ("low", "high")]
    made["tables"].append({"name": "tree", "kind": "reference", "fields": reference})
    return made


def handed_in(folder: Path, made: dict[str, Any]) -> Iterator[Any]:
    db = Database(f"sqlite:///{folder / 'baekman.db'}")
    world = IntakeWorld(folder, db, made)
    tree = csv_bytes([["low", "high"], ["E11", "E"]])
    sent = {"person": csv_bytes(PEOPLE), "visit": csv_bytes(VISITS), "bill": bills([1, 2]), "tree": tree}
    for table, content in sent.items():
        assert world.upload(table, content).state == "accepted"
    yield world.submit()
    db.dispose()


@pytest.fixture
def torn(tmp_path: Path) -> Iterator[Any]:
    yield from handed_in(tmp_path, document([["부산", "*"]], [5, 10]))


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Any]:
    made = document(CITIES, [5, 10])
    made["tables"][1]["fields"][3]["role"] = {"kind": "attribute"}
    yield from handed_in(tmp_path, made)


def test_values_that_no_hierarchy_covers_are_told_at_once_and_never_quoted(torn: Any) -> None:
    assert torn.state == "quarantined"
    told = {(p["code"], p["table"], p["column"]) for p in torn.report["problems"]}
    # The city is in no row of its table, and of a note nothing is left once its letters are taken out.
    assert told == {("hierarchy_not_covered", "person", "city"), ("hierarchy_not_covered", "visit", "note")}
    assert "서울" not in json.dumps(torn.report, ensure_ascii=False)


@pytest.mark.again
def test_every_hierarchy_is_shown_level_by_level(whole: Any) -> None:
    assert whole.state == "ready"
    shown = {(h["table"], h["column"]): h["levels"] for h in whole.report["hierarchies"]}
    assert set(shown) == {("person", "city"), ("visit", "cost"), ("bill", "code")}
    assert shown["person", "city"] == [
        {"level": 0, "labels": 1, "commonest": []},
        {"level": 1, "labels": 1, "commonest": ["수도권"]},
        {"level": 2, "labels": 1, "commonest": ["*"]},
    ]
    assert [s["commonest"] for s in shown["visit", "cost"]][1:3] == [["[10, 15)"], ["[10, 20)"]]
    # Two bills are of too few people for a label to be named; the code is under an ancestor or "(none)".
    assert [(s["labels"], s["commonest"]) for s in shown["bill", "code"]][1:] == [(1, []), (1, [])]
