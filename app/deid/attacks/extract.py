"""A downloaded extract as an attacker holds it: its parts, its manifest, nothing else; opened in a bounded DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from app import duck
from app.errors import Finding, Problem

KEYED = frozenset({"pseudonymise", "keyed_id"})


@dataclass(frozen=True)
class Leaf:
    """One released column, as the codebook tells it."""

    name: str
    role: str
    transform: str
    params: Mapping[str, Any]

    @property
    def keyed(self) -> bool:
        """True where the values are said to be keyed ids."""
        return self.transform in KEYED


@dataclass(frozen=True)
class Sheet:
    """One table of the extract. `rows` is an SQL relation of all of its parts in the order of their positions."""

    name: str
    kind: str
    leaves: tuple[Leaf, ...]
    paths: tuple[Path, ...]
    digests: tuple[str, ...]

    @property
    def rows(self) -> str:
        """Every row, with `file_row_number` and `filename` hidden."""
        listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in self.paths)
        return f"read_parquet([{listed}], hive_partitioning = false, union_by_name = false)"

    def of(self, *roles: str) -> list[Leaf]:
        """The columns of these roles."""
        return [leaf for leaf in self.leaves if leaf.role in roles]

    @property
    def persons(self) -> list[str]:
        """The columns that hold pseudonyms of participants."""
        return [leaf.name for leaf in self.leaves if leaf.transform == "pseudonymise"]


@dataclass(frozen=True)
class Extract:
    """The tables, the promised k (None: nothing says) and a connection for questions."""

    sheets: tuple[Sheet, ...]
    k: int | None
    manifest: Mapping[str, Any]
    con: duckdb.DuckDBPyConnection
    name: str

    @property
    def roster(self) -> Sheet | None:
        """The participant table; None where it did not leave."""
        return next((s for s in self.sheets if s.kind == "participant" and s.persons), None)

    @property
    def labels(self) -> list[str]:
        """The quasi-identifiers of the participant table, and its columns that people were filtered by."""
        if self.roster is None:
            return []
        said = self.manifest.get("certificate") or {}
        named = {*said.get("quasi_identifiers", ())}
        named |= {c["column"] for c in said.get("row_filter", ()) if c["table"] == self.roster.name}
        named |= {leaf.name for leaf in self.roster.of("quasi_identifier", "site")}
        return [leaf.name for leaf in self.roster.leaves if leaf.name in named and not leaf.keyed]

    def owners(self, sheet: Sheet, after: tuple[Sheet, ...] = ()) -> str | None:
        """SQL: one row (p, r) for each row of a table and each person in it; None where no person can be traced.

        Rows that reach their person through other tables are followed by keyed ids, as far as it takes; `after` are
        the tables that the way has come through.
        """
        if sheet.persons:
            return f"({' UNION ALL '.join(_numbered(sheet, column, 'p') for column in sheet.persons)})"
        way = (*after, sheet)
        for leaf in sheet.leaves:
            for other in self.sheets:
                for key in other.leaves if leaf.keyed and other not in way else ():
                    if not (_same_space(leaf, key) and self._tells_rows_apart(other, key)):
                        continue
                    if (people := self.owners(other, way)) is not None:
                        return (
                            f"(SELECT p, own.r FROM ({_numbered(sheet, leaf.name, 'k')}) own JOIN "
                            f"({_numbered(other, key.name, 'k')}) next USING (k) JOIN {people} o ON o.r = next.r)"
                        )
        return None

    def _tells_rows_apart(self, sheet: Sheet, key: Leaf) -> bool:
        """Whether no two rows have one id: what two rows share (a doctor, a product) leads to nobody."""
        ids = quoted(key.name)
        return not self.number(f"SELECT count({ids}) - count(DISTINCT {ids}) FROM {sheet.rows}")

    def rowset(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        found: list[dict[str, Any]] = self.con.sql(query).to_arrow_table().to_pylist()
        return found

    def number(self, query: str) -> int:
        """The one number of a query; null is 0."""
        return int(next(iter(self.rowset(query)[0].values())) or 0)

    def load(self, name: str, rows: pa.Table) -> None:
        """A temporary table from Arrow."""
        self.con.register("arriving", rows)
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM arriving").fetchall()
        self.con.unregister("arriving")

    def classes(self) -> None:
        """Make `member` (p, unit, class): same labels, same class; a unit is a family, else a person."""
        roster = self.roster
        if roster is None:
            self.con.execute("CREATE OR REPLACE TEMP TABLE member (p VARCHAR, unit VARCHAR, class BIGINT)")
            return
        labels = ", ".join(["true", *map(quoted, self.labels)])
        families = [quoted(leaf.name) for leaf in roster.of("family_id")]
        person = quoted(roster.persons[0])
        unit = f"coalesce('family ' || {families[0]}, {person})" if families else person
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE member AS SELECT {person} AS p, {unit} AS unit, "
            f"dense_rank() OVER (ORDER BY row({labels})) AS class FROM {roster.rows}"
        ).fetchall()


@contextmanager
def opened(
    folder: Path, manifest: Mapping[str, Any], spill: Path, *, memory: str = "1GB", threads: int = 2
) -> Iterator[Extract]:
    """The extract whose parts lie in `folder` (in any sub-folder) under the names that the manifest gives them.

    `spill` is a folder for what outgrows `memory`. Raises a Problem that lists every part that is missing.
    """
    sheets, lost = [], []
    told = {t["name"]: t for t in manifest.get("codebook", {}).get("tables", ())}
    for table in manifest["tables"]:
        parts = sorted(table["parts"], key=lambda part: int(part["position"]))
        paths = [next(iter(sorted(folder.rglob(part["name"]))), None) for part in parts]
        lost += [
            Finding("part_missing", p["name"], table["name"])
            for p, at in zip(parts, paths, strict=True)
            if not at
        ]
        sheets.append(_sheet(table, told.get(table["name"], {}), [p for p in paths if p], parts))
    if lost:
        raise Problem("invalid_request", "Parts of the manifest are not in the folder.", lost)
    said = manifest.get("certificate") or {}
    con = duck.opened()
    try:
        con.execute(f"SET memory_limit = '{memory}'; SET threads = {int(threads)}; SET TimeZone = 'UTC'")
        con.execute("SET temp_directory = '" + str(spill).replace("'", "''") + "'")
        k = said.get("k")
        yield Extract(tuple(s for s in sheets if s.paths), int(k) if k else None, manifest, con, folder.name)
    finally:
        con.close()


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _sheet(
    table: Mapping[str, Any],
    told: Mapping[str, Any],
    paths: Sequence[Path],
    parts: Sequence[Mapping[str, Any]],
) -> Sheet:
    leaves = tuple(
        Leaf(
            c["name"],
            "reason" if c["transform"] == "label_missing" else c["role"],
            c["transform"],
            c.get("params") or {},
        )
        for c in told.get("columns", ())
    )
    kind = str(told.get("kind", "event"))
    return Sheet(str(table["name"]), kind, leaves, tuple(paths), tuple(str(p["sha256"]) for p in parts))


def _numbered(sheet: Sheet, column: str, name: str) -> str:
    """SQL (name, r): a column, and the place of its rows."""
    return f"SELECT {quoted(column)} AS {name}, row_number() OVER () AS r FROM {sheet.rows}"


def _same_space(one: Leaf, other: Leaf) -> bool:
    space = one.params.get("space")
    return other.keyed and space is not None and other.params.get("space") == space
