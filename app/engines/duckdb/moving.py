"""Who was in the last generation, and who is in this one: two lists of people by ascending key, compared in arrays.

DuckDB joins two lists of people by a hash table of one of them, anew for each question; being in order, they are laid
side by side once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.engines.protocol import Keys

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Slices = npt.NDArray[np.uint32]
Labels = Mapping[int, tuple[Any, ...]]
_NOWHERE = -1  # the class and the label of whoever has none in the participant table
_UNKNOWN = (-2, -3)  # labels that are not told, before and now: never the same


@dataclass(frozen=True)
class Moves:
    """People, by ascending key, who are in the extract by other domains than before; by each consent column
    (`in_<domain>`), whether they were in by it, and whether they are."""

    keys: Keys
    slices: Slices
    was: Mapping[str, Bools]
    now: Mapping[str, Bools]

    def table(self) -> pa.Table:
        """(key, slice, was_in_<domain>, now_in_<domain>)."""
        columns: dict[str, Any] = {"key": self.keys, "slice": self.slices}
        columns |= {f"was_{name}": held for name, held in self.was.items()}
        return pa.table(columns | {f"now_{name}": held for name, held in self.now.items()})

    def of(self, column: str) -> Bools:
        """Which of them are new to the rows of a domain, or gone from them."""
        return np.asarray(self.was[column] != self.now[column])


class Compared:
    """The people as the last generation kept them (`was`: key, name, shift_days, in_<domain>, class), beside the
    crosswalk (`walk`); both by ascending key, each person once. `columns` are the consent columns."""

    def __init__(self, was: pa.Table, walk: pa.Table, columns: Sequence[str]) -> None:
        old, new = was["key"].to_numpy(), walk["key"].to_numpy()
        place = np.searchsorted(new, old)
        stays = place < len(new)
        stays[stays] = new[place[stays]] == old[stays]
        left = np.flatnonzero(~stays)
        # Everyone: the people of the crosswalk, then those who are gone; `_before` is where each of them was.
        self._before = np.full(len(new) + len(left), -1, dtype=np.int64)
        self._before[place[stays]] = np.flatnonzero(stays)
        self._before[len(new) :] = left
        self._left = len(left)
        slices = (was["name"].to_numpy()[left] >> np.uint64(32)).astype(np.uint32)
        self._keys: Keys = np.concatenate([new, old[left]])
        self._slices: Slices = np.concatenate([walk["slice"].to_numpy(), slices])
        shifts = was["shift_days"].take(pa.array(left))
        self.gone = pa.table({"key": old[left], "slice": slices, "shift_days": shifts})
        self.joined: Keys = new[self._before[: len(new)] < 0]
        classes = was["class"].combine_chunks()
        released = np.asarray(classes.is_valid())
        self._class = self._of_before(classes.fill_null(_NOWHERE).to_numpy(), _NOWHERE)
        self._was = {name: self._of_before(_bools(was[name]) & released, False) for name in columns}
        self._may = {name: _bools(walk[name]) for name in columns}

    def moves(self, released: Bools) -> Moves:
        """Who moved; `released`: of each of the crosswalk's people, whether they are in the extract."""
        now = {name: self._of_now(may & released, False) for name, may in self._may.items()}
        differ = np.zeros(len(self._keys), dtype=np.bool_)
        for name, held in now.items():
            differ |= self._was[name] != held
        who = np.flatnonzero(differ)
        who = who[np.argsort(self._keys[who])]
        was = {name: held[who] for name, held in self._was.items()}
        return Moves(self._keys[who], self._slices[who], was, {name: held[who] for name, held in now.items()})

    def relabelled(self, column: str, before: Labels, after: Labels, classes: Array) -> Slices:
        """The slices of whoever is new to the participant table, whose consent column this is, gone from it, or in it
        under other labels. `classes`: of each of the crosswalk's people, negative where they have no labels. Classes
        are numbered anew in each run, so that they are compared by their labels (`before`, `after`)."""
        numbers: dict[tuple[Any, ...], int] = {}
        had = _numbered(before, numbers, np.where(self._was[column], self._class, _NOWHERE), _UNKNOWN[0])
        own = np.where(self._may[column], classes, _NOWHERE)
        have = _numbered(after, numbers, self._of_now(own, _NOWHERE), _UNKNOWN[1])
        return np.asarray(self._slices[had != have])

    def _of_before(self, held: Array, fill: Any) -> Array:
        """What was held of the people of before, in the order of everyone."""
        found = np.full(len(self._before), fill, dtype=held.dtype)
        known = self._before >= 0
        found[known] = held[self._before[known]]
        return found

    def _of_now(self, held: Array, fill: Any) -> Array:
        """What is held of the crosswalk's people, in the order of everyone."""
        return np.concatenate([held, np.full(self._left, fill, dtype=held.dtype)])


def _numbered(labels: Labels, numbers: dict[tuple[Any, ...], int], classes: Array, unknown: int) -> Array:
    """For each class the number of its labels, the same for equal ones."""
    ids = np.fromiter(labels, dtype=np.int64)
    table = np.full(max(ids.max(initial=-1), classes.max(initial=-1)) + 1, unknown, dtype=np.int64)
    table[ids] = [numbers.setdefault(each, len(numbers)) for each in labels.values()]
    found = np.full(len(classes), _NOWHERE, dtype=np.int64)
    has = classes >= 0
    found[has] = table[classes[has]]
    return found


def _bools(column: pa.ChunkedArray) -> Bools:
    return np.asarray(column.to_numpy(), dtype=np.bool_)
