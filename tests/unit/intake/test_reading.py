"""What is plain is read by a cast, the rest by the strict patterns; both formats hold the same; keys occur once."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.engines.intake import checks, reading
from app.engines.intake.arrival import Bounds, receive
from app.engines.intake.connection import Connection
from app.engines.intake.reading import parquet_source, stage_query
from app.schemas.dictionary import Table

TYPES = ("integer", "number", "date", "datetime")
ALPHABET = {
    "integer": "0123456789+-.eE_ x",
    "number": "0123456789+-.eE_ naif",
    "date": "0123456789-/ T:Z",
    "datetime": "0123456789-: T.Z+",
}
PLAIN = {
    "integer": [
        "0", "-0", "+5", "007", "5.", "5.00", " 5", "9223372036854775807", "9223372036854775808", "1e3", "1_000",
        "0x10", "-9223372036854775808", "\t12 ", "3.7", "", "True",
    ],
    "number": [
        "0.1", "-.5", "5.", "1e5", "1E+5", "1e400", "nan", "inf", "-Infinity", "1_000.5", "+3", " 2.5", "1.5.2",
    ],
    "date": [
        "2020-02-29", "2021-02-29", "0001-01-01", "0000-01-01", "9999-12-31", "10000-01-01", "infinity", "epoch",
        "2020-1-1", "2020-01-01 00:00:00", "2020-01-01T10:00", "20200101", " 2020-01-01", "0044-03-15 (BC)",
    ],
    "datetime": [
        "2020-01-01 10:20:30", "2020-01-01T10:20:30", "2020-01-01 10:20", "2020-01-01 24:00:00", "infinity",
        "2020-01-01 10:20:30.5", "2020-01-01 10:20:30Z", "2020-13-01 10:20:30", "2020-01-01",
    ],
}  # fmt: skip


def table(**types: str) -> Table:
    fields: list[dict[str, Any]] = [
        {"name": name, "type": kind, "role": {"kind": "attribute"}} for name, kind in types.items()
    ]
    return Table.model_validate({"name": "t", "kind": "reference", "format": "parquet", "fields": fields})


def read(values: Iterable[str], kind: str, *, strictly: bool) -> list[Any]:
    column = table(c=kind).fields[0]
    bare = reading.stripped("c")
    sql = reading._value(column, bare) if strictly else reading._read(column, "c", bare)
    con = duckdb.connect(config={"threads": 1})
    con.execute("SET TimeZone = 'UTC'")
    con.register("cells", pa.table({"n": range(len(list(values))), "c": list(values)}))
    return [row[0] for row in con.execute(f"SELECT CAST({sql} AS VARCHAR) FROM cells ORDER BY n").fetchall()]


@pytest.mark.parametrize("kind", TYPES)
def test_a_cast_reads_nothing_that_the_patterns_do_not_read_alike(kind: str) -> None:
    chance = random.Random(7)
    made = ["".join(chance.choices(ALPHABET[kind], k=chance.randint(1, 12))) for _ in range(3000)]
    made += [
        one[:at] + chance.choice(ALPHABET[kind]) + one[at + 1 :]
        for one in PLAIN[kind]
        for at in range(len(one))
    ]
    values = [*PLAIN[kind], *made]
    strict = read(values, kind, strictly=True)
    assert read(values, kind, strictly=False) == strict
    assert 5 < sum(one is not None for one in strict) < len(values)


def test_white_space_goes_from_both_ends_and_from_nowhere_else() -> None:
    ends = ["", " ", "\t", "\n", "\r\f", "\v ", "!", "\x1f", "\x01", "~", "가", "é", "\u00a0", "\u3000"]
    cells = [
        *(before + middle + after for before in ends for middle in ("", "a", "a b") for after in ends),
        None,
    ]
    con = duckdb.connect(config={"threads": 1})
    con.register("cells", pa.table({"n": range(len(cells)), "c": pa.array(cells, pa.string())}))
    found = con.execute(f"SELECT {reading.stripped('c')} FROM cells ORDER BY n").fetchall()
    assert [row[0] for row in found] == [(one or "").strip(" \t\n\r\f\v") or None for one in cells]


def stage(path: Path, of: Table, *, as_texts: bool) -> list[tuple[Any, ...]]:
    arrival = receive(path, path.with_suffix(".csv"), of, Bounds(10_000, 2**30))
    assert arrival.findings == []
    assert arrival.native == {column.name for column in of.fields}
    if as_texts:
        arrival.native = frozenset()
    con = duckdb.connect(config={"threads": 1})
    con.execute("SET TimeZone = 'UTC'")
    return con.execute(stage_query(of, parquet_source(arrival, of), arrival.native)).fetchall()


def test_what_is_of_its_type_already_is_what_its_text_would_be_read_as(tmp_path: Path) -> None:
    moments = pa.array([1_577_874_030_000_500, None, 0, -62_135_596_800_000_000], pa.int64())
    columns = {
        "whole": pa.array([1, -5, None, 2**63 - 1], pa.int64()),
        "small": pa.array([1, -5, None, 888], pa.int16()),
        "number": pa.array([0.1, float("nan"), float("-inf"), 1e300], pa.float64()),
        "flag": pa.array([True, False, None, True], pa.bool_()),
        "day": pa.array([0, -719_162, 2_932_897, None], pa.int32()).cast(pa.date32()),
        "moment": moments.cast(pa.timestamp("us")),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    of = table(
        whole="integer", small="integer", number="number", flag="boolean", day="date", moment="datetime"
    )
    of.fields[1].missing["888"] = "refused"
    plain = stage(tmp_path / "t.parquet", of, as_texts=False)
    assert repr(plain) == repr(stage(tmp_path / "t.parquet", of, as_texts=True))
    assert len(plain) == 4


@pytest.mark.parametrize("most", [1, 3, 16_000_000])
def test_a_number_that_occurs_twice_is_found_however_few_are_sorted_at_a_time(
    most: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "_SORTED", most)
    db = Connection(tmp_path, "256MB", 1, [])
    for values, twice in (([], False), ([5], False), ([-4, 2**62, 0, -(2**62), 7, None, None], False),
                          ([9, 8, 7, 1, 2, 3, None, 9], True), ([-1, -1], True)):  # fmt: skip
        db.ask("CREATE OR REPLACE TEMP TABLE stage (v0 BIGINT)")
        for one in values:
            db.ask(f"INSERT INTO stage VALUES ({'NULL' if one is None else one})")
        filled = sum(one is not None for one in values)
        assert checks._occurs_twice("v0", filled, db.numbers) is twice
    db.close()
