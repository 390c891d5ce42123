"""What the rows of a version differ in from those of the version before: rows and people that came, went or changed.

Objects that both versions name are the same rows, and are not read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from app.deid.roles import person_columns
from app.engines.intake.connection import Connection
from app.engines.intake.onto import record_key
from app.engines.intake.parents import Before, Parent
from app.engines.intake.people import people_in, people_of
from app.engines.intake.reading import Files, quoted, scan
from app.engines.keys import each_once
from app.engines.protocol import Keys
from app.schemas.dictionary import Dictionary, Table

_ALIKE = ({"BIGINT", "DOUBLE"}, {"DATE", "TIMESTAMP"})
"""Types whose values are compared as they are: 1 is 1.0. Any others are compared as they are written."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How many came, went, or are there before and after and changed."""

    into: int = 0
    out: int = 0
    changed: int = 0

    def to_dict(self) -> dict[str, int]:
        """As it stands in a report."""
        return {"in": self.into, "out": self.out, "changed": self.changed}


@dataclass(frozen=True, slots=True)
class TableChange:
    """One table of either version. A row is the same by its record id; where there is none, rows only come and go."""

    table: str
    rows: Moved
    people: Moved


@dataclass(frozen=True, slots=True)
class _Side:
    """A table in one of the versions: all its files, and those that the other version does not have."""

    table: Table | None
    files: Files
    own: Files

    @property
    def people(self) -> tuple[str, ...]:
        return person_columns(self.table) if self.table else ()


def changes(
    dictionary: Dictionary,
    tables: Mapping[str, Parent],
    now: Mapping[str, Files],
    before: Before,
    was: Mapping[str, Files],
    con: Connection,
) -> Iterator[TableChange]:
    """Every table that either version holds, in the order of their dictionaries."""
    known = {table.name: table for table in dictionary.tables}
    for name in dict.fromkeys([*known, *(table.name for table in before.dictionary.tables)]):
        after, earlier = tables.get(name), before.tables.get(name)
        if after is None and earlier is None:
            continue
        old = _side(before.table(name), earlier, was.get(name, ()), after)
        new = _side(known.get(name), after, now.get(name, ()), earlier)
        yield _compared(name, old, new, con)


def _side(table: Table | None, held: Parent | None, files: Files, other: Parent | None) -> _Side:
    theirs = other.objects if other else ()
    own = tuple(f for o, f in zip(held.objects if held else (), files, strict=True) if o not in theirs)
    return _Side(table, files, own)


def _compared(name: str, old: _Side, new: _Side, con: Connection) -> TableChange:
    if not old.own and not new.own:
        return TableChange(name, Moved(), Moved())
    rows, touched = _rows(old, new, con)
    if not len(touched):
        return TableChange(name, rows, Moved())
    were, are = (np.isin(touched, people, assume_unique=True) for people in _people(old, new, con))
    people = Moved(int((are & ~were).sum()), int((were & ~are).sum()), int((were & are).sum()))
    return TableChange(name, rows, people)


def _people(old: _Side, new: _Side, con: Connection) -> tuple[Keys, Keys]:
    """Who has rows on either side; what both have is read once."""
    shared = people_of(old.people, tuple(file for file in old.files if file not in old.own), con)
    were, are = (np.concatenate([shared, people_of(side.people, side.own, con)]) for side in (old, new))
    return each_once(were), each_once(are)


def _rows(old: _Side, new: _Side, con: Connection) -> tuple[Moved, Keys]:
    """The rows that differ, and their people."""
    here, there = (con.types(scan(side.own)) if side.own else {} for side in (old, new))
    common = [name for name in here if name in there]
    key = record_key(new.table) if new.table else ()
    keyed = key and old.table and record_key(old.table) == key and set(key) <= set(common)
    if not common or not (keyed or old.people == new.people):
        # Nothing that both have tells what became of a row: all that were there went, and all that are there came.
        own = [people_of(side.people, side.own, con) for side in (old, new)]
        return Moved(_count(con, new.own), _count(con, old.own)), each_once(np.concatenate(own))
    texts = {name for name in common if not _comparable(here[name], there[name])}
    if not keyed:
        return _bags(old, new, common, texts, con)
    on = " AND ".join(f"{_value('a', k, texts)} = {_value('b', k, texts)}" for k in key)
    rest = [name for name in common if name not in key]
    differ = (
        " OR ".join(f"{_value('a', n, texts)} IS DISTINCT FROM {_value('b', n, texts)}" for n in rest)
        or "false"
    )
    first = quoted(key[0])
    who = [f"a.{quoted(p)} AS a{i}" for i, p in enumerate(old.people)]
    who += [f"b.{quoted(p)} AS b{i}" for i, p in enumerate(new.people)]
    con.ask(
        f"CREATE OR REPLACE TEMP TABLE differing AS SELECT a.{first} IS NULL AS came, b.{first} IS NULL AS went"
        f"{''.join(f', {one}' for one in who)} FROM {scan(old.own)} a FULL JOIN {scan(new.own)} b ON {on} "
        f"WHERE came OR went OR {differ}"
    )
    columns = [f"a{i}" for i in range(len(old.people))] + [f"b{i}" for i in range(len(new.people))]
    came, went, changed = con.ask(
        "SELECT count(*) FILTER (came), count(*) FILTER (went), count(*) FILTER (NOT came AND NOT went) FROM differing"
    )[0]
    return Moved(int(came), int(went), int(changed)), people_in(columns, "differing", con)


def _bags(old: _Side, new: _Side, common: list[str], texts: set[str], con: Connection) -> tuple[Moved, Keys]:
    """Rows that nothing tells apart but what they hold."""
    columns = ", ".join(f"{_value('t', name, texts)} AS {quoted(name)}" for name in common)
    counts, people = list[int](), list[Keys]()
    for side, other in ((new, old), (old, new)):
        rest = (
            f"SELECT {columns} FROM {scan(side.own)} t EXCEPT ALL SELECT {columns} FROM {scan(other.own)} t"
        )
        con.ask(f"CREATE OR REPLACE TEMP TABLE differing AS {rest}")
        people.append(people_in(side.people, "differing", con))
        counts.append(con.one("SELECT count(*) FROM differing"))
    return Moved(*counts), each_once(np.concatenate(people))


def _comparable(one: str, other: str) -> bool:
    return one == other or any({one, other} <= alike for alike in _ALIKE)


def _value(of: str, name: str, texts: Collection[str]) -> str:
    """A column of a row; those of `texts`, whose type became another, as it is written."""
    value = f"{of}.{quoted(name)}"
    return f"CAST({value} AS VARCHAR)" if name in texts else value


def _count(con: Connection, files: Files) -> int:
    return con.one(f"SELECT count(*) FROM {scan(files)}") if files else 0
