"""Capped events through the gate: how many rows of a person leave, which, and that the choice tells nothing of when."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from app.db import Database
from app.engines.duckdb import caps
from app.errors import Problem
from app.models import Extract
from app.schemas.plan import Plan
from tests import world as worlds
from tests.world import World

# Thirty visits inside the window for everyone, dated in the order of their number, and two at its edges.
VISITS = """
SELECT key AS __participant, (key * 100 + n)::BIGINT AS vid, key * 7 AS pid,
       DATE '2020-01-01' + (60 * n)::INTEGER AS day,
       ['E11', 'E12', 'I10', 'J45'][1 + (hash(key * 17 + n) % 4)::INTEGER] AS code, n::DOUBLE * 5 AS weight
FROM people, range(30) r(n)
UNION ALL SELECT key, (key * 100 + 50 + n)::BIGINT, key * 7,
       CASE n WHEN 0 THEN DATE '2018-12-01' ELSE DATE '2026-07-01' END, 'E11', 60.0
FROM people, range(2) r(n) ORDER BY key, vid
"""
CAP = 4


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    tables = deepcopy(worlds.PLAN_TABLES[:2])
    tables[1]["max_rows_per_person"] = CAP
    yield worlds.make(
        db, tmp_path, 200, tables=tables, queries={"person": worlds.PEOPLE_SQL, "visit": VISITS}
    )
    db.dispose()


def _tables(world: World, cap: int | None) -> Plan:
    visit = world.plan.tables[1].model_copy(update={"max_rows_per_person": cap})
    return world.plan.model_copy(update={"tables": (world.plan.tables[0], visit)})


def test_at_most_so_many_rows_of_a_person_leave_and_the_papers_say_so(world: World) -> None:
    extract = world.permit()
    world.release(extract)
    per_person = "SELECT DISTINCT n FROM (SELECT count(*) AS n FROM parts GROUP BY pid)"
    assert world.rows(extract, "visit", per_person) == [(CAP,)]
    assert world.rows(extract, "visit", "SELECT count(DISTINCT pid) FROM parts") == [(190,)]
    with world.db.read() as session:
        row = session.get_one(Extract, extract)
        manifest, certificate = row.manifest or {}, row.certificate or {}
    visit = next(t for t in manifest["codebook"]["tables"] if t["name"] == "visit")
    assert visit["max_rows_per_person"] == CAP
    assert certificate["max_rows_per_person"] == {"visit": CAP}


@pytest.mark.again
def test_the_same_rows_leave_again_and_a_cap_beyond_what_there_is_takes_nothing(world: World) -> None:
    extract = world.permit()
    first = world.release(extract)
    assert world.release(extract).parts == first.parts  # equal inputs, equal bytes
    told = world.gate.dry_run(_tables(world, 1000), worlds.PURPOSE, lambda **_: None)
    assert told["tables"]["visit"]["rows_out"] == 190 * 30


@pytest.mark.again
def test_which_rows_leave_says_nothing_of_when_they_were(world: World) -> None:
    """The number of a visit, which grows with its day, is spread evenly over those that leave; so are two projects'."""
    chosen = []
    for extract in (world.permit(), world.permit()):
        world.release(extract)
        key = {name: key for key, name in world.pseudonyms(extract).items()}
        rows = world.rows(extract, "visit", "SELECT pid, weight FROM parts")
        chosen.append({(key[pid], weight) for pid, weight in rows})
        numbers = np.array([weight / 5 for _, weight in rows])
        # The mean of 760 uniform draws of 0 to 29 has a standard error of 0.31.
        assert abs(numbers.mean() - 14.5) < 4 * 0.32
        assert len(set(numbers)) == 30
    # Of one project's 760 rows another, with a key of its own, has some 4 in 30.
    shared = len(chosen[0] & chosen[1]) / len(chosen[0])
    assert 0.05 < shared < 0.25


def test_a_forgotten_cap_is_stopped_by_the_verifier(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "kept", lambda _: "true")
    extract = world.permit()
    with pytest.raises(Problem) as refused:
        world.release(extract)
    assert "too_many_rows" in {found.code for found in refused.value.findings}


@pytest.mark.again
def test_codes_are_counted_on_the_rows_that_leave(world: World) -> None:
    """Everyone has every code; of one row a person a code has some fifty people, and fewer than a hundred is rare."""
    visit = _tables(world, 1).tables[1]
    columns = [
        c.model_copy(update={"params": {"min_participants": 100}}) if c.name == "code" else c
        for c in visit.columns
    ]
    capped = visit.model_copy(update={"columns": tuple(columns)})
    for table, codes in ((capped, 0), (capped.model_copy(update={"max_rows_per_person": None}), 4)):
        plan = world.plan.model_copy(update={"tables": (world.plan.tables[0], table)})
        told = world.gate.dry_run(plan, worlds.PURPOSE, lambda **_: None)
        assert told["codes"]["visit.code"]["kept"] == codes
