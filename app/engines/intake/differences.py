"""What the rows of a version differ in from those of the version before: rows and people that came, went or changed.

Objects that both versions name are the same rows, and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.deid.roles import person_columns
from app.engines.intake.connection import Connection
from app.engines.intake.onto import record_key
from app.engines.intake.parents import Before, Parent
from app.engines.intake.reading import Files, quoted, scan
from app.schemas.dictionary import Dictionary, Table


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
    con.ask("CREATE OR REPLACE TEMP TABLE touched (p INTEGER)")
    rows = _rows(old, new, con)
    if not old.people and not new.people:
        return TableChange(name, rows, Moved())
    con.ask("CREATE OR REPLACE TEMP TABLE whom AS SELECT DISTINCT p FROM touched WHERE p IS NOT NULL")
    con.ask(f"CREATE OR REPLACE TEMP TABLE were AS SELECT p FROM whom w WHERE {_among(old)}")
    con.ask(f"CREATE OR REPLACE TEMP TABLE are AS SELECT p FROM whom w WHERE {_among(new)}")
    both = con.one("SELECT count(*) FROM were SEMI JOIN are USING (p)")
    people = Moved(
        con.one("SELECT count(*) FROM are") - both, con.one("SELECT count(*) FROM were") - both, both
    )
    return TableChange(name, rows, people)


def _rows(old: _Side, new: _Side, con: Connection) -> Moved:
    """The rows that differ; their people go into `touched`."""
    if not old.own or not new.own:
        for side in (old, new):
            if side.own:
                _touch(con, side, scan(side.own))
        return Moved(_count(con, new.own), _count(con, old.own))
    here, there = con.names(scan(old.own)), con.names(scan(new.own))
    common = [name for name in here if name in there]
    key = record_key(new.table) if new.table else ()
    if not key or not old.table or record_key(old.table) != key or not set(key) <= set(common):
        return _bags(old, new, common, con)
    on = " AND ".join(f"a.{quoted(k)} = b.{quoted(k)}" for k in key)
    rest = [name for name in common if name not in key]
    differ = " OR ".join(f"a.{quoted(n)} IS DISTINCT FROM b.{quoted(n)}" for n in rest) or "false"
    first = quoted(key[0])
    who = [f"a.{quoted(p)} AS a{i}" for i, p in enumerate(old.people)]
    who += [f"b.{quoted(p)} AS b{i}" for i, p in enumerate(new.people)]
    con.ask(
        f"CREATE OR REPLACE TEMP TABLE differing AS SELECT a.{first} IS NULL AS came, b.{first} IS NULL AS went"
        f"{''.join(f', {one}' for one in who)} FROM {scan(old.own)} a FULL JOIN {scan(new.own)} b ON {on} "
        f"WHERE came OR went OR {differ}"
    )
    for i in range(len(old.people)):
        con.ask(f"INSERT INTO touched SELECT a{i} FROM differing")
    for i in range(len(new.people)):
        con.ask(f"INSERT INTO touched SELECT b{i} FROM differing")
    came, went, changed = con.ask(
        "SELECT count(*) FILTER (came), count(*) FILTER (went), count(*) FILTER (NOT came AND NOT went) FROM differing"
    )[0]
    return Moved(int(came), int(went), int(changed))


def _bags(old: _Side, new: _Side, common: list[str], con: Connection) -> Moved:
    """Rows that nothing tells apart but what they hold."""
    columns = ", ".join(quoted(name) for name in common)
    counts = []
    for side, other in ((new, old), (old, new)):
        rest = f"SELECT {columns} FROM {scan(side.own)} EXCEPT ALL SELECT {columns} FROM {scan(other.own)}"
        con.ask(f"CREATE OR REPLACE TEMP TABLE differing AS {rest}")
        _touch(con, side, "differing")
        counts.append(con.one("SELECT count(*) FROM differing"))
    return Moved(*counts)


def _touch(con: Connection, side: _Side, source: str) -> None:
    for name in side.people:
        con.ask(f"INSERT INTO touched SELECT DISTINCT {quoted(name)} FROM {source}")


def _among(side: _Side) -> str:
    if not side.files or not side.people:
        return "false"
    there = " UNION ALL ".join(f"SELECT {quoted(name)} AS p FROM {scan(side.files)}" for name in side.people)
    return f"EXISTS (FROM ({there}) h WHERE h.p = w.p)"


def _count(con: Connection, files: Files) -> int:
    return con.one(f"SELECT count(*) FROM {scan(files)}") if files else 0
