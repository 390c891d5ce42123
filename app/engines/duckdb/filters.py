"""The row filter as SQL: on people it selects people, on an event table that table's rows."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from app.deid import hierarchies
from app.deid.fitting import hierarchy_spec
from app.engines.duckdb.sql import quoted
from app.engines.protocol import Source
from app.schemas.dictionary import Column, Dictionary, Table
from app.schemas.plan import Condition, Plan


def people_filter(con: duckdb.DuckDBPyConnection, source: Source, alias: str) -> str:
    """The conditions on the participant table as one SQL predicate; a null never passes."""
    return row_filter(con, source, source.dictionary.people, alias)


def row_filter(con: duckdb.DuckDBPyConnection, source: Source, table: Table, alias: str) -> str:
    """The conditions on one table as one SQL predicate over `alias`."""
    wanted = [c for c in source.plan.filter if c.table == table.name]
    return " AND ".join(predicate(con, source.dictionary, source.plan, c, alias) for c in wanted) or "true"


def predicate(
    con: duckdb.DuckDBPyConnection, dictionary: Dictionary, plan: Plan, condition: Condition, alias: str
) -> str:
    """One condition as SQL. Its values reach the engine as a table, never as text of the statement."""
    table = dictionary.table(condition.table)
    column = table.column(condition.column)
    expression = _released(plan, table, column, f"{alias}.{quoted(column.name)}")
    clauses = []
    if condition.values:
        name = _values_table(con, dictionary, table, column, condition)
        clauses.append(
            f"{expression if condition.level == 0 else f'{alias}.{quoted(column.name)}'} IN (FROM {name})"
        )
    if condition.at_least is not None:
        clauses.append(f"{expression} >= {condition.at_least!r}")
    if condition.at_most is not None:
        clauses.append(f"{expression} <= {condition.at_most!r}")
    return "(" + (" AND ".join(clauses) or "true") + ")"


def _released(plan: Plan, table: Table, column: Column, raw: str) -> str:
    """The column at the level its conditions speak of: a date by its year or month, else the value itself."""
    mode = getattr(column.role, "mode", None)
    if column.type in ("date", "datetime") and mode in ("year", "month"):
        return f"year({raw})" if mode == "year" else f"strftime({raw}, '%Y-%m')"
    return raw


def _values_table(
    con: duckdb.DuckDBPyConnection, dictionary: Dictionary, table: Table, column: Column, condition: Condition
) -> str:
    """A temporary table with the raw values that the condition admits."""
    name = f"admitted_{con.sql('SELECT nextval($$numbers$$)').fetchall()[0][0]}"
    raw = f"SELECT DISTINCT {quoted(column.name)} AS v FROM {quoted(table.name)}"
    con.register(f"{name}_in", pa.table({"v": pa.array(list(condition.values), pa.string())}))
    if condition.level == 0:
        con.execute(
            f"CREATE TEMP TABLE {name} AS SELECT TRY_CAST(v AS {_sql_type(column)}) AS v FROM {name}_in"
        )
    else:
        values = con.sql(f"{raw} ORDER BY v").to_arrow_table()["v"]
        spec = hierarchy_spec(dictionary, column)
        labels = hierarchies.preview(spec, condition.level, values.to_pylist()) if len(values) else []
        admitted = [label in condition.values for label in labels]
        con.register(f"{name}_raw", pa.table({"v": values, "ok": pa.array(admitted, pa.bool_())}))
        con.execute(f"CREATE TEMP TABLE {name} AS SELECT v FROM {name}_raw WHERE ok AND v IS NOT NULL")
        con.unregister(f"{name}_raw")
    con.unregister(f"{name}_in")
    return name


def _sql_type(column: Column) -> str:
    if getattr(column.role, "mode", None) == "year":
        return "BIGINT"
    return {"integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}.get(column.type, "VARCHAR")
