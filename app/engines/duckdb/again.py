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
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.deid.choices import chosen
from app.engines.duckdb import codes as rare
from app.engines.duckdb import keeping, people, timeline
from app.engines.duckdb.moving import Compared, Slices
from app.engines.duckdb.run import DuckDbRun
from app.engines.duckdb.sql import persons_of, quoted, stored
from app.engines.duckdb.writing import SLICES, position_of, write_parts
from app.engines.protocol import (
    Classes,
    Kept,
    Keys,
    Limits,
    NotLocal,
    Place,
    Progress,
    Source,
    StagedPart,
)
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
        self._kept, self._closed, self._changed = kept, set(closed), set[Place]()
        self._people = Compared(kept.tables[keeping.PEOPLE], source.crosswalk, keeping.domains_of(source))
        self._having: dict[str, Keys] = {}
        self._same = set[str]()  # the tables of codes that leave as they did
        self._outside: dict[str, int] | None = None
        super().__init__(con, source, limits)

    def _name_everyone(self) -> None:
        """Those of the last generation, too: who left is not in `x`."""
        self._lay("gone", self._people.gone)
        self.con.execute("CREATE VIEW anyone AS SELECT key, slice, shift_days FROM x UNION ALL FROM gone")

    def _lay(self, name: str, rows: pa.Table) -> None:
        self.con.register("laid_in", rows)
        self.con.execute(f"CREATE OR REPLACE TABLE {name} AS FROM laid_in")
        self.con.unregister("laid_in")

    def classify(self, classes: Classes) -> None:
        """Take the class of each tuple; who moved in or out is settled before the codes are counted on."""
        self._take(classes)
        self._labels, self._outside = classes.labels, None
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
        if self._outside is not None:
            return dict(self._outside)
        counts = dict(self._kept.about["outside"])
        for table in self._tables():
            place = timeline.rows(self.source, table)
            if table.kind != "event":
                counts[table.name] = self._outside_of(table)
            elif place != "true":
                counts[table.name] += self._number(
                    f"SELECT coalesce(sum(CASE WHEN m.now THEN 1 ELSE -1 END), 0) {self._moved_in(table)} "
                    f"AND {self.filters.of(table)} AND NOT coalesce({place}, false)"
                )
        self._outside = counts
        return dict(counts)

    def _write(self, table: Table, staging: Path, positions: list[int], parts: int) -> list[StagedPart]:
        codes = self._codes[table.name]
        found = write_parts(self.con, self.source, self.filters, table, codes, staging, positions, parts)
        return list(found)

    def _look(self) -> None:
        """Who has rows where: as kept, and read for those whom the last generation did not know."""
        joined = self._people.joined
        self._lay("joined", pa.table({"key": joined}))
        for i, table in enumerate(people.event_tables(self.source)):
            if table.kind == "event":
                had = self._kept.tables[keeping.having_name(table.name)]["key"].to_numpy()
                came, person = np.empty(0, dtype=np.int32), f"t.{persons_of(table)[0]}"
                if len(joined):
                    rows = f"FROM {stored(table)} t JOIN x x0 ON {person} = x0.key"
                    where = f"{_among(person, joined, 'joined')} AND {self.filters.on(table)}"
                    found = self.con.execute(f"SELECT DISTINCT x0.key {rows} WHERE {where}").fetchnumpy()
                    came = np.asarray(found["key"], dtype=np.int32)
                self._having[table.name] = np.concatenate([had, came])
                stay = had[~np.isin(had, self._people.gone["key"].to_numpy())]
                self._lay(f"having_{i}", pa.table({"key": np.concatenate([stay, came])}))

    def _find_moves(self) -> None:
        """`moves` (key, slice, was_<domain>, now_<domain>): whoever is in the extract by other domains than before."""
        self._moves = self._people.moves(self._classes().released)
        self._lay("moves", self._moves.table())
        if keeping.has_lost_people(self.source, self._kept):
            self._must_find_the_leavers()

    def _must_find_the_leavers(self) -> None:
        """Codes and links are counted on by the rows of those who left: destroyed before, they cannot be read."""
        domains = keeping.domains_of(self.source)
        gone = " OR ".join(f"({quoted('was_' + d)} AND NOT {quoted('now_' + d)})" for d in domains)
        rows = stored(self.dictionary.people)
        missing = (
            f"SELECT count(*) FROM (SELECT key FROM moves WHERE {gone}) "
            f"ANTI JOIN (SELECT __participant AS key FROM {rows}) USING (key)"
        )
        if self._number(missing):
            raise NotLocal("rows_destroyed")

    def _judge_codes(self, rollup: rare.Rollup, name: str) -> dict[str, int]:
        """The codes of an event table are counted on by the rows of those who moved; of others they are few."""
        was = self._kept.tables[keeping.code_name(rollup.key)]
        if rollup.table.kind != "event":
            self._lay(_was(name), was)
            return super()._judge_codes(rollup, name)
        steps = self._steps(rollup)
        counted = rare.counted_on(was, steps)
        if (pc.min(counted["n"]).as_py() or 0) < 0:
            raise NotLocal("counts_differ")
        if not rare.may_differ(rollup, was, steps):
            self._same.add(name)
            texts = was["released"].to_pylist()
            rare.lay(self.con, name, counted, texts)
            return rare.tally(counted, texts)
        self._same.discard(name)
        self._lay(_was(name), was)
        return rare.build_on(self.con, rollup, name, self._rows(rollup.table), counted)

    def _steps(self, rollup: rare.Rollup) -> pa.Table:
        """(v, d): how many more or fewer people have a code, where any of them moved."""
        table, column = rollup.table, f"t.{quoted(rollup.column.name)}"
        return self.con.sql(
            f"SELECT v, sum(CASE WHEN now THEN 1 ELSE -1 END)::BIGINT AS d FROM (SELECT DISTINCT {column} AS v, m.key, "
            f"m.now {self._moved_in(table)} AND {self.filters.on(table)} AND {column} IS NOT NULL) GROUP BY v"
        ).to_arrow_table()

    def _moved_in(self, table: Table) -> str:
        """SQL (FROM ... WHERE) of the rows `t` of an event table of those who are new to its rows, or gone from them;
        `m.now` is whether they are there."""
        moved, person = self._moves.of(f"in_{table.domain}"), f"t.{persons_of(table)[0]}"
        keys = self._moves.keys[moved]
        self._lay("movers", pa.table({"key": keys, "now": self._moves.now[f"in_{table.domain}"][moved]}))
        rows = f"FROM {stored(table)} t JOIN movers m ON {person} = m.key JOIN anyone x0 ON x0.key = m.key"
        return f"{rows} WHERE {_among(person, keys, 'movers')}"

    def _differing(self, table: Table, parts: int) -> set[int]:
        """The positions of a table whose part cannot be the last generation's."""
        queries, slices = list[str](), np.empty(0, dtype=np.uint32)
        if table.kind == "participant":
            slices = self._relabelled(table)
        elif table.kind == "link":
            queries = self._relinked(table)
        else:
            slices = self._moved_rows(table)
        for choice in chosen(self.source.plan.table(table.name), table):
            if choice.transform.name == "roll_up":
                queries += self._recoded(table, choice.column.name)
        found = {position_of(int(slice_), parts) for slice_ in slices}
        if queries:
            place = f"(slice::UBIGINT * {parts} // {SLICES})::INTEGER"
            rows = self.con.execute(f"SELECT DISTINCT {place} FROM ({' UNION ALL '.join(queries)})")
            found |= {int(row[0]) for row in rows.fetchall()}
        return found

    def _relabelled(self, table: Table) -> Slices:
        """Slices of people who are new to the participant table, gone from it, or under other labels."""
        held = self._kept.tables[keeping.LABELS]
        named = [held[f"label_{i}"].to_pylist() for i in range(len(people.quasi_identifiers(self.source)))]
        labels = zip(*named, strict=True) if named else ((),) * held.num_rows
        before = dict(zip(held["class"].to_pylist(), labels, strict=True))
        found = self._people.relabelled(f"in_{table.domain}", before, self._labels, self._classes().of)
        return np.concatenate([found, self._moves.slices]) if self._counts_days() else found

    def _moved_rows(self, table: Table) -> Slices:
        """Slices of people who moved and have rows in an event table. Days that count from a person's first date may be
        others in every table, when a table is gone."""
        rows = np.isin(self._moves.keys, self._having[table.name])
        return self._moves.slices[
            rows if self._counts_days() else rows & self._moves.of(f"in_{table.domain}")
        ]

    def _relinked(self, table: Table) -> list[str]:
        """Queries of (slice of the first person): rows that leave now and did not, or did and do not."""
        persons, domain = persons_of(table), f"in_{table.domain}"
        self._lay(_was(keeping.PEOPLE), self._kept.tables[keeping.PEOPLE])
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

    def _recoded(self, table: Table, column: str) -> list[str]:
        """Queries of (slice): people with a code that leaves as something else than before."""
        name = self._codes[table.name][column]
        if name in self._same:
            return []
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE recoded_{name} AS SELECT v FROM {name} n JOIN {_was(name)} o USING (v) "
            "WHERE n.released IS DISTINCT FROM o.released"
        )
        if not self._number(f"SELECT count(*) FROM recoded_{name}"):
            return []
        return [
            f"SELECT x0.slice {self._rows(table)} AND t.{quoted(column)} IN (SELECT v FROM recoded_{name})"
        ]

    def _counts_days(self) -> bool:
        """Whether any column leaves as days since a person's first date, which all of their tables share."""
        tables = [(self.source.plan.table(t.name), t) for t in self._tables()]
        return any(c.transform.name == "relative_day" for planned, t in tables for c in chosen(planned, t))


def _among(column: str, keys: Keys, table: str) -> str:
    """SQL: whether the column is one of the keys, which the table has; few are named, for then row groups can be left
    out."""
    if len(keys) > FEW:
        return f"{column} IN (SELECT key FROM {table})"
    return f"{column} IN ({', '.join(map(str, sorted(keys.tolist())))})" if len(keys) else "false"


def _was(name: str) -> str:
    return quoted(f"was {name}")
