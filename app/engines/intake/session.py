"""One upload checked and put into the vault: DuckDB reads it once, people become keys, rows are clustered by person."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.deid.dictionary_links import DROPPED
from app.deid.roles import person_columns, stored
from app.engines.intake import checks
from app.engines.intake.arrival import Bounds, receive
from app.engines.intake.connection import Connection
from app.engines.intake.coverage import Coverage, coverage
from app.engines.intake.differences import TableChange, changes
from app.engines.intake.filled import filled
from app.engines.intake.keying import Keying, Resolve
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
    literal,
    quoted,
    scan,
    staged_columns,
)
from app.engines.intake.report import Kept, TableReport
from app.engines.intake.staging import stage
from app.engines.intake.whole import version_findings
from app.schemas.dictionary import Dictionary, Table
from app.storage.spill import held_folder
from app.storage.store import Stored
from app.storage.vault import Vault

Progress = Callable[..., None]


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
            report.findings += stage(arrival, table, self._db, self._places, self.limits.bounds)
            if not self._unreadable(report):
                report.rows, self._counts = checks.counted(table, self._db.ask)
                progress(step="checking", rows=report.rows)
                self._examine(report, table, local, left_out)
            if report.outcome == "accepted":
                keying = Keying(self._db, self._places, self._counts, self.limits.unmatched_share)
                people = keying.give(report, table, dictionary, local, left_out, resolve)
            if report.outcome == "accepted" and onto is not None:
                report.findings += onto_findings(table, onto, local[table.name], self._db, self._places.rows)
            if report.outcome == "accepted":
                progress(step="writing", rows=report.rows)
                self._keep(report, table, dictionary, place, people)
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

    # -- checking

    @staticmethod
    def _unreadable(report: TableReport) -> bool:
        return any(finding.code in ("bomb", "unreadable", "empty_file") for finding in report.findings)

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

    # -- keeping

    def _keep(
        self, report: TableReport, table: Table, dictionary: Dictionary, place: str, counted: int | None
    ) -> None:
        """Write the view `known` in its order, and put it into the vault. `counted`: its people where known."""
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
        if counted is None:
            counted = self._db.one(f"SELECT count(*) FROM ({every})") if people else 0
        report.people = counted
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
        """Lay the new object beside those that the table has; a patch leaves these without the rows it replaces. One
        of which nothing is left stays, empty, where it may have the keys of rows left out."""
        report.replaced = {}
        if onto.mode == "patch":
            for name, file in zip(onto.held.objects, held, strict=True):
                if (rest := without_patched(table, file, self._db, self.folder / "rest.parquet")) is not None:
                    empty = not rest.rows and not onto.held.keys
                    report.replaced[name] = None if empty else self._put_rest(rest, f"{place}/{table.name}")
        report.people_in_all = people_in_all(table, onto, held, self.folder / "table.parquet", self._db)

    def _put_rest(self, rest: Rest, name: str) -> Kept:
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
