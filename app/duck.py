"""DuckDB as this house opens it: in memory, and without the rewrite of queries that is known to answer wrongly.

The verifier opens its own: it shares no code with what it verifies.
"""

from __future__ import annotations

from typing import Final

import duckdb

WRONG: Final = ("common_subplan",)
"""DuckDB 1.5.1 to 2.0.0 take two parts of a query for one where they read other columns of the same joins: the second
person of a pair was told as the first, twice (duckdb/duckdb #25819, #24624, #23679). tests/unit/test_duck.py asks
whether it still does."""


def opened() -> duckdb.DuckDBPyConnection:
    """A database of its own in memory, as yet without settings of its user's."""
    con = duckdb.connect(":memory:")
    con.execute(f"SET disabled_optimizers = '{','.join(WRONG)}'")
    return con
