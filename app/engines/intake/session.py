"""One upload checked and put into the vault: DuckDB reads it once, people become keys, rows are clustered by person."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from app.deid.dictionary_links import DROPPED, own_participants
from app.deid.roles import person_columns, stored
from app.engines.intake import checks
from app.engines.intake.arrival import LINES, Arrival, Bounds, receive
from app.engines.intake.connection import Connection
from app.engines.intake.coverage import Coverage, coverage
from app.engines.intake.filled import filled
from app.engines.intake.places import Places
from app.engines.intake.reading import (
    VAULT_TYPES,
    Staged,
    csv_source,
    literal,
    parquet_source,
    quoted,
    stage_query,
    staged_columns,
)
from app.engines.intake.rejects import rejects
from app.engines.intake.report import Kept, TableReport
from app.engines.intake.whole import version_findings
from app.errors import Finding
from app.schemas.dictionary import Dictionary, Table
from app.storage.spill import held_folder
from app.storage.store import Stored
from app.storage.vault import Vault

Progress = Callable[..., None]
# Batches of distinct source ids go out, a table (source text, key int32) comes back.
Resolve = Callable[[Iterator[pa.Array]], pa.Table]
_IDS = 100_000  # distinct ids handed to Python at a time
ROW_GROUP = 100_000


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Memory such as `2GB`, threads, how a file may grow, the share of rows of unknown people by default, and the ages
    (whole years) from which people speak for themselves and children are asked for assent."""

    memory: str
    threads: int
    bounds: Bounds
    unmatched_share: float
    adult_age: int = 19
    assent_age: int = 7


@dataclass(frozen=True)
class Parent:
    """A table of the version that is in the vault: its object, and the ids of the rows left out there, if any."""

    object_name: str
    keys: str | None = None


