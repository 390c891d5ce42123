"""One upload checked and put into the vault: DuckDB reads it once, people become keys, rows are clustered by person."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from app.deid.dictionary_links import DROPPED, own_participants
from app.deid.roles import person_columns, stored
from app.engines.intake import checks
from app.engines.intake.arrival import LINES, LONGEST_LINE, Arrival, Bounds, receive
from app.engines.intake.connection import Connection
from app.engines.intake.coverage import Coverage, coverage
from app.engines.intake.differences import TableChange, changes
from app.engines.intake.filled import filled
from app.engines.intake.onto import (
    ROW_GROUP,
    Onto,
    Rest,
    onto_findings,
    people_in_all,
    without_patched,
)
from app.engines.intake.parents import Before, Parent, Since
from app.engines.intake.places import Places
from app.engines.intake.reading import (
    VAULT_TYPES,
    Files,
    Staged,
    csv_source,
    literal,
    parquet_source,
    quoted,
    scan,
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
        self,
        job_id: str,
        dictionary: Dictionary,
        tables: Mapping[str, Parent],
        min_cell: int,
        before: Before | None = None,
    ) -> Coverage:
        """What does not hold over the tables of a version that are in the vault, and how their hierarchies look. Where
        the version was made from another that holds together, what is the same in both is not looked at again."""
        with self.open(job_id) as intake:
            return intake.whole(dictionary, tables, min_cell, before)

    def differences(
        self, job_id: str, dictionary: Dictionary, tables: Mapping[str, Parent], before: Before
    ) -> list[TableChange]:
        """What the rows of a version differ in from those of the one before, table by table."""
        with self.open(job_id) as intake:
            return intake.differences(dictionary, tables, before)

    def filled(
        self, job_id: str, dictionary: Dictionary, tables: Mapping[str, tuple[str, ...]]
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """(table, column) -> people of the table, and those with a value; tables by their objects."""
        with self.open(job_id) as intake:
            return intake.filled(dictionary, tables)

    def discard(self, name: str) -> None:
        """Destroy an object that no row names."""
        self.vault.delete(name)


class Intake:
    """The check of one upload. `check` may be called once."""

    def __init__(self, vault: Vault, limits: IntakeLimits, folder: Path) -> None:
        self.vault, self.limits, self.folder = vault, limits, folder
        self.put: list[str] = []  # objects that this check has put into the vault so far

    def check(
        self,
        original: Path,
        table: Table,
        dictionary: Dictionary,
        parents: Mapping[str, Parent],
        resolve: Resolve,
        place: str,
        progress: Progress,
        onto: Onto | None = None,
    ) -> TableReport:
        """Check a file as a table, and keep it in the vault under `place` where nothing is wrong.

        `onto`: the rows are added to those that the table has, or take the place of some of them; else they are the
        table. `parents` holds every table that this one needs (`deid.dictionary_links.parents_of`); `resolve` is asked
        for keys only after everything that can be checked without them was found right.
        """
        report = TableReport(table.name, not_stored=[c.name for c in table.fields if c.role.kind in DROPPED])
        progress(step="reading")
        arrival = receive(original, self.folder / "lines.csv", table, self.limits.bounds)
        report.renamed = arrival.renamed
        report.findings += arrival.findings
        if report.findings:
            return report
        self._places = Places(arrival, table)
        local, left_out = self._local(parents)
        if onto is not None:
            own, own_left_out = self._local({table.name: onto.held})
            local, left_out = {**local, **own}, {**left_out, **own_left_out}
        self._db = self._connection([arrival.path], local, left_out)
        try:
            report.findings += self._stage(arrival, table)
            if not self._unreadable(report):
                report.rows, self._counts = checks.counted(table, self._db.ask)
                progress(step="checking", rows=report.rows)
                self._examine(report, table, local, left_out)
            if report.outcome == "accepted":
                self._people(report, table, dictionary, local, left_out, resolve)
            if report.outcome == "accepted" and onto is not None:
                report.findings += onto_findings(table, onto, local[table.name], self._db, self._places.rows)
            if report.outcome == "accepted":
                progress(step="writing", rows=report.rows)
                self._keep(report, table, dictionary, place)
                if onto is not None:
                    self._join(report, table, onto, local[table.name], place)
        finally:
            self._db.close()
        return report

    def whole(
        self,
        dictionary: Dictionary,
        tables: Mapping[str, Parent],
        min_cell: int,
        before: Before | None = None,
    ) -> Coverage:
        """See `IntakeEngine.whole`."""
        local, left_out = self._local(tables)
        since = Since(dictionary, tables, local, before)
        con = self._connection([], local, left_out)
        try:
            found = list(version_findings(dictionary, local, left_out, con, since))
            laid = coverage(dictionary, local, con, min_cell, since)
            return Coverage([*found, *laid.findings], laid.levels, laid.same)
        finally:
            con.close()

    def differences(
        self, dictionary: Dictionary, tables: Mapping[str, Parent], before: Before
    ) -> list[TableChange]:
        """See `IntakeEngine.differences`."""
        now, _keys = self._local(tables)
        was, _keys = self._local(before.tables)
        con = self._connection([], now, was)
        try:
            return list(changes(dictionary, tables, now, before, was, con))
        finally:
            con.close()

    def filled(
        self, dictionary: Dictionary, tables: Mapping[str, tuple[str, ...]]
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """See `IntakeEngine.filled`."""
        local = {name: self._fetch(objects) for name, objects in tables.items()}
        con = self._connection([], local)
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
        if arrival.kind == "parquet" and (bomb := self._bomb(arrival, table)) is not None:
            return [bomb]
        raw = csv_source(arrival, table) if arrival.kind == "csv" else parquet_source(arrival, table)
        try:
            # What does not fit in memory goes to the folder; it is read several times and written once.
            self._db.ask(f"CREATE TEMP TABLE stage AS {stage_query(table, raw, arrival.native)}")
        except duckdb.InterruptException:
            raise  # somebody ended the check; it says nothing of the file
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

    def _bomb(self, arrival: Arrival, table: Table) -> Finding | None:
        """A long value that stands once in the file and is named by every row is in no size that the file tells of
        itself: the bytes of all values are summed, which copies none of them."""
        if not arrival.texts:
            return None
        sizes = ", ".join(
            f"sum(strlen({quoted(name)})), max(strlen({quoted(name)}))" for name in arrival.texts
        )
        try:
            told = [
                int(n or 0)
                for n in self._db.ask(f"SELECT {sizes} FROM read_parquet({literal(str(arrival.path))})")[0]
            ]
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            return _unreadable(table, error)
        most = self.limits.bounds.most(arrival.path.stat().st_size)
        if sum(told[::2]) > most:
            return Finding("bomb", f"the values of the file have more than {most} bytes together", table.name)
        if max(told[1::2]) > LONGEST_LINE:
            return Finding("bomb", f"a value of the file has more than {LONGEST_LINE} bytes", table.name)
        return None

    @staticmethod
    def _unreadable(report: TableReport) -> bool:
        return any(finding.code in ("bomb", "unreadable", "empty_file") for finding in report.findings)

    # -- checking

    def _examine(
        self, report: TableReport, table: Table, local: Mapping[str, Files], left_out: Mapping[str, Files]
    ) -> None:
        hits, doubts = checks.identifier_findings(table, self._db.ask, self._places.rows)
        report.findings += hits
        report.findings += checks.column_findings(table, self._counts, self._db.ask, self._places.rows)
        report.findings += checks.key_findings(
            table, self._counts, report.rows, self._db.ask, self._db.numbers, self._places.rows
        )
        report.findings += checks.foreign_findings(table, local, left_out, self._db.ask, self._places.rows)
        report.warnings += doubts
        report.warnings += checks.warnings(table, self._db.ask, self._places.rows)

    def _people(
        self,
        report: TableReport,
        table: Table,
        dictionary: Dictionary,
        local: Mapping[str, Files],
        left_out: Mapping[str, Files],
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
            people = None if table.kind == "participant" else local.get(dictionary.people.name)
            if self._by_id(table, resolve, people):
                self._db.ask("CREATE VIEW known AS SELECT * FROM keyed")
                return
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

    def _by_id(self, table: Table, resolve: Resolve, people: Files | None) -> bool:
        """Make the view `keyed`; whether every row has all its people, without looking at the rows again."""
        names = own_participants(table)
        own = [next(s for s in staged_columns(table) if s.column.name == name) for name in names]
        every = " UNION ".join(
            f"SELECT CAST(v AS VARCHAR) AS source FROM (SELECT DISTINCT {staged.value} AS v FROM stage)"
            " WHERE v IS NOT NULL"
            for staged in own
        )
        asked = 0

        def sources() -> Iterator[pa.Array]:
            nonlocal asked
            for batch in self._db.batches(every, _IDS):
                asked += len(batch)
                yield batch

        keys = resolve(sources())
        self._db.register("resolved", keys)
        only = f"WHERE key IN (SELECT __participant FROM {scan(people)})" if people else ""
        # Joined by numbers where the ids are numbers.
        self._db.ask(
            "CREATE TEMP TABLE keys AS SELECT source, TRY_CAST(source AS BIGINT) AS number, "
            f"CAST(key AS INTEGER) AS key FROM resolved {only}"
        )
        joins = " ".join(
            f"LEFT JOIN keys k{i} ON k{i}.number = stage.{staged.value}" if staged.column.type == "integer"
            else f"LEFT JOIN keys k{i} ON k{i}.source = CAST(stage.{staged.value} AS VARCHAR)"
            for i, staged in enumerate(own)
        )  # fmt: skip
        picked = ", ".join(f"k{i}.key AS {quoted(name)}" for i, name in enumerate(person_columns(table)))
        self._db.ask(f"CREATE VIEW keyed AS SELECT stage.*, {picked} FROM stage {joins}")
        return not any(self._counts[name].nulls for name in names) and asked == self._db.one(
            "SELECT count(DISTINCT source) FROM keys"
        )

    def _by_parent(
        self, table: Table, local: Mapping[str, Files], left_out: Mapping[str, Files]
    ) -> list[Finding]:
        name, _, column = (table.participant_via or "").partition(".")
        value = next(s.value for s in staged_columns(table) if s.column.name == table.via_column)
        parent = f"SELECT {quoted(column)} AS k, __participant FROM {scan(local[name])}"
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
        report.columns = checks.column_counts(table, self._counts, self._db.ask)
        report.own_rows = rows_kept = report.rows - report.left_out
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
        # The order is total, so that the same upload gives the same bytes: by the primary key, which is there and
        # occurs once, or, where not all of it is kept, by all columns.
        order = [*map(quoted, people), *keys]
        if not keys or len(keys) < len(table.primary_key):
            order += [s.value for s in kept if s.value not in keys]
        order = order or ["__row"]
        path = self.folder / "table.parquet"
        self._db.ask(
            f"COPY (SELECT {', '.join(picked)} FROM known ORDER BY {', '.join(f'{o} NULLS FIRST' for o in order)})"
            f" TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )
        # Of the rows that were written: they are clustered by the first of their people.
        every = " UNION ".join(f"SELECT DISTINCT {quoted(name)} AS k FROM {scan((path,))}" for name in people)
        report.people = self._db.one(f"SELECT count(*) FROM ({every})") if people else 0
        keys_object = self._keep_left_out(table, dictionary, place) if report.left_out else None
        stored_as = self._put(path, f"{place}/{table.name}")
        report.kept = Kept(
            stored_as.name,
            rows_kept,
            report.people,
            stored_as.bytes,
            stored_as.sha256,
            report.columns,
            keys_object,
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
        self.put.append(f"{name}.{digest[:32]}.parquet")
        return self.vault.put_file(path, self.put[-1])

    def _join(self, report: TableReport, table: Table, onto: Onto, held: Files, place: str) -> None:
        """Lay the new object beside those that the table has; a patch leaves these without the rows it replaces."""
        report.replaced = {}
        if onto.mode == "patch":
            for name, file in zip(onto.held.objects, held, strict=True):
                if (rest := without_patched(table, file, self._db, self.folder / "rest.parquet")) is not None:
                    report.replaced[name] = self._put_rest(rest, f"{place}/{table.name}")
        report.people_in_all = people_in_all(table, onto, held, self._db)

    def _put_rest(self, rest: Rest, name: str) -> Kept | None:
        if not rest.rows:
            return None
        put = self._put(rest.path, name)
        return Kept(put.name, rest.rows, rest.people, put.bytes, put.sha256, rest.columns)

    def _local(self, tables: Mapping[str, Parent]) -> tuple[dict[str, Files], dict[str, Files]]:
        local = {name: self._fetch(table.objects) for name, table in tables.items()}
        return local, {name: self._fetch(table.keys) for name, table in tables.items() if table.keys}

    def _fetch(self, names: Sequence[str]) -> Files:
        return tuple(self.vault.local_path(name, self.folder) for name in names)

    def _connection(self, files: Sequence[Path], *more: Mapping[str, Files]) -> Connection:
        every = [*files, *(file for tables in more for held in tables.values() for file in held)]
        return Connection(self.folder, self.limits.memory, self.limits.threads, every)


def _unreadable(table: Table, error: Exception) -> Finding:
    # The library's own words may hold a value, so only the kind of failure is told.
    detail = "the file is damaged: its contents cannot be read"
    if isinstance(error, duckdb.OutOfMemoryException):
        return Finding("bomb", "reading the file takes more memory than a file may", table.name)
    return Finding("unreadable", detail, table.name)
