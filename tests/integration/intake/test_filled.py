"""People with a value are counted in the vault: each once, and a missing code is no value."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from app.db import Database
from app.schemas.dictionary import Dictionary
from tests.integration.intake.world import IntakeWorld, csv_bytes
from tests.integration.test_bad_inputs import dictionary


def test_people_with_a_value_are_counted_once(tmp_path: Path) -> None:
    made = copy.deepcopy(dictionary())
    person, visit, _bill = made["tables"]
    made["tables"] = [person, visit]
    visit["fields"][2]["missing"] = {"9": "refused"}
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    world = IntakeWorld(tmp_path, db, made)
    people: list[list[Any]] = [["person_id", "born", "city"], *([n, "1950-01-15", None] for n in range(5))]
    assert world.upload("person", csv_bytes(people)).state == "accepted"
    # Of five people three have visits: one twice with a cost, one with a refusal alone, one with nothing.
    rows: list[list[Any]] = [[1, 0, 5, "a"], [2, 0, 6, None], [3, 1, 9, None], [4, 2, None, None]]
    visits = csv_bytes([["visit_id", "person_id", "cost", "note"], *rows])
    assert world.upload("visit", visits).state == "accepted"
    objects = {name: (str(row.object_name),) for name, row in world.held().items()}
    counted = world.engine.filled("job_1", Dictionary.model_validate(made), objects)
    assert counted == {
        ("person", "born"): (5, 5),
        ("person", "city"): (5, 0),
        ("visit", "visit_id"): (3, 3),
        ("visit", "cost"): (3, 1),
        ("visit", "note"): (3, 1),
    }
    assert world.left_behind() == []
    db.dispose()
