"""Hierarchies that lie in a reference table: circles are refused with the version, a good one reaches the engine."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app.db import Database
from app.deid import hierarchies
from app.deid.roles import check_dictionary
from app.engines import Limits, Source, engine
from app.engines.ancestry import settled
from app.schemas.plan import Plan
from tests.integration.intake.world import IntakeWorld, csv_bytes
from tests.integration.test_bad_inputs import PEOPLE, VISITS, bills, column, dictionary

TREE = {"kind": "ancestors", "table": "tree", "child": "low", "parent": "high", "steps": 2}


def document() -> dict[str, Any]:
    made = copy.deepcopy(dictionary())
    made["hierarchies"] = {"of_bills": TREE}
    made["tables"].append({"name": "tree", "kind": "reference", "fields": [column("low"), column("high")]})
    return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeWorld]:
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    made = IntakeWorld(tmp_path, db, document())
    for table, content in {
        "person": csv_bytes(PEOPLE),
        "visit": csv_bytes(VISITS),
        "bill": bills([1, 2]),
    }.items():
        assert made.upload(table, content).state == "accepted"
    yield made
    db.dispose()


def test_a_circle_is_refused_when_the_version_is_handed_in(world: IntakeWorld) -> None:
    assert world.upload("tree", csv_bytes([["low", "high"], ["A", "B"], ["B", "A"]])).state == "accepted"
    version = world.submit()
    assert version.state == "quarantined"
    told = [(p["code"], p["table"], p["pointer"]) for p in (version.report or {})["problems"]]
    assert told == [("hierarchy_cycle", "tree", "/hierarchies/of_bills")]


@pytest.mark.again
def test_a_good_one_is_read_from_the_vault_before_anything_is_fitted(
    world: IntakeWorld, tmp_path: Path
) -> None:
    assert world.upload("tree", csv_bytes([["low", "high"], ["A1", "A"], ["A2", "A"]])).state == "accepted"
    assert world.submit().state == "ready"
    tables = {"tree": (str(world.held()["tree"].object_name),)}
    nobody = pa.table({"key": pa.array([], pa.int32())})
    plan = Plan.model_construct(version_id="ver_test", tables=())
    source = Source(check_dictionary(document()), plan, tables, nobody, b"", tmp_path / "spill")
    found = settled(engine("duckdb", Limits("1GB", 1, 1000), world.vault), source)
    spec = found.dictionary.hierarchies["of_bills"]
    assert hierarchies.preview(spec, 1, ["A1", "A2", "Z"]) == ["A", "A", "(none)"]
    assert source.dictionary.hierarchies["of_bills"] == TREE
