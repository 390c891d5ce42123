"""The rewrite of queries that DuckDB gets wrong is off wherever we ask it, and what we ask of pairs is right."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from app import duck
from app.deid.verify.reader import DISTRUSTED

APP = Path(duck.__file__).parent
SAMPLE = "demo/sample.py"  # reads a file of its own, of another's making
VERIFIER = "deid/verify/reader.py"  # shares no code with what it verifies


def _both(con: duckdb.DuckDBPyConnection) -> list[int]:
    """The people of three pairs, by either side."""
    con.execute("CREATE TABLE pair (one INTEGER, other INTEGER)")
    con.execute("INSERT INTO pair VALUES (1, 10), (2, 20), (3, 30)")
    con.execute("CREATE TABLE x AS SELECT i AS key, i + 100 AS counted FROM range(40) t(i)")
    rows = "FROM pair t JOIN x x0 ON t.one = x0.key JOIN x x1 ON t.other = x1.key"
    query = f"SELECT x0.counted AS p {rows} UNION SELECT x1.counted {rows} ORDER BY p"
    return [row[0] for row in con.execute(query).fetchall()]


def test_people_on_either_side_of_a_pair_are_told_apart() -> None:
    assert _both(duck.opened()) == [101, 102, 103, 110, 120, 130]


def test_the_rewrite_is_left_out_only_while_it_is_wrong() -> None:
    """Where this fails DuckDB has mended it: `WRONG` and this test can go."""
    if not duckdb.__version__.startswith("2.0."):
        pytest.fail("another DuckDB: look whether common_subplan is right by now")
    assert _both(duckdb.connect()) != [101, 102, 103, 110, 120, 130]


def test_nothing_of_ours_opens_duckdb_in_another_way() -> None:
    texts = {str(path.relative_to(APP)): path.read_text("utf-8") for path in APP.rglob("*.py")}
    assert sorted(name for name, text in texts.items() if "duckdb.connect(" in text) == [
        VERIFIER,
        SAMPLE,
        "duck.py",
    ]
    assert set(DISTRUSTED) >= set(duck.WRONG)
    shared = re.compile(r"\bduckdb\.(sql|query|execute)\(")  # the library's own connection
    assert not [name for name, text in texts.items() if shared.search(text) and not name.startswith("demo/")]
