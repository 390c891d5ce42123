"""Rows get their people's keys: by the source ids they hold, or by the row of another table that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from app.deid.dictionary_links import own_participants
from app.deid.roles import person_columns
from app.engines.intake import checks
from app.engines.intake.connection import Connection
from app.engines.intake.lines import LINES
from app.engines.intake.places import Places
from app.engines.intake.reading import Files, quoted, scan, staged_columns
from app.engines.intake.report import TableReport
from app.errors import Finding
from app.schemas.dictionary import Dictionary, Table

# Batches of distinct source ids go out, a table (source text, key int32) comes back.
Resolve = Callable[[Iterator[pa.Array]], pa.Table]
_IDS = 100_000  # distinct ids handed to Python at a time


@dataclass(frozen=True)
class Keying:
    """The people of the rows of `stage`. `counts` are those of `checks.counted`; `unmatched_share` is the share of rows
    of unknown people that a table may have which does not say."""

    db: Connection
    places: Places
    counts: Mapping[str, checks.Count]
    unmatched_share: float

    def give(
        self,
        report: TableReport,
        table: Table,
        dictionary: Dictionary,
        local: Mapping[str, Files],
        left_out: Mapping[str, Files],
        resolve: Resolve,
    ) -> int | None:
        """Make the view `known` of the rows that have all their people; count the rows that have not. How many people
        there are where every row has its own, else None."""
        if table.kind == "reference":
            self.db.ask("CREATE VIEW known AS SELECT * FROM stage")
            return None
        if table.participant_via is not None:
            report.findings += self._by_parent(table, local, left_out)
            if report.findings:
                return None  # rows without a parent have no person either; they are told once
        else:
            people = None if table.kind == "participant" else local.get(dictionary.people.name)
            if (every := self._by_id(table, resolve, people)) is not None:
                self.db.ask("CREATE VIEW known AS SELECT * FROM keyed")
                return every
            if table.kind == "participant":
                report.findings += self._again(table)
        unknown = " OR ".join(f"{quoted(name)} IS NULL" for name in person_columns(table))
        count, rows = self.db.ask(f"SELECT count(*), min(__row, {LINES}) FROM keyed WHERE {unknown}")[0]
        report.left_out = int(count)
        share = self.unmatched_share if table.max_unmatched is None else table.max_unmatched
        if count and (table.kind == "participant" or count > share * report.rows):
            report.findings.append(
                Finding(
                    "unknown_people",
                    f"more than {share:.2%} of the rows are of people who are not in the participant table",
                    table.name,
                    lines=self.places.rows(rows),
                    count=int(count),
                    hint="upload the participant table that holds them, or state a higher max_unmatched",
                )
            )
        self.db.ask(f"CREATE VIEW known AS SELECT * FROM keyed WHERE NOT ({unknown})")
        return None

    def _by_id(self, table: Table, resolve: Resolve, people: Files | None) -> int | None:
        """Make the view `keyed`; how many people there are where every row has all its own, which the ids tell without
        the rows: as many keys as there are ids, and no row without an id."""
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
            for batch in self.db.batches(every, _IDS):
                asked += len(batch)
                yield batch

        keys = resolve(sources())
        self.db.register("resolved", keys)
        only = f"WHERE key IN (SELECT __participant FROM {scan(people)})" if people else ""
        # Joined by numbers where the ids are numbers.
        self.db.ask(
            "CREATE TEMP TABLE keys AS SELECT source, TRY_CAST(source AS BIGINT) AS number, "
            f"CAST(key AS INTEGER) AS key FROM resolved {only}"
        )
        joins = " ".join(
            f"LEFT JOIN keys k{i} ON k{i}.number = stage.{staged.value}" if staged.column.type == "integer"
            else f"LEFT JOIN keys k{i} ON k{i}.source = CAST(stage.{staged.value} AS VARCHAR)"
            for i, staged in enumerate(own)
        )  # fmt: skip
        picked = ", ".join(f"k{i}.key AS {quoted(name)}" for i, name in enumerate(person_columns(table)))
        self.db.ask(f"CREATE VIEW keyed AS SELECT stage.*, {picked} FROM stage {joins}")
        if any(self.counts[name].nulls for name in names):
            return None
        found = self.db.one("SELECT count(DISTINCT key) FROM keys")
        return found if found == asked else None

    def _again(self, table: Table) -> Iterator[Finding]:
        """Rows of a person who has a row already: people are known by less than what tells texts apart."""
        groups = "FROM keyed WHERE __participant IS NOT NULL GROUP BY __participant HAVING count(*) > 1"
        count, rows = checks.repeated(groups, self.db.ask)
        if count:
            yield Finding(
                "duplicate_key", "rows have the id of an earlier row, written with other white space around it",
                table.name, ", ".join(own_participants(table)), self.places.rows(rows), count,
            )  # fmt: skip

    def _by_parent(
        self, table: Table, local: Mapping[str, Files], left_out: Mapping[str, Files]
    ) -> list[Finding]:
        name, _, column = (table.participant_via or "").partition(".")
        value = next(s.value for s in staged_columns(table) if s.column.name == table.via_column)
        parent = f"SELECT {quoted(column)} AS k, __participant FROM {scan(local[name])}"
        joined = f"stage LEFT JOIN ({parent}) p ON p.k = stage.{value}"
        self.db.ask(f"CREATE VIEW keyed AS SELECT stage.*, p.__participant FROM {joined}")
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
                self.db.ask,
                self.places.rows,
            )
        )
