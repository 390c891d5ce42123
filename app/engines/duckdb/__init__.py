"""DuckDB in the worker: the default engine. One run is one connection in memory over the vault's Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from app.deid.choices import chosen
from app.deid.window import Windows
from app.engines.duckdb import caps, keeping, people, timeline
from app.engines.duckdb import codes as rare
from app.engines.duckdb.columns import joins
from app.engines.duckdb.filters import Filters
from app.engines.duckdb.sql import VAULT, connect, persons_of, quoted, stored, text
from app.engines.duckdb.united import Unites
from app.engines.duckdb.unmapped import left_unmapped, not_covered
from app.engines.duckdb.writing import position_of, write_table
from app.engines.protocol import (
    Classes,
    Groups,
    Kept,
    Keys,
    Limits,
    Place,
    Progress,
    Run,
    Source,
    StagedPart,
    Unmapped,
)
from app.schemas.dictionary import Table
from app.schemas.plan import Condition
from app.storage.vault import Vault

MAX_PARTS = 256
_NOBODY = pa.table({"table": pa.array([], pa.string()), "pseudonym": pa.array([], pa.string())})


class DuckDbRun:
    """One plan over one source (see `engines.protocol.Run`)."""

    def __init__(self, con: duckdb.DuckDBPyConnection, source: Source, limits: Limits) -> None:
        self.con, self.source, self.limits = con, source, limits
        self.dictionary = source.dictionary
        self.filters = Filters(con, source)
        self._name_everyone()
        self._looked = False
        self._codes: dict[str, dict[str, str]] = {}
        self._named: dict[str, str] = {}
        self._written: dict[Place, int] = {}
        self._rolled: dict[str, dict[str, int]] = {}
        self._found: dict[tuple[str, str], Keys] = {}

    def groups(self) -> Groups:
        """The frequency table of the eligible people who pass the filter."""
        if self.source.windows is None:
            self._see_through(timeline.settle(self.con, self.source))
        if not self._looked:
            self._look()
            self._looked = True
        attrition = people.gather(self.con, self.source, self.filters)
        people.gather_outsiders(self.con, self.source)
        people.refresh_inside(self.con)
        people.gather_presence(self.con, self.source, self.filters)
        return people.group(self.con, self.source, self.filters, attrition, self.source.plan.privacy.k)

    def classify(self, classes: Classes) -> None:
        """Take the class of each tuple, then settle anchors and rare codes over those who leave."""
        people.classify(self.con, self.source, classes)
        self._found.clear()
        self._anchor()
        for table in self._tables():
            self._codes[table.name] = self._roll_up(table)

    def audience(self) -> pa.Table:
        """(key, pseudonym) of everyone who had consent and passed the filter, the suppressed too."""
        keys = "SELECT key FROM inside UNION SELECT key FROM excluded"
        query = f"SELECT key, pseudonym FROM x SEMI JOIN ({keys}) k ON k.key = x.person ORDER BY x.key"
        return self.con.sql(query).to_arrow_table()

    def smallest_group(self) -> int | None:
        """The fewest families of any class in any table; None where nobody is left."""
        return people.smallest_group(self.con, self.source)

    def members(self) -> Keys:
        """The participant keys with at least one row in what will be written, sorted."""
        each = [self._keys(t) for t in self._tables() if t.kind != "reference"]
        return _distinct(np.concatenate([np.empty(0, dtype=np.int32), *each]))

    def people_of(self, table: str) -> int:
        """The people with rows in what will be written of a table; 0 for a reference table."""
        named = self.dictionary.table(table)
        if named.kind == "reference":
            return 0
        return len(_distinct(self._keys(named, "person" if self.source.is_linked else "key")))

    def part_counts(self) -> dict[str, int]:
        """Parts per table = clamp(rows / rows_per_part, 1, 256), over the rows that will be written."""
        counts = {}
        for table in self._tables():
            rows = 1 if table.kind == "reference" else self._number(f"SELECT count(*) {self._rows(table)}")
            wanted = -(-rows // self.limits.rows_per_part)
            counts[table.name] = min(MAX_PARTS, max(1, wanted))
        return counts

    def write(self, staging: Path, parts: Mapping[str, int], progress: Progress) -> list[StagedPart]:
        """Write every table of the plan, cut into the given number of parts by pseudonym."""
        written: list[StagedPart] = []
        for table in self._tables():
            codes = self._codes[table.name]
            number = 1 if table.kind == "reference" else parts[table.name]
            written += write_table(
                self.con, self.source, self.filters, table, codes, staging, number, progress
            )
            progress(done=len(written))
        self._written = {(part.table, part.position): part.rows for part in written}
        return written

    def changed(self) -> set[Place]:
        """Every place: a whole build has written all of them."""
        return set(self._written)

    def kept(self) -> Kept | None:
        """What the next generation needs so as to write no more than what changes."""
        return keeping.keep(self.con, self.source, self._named, self._written, self.outside())

    def eligible(self) -> pa.Table:
        """(table, pseudonym) of everyone whose consent covers each table."""
        walk, each = self.source.crosswalk, []
        for table in self._tables():
            if table.kind != "reference":
                names = walk["pseudonym"].filter(walk[f"in_{table.domain}"])
                each.append(pa.table({"table": pa.repeat(table.name, len(names)), "pseudonym": names}))
        return pa.concat_tables(each) if each else _NOBODY

    def rolled_up(self) -> dict[str, dict[str, int]]:
        """Per `table.column` of codes: codes kept, rolled up, dropped."""
        return dict(self._rolled)

    def rows_in(self) -> dict[str, int]:
        """Per table of the plan, the rows in the vault."""
        return {t.name: self._number(f"SELECT count(*) FROM {stored(t)}") for t in self._tables()}

    def windows(self) -> Windows:
        """After `groups`: the days that each column of moved dates may leave by."""
        return dict(self.source.windows or {})

    def outside(self) -> dict[str, int]:
        """After `classify`, per table of the plan: rows of the people who leave that lie outside the windows."""
        counts: dict[str, int] = {}
        for table in self._tables():
            counts.update(self._outside_of(table))
        return counts

    def _outside_of(self, table: Table) -> dict[str, int]:
        place = timeline.rows(self.source, table)
        rows = f"FROM {stored(table)} t {joins(self.source, table, {})} WHERE {self.filters.of(table)}"
        query = f"SELECT count(*) {rows} AND NOT coalesce({place}, false)"
        return {table.name: 0 if place == "true" else self._number(query)}

    def _name_everyone(self) -> None:
        """`anyone` (key, slice, shift_days): whose rows a filter may ask about."""
        self.con.execute("CREATE TABLE anyone AS SELECT key, slice, shift_days FROM x")

    def _see_through(self, windows: Windows) -> None:
        self.source = replace(self.source, windows=windows)
        self.filters = Filters(self.con, self.source)

    def _tables(self) -> list[Table]:
        return [self.dictionary.table(t.name) for t in self.source.plan.tables]

    def _rows(self, table: Table) -> str:
        return f"FROM {stored(table)} t {joins(self.source, table, {})} WHERE {self.filters.on(table)}"

    def _look(self) -> None:
        """Read once what does not depend on who is in the extract."""
        people.gather_having(self.con, self.source, self.filters)

    def _keys(self, table: Table, of: str = "key") -> Keys:
        """The keys of those with rows of a table that leave, or their persons; some may be there twice."""
        if (table.name, of) not in self._found:
            if table.kind == "event":
                having = people.having(self.source, table)
                query = f"SELECT cross_.{of} FROM {having} h JOIN cross_ ON cross_.key = h.key WHERE in_{table.domain}"
            else:
                rows, persons = self._rows(table), range(len(persons_of(table)))
                query = " UNION ".join(f"SELECT x{n}.{of} {rows}" for n in persons)
            found = self.con.sql(query).to_arrow_table()[of].to_numpy()
            self._found[table.name, of] = np.asarray(found, dtype=np.int32)
        return self._found[table.name, of]

    def _roll_up(self, table: Table) -> dict[str, str]:
        """The mapping table of each rolled-up column of a table."""
        names: dict[str, str] = {}
        for choice in chosen(self.source.plan.table(table.name), table):
            if choice.transform.name == "roll_up":
                rollup = rare.rollup_of(self.dictionary, table, choice)
                name = self._named.setdefault(rollup.key, f"code_{len(self._named)}")
                self._rolled[rollup.key] = self._judge_codes(rollup, name)
                names[choice.column.name] = name
        return names

    def _judge_codes(self, rollup: rare.Rollup, name: str) -> dict[str, int]:
        return rare.build(self.con, rollup, name, self._rows(rollup.table))

    def _anchor(self) -> None:
        """`anchor_date` of the crosswalk: the person's earliest date that leaves as a relative day."""
        self.con.execute("ALTER TABLE cross_ ADD COLUMN anchor_date DATE")
        if each := timeline.anchors(self.source):
            days = (
                "SELECT c.person, min(e.day) AS day "
                f"FROM ({' UNION ALL '.join(each)}) e JOIN cross_ c ON c.key = e.key GROUP BY c.person"
            )
            self.con.execute(
                f"UPDATE cross_ SET anchor_date = d.day FROM ({days}) d WHERE d.person = cross_.person"
            )

    def _number(self, query: str) -> int:
        return int(self.con.execute(query).fetchall()[0][0])


