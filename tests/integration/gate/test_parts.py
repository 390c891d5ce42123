"""Many parts: a table is read a few times however many they are, and how often it is read changes no byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.db import Database
from app.engines.duckdb import scattering, writing
from app.engines.duckdb.columns import select
from app.engines.duckdb.run import MAX_PARTS
from app.engines.duckdb.sql import stored
from app.engines.protocol import Place
from app.gate.building import build, spill_folder
from tests import world as worlds
from tests.world import World

KEY = bytes(range(32))
CODES = {"code": "code_0"}


def test_no_table_is_read_more_than_five_times_for_its_parts() -> None:
    for parts in (*range(1, 12), 32, 99, 100, 101, 200, MAX_PARTS):
        for number in range(1, parts + 1):
            positions = range(parts)[-number:]
            found = scattering.passes(positions, parts)
            assert (len(found) or number) <= 5
            if found:
                assert [one for some in found for one in some] == list(positions)
                assert max(map(len, found)) <= scattering.AT_ONCE


@pytest.mark.again
def test_rows_that_are_laid_aside_leave_as_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    world = worlds.make(db, tmp_path, rows_per_part=60)
    small, read_small = _built(world)
    monkeypatch.setattr(scattering, "SMALL", 0)
    once, read_once = _built(world)
    monkeypatch.setattr(scattering, "AT_ONCE", 7)
    some, read_some = _built(world)
    monkeypatch.setattr(scattering, "LAYING", MAX_PARTS)
    each, read_each = _built(world)
    monkeypatch.setattr(writing, "FEW", MAX_PARTS + 1)
    straight, read_straight = _built(world)
    monkeypatch.setattr(
        writing, "order_of", lambda source, table: [c.name for c in select(source, table, CODES)]
    )
    by_all, _ = _built(world)
    visits = sum(table == "visit" for table, _ in each)
    assert visits > 14
    assert (read_small, read_once, read_some) == (1, 1, -(-visits // 7))
    assert (read_each, read_straight) == (visits, visits)
    assert small == once == some == each == straight == by_all
    db.dispose()


def _built(world: World) -> tuple[dict[Place, str], int]:
    """The digest of every part of a build, and how often the rows of visits were found in their table to write them."""
    visits, queries = stored(world.dictionary.table("visit")), list[str]()

    def pack(con: Any, query: str, *more: Any) -> Any:
        queries.append(query)
        return packed(con, query, *more)

    def scattered(con: Any, rows: str, *more: Any) -> Any:
        queries.append(rows)
        return laid(con, rows, *more)

    def near(*asked: Any) -> str:
        queries.append(gathered(*asked))
        return queries[-1]

    packed, laid, gathered = writing.pack, scattering.scattered, writing.near
    with pytest.MonkeyPatch.context() as spies, spill_folder(world.var) as spill:
        spies.setattr(writing, "pack", pack)
        spies.setattr(writing, "near", near)
        spies.setattr(scattering, "scattered", scattered)
        staged = build(world.gate, world.plan, worlds.PURPOSE, (None, KEY), None, spill, lambda **_: None)
        left = [path for path in (spill / "engine").rglob("*.parquet") if path.parent.name != "vault"]
        assert not left, "what was laid aside goes with its table"
    digests = {(part.table, part.position): part.sha256 for part in staged.parts}
    return digests, sum(f"{visits} " in query for query in queries)
