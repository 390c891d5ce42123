"""One plan over one source: groups, classes, codes and parts, each a question to one connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from app.deid.choices import chosen
from app.deid.window import Windows
from app.engines.duckdb import codes as rare
from app.engines.duckdb import keeping, people, timeline
from app.engines.duckdb.columns import joins
from app.engines.duckdb.filters import Filters
from app.engines.duckdb.sql import persons_of, stored
from app.engines.duckdb.writing import write_table
from app.engines.keys import each_once
from app.engines.protocol import (
    Classes,
    Groups,
    Kept,
    Keys,
    Limits,
    Place,
    Progress,
    Source,
    StagedPart,
)
from app.schemas.dictionary import Table

MAX_PARTS = 256
VERSION = f"duckdb {duckdb.__version__}"
_NOBODY = pa.table({"table": pa.array([], pa.string()), "pseudonym": pa.array([], pa.string())})


class DuckDbRun:
    """One plan over one source (see `engines.protocol.Run`)."""

    made_by = VERSION

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
        self._counted: dict[str, tuple[int, int]] = {}
        self._counts_of_tuples = np.empty((0, 1), dtype=np.int64)
        self._of_tuple = np.empty(0, dtype=np.int32)
        self._classed: keeping.Classed | None = None

    def groups(self) -> Groups:
        """The frequency table of the eligible people who pass the filter."""
        if self.source.windows is None:
            self._see_through(self._settle())
        if not self._looked:
            self._look()
            self._looked = True
        attrition = people.gather(self.con, self.source, self.filters)
        people.gather_outsiders(self.con, self.source)
        people.refresh_inside(self.con)
        people.gather_presence(self.con, self.source, self.filters)
        k = self.source.plan.privacy.k
        groups = people.group(self.con, self.source, self.filters, attrition, k)
        self._counts_of_tuples = groups.counts
        return groups

    def classify(self, classes: Classes) -> None:
        """Take the class of each tuple, then settle anchors and rare codes over those who leave."""
        self._take(classes)
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
        return people.smallest_group(self.con, self.source, self._counts_of_tuples, self._of_tuple)

    def members(self) -> Keys:
        """The participant keys with at least one row in what will be written, sorted."""
        each = [self._keys(t) for t in self._tables() if t.kind != "reference"]
        return each_once(np.concatenate([np.empty(0, dtype=np.int32), *each]))

    def people_of(self, table: str) -> int:
        """The people with rows in what will be written of a table; 0 for a reference table."""
        named = self.dictionary.table(table)
        if named.kind == "reference":
            return 0
        return len(each_once(self._keys(named, "person" if self.source.is_linked else "key")))

    def part_counts(self) -> dict[str, int]:
        """Parts per table = clamp(rows / rows_per_part, 1, 256), over the rows that will be written."""
        counts = {}
        for table in self._tables():
            rows = 1 if table.kind == "reference" else self._counts(table)[0]
            wanted = -(-rows // self.limits.rows_per_part)
            counts[table.name] = min(MAX_PARTS, max(1, wanted))
        return counts

    def write(self, staging: Path, parts: Mapping[str, int], progress: Progress) -> list[StagedPart]:
        """Write every table of the plan, cut into the given number of parts by pseudonym."""
        written: list[StagedPart] = []
        for table in self._tables():
            codes = self._codes[table.name]
            number = 1 if table.kind == "reference" else parts[table.name]
            written += self._write_table(table, codes, staging, number, progress)
            progress(done=len(written))
        self._written = {(part.table, part.position): part.rows for part in written}
        return written

    def changed(self) -> set[Place]:
        """Every place: a whole build has written all of them."""
        return set(self._written)

    def kept(self) -> Kept | None:
        """What the next generation needs so as to write no more than what changes."""
        return keeping.keep(self.con, self.source, self._classes, self._named, self._written, self.outside())

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
        names = [t.name for t in self._tables()]
        each = ", ".join(f"(SELECT count(*) FROM {stored(t)})" for t in self._tables())
        return dict(zip(names, map(int, self.con.execute(f"SELECT {each}").fetchall()[0]), strict=True))

    def windows(self) -> Windows:
        """After `groups`: the days that each column of moved dates may leave by."""
        return dict(self.source.windows or {})

    def outside(self) -> dict[str, int]:
        """After `classify`, per table of the plan: rows of the people who leave that lie outside the windows."""
        return {table.name: self._outside_of(table) for table in self._tables()}

    def _classes(self) -> keeping.Classed:
        if self._classed is None:
            self._classed = keeping.classed(self.con, self.source)
        return self._classed

    def _outside_of(self, table: Table) -> int:
        return 0 if timeline.rows(self.source, table) == "true" else self._counts(table)[1]

    def _settle(self) -> Windows:
        return timeline.settle(self._ask_each, self.source)

    def _ask_each(self, queries: Sequence[str]) -> list[pa.Table]:
        return [pa.table(self.con.execute(query).fetchnumpy()) for query in queries]

    def _counts(self, table: Table) -> tuple[int, int]:
        """The rows of a table that leave, and those of the same people that lie outside the windows."""
        if table.name not in self._counted:
            self._counted[table.name] = self._count(table)
        return self._counted[table.name]

    def _count(self, table: Table) -> tuple[int, int]:
        capped = self.source.plan.table(table.name).max_rows_per_person
        inside = self._number(f"SELECT count(*) {self._rows(table)}") if capped else None
        rows = f"{stored(table)} t {joins(self.source, table, {})} WHERE {self.filters.of(table)}"
        query = timeline.inside_and_outside(timeline.rows(self.source, table), rows)
        found = self.con.execute(query).fetchall()[0]
        return int(found[0]) if inside is None else inside, int(found[1])

    def _write_table(
        self, table: Table, codes: dict[str, str], staging: Path, parts: int, progress: Progress
    ) -> list[StagedPart]:
        return write_table(self.con, self.source, self.filters, table, codes, staging, parts, progress)

    def _take(self, classes: Classes) -> None:
        people.classify(self.con, self.source, classes)
        self._of_tuple = classes.of_tuple
        self._found.clear()
        self._counted.clear()
        self._classed = None

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
            walk = self.source.crosswalk
            if table.kind == "participant" and not self.source.is_linked:
                # Whoever has labels has a row, and it leaves; nobody has two.
                labelled = (self._classes().of >= 0) & np.asarray(walk[f"in_{table.domain}"].to_numpy())
                self._found[table.name, of] = np.asarray(walk["key"].to_numpy()[labelled], dtype=np.int32)
                return self._found[table.name, of]
            if table.kind == "event":
                having = people.having(self.source, table)
                query = f"SELECT cross_.{of} FROM {having} h JOIN cross_ ON cross_.key = h.key WHERE in_{table.domain}"
            else:
                rows, persons = self._rows(table), range(len(persons_of(table)))
                query = " UNION ".join(f"SELECT x{n}.{of} {rows}" for n in persons)
            found = self.con.execute(query).fetchnumpy()[of]
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
        if each := self._anchors():
            days = (
                "SELECT c.person, min(e.day) AS day "
                f"FROM ({' UNION ALL '.join(each)}) e JOIN cross_ c ON c.key = e.key GROUP BY c.person"
            )
            self.con.execute(
                f"UPDATE cross_ SET anchor_date = d.day FROM ({days}) d WHERE d.person = cross_.person"
            )

    def _anchors(self) -> list[str]:
        """Queries of (key, day), between them every person's earliest."""
        return timeline.anchors(self.source)

    def _number(self, query: str) -> int:
        return int(self.con.execute(query).fetchall()[0][0])