class DuckDbEngine:
    """Opens runs over the vault's files; each has a connection of its own that reads nothing else."""

    name = "duckdb"
    version = f"duckdb {duckdb.__version__}"

    def __init__(self, limits: Limits, vault: Vault) -> None:
        self.limits, self.vault = limits, vault

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
        from app.engines.duckdb.again import DuckDbRerun  # which is a run, too

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
            anyone = f"SELECT person FROM x WHERE in_{source.dictionary.people.domain}"
            query = " INTERSECT ".join([anyone, *self._meeting(con, source, conditions)])
            found = con.sql(f"SELECT DISTINCT person FROM ({query}) ORDER BY person").to_arrow_table()
            return np.asarray(found["person"].to_numpy(), dtype=np.int32)
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

    def _meeting(
        self, con: duckdb.DuckDBPyConnection, source: Source, conditions: tuple[Condition, ...]
    ) -> list[str]:
        queries, filters = [], Filters(con, source)
        for condition in conditions:
            table = source.dictionary.table(condition.table)
            clause = filters.one(condition)
            person = persons_of(table)[0]
            queries.append(
                f"SELECT x.person FROM {stored(table)} t JOIN x ON t.{person} = x.key AND x.in_{table.domain} "
                f"WHERE {clause}"
            )
        return queries

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

    def _vault(self, source: Source) -> Unites:
        """A connection, and in it every table of the source as a view over the objects of the vault."""
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
        for name, held in files.items():
            con.execute(f"CREATE VIEW {VAULT}.{quoted(name)} AS {caps.files(held, name in capped)}")
        unites = Unites(con, paths)
        for name, members in source.united.items():
            unites.view(source.dictionary.table(name), members)
        return unites

    def unmapped(self, source: Source) -> list[Unmapped]:
        """What the rows of the sources hold that the mapping does not name, with how many rows and people have it."""
        unites = self._vault(source)
        try:
            return [*left_unmapped(unites, source), *not_covered(unites, source)]
        finally:
            unites.con.close()

    def _connect(self, source: Source) -> duckdb.DuckDBPyConnection:
        con = self._vault(source).con
        con.execute("CREATE TABLE excluded (key INTEGER)")
        con.register("crosswalk_in", source.crosswalk)
        absent = {"person", "counted"} - set(source.crosswalk.column_names)
        same = "".join(f", key AS {name}" for name in sorted(absent))
        con.execute(f"CREATE TABLE x AS SELECT *{same} FROM crosswalk_in")
        con.unregister("crosswalk_in")
        ipad, opad = source.pads
        blobs = {"ipad": pa.array([ipad], pa.binary()), "opad": pa.array([opad], pa.binary())}
        con.register("secrets_in", pa.table(blobs))
        con.execute("CREATE TABLE secrets AS FROM secrets_in")
        con.unregister("secrets_in")
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


def _distinct(keys: Keys) -> Keys:
    """Sorted, each once; a sort of numbers costs a fraction of the hash table of `np.unique`."""
    ordered = np.sort(keys)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _scratch(source: Source) -> Path:
    folder = source.spill / "vault"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


ENGINE = DuckDbEngine
