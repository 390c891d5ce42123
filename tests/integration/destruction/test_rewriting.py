"""The rewriting of one table: rows of links go with any of their people, memory stays bounded, the order stays."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.engines.destruction import DestructionEngine
from app.storage.vault import Vault


@pytest.fixture
def engine(tmp_path: Path) -> DestructionEngine:
    return DestructionEngine(Vault.open((tmp_path / "vault").as_uri()), tmp_path / "spill", "256MB", 2)


def put(engine: DestructionEngine, tmp_path: Path, table: pa.Table) -> str:
    path = tmp_path / "in.parquet"
    pq.write_table(table, path)
    engine.vault.put_file(path, "ver_1/table.parquet")
    return "ver_1/table.parquet"


def test_a_link_goes_with_either_of_its_people(engine: DestructionEngine, tmp_path: Path) -> None:
    links = pa.table(
        {
            "__participant_1": pa.array([1, 2, 3, 4], pa.int32()),
            "__participant_2": pa.array([5, 6, 7, 8], pa.int32()),
            "kind": ["a", "b", "c", None],
            "kind__missing": [None, None, None, "unknown"],
        }
    )
    made = engine.without("job_1", put(engine, tmp_path, links), "ver_1", "link", [2, 7])
    assert made is not None
    assert (made.rows, made.people, made.gone) == (2, 4, 2)
    left = pq.read_table(tmp_path / "vault" / made.object_name)
    assert left["kind"].to_pylist() == ["a", None]
    assert made.columns == [{"name": "kind", "nulls": 1, "missing": {"unknown": 1}}]
    assert left.schema.names == links.schema.names
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_table_without_their_rows_or_without_people_stays_as_it_is(
    engine: DestructionEngine, tmp_path: Path
) -> None:
    held = put(engine, tmp_path, pa.table({"__participant": pa.array([1, 2], pa.int32())}))
    assert engine.without("job_1", held, "ver_1", "table", [3]) is None
    assert engine.without("job_1", held, "ver_1", "table", []) is None
    engine.discard(held)
    codes = put(engine, tmp_path, pa.table({"code": ["1", "2"], "__participants_note": [1, 2]}))
    assert engine.without("job_1", codes, "ver_1", "table", [1]) is None


def test_the_last_one_leaves_an_empty_table(engine: DestructionEngine, tmp_path: Path) -> None:
    held = put(engine, tmp_path, pa.table({"__participant": pa.array([1, 1], pa.int32()), "x": [1, 2]}))
    made = engine.without("job_1", held, "ver_1", "table", [1])
    assert made is not None
    assert (made.rows, made.people, made.gone) == (0, 0, 2)


def test_the_same_again_is_the_same_object(engine: DestructionEngine, tmp_path: Path) -> None:
    table = pa.table({"__participant": pa.array(range(1000), pa.int32()), "x": [str(n) for n in range(1000)]})
    held = put(engine, tmp_path, table)
    first, second = (engine.without("job_1", held, "ver_1", "table", [7, 9]) for _ in range(2))
    assert first == second
    assert engine.vault.list() == sorted({held, first.object_name if first else ""})


@pytest.mark.long
def test_a_table_larger_than_the_memory_is_streamed_in_its_order(tmp_path: Path) -> None:
    """Four million rows, some 300 MB when read, under a limit of 128 MB."""
    engine = DestructionEngine(Vault.open((tmp_path / "vault").as_uri()), tmp_path / "spill", "128MB", 2)
    path = tmp_path / "in.parquet"
    duckdb.execute(
        "COPY (SELECT (n // 20)::INTEGER AS __participant, n AS place, md5(n::VARCHAR) AS c FROM range(4000000) r(n))"
        f" TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)"
    )
    engine.vault.put_file(path, "ver_1/table.parquet")
    made = engine.without("job_1", "ver_1/table.parquet", "ver_1", "table", [3, 199_999])
    assert made is not None
    assert (made.rows, made.people, made.gone) == (3_999_960, 199_998, 40)
    places = pq.read_table(tmp_path / "vault" / made.object_name, columns=["place"])["place"].to_numpy()
    assert (places[1:] > places[:-1]).all()
