"""A run that meets the last generation again: it finds the parts that differ, and writes those alone.

Parts are cut by pseudonym, so that a part differs only where a person of it did. Three things carry a change from one
person to others: the labels of a class, the people behind a code, and the rows of link tables. The first and the last
are judged over all people, as in a whole run, for they are cheap. Codes and the people of event tables are what makes a
build long; they are counted on from what the last generation kept. A whole run over the same people would give the same
bytes, part by part; tests/generative/test_reissue.py holds that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow.compute as pc

from app.deid.choices import chosen
from app.engines.duckdb import codes as rare
from app.engines.duckdb import keeping, people, timeline
from app.engines.duckdb.run import DuckDbRun
from app.engines.duckdb.sql import persons_of, quoted, stored
from app.engines.duckdb.writing import SLICES, write_parts
from app.engines.protocol import Classes, Kept, Limits, NotLocal, Place, Progress, Source, StagedPart
from app.schemas.dictionary import Table

FEW = 1000
"""Up to so many keys are named one by one, so that row groups without them are not read."""


class DuckDbRerun(DuckDbRun):
    """One plan over one source, beside what the last generation kept."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        source: Source,
        limits: Limits,
        kept: Kept,
        closed: Iterable[Place],
    ) -> None:
        for name, table in kept.tables.items():
            con.register("kept_in", table)
            slice_ = ", (name >> 32)::UINTEGER AS slice" if name == keeping.PEOPLE else ""
            con.execute(f"CREATE TABLE {_was(name)} AS SELECT *{slice_} FROM kept_in")
            con.unregister("kept_in")
        super().__init__(con, source, limits)
        self._kept, self._closed, self._changed = kept, set(closed), set[Place]()

    def _name_everyone(self) -> None:
        """Those of the last generation, too: who left is not in `x`."""
        was = _was(keeping.PEOPLE)
        self.con.execute(
            f"CREATE TABLE gone AS SELECT key, slice, shift_days FROM {was} ANTI JOIN x USING (key)"
        )
        self.con.execute("CREATE VIEW anyone AS SELECT key, slice, shift_days FROM x UNION ALL FROM gone")

    def classify(self, classes: Classes) -> None:
        """Take the class of each tuple; who moved in or out is settled before the codes are counted on."""
        self._take(classes)
        self._find_moves()
        self._anchor()
        for table in self._tables():
            self._codes[table.name] = self._roll_up(table)

    def write(self, staging: Path, parts: Mapping[str, int], progress: Progress) -> list[StagedPart]:
        """Write the parts that differ; each stands at the place of one of the last generation, or of none."""
        rows = {
            (table, int(position)): number
            for table, held in self._kept.about["rows"].items()
            for position, number in held.items()
        }
        written: list[StagedPart] = []
        for table in self._tables():
            number = 1 if table.kind == "reference" else parts[table.name]
            places = {p for t, p in self._closed if t == table.name and p < number}
            places |= {p for (t, p), n in rows.items() if t == table.name and n == 0}
            if table.kind != "reference":
                places |= self._differing(table, number)
            found = self._write(table, staging, sorted(places), number)
            stays = any(n for (t, p), n in rows.items() if t == table.name and p not in places)
            filled = [part for part in found if part.rows]
            if not filled and not stays:
                # Nothing is left of the table: it keeps one part without rows, at its last place.
                last = [part for part in found if part.position == number - 1]
                filled = last or self._write(table, staging, [number - 1], number)
                places.add(number - 1)
            written += filled
            self._changed |= {(table.name, p) for p in places}
            progress(done=len(written))
        self._written = {place: n for place, n in rows.items() if place not in self._changed}
        self._written |= {(part.table, part.position): part.rows for part in written}
        return written

    def changed(self) -> set[Place]:
        """The places that were written anew, among them those that hold no part any more."""
        return set(self._changed)

    def outside(self) -> dict[str, int]:
        """As kept, and counted on by the rows of those who came or went; not read again for the others."""
        counts = dict(self._kept.about["outside"])
        for table in self._tables():
            place = timeline.rows(self.source, table)
            if table.kind != "event":
                counts[table.name] = self._outside_of(table)
            elif place != "true":
                person = f"t.{persons_of(table)[0]}"
                self.con.execute(
                    f"CREATE OR REPLACE TABLE movers AS SELECT key, now FROM {self._moved(table)}"
                )
                counts[table.name] += self._number(
                    "SELECT coalesce(sum(CASE WHEN m.now THEN 1 ELSE -1 END), 0) "
                    f"FROM {stored(table)} t JOIN movers m ON {person} = m.key JOIN anyone x0 ON x0.key = m.key "
                    f"WHERE {self._among(person, 'movers')} AND {self.filters.of(table)} "
                    f"AND NOT coalesce({place}, false)"
                )
        return counts

    def _write(self, table: Table, staging: Path, positions: list[int], parts: int) -> list[StagedPart]:
        codes = self._codes[table.name]
        found = write_parts(self.con, self.source, self.filters, table, codes, staging, positions, parts)
        return list(found)

    def _look(self) -> None:
        """Who has rows where: as kept, and read for those whom the last generation did not know."""
        self.con.execute(
            f"CREATE TABLE joined AS SELECT key FROM x ANTI JOIN {_was(keeping.PEOPLE)} USING (key)"
        )
        for i, table in enumerate(people.event_tables(self.source)):
            if table.kind == "event":
                was = _was(keeping.having_name(table.name))
                person = f"t.{persons_of(table)[0]}"
                self.con.execute(
                    f"CREATE TABLE having_{i} AS SELECT key FROM {was} ANTI JOIN gone USING (key) UNION ALL "
                    f"SELECT DISTINCT x0.key FROM {stored(table)} t JOIN x x0 ON {person} = x0.key "
                    f"WHERE {self._among(person, 'joined')} AND {self.filters.on(table)}"
                )

    def _find_moves(self) -> None:
        """`moves` (key, slice, was_<domain>, now_<domain>): whoever is in the extract by other domains than before."""
        domains = keeping.domains_of(self.source)
        was = [f"(o.class IS NOT NULL AND coalesce(o.{quoted(d)}, false))" for d in domains]
        now = [f"(n.class IS NOT NULL AND coalesce(n.{quoted(d)}, false))" for d in domains]
        columns = ", ".join(
            f"{a} AS {quoted('was_' + d)}, {b} AS {quoted('now_' + d)}"
            for a, b, d in zip(was, now, domains, strict=True)
        )
        differ = " OR ".join(f"{a} <> {b}" for a, b in zip(was, now, strict=True))
        self.con.execute(
            f"CREATE OR REPLACE TABLE moves AS SELECT key, coalesce(n.slice, o.slice) AS slice, {columns} "
            f"FROM {_was(keeping.PEOPLE)} o FULL JOIN cross_ n USING (key) WHERE {differ}"
        )

        if keeping.has_lost_people(self.source, self._kept):
            self._must_find_the_leavers(was, now)

    def _must_find_the_leavers(self, was: list[str], now: list[str]) -> None:
        """Codes and links are counted on by the rows of those who left: destroyed before, they cannot be read."""
        gone = " OR ".join(f"({a} AND NOT {b})" for a, b in zip(was, now, strict=True))
        rows = stored(self.dictionary.people)
        missing = (
            f"SELECT count(*) FROM (SELECT key FROM {_was(keeping.PEOPLE)} o FULL JOIN cross_ n USING (key) "
            f"WHERE {gone}) ANTI JOIN (SELECT __participant AS key FROM {rows}) USING (key)"
        )
        if self._number(missing):
            raise NotLocal("rows_destroyed")

    def _moved(self, table: Table) -> str:
        """SQL of (key, slice, now) of the people who are new to the table's rows, or gone from them."""
        was, now = (quoted(f"{when}_in_{table.domain}") for when in ("was", "now"))
        return f"(SELECT key, slice, {now} AS now FROM moves WHERE {was} <> {now})"

    def _judge_codes(self, rollup: rare.Rollup, name: str) -> dict[str, int]:
        """The codes of an event table are counted on by the rows of those who moved; of others they are few."""
        table = rollup.table
        if table.kind != "event":
            return super()._judge_codes(rollup, name)
        was, column = _was(keeping.code_name(rollup.key)), f"t.{quoted(rollup.column.name)}"
        person = f"t.{persons_of(table)[0]}"
        self.con.execute(f"CREATE OR REPLACE TABLE movers AS SELECT key, now FROM {self._moved(table)}")
        self.con.execute(
            f"CREATE OR REPLACE TABLE steps AS SELECT v, sum(CASE WHEN now THEN 1 ELSE -1 END)::BIGINT AS d FROM "
            f"(SELECT DISTINCT {column} AS v, m.key, m.now FROM {stored(table)} t JOIN movers m ON {person} = m.key "
            f"JOIN anyone x0 ON x0.key = m.key WHERE {self._among(person, 'movers')} AND {self.filters.on(table)} "
            f"AND {column} IS NOT NULL) GROUP BY v"
        )
        counted = self.con.sql(
            f"SELECT v, coalesce(k.n, 0) + coalesce(s.d, 0) AS n FROM {was} k FULL JOIN steps s USING (v) "
            "WHERE coalesce(k.n, 0) + coalesce(s.d, 0) <> 0 ORDER BY v"
        ).to_arrow_table()
        if (pc.min(counted["n"]).as_py() or 0) < 0:
            raise NotLocal("counts_differ")
        if self._undecided(rollup, was):
            self.con.register("waits_in", counted.select(["v"]).filter(rare.is_waiting(rollup, counted)))
            self.con.execute("CREATE OR REPLACE TEMP TABLE waits AS FROM waits_in")
            self.con.unregister("waits_in")
            only = f"{column} IN (SELECT v FROM waits)"
            rare.gather_pairs(self.con, rollup, name, self._rows(table), only)
            return rare.settle(self.con, rollup, name, counted)
        texts = (
            self.con.sql(f"SELECT released FROM {was} ORDER BY v").to_arrow_table()["released"].to_pylist()
        )
        rare.lay(self.con, name, counted, texts)
        return rare.tally(counted, texts)

    def _undecided(self, rollup: rare.Rollup, was: str) -> bool:
        """Whether any code may leave as something else than before: one came or went, or someone came or went who has
        one that is or was too rare to leave as it is. Who they are matters, then, and not only how many."""
        rarely = f"k.n IS NULL OR least(k.n, k.n + s.d) < {max(1, rollup.at_least)}"
        rarely = "true" if rollup.first_level > 0 else rarely
        return bool(self._number(f"SELECT count(*) FROM steps s LEFT JOIN {was} k USING (v) WHERE {rarely}"))

    def _differing(self, table: Table, parts: int) -> set[int]:
        """The positions of a table whose part cannot be the last generation's."""
        if table.kind == "participant":
            queries = self._relabelled(table)
        elif table.kind == "link":
            queries = self._relinked(table)
        else:
            queries = self._moved_rows(table)
        for choice in chosen(self.source.plan.table(table.name), table):
            if choice.transform.name == "roll_up":
                queries.append(self._recoded(table, choice.column.name))
        place = f"(slice::UBIGINT * {parts} // {SLICES})::INTEGER"
        found = self.con.execute(f"SELECT DISTINCT {place} FROM ({' UNION ALL '.join(queries)})").fetchall()
        return {int(row[0]) for row in found}

    def _relabelled(self, table: Table) -> list[str]:
        """Queries of (slice): people who are new to the participant table, gone from it, or under other labels."""
        size = len(people.quasi_identifiers(self.source))
        same = " AND ".join(f"o.label_{i} IS NOT DISTINCT FROM n.label_{i}" for i in range(size)) or "true"
        # Classes are numbered anew in each run: those of the same labels are paired, and people found whose are not.
        self.con.execute(
            "CREATE OR REPLACE TEMP TABLE paired AS SELECT o.class AS before, n.class AS after "
            f"FROM {_was(keeping.LABELS)} o JOIN classes n ON {same}"
        )
        before, after = (
            f"(SELECT key, slice, class FROM {of} WHERE in_{table.domain} AND class >= 0)"
            for of in (_was(keeping.PEOPLE), "cross_")
        )
        found = [
            f"SELECT coalesce(n.slice, o.slice) AS slice FROM {before} o FULL JOIN {after} n USING (key) "
            "ANTI JOIN paired p ON p.before = o.class AND p.after = n.class"
        ]
        return [*found, "SELECT slice FROM moves"] if self._counts_days() else found

    def _moved_rows(self, table: Table) -> list[str]:
        """Queries of (slice): people who moved and have rows in an event table. Days that count from a person's first
        date may be others in every table, when a table is gone."""
        having = f"SELECT key FROM {_was(keeping.having_name(table.name))} UNION SELECT key FROM "
        having += people.having(self.source, table)
        who = "moves" if self._counts_days() else self._moved(table)
        return [f"SELECT slice FROM {who} SEMI JOIN ({having}) h USING (key)"]

    def _relinked(self, table: Table) -> list[str]:
        """Queries of (slice of the first person): rows that leave now and did not, or did and do not."""
        persons, domain = persons_of(table), f"in_{table.domain}"
        joins = " ".join(
            f"LEFT JOIN {_was(keeping.PEOPLE)} o{n} ON t.{p} = o{n}.key AND o{n}.{domain} AND o{n}.class IS NOT NULL "
            f"LEFT JOIN cross_ n{n} ON t.{p} = n{n}.key AND n{n}.{domain}"
            for n, p in enumerate(persons)
        )
        before, after = (
            " AND ".join(f"{side}{n}.key IS NOT NULL" for n in range(len(persons))) for side in ("o", "n")
        )
        rows = f"FROM {stored(table)} t JOIN anyone x0 ON t.{persons[0]} = x0.key {joins}"
        found = [f"SELECT x0.slice {rows} WHERE {self.filters.on(table)} AND ({before}) <> ({after})"]
        if self._counts_days():
            found += [f"SELECT x0.slice {rows} WHERE t.{p} IN (SELECT key FROM moves)" for p in persons]
        return found

    def _recoded(self, table: Table, column: str) -> str:
        """Query of (slice): people with a code that leaves as something else than before."""
        name, was = self._codes[table.name][column], _was(keeping.code_name(f"{table.name}.{column}"))
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE recoded_{name} AS SELECT v FROM {name} n JOIN {was} o USING (v) "
            "WHERE n.released IS DISTINCT FROM o.released"
        )
        if not self._number(f"SELECT count(*) FROM recoded_{name}"):
            return "SELECT NULL::UINTEGER AS slice WHERE false"
        return f"SELECT x0.slice {self._rows(table)} AND t.{quoted(column)} IN (SELECT v FROM recoded_{name})"

    def _counts_days(self) -> bool:
        """Whether any column leaves as days since a person's first date, which all of their tables share."""
        tables = [(self.source.plan.table(t.name), t) for t in self._tables()]
        return any(c.transform.name == "relative_day" for planned, t in tables for c in chosen(planned, t))

    def _among(self, column: str, table: str) -> str:
        """SQL: whether the column is a key of the table; few keys are named, for then row groups can be left out."""
        keys = self.con.execute(f"SELECT key FROM {table} ORDER BY key LIMIT {FEW + 1}").fetchall()
        if len(keys) > FEW:
            return f"{column} IN (SELECT key FROM {table})"
        return f"{column} IN ({', '.join(str(int(row[0])) for row in keys)})" if keys else "false"


def _was(name: str) -> str:
    return quoted(f"was {name}")
