"""DuckDB in the worker: the default engine. One run is one connection in memory over the vault's Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from app.deid import keyed
from app.engines.duckdb import caps, keeping, timeline
from app.engines.duckdb.again import DuckDbRerun
from app.engines.duckdb.counting import KeptCodes, meeting
from app.engines.duckdb.run import VERSION, DuckDbRun
from app.engines.duckdb.sql import VAULT, connect, persons_of, quoted, stored, text
from app.engines.duckdb.united import Unites
from app.engines.duckdb.unmapped import left_unmapped, not_covered
from app.engines.duckdb.writing import position_of
from app.engines.protocol import (
    Kept,
    Keys,
    Limits,
    Place,
    Run,
    Source,
    Unmapped,
)
from app.schemas.dictionary import Table
from app.schemas.plan import Condition
from app.storage.vault import Vault


class DuckDbEngine:
    """Opens runs over the vault's files; each has a connection of its own that reads nothing else."""

    name = "duckdb"
    version = VERSION

    def __init__(self, limits: Limits, vault: Vault) -> None:
        self.limits, self.vault = limits, vault
        self._codes = KeptCodes()

    def probe(self) -> None:
        """It is part of this process: nothing can be missing."""

    @contextmanager
    def open(self, source: Source) -> Iterator[Run]:
        """A run over the source; the connection is closed at the end."""
        con = self._connect(source)
        try:
            yield DuckDbRun(con, source, self.limits)
        finally:
            con.close()

    @contextmanager
    def reopen(self, source: Source, kept: Kept, closed: Iterable[Place]) -> Iterator[Run]:
        """A run that writes the parts which differ from the last generation's, and those at `closed`."""
        keeping.must_fit(source, kept)
        con = self._connect(source)
        try:
            yield DuckDbRerun(con, source, self.limits, kept, closed)
        finally:
            con.close()

    def matching(self, source: Source, conditions: tuple[Condition, ...]) -> Keys:
        """The people of the crosswalk who meet all conditions (an event condition: in any row); linked ones once."""
        con = self._connect(source)
        try:
            return meeting(con, source, conditions, self._codes)
        finally:
            con.close()

    def places(
        self, source: Source, people: Mapping[int, int], parts: Mapping[str, int]
    ) -> dict[int, list[Place]]:
        """The places with rows of each person: as first person of a row by the person's own slice, as another person
        of a link row by the slice of the first, which only the row tells: there every part counts. Each table is read
        once, whoever is asked for; memory: the people asked for."""
        con = self._vault(source).con  # without the crosswalk, which is not asked
        try:
            found: dict[int, list[Place]] = {key: [] for key in people}
            for planned in source.plan.tables:
                table = source.dictionary.table(planned.name)
                if table.kind == "reference":
                    continue
                number = parts.get(table.name, 1)
                first, *others = (_among(con, table, person, people) for person in persons_of(table))
                anywhere = set[int]().union(*others)
                for key in sorted(first | anywhere):
                    positions = range(number) if key in anywhere else [position_of(people[key], number)]
                    found[key] += [(table.name, position) for position in positions]
            return found
        finally:
            con.close()

    def files(self, source: Source) -> dict[str, list[Path]]:
        """The vault's files of the source's tables, to read and never to write. A united table has none: it is written
        into the spill of the job, for whoever cannot read it as a view."""
        found = self._files(source)
        if source.united:
            con = self._vault(source).con
            try:
                for name in source.united:
                    written = _scratch(source) / f"united-{name}.parquet"
                    found[name] = [written]
                    if not written.exists():
                        con.execute(
                            f"COPY (FROM {VAULT}.{quoted(name)}) TO {text(str(written))} (FORMAT parquet)"
                        )
            finally:
                con.close()
        return found

    def _files(self, source: Source) -> dict[str, list[Path]]:
        scratch = _scratch(source)
        return {
            name: [self.vault.local_path(o, scratch) for o in held] for name, held in source.tables.items()
        }

    def _vault(self, source: Source, looked_at: bool = False) -> Unites:
        """A connection, and in it every table of the source as a view over the objects of the vault; `looked_at`:
        with what of its moved dates is an event (see `timeline`)."""
        scratch = _scratch(source)
        files = self._files(source)
        objects = {
            name for members in source.united.values() for member in members for name in member.objects
        }
        paths = {name: self.vault.local_path(name, scratch) for name in sorted(objects)}
        used = {path.parent for path in [*(p for held in files.values() for p in held), *paths.values()]}
        con = connect(self.limits, source.spill, sorted(used | {source.spill.parent}))
        con.execute(f"CREATE SCHEMA {VAULT}")
        capped = {table.name for table in source.plan.tables if table.max_rows_per_person}
        unites = Unites(con, paths)
        rows = {name: caps.files(held, name in capped) for name, held in files.items()}
        for name, members in source.united.items():
            rows[name] = unites.rows_of(source.dictionary.table(name), members)
        for planned in source.plan.tables if looked_at else ():
            table = source.dictionary.table(planned.name)
            rows[table.name] = timeline.looked_at(source, table, rows[table.name])
        for name, query in rows.items():
            con.execute(f"CREATE VIEW {VAULT}.{quoted(name)} AS {query}")
        return unites

    def unmapped(self, source: Source) -> list[Unmapped]:
        """What the rows of the sources hold that the mapping does not name, with how many rows and people have it."""
        unites = self._vault(source)
        try:
            return [*left_unmapped(unites, source), *not_covered(unites, source)]
        finally:
            unites.con.close()

    def _connect(self, source: Source) -> duckdb.DuckDBPyConnection:
        con = self._vault(source, looked_at=True).con
        con.execute("CREATE TABLE excluded (key INTEGER)")
        con.register("crosswalk_in", source.crosswalk)
        absent = {"person", "counted"} - set(source.crosswalk.column_names)
        same = "".join(f", key AS {name}" for name in sorted(absent))
        con.execute(f"CREATE TABLE x AS SELECT *{same} FROM crosswalk_in")
        con.unregister("crosswalk_in")
        if source.record_key:
            keyed.register(con, source.record_key, keyed.spaces(source.plan, source.dictionary))
        return con


def _among(con: duckdb.DuckDBPyConnection, table: Table, person: str, people: Iterable[int]) -> set[int]:
    """Those of the people who stand in a column of persons; named one by one, so that ordered rows are skipped."""
    keys = ", ".join(str(int(key)) for key in people)
    query = (
        f"SELECT DISTINCT {person} FROM {stored(table)} WHERE {person} IN ({keys})"
        if keys
        else "SELECT 1 LIMIT 0"
    )
    return {int(row[0]) for row in con.execute(query).fetchall()}


def _scratch(source: Source) -> Path:
    folder = source.spill / "vault"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


ENGINE = DuckDbEngine