@dataclass(frozen=True)
class IntakeEngine:
    """Checks uploads; holds the vault, and a folder for what does not fit in memory."""

    vault: Vault
    spill: Path
    limits: IntakeLimits

    @contextmanager
    def open(self, job_id: str) -> Iterator[Intake]:
        """An intake of its own; everything it wrote outside the vault is gone afterwards, however it ended."""
        with held_folder(self.spill, job_id) as folder:
            yield Intake(self.vault, self.limits, folder)

    def whole(
        self, job_id: str, dictionary: Dictionary, tables: Mapping[str, Parent], min_cell: int
    ) -> Coverage:
        """What does not hold over the tables of a version that are in the vault, and how their hierarchies look."""
        with self.open(job_id) as intake:
            return intake.whole(dictionary, tables, min_cell)

    def filled(
        self, job_id: str, dictionary: Dictionary, tables: Mapping[str, str]
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """(table, column) -> people of the table, and those with a value; tables by their object."""
        with self.open(job_id) as intake:
            return intake.filled(dictionary, tables)

    def discard(self, name: str) -> None:
        """Destroy an object that no row names."""
        self.vault.delete(name)


class Intake:
    """The check of one upload. `check` may be called once."""

    def __init__(self, vault: Vault, limits: IntakeLimits, folder: Path) -> None:
        self.vault, self.limits, self.folder = vault, limits, folder

    def check(
        self,
        original: Path,
        table: Table,
        dictionary: Dictionary,
        parents: Mapping[str, Parent],
        resolve: Resolve,
        place: str,
        progress: Progress,
    ) -> TableReport:
        """Check a file as a table, and keep it in the vault under `place` where nothing is wrong.

        `parents` holds every table that this one needs (`deid.dictionary_links.parents_of`); `resolve` is asked for
        keys only after everything that can be checked without them was found right.
        """
        report = TableReport(table.name, not_stored=[c.name for c in table.fields if c.role.kind in DROPPED])
        progress(step="reading")
        arrival = receive(original, self.folder / "lines.csv", table, self.limits.bounds)
        report.renamed = arrival.renamed
        report.findings += arrival.findings
        if report.findings:
            return report
        self._places = Places(arrival, table)
        local = {name: self._fetch(parent.object_name) for name, parent in parents.items()}
        left_out = {name: self._fetch(parent.keys) for name, parent in parents.items() if parent.keys}
        self._db = Connection(
            self.folder,
            self.limits.memory,
            self.limits.threads,
            [arrival.path, *local.values(), *left_out.values()],
        )
        try:
            report.findings += self._stage(arrival, table)
            report.rows = self._db.one("SELECT count(*) FROM stage") if not self._unreadable(report) else 0
            if not self._unreadable(report):
                progress(step="checking", rows=report.rows)
                self._examine(report, table, local, left_out)
            if report.outcome == "accepted":
                self._people(report, table, dictionary, local, left_out, resolve)
            if report.outcome == "accepted":
                progress(step="writing", rows=report.rows)
                self._keep(report, table, dictionary, place)
        finally:
            self._db.close()
        return report

    def whole(self, dictionary: Dictionary, tables: Mapping[str, Parent], min_cell: int) -> Coverage:
        """See `IntakeEngine.whole`."""
        local = {name: self._fetch(table.object_name) for name, table in tables.items()}
        left_out = {name: self._fetch(table.keys) for name, table in tables.items() if table.keys}
        con = Connection(
            self.folder, self.limits.memory, self.limits.threads, [*local.values(), *left_out.values()]
        )
        try:
            found = list(version_findings(dictionary, local, left_out, con))
            laid = coverage(dictionary, local, con, min_cell)
            return Coverage([*found, *laid.findings], laid.levels)
        finally:
            con.close()

    def filled(
        self, dictionary: Dictionary, tables: Mapping[str, str]
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """See `IntakeEngine.filled`."""
        local = {name: self._fetch(object_name) for name, object_name in tables.items()}
        con = Connection(self.folder, self.limits.memory, self.limits.threads, list(local.values()))
        try:
            return {
                (table.name, column): counts
                for table in dictionary.tables
                if table.name in local
                for column, counts in filled(table, local[table.name], con).items()
            }
        finally:
            con.close()

    # -- reading

    def _stage(self, arrival: Arrival, table: Table) -> list[Finding]:
        raw = csv_source(arrival, table) if arrival.kind == "csv" else parquet_source(arrival, table)
        path = self.folder / "stage.parquet"
        try:
            self._db.ask(
                f"COPY ({stage_query(table, raw)}) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)"
            )
            self._db.ask(f"CREATE VIEW stage AS SELECT * FROM read_parquet({literal(str(path))})")
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            if arrival.kind == "csv":
                raise
            return [_unreadable(table, error)]
        except duckdb.Error as error:
            return [_unreadable(table, error)]
        findings = rejects(self._db, self._places, table.name) if arrival.kind == "csv" else []
        if not findings and self._db.one("SELECT count(*) FROM stage") == 0:
            findings.append(Finding("empty_file", "the file has no rows", table.name))
        return findings

    @staticmethod
    def _unreadable(report: TableReport) -> bool:
        return any(finding.code in ("unreadable", "empty_file") for finding in report.findings)

    # -- checking

    def _examine(
        self, report: TableReport, table: Table, local: Mapping[str, Path], left_out: Mapping[str, Path]
    ) -> None:
        hits, doubts = checks.identifier_findings(table, self._db.ask, self._places.rows)
        report.findings += hits
        report.findings += checks.column_findings(table, self._db.ask, self._places.rows)
        report.findings += checks.key_findings(table, self._db.ask, self._places.rows)
        report.findings += checks.foreign_findings(table, local, left_out, self._db.ask, self._places.rows)
        report.warnings += doubts
        report.warnings += checks.warnings(table, self._db.ask, self._places.rows)

    def _people(
        self,
        report: TableReport,
        table: Table,
        dictionary: Dictionary,
        local: Mapping[str, Path],
        left_out: Mapping[str, Path],
        resolve: Resolve,
    ) -> None:
        """Give every row its people's keys, in the view `known`; count the rows that have none."""
        if table.kind == "reference":
            self._db.ask("CREATE VIEW known AS SELECT * FROM stage")
            return
        if table.participant_via is not None:
            report.findings += self._by_parent(table, local, left_out)
            if report.findings:
                return  # rows without a parent have no person either; they are told once
        else:
            self._by_id(table, resolve, local.get(dictionary.people.name))
        unknown = " OR ".join(f"{quoted(name)} IS NULL" for name in person_columns(table))
        count, rows = self._db.ask(f"SELECT count(*), min(__row, {LINES}) FROM keyed WHERE {unknown}")[0]
        report.left_out = int(count)
        share = self.limits.unmatched_share if table.max_unmatched is None else table.max_unmatched
        if count and (table.kind == "participant" or count > share * report.rows):
            report.findings.append(
                Finding(
                    "unknown_people",
                    f"more than {share:.2%} of the rows are of people who are not in the participant table",
                    table.name,
                    lines=self._places.rows(rows),
                    count=int(count),
                    hint="upload the participant table that holds them, or state a higher max_unmatched",
                )
            )
        self._db.ask(f"CREATE VIEW known AS SELECT * FROM keyed WHERE NOT ({unknown})")

    def _by_id(self, table: Table, resolve: Resolve, people: Path | None) -> None:
        own = [
            next(s.value for s in staged_columns(table) if s.column.name == name)
            for name in own_participants(table)
        ]
        every = " UNION ALL ".join(
            f"SELECT CAST({value} AS VARCHAR) AS source FROM stage WHERE {value} IS NOT NULL" for value in own
        )
        keys = resolve(self._db.batches(f"SELECT DISTINCT source FROM ({every})", _IDS))
        self._db.register("resolved", keys)
        only = (
            f"WHERE key IN (SELECT __participant FROM read_parquet({literal(str(people))}))" if people else ""
        )
        self._db.ask(
            f"CREATE TEMP TABLE keys AS SELECT source, CAST(key AS INTEGER) AS key FROM resolved {only}"
        )
        names = person_columns(table)
        joins = " ".join(
            f"LEFT JOIN keys k{i} ON k{i}.source = CAST(stage.{value} AS VARCHAR)"
            for i, value in enumerate(own)
        )
        picked = ", ".join(f"k{i}.key AS {quoted(name)}" for i, name in enumerate(names))
        self._db.ask(f"CREATE VIEW keyed AS SELECT stage.*, {picked} FROM stage {joins}")

    def _by_parent(
        self, table: Table, local: Mapping[str, Path], left_out: Mapping[str, Path]
    ) -> list[Finding]:
        name, _, column = (table.participant_via or "").partition(".")
        value = next(s.value for s in staged_columns(table) if s.column.name == table.via_column)
        parent = f"SELECT {quoted(column)} AS k, __participant FROM read_parquet({literal(str(local[name]))})"
        joined = f"stage LEFT JOIN ({parent}) p ON p.k = stage.{value}"
        self._db.ask(f"CREATE VIEW keyed AS SELECT stage.*, p.__participant FROM {joined}")
        if any(key.column == table.via_column and key.table == name for key in table.foreign_keys):
            return []  # the foreign key says the same, and was checked already
        there = f"SELECT k FROM ({parent})"
        return list(
            checks.orphans(
                table,
                table.via_column or column,
                value,
                there,
                left_out.get(name),
                self._db.ask,
                self._places.rows,
            )
        )

    # -- keeping

    def _keep(self, report: TableReport, table: Table, dictionary: Dictionary, place: str) -> None:
        report.columns = checks.column_counts(table, self._db.ask)
        people = person_columns(table)
        kept = [Staged(i, c) for i, c in enumerate(table.fields) if c in stored(table)]
        picked = [quoted(name) for name in people]
        for staged in kept:
            picked.append(
                f"CAST({staged.value} AS {VAULT_TYPES[staged.column.type]}) AS {quoted(staged.column.name)}"
            )
            if staged.column.missing:
                picked.append(
                    f"CAST({staged.reason} AS VARCHAR) AS {quoted(staged.column.name + '__missing')}"
                )
        keys = [s.value for name in table.primary_key for s in kept if s.column.name == name]
        # The rest of the columns makes the order total, so that the same upload gives the same bytes.
        order = [*map(quoted, people), *keys, *(s.value for s in kept if s.value not in keys)] or ["__row"]
        path = self.folder / "table.parquet"
        self._db.ask(
            f"COPY (SELECT {', '.join(picked)} FROM known ORDER BY {', '.join(f'{o} NULLS FIRST' for o in order)})"
            f" TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )
        every = " UNION ".join(f"SELECT DISTINCT {quoted(name)} AS k FROM known" for name in people)
        report.people = self._db.one(f"SELECT count(*) FROM ({every})") if people else 0
        rows = self._db.one("SELECT count(*) FROM known")
        keys_object = self._keep_left_out(table, dictionary, place) if report.left_out else None
        stored_as = self._put(path, f"{place}/{table.name}")
        report.kept = Kept(
            stored_as.name, rows, report.people, stored_as.bytes, stored_as.sha256, keys_object
        )

    def _keep_left_out(self, table: Table, dictionary: Dictionary, place: str) -> str | None:
        """Keep the hashed record ids of the rows left out, where another table may point at them."""
        named = {
            key.references for t in dictionary.tables for key in t.foreign_keys if key.table == table.name
        }
        named |= {
            t.participant_via.partition(".")[2] for t in dictionary.tables
            if t.participant_via is not None and t.participant_via.partition(".")[0] == table.name
        }  # fmt: skip
        if not named or len(table.primary_key) != 1:
            return None
        value = next(s.value for s in staged_columns(table) if s.column.name == table.primary_key[0])
        unknown = " OR ".join(f"{quoted(name)} IS NULL" for name in person_columns(table))
        path = self.folder / "left_out.parquet"
        query = f"SELECT DISTINCT {checks.hashed(value)} AS k FROM keyed WHERE {unknown} ORDER BY k"
        self._db.ask(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)")
        return self._put(path, f"{place}/{table.name}.left_out").name

    def _put(self, path: Path, name: str) -> Stored:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return self.vault.put_file(path, f"{name}.{digest[:32]}.parquet")

    def _fetch(self, name: str) -> Path:
        return self.vault.local_path(name, self.folder)


def _unreadable(table: Table, error: Exception) -> Finding:
    # The library's own words may hold a value, so only the kind of failure is told.
    detail = "the file is damaged: its contents cannot be read"
    if isinstance(error, duckdb.OutOfMemoryException):
        return Finding("bomb", "reading the file takes more memory than a file may", table.name)
    return Finding("unreadable", detail, table.name)
