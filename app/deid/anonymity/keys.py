"""Whole numbers as keys of groups: which there are, the place of each, and the sums over them."""

from dataclasses import dataclass

import numpy as np

from app.deid.anonymity.frequency import Floats, Rows

# A table of this many keys costs nothing that matters.
SLACK = 4096


@dataclass(frozen=True)
class Places:
    """Where keys are numbered: in a table by key where `dense`, else the sorted keys, the first numbered `first`."""

    keys: Rows
    first: int
    dense: bool

    def at(self, keys: Rows) -> Rows:
        """The numbers of keys, each of which must be known."""
        return self.keys[keys] if self.dense else self.first + np.searchsorted(self.keys, keys)


def countable(bound: int, size: int) -> bool:
    """Whether `size` keys below `bound` are sooner told apart in a table of all that there could be than by sorting."""
    return bound <= 8 * size + SLACK


def distinct(keys: Rows, bound: int) -> tuple[Rows, Rows]:
    """The distinct keys in order, and the place of each key among them."""
    if not countable(bound, len(keys)):
        found, place = np.unique(keys, return_inverse=True)
        return found, place
    present = np.zeros(bound, np.bool_)
    present[keys] = True
    found = np.flatnonzero(present)
    places = np.empty(bound, np.intp)
    places[found] = np.arange(len(found))
    return found, places[keys]


def grouped(keys: Rows, bound: int, measured: list[Floats], count: int) -> tuple[Places, Rows, Floats]:
    """The places of keys below `bound` numbered from `count`, the distinct keys in order, and their sums."""
    if not countable(bound, len(keys)):
        found, place = np.unique(keys, return_inverse=True)
        sums = [np.bincount(place, measure, len(found)) for measure in measured]
        return Places(found, count, dense=False), found, np.stack(sums, axis=1)
    sums = [np.bincount(keys, measure, bound) for measure in measured]
    # Every tuple measures something, so with one measure its sum tells which keys there are.
    found = np.flatnonzero(sums[0] if len(sums) == 1 else np.bincount(keys, minlength=bound))
    table = np.full(bound, -1)
    table[found] = np.arange(count, count + len(found))
    return Places(table, count, dense=True), found, np.stack([total[found] for total in sums], axis=1)
