"""United tables as views over the sources' vault objects: rows are read where they lie and are never copied.

Each source's part is its own table by its mapping, with its name in the column `source`; ids that only mean something
within a source (records, families, staff, handles) carry that name before them, so that two sources never share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from app.deid.mappings import Places
from app.deid.roles import stored as kept
from app.deid.transforms import MISSING_SUFFIX
from app.deid.transforms.contract import STORED
from app.deid.united import KEYED, kind_of
from app.engines.duckdb.sql import persons_of, quoted, scan, text
from app.engines.protocol import Member
from app.schemas.dictionary import Column, Table
from app.schemas.mapping import SOURCE, MappedColumn


class Unites:
    """Puts united tables together in a connection; lookups are laid into tables of a schema of their own."""

    def __init__(self, con: duckdb.DuckDBPyConnection, paths: Mapping[str, Path]) -> None:
        self.con, self.paths, self._lookups = con, paths, 0
        con.execute("CREATE SCHEMA IF NOT EXISTS mapped")

    def rows_of(self, table: Table, members: tuple[Member, ...]) -> str:
        """A query of one united table. A reference table holds no person: what two sources both say stands once."""
        union = " UNION " if table.kind == "reference" else " UNION ALL "
        parts = [self.part(table, member) for member in members] or [_empty(table)]
        return union.join(parts)

    def part(self, table: Table, member: Member) -> str:
        """One source's rows as the united table has them."""
        columns = [] if table.kind == "reference" else [f"s.{person}" for person in persons_of(table)]
        for column in kept(table):
            if column.name == SOURCE and table.kind != "reference":
                columns.append(f"{text(member.source)} AS {quoted(SOURCE)}")
                continue
            mapped = member.mapped.columns[column.name]
            value, reason = self._column(column, mapped, member)
            if column.role.kind in KEYED and table.kind != "reference":
                value = f"({text(member.source + ':')} || NULLIF(CAST({value} AS VARCHAR), ''))"
            columns.append(f"{value} AS {quoted(column.name)}")
            if column.missing:
                missing = f"CASE WHEN {value} IS NULL THEN CAST({reason} AS VARCHAR) END"
                columns.append(f"{missing} AS {quoted(column.name + MISSING_SUFFIX)}")
        return f"SELECT {', '.join(columns)} FROM {self.rows(member)} s"

    def rows(self, member: Member) -> str:
        """The source's own rows."""
        return scan([self.paths[name] for name in member.objects])

    def places(self, mapped: MappedColumn, member: Member) -> Places:
        """Where a column's mapping finds what it needs among the source's rows `s`."""
        if mapped.source is None:
            return Places("NULL")
        own = member.table.column(mapped.source)
        unit = f"s.{quoted(own.unit_column)}" if own.unit_column else None
        reason = f"s.{quoted(own.name + MISSING_SUFFIX)}" if own.missing else None
        found = kind_of(mapped)
        beside = getattr(found[1], "site", None) if found else None
        site = f"s.{quoted(beside)}" if beside else None
        return Places(f"s.{quoted(own.name)}", unit, reason, self._lookup(mapped), site)

    def _column(self, column: Column, mapped: MappedColumn, member: Member) -> tuple[str, str]:
        found = kind_of(mapped)
        if found is None:
            raise ValueError("a mapping that was not checked")
        kind, params = found
        own = member.table.column(mapped.source) if mapped.source else None
        at = self.places(mapped, member)
        return kind.sql(at, own, column, params), kind.reason(at, params)

    def _lookup(self, mapped: MappedColumn) -> str:
        found = kind_of(mapped)
        entries = found[0].lookup(found[1]) if found else {}
        if not entries:
            return ""
        self._lookups += 1
        name = f"mapped.lookup_{self._lookups}"
        columns = {
            "v": pa.array(list(entries), pa.string()),
            "into": pa.array([into for into, _ in entries.values()], pa.string()),
            "reason": pa.array([reason for _, reason in entries.values()], pa.string()),
        }
        self.con.register("lookup_in", pa.table(columns))
        self.con.execute(f"CREATE TABLE {name} AS FROM lookup_in")
        self.con.unregister("lookup_in")
        return name


def _empty(table: Table) -> str:
    columns = [] if table.kind == "reference" else [f"NULL::INTEGER AS {p}" for p in persons_of(table)]
    for column in kept(table):
        columns.append(f"NULL::{STORED[column.type][0]} AS {quoted(column.name)}")
        if column.missing:
            columns.append(f"NULL::VARCHAR AS {quoted(column.name + MISSING_SUFFIX)}")
    return f"SELECT {', '.join(columns)} WHERE false"
