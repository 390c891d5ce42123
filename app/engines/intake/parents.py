"""Tables of a version that are in the vault, and which of their rows a check must look at that went well before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.engines.intake.reading import Files
from app.schemas.dictionary import Dictionary, Table


@dataclass(frozen=True)
class Parent:
    """A table of the version that is in the vault: its objects, and those with the ids of the rows left out there."""

    objects: tuple[str, ...]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Before:
    """The version that another was made from, and that holds together: its dictionary and its tables."""

    dictionary: Dictionary
    tables: Mapping[str, Parent]

    def table(self, name: str) -> Table | None:
        """What its dictionary says of a table, where it has it."""
        return next((table for table in self.dictionary.tables if table.name == name), None)


class Since:
    """The rows of a version that were not looked at with the version before: all of them where there is none."""

    def __init__(
        self,
        dictionary: Dictionary,
        tables: Mapping[str, Parent],
        local: Mapping[str, Files],
        before: Before | None,
    ) -> None:
        self.dictionary, self.before, self._tables, self._local = dictionary, before, tables, local

    def rows(self, table: Table, parent: str) -> Files:
        """The files of a table whose rows must be found in another: the new ones, where the other has lost no row and
        the dictionary says the same of the way between them; else all."""
        was = self.before.table(table.name) if self.before else None
        if was is None or _ways(was) != _ways(table) or not self._only_grew(parent):
            return self._local[table.name]
        return self.fresh(table.name)

    def values(self, name: str) -> Files:
        """The files of a table whose values may be others than before: the new ones, where no reference table changed,
        for hierarchies may be read from them; else all."""
        references = [t.name for t in self.dictionary.tables if t.kind == "reference"]
        if self.before is None or any(self._objects(one) != self._were(one) for one in references):
            return self._local[name]
        return self.fresh(name)

    def fresh(self, name: str) -> Files:
        """The files of a table that the version before does not have."""
        were = self._were(name)
        pairs = zip(self._objects(name), self._local[name], strict=True)
        return tuple(file for object_, file in pairs if object_ not in were)

    def _only_grew(self, name: str) -> bool:
        return set(self._were(name)) <= set(self._objects(name)) and bool(self._were(name))

    def _objects(self, name: str) -> tuple[str, ...]:
        return self._tables[name].objects if name in self._tables else ()

    def _were(self, name: str) -> tuple[str, ...]:
        held = self.before.tables.get(name) if self.before else None
        return held.objects if held else ()


def _ways(table: Table) -> object:
    own = [c.name for c in table.of_role("participant_id")]
    return table.kind, table.participant, own, table.participant_via, table.via_column, table.foreign_keys
