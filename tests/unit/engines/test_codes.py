"""Codes of a table that is too large for all its pairs are judged range by range of its people, to the same end."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from app import duck
from app.engines.duckdb import codes
from app.engines.duckdb.sql import VAULT
from app.schemas.dictionary import Dictionary

SPEC = {"kind": "prefix", "lengths": [2, 1]}
DICTIONARY = Dictionary.model_validate(
    {
        "hierarchies": {"block": SPEC},
        "tables": [
            {"name": "person", "kind": "participant", "primary_key": ["pid"], "fields": [
                {"name": "pid", "role": {"kind": "participant_id"}}]},
            {"name": "visit", "kind": "event", "participant": ["pid"], "fields": [
                {"name": "pid", "role": {"kind": "participant_id"}},
                {"name": "code", "role": {"kind": "code", "vocabulary": "own", "roll_up": "block"}}]},
            {"name": "pair", "kind": "link", "participant": ["one", "other"], "fields": [
                {"name": "one", "role": {"kind": "participant_id"}},
                {"name": "other", "role": {"kind": "participant_id"}},
                {"name": "code", "role": {"kind": "code", "vocabulary": "own", "roll_up": "block"}}]},
        ],
    }
)  # fmt: skip
JOINED = {
    "visit": "FROM vault.visit t JOIN cross_ x0 ON t.__participant = x0.key WHERE true",
    "pair": "FROM vault.pair t JOIN cross_ x0 ON t.__participant_1 = x0.key "
    "JOIN cross_ x1 ON t.__participant_2 = x1.key WHERE true",
}


def _rows(seed: int) -> duckdb.DuckDBPyConnection:
    """Sixty people, of whom some are one for k; 900 visits and 300 pairs under codes that most, few or one have."""
    con, random = duck.opened(), np.random.default_rng(seed)
    con.execute(f"CREATE SCHEMA {VAULT}")
    keys = np.arange(100, 160, dtype=np.int32)
    counted = np.where(random.random(60) < 0.2, keys[random.integers(0, 60)], keys)
    number = np.floor(40 * random.random(900) ** 3).astype(int).tolist()
    code = [None if n == 7 else f"{'AB'[n % 2]}{n // 10}{n % 10}" for n in number]
    one, other = random.choice(keys, (2, 900))
    laid = {
        "cross_": pa.table({"key": keys, "counted": counted}),
        "vault.visit": pa.table({"__participant": one, "code": code}),
        "vault.pair": pa.table({"__participant_1": one, "__participant_2": other, "code": code})[:300],
    }
    for name, rows in laid.items():
        con.register("laid", rows)
        con.execute(f"CREATE TABLE {name} AS FROM laid")
    return con


def _judged(con: duckdb.DuckDBPyConnection, table: str, spec: Any, first: int) -> tuple[Any, dict[str, int]]:
    of = DICTIONARY.table(table)
    rollup = codes.Rollup(of, of.column("code"), 11, spec, first)
    told = codes.build(con, rollup, "code_0", JOINED[table])
    found = con.execute("FROM code_0").fetchall()
    counted = con.sql("SELECT v, n FROM code_0").to_arrow_table()
    assert codes.build_on(con, rollup, "code_1", JOINED[table], counted) == told
    assert con.execute("FROM code_1").fetchall() == found
    return found, told


@pytest.mark.parametrize("table", ["visit", "pair"])
@pytest.mark.parametrize(("spec", "first"), [(SPEC, 0), (SPEC, 1), (None, 0)])
def test_ranges_of_people_change_no_code(
    table: str, spec: Any, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        con = _rows(seed)
        whole = _judged(con, table, spec, first)
        assert set(whole[1].values()) != {0}
        for rows in (299, 100):
            monkeypatch.setattr(codes, "MOST_ROWS", rows)
            assert _judged(con, table, spec, first) == whole
        monkeypatch.undo()
        con.close()


def test_the_people_of_a_code_are_those_on_either_side_of_its_pairs() -> None:
    con = _rows(3)
    counted = dict(con.execute("SELECT key, counted FROM cross_").fetchall())
    people: dict[str, set[int]] = {}
    for one, other, code in con.execute("FROM vault.pair WHERE code IS NOT NULL").fetchall():
        people.setdefault(code, set()).update((counted[one], counted[other]))
    found, _told = _judged(con, "pair", None, 0)
    assert {code: n for code, n, _released in found} == {code: len(them) for code, them in people.items()}
