"""Versions that share objects lose the rows of a destroyed person together; what any of them names is kept."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from app.cohorts import segments
from app.models import DatasetVersion, VaultTable
from app.storage.held import objects_of
from tests.integration.destruction.house import LEAVING, House, make

NEXT = "ver_next"


def made_from(house: House) -> None:
    """The next version: the tables of the published one, and a visit more of everybody as a segment of its own."""
    vault, var = house.built.destruction.engine.vault, house.world.var
    with house.world.db.unit_of_work() as session:
        of = session.get_one(DatasetVersion, house.world.version_id)
        session.add(
            DatasetVersion(
                id=NEXT, dataset_id=of.dataset_id, number=2, state="draft", dictionary=of.dictionary,
                dictionary_digest="0" * 64, report=None, people=of.people, created_at=of.created_at,
                published_at=None, made_from=of.id,
            )
        )  # fmt: skip
        session.flush()
        assert segments.carry(session, of.id, NEXT, of.created_at) == 3
        row = session.get_one(VaultTable, (NEXT, "visit", 1))
        (old,) = objects_of(session, row)
        path = var / "more.parquet"
        duckdb.connect().execute(
            f"COPY (SELECT * REPLACE (vid + 1000000 AS vid) FROM '{var / 'vault' / old}' "
            f"QUALIFY row_number() OVER (PARTITION BY __participant) = 1) TO '{path}' (FORMAT parquet)"
        )
        put = vault.put_file(path, f"{NEXT}/visit.more.parquet")
        rows = pq.read_metadata(path).num_rows
        path.unlink()
        more = segments.Segment(put.name, None, rows, rows, put.bytes, put.sha256, 0, [], None)
        held = [*segments.segments(session, row), more]
        segments.grow(session, row, None, held, rows, row.definition, of.created_at)


def objects(house: House, version: str) -> dict[str, tuple[str, ...]]:
    with house.world.db.read() as session:
        return {
            table: objects_of(session, rows[-1])
            for (of, table), rows in house.held().items()
            if of == version
        }


def test_every_version_loses_the_rows_and_shares_what_is_left(tmp_path: Path) -> None:
    house = make(tmp_path, people=60)
    made_from(house)
    published = house.world.version_id
    before = {version: objects(house, version) for version in (published, NEXT)}
    assert before[NEXT]["visit"][0] == before[published]["visit"][0]
    key = house.leaving[LEAVING[0]]
    assert sum(house.rows(key).values()) > 0
    receipt = house.withdraw(LEAVING[0])
    house.work()
    assert set(house.rows(key).values()) == {0}
    after = {version: objects(house, version) for version in (published, NEXT)}
    assert after[NEXT]["person"] == after[published]["person"]
    assert len(after[NEXT]["visit"]) == 2
    assert after[NEXT]["visit"][0] == after[published]["visit"][0]
    named = {name for held in after.values() for names in held.values() for name in names}
    assert named <= set(house.objects())
    gone = {name for held in before.values() for names in held.values() for name in names} - named
    assert gone
    assert not gone & set(house.objects())
    row = house.held()[NEXT, "visit"][-1]
    total = sum(pq.read_metadata(house.world.var / "vault" / name).num_rows for name in after[NEXT]["visit"])
    assert (row.rows, row.people) == (total, 59)
    assert house.receipt(receipt)["receipt"]["destroyed"]["people"] == 1


def test_the_sweep_leaves_what_a_segment_alone_names(tmp_path: Path) -> None:
    house = make(tmp_path, people=60)
    made_from(house)
    more = objects(house, NEXT)["visit"][1]
    orphan = house.world.var / "vault" / NEXT / "orphan.parquet"
    orphan.write_bytes((house.world.var / "vault" / more).read_bytes())
    assert house.built.destruction.sweep(older_than=None) == 1
    assert more in house.objects()
