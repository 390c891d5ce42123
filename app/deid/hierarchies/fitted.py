"""A hierarchy laid over the values of one column: which node each value is on, at every level."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

ROOT = "*"
MISSING = "(missing)"


class HierarchyError(Exception):
    """A hierarchy that cannot be used; `problems` holds every (code, detail) found, never a data value."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{code}: {detail}" for code, detail in self.problems))


@dataclass(frozen=True)
class Climb:
    """What a hierarchy kind knows about the values it was given, before missing values and the root are added.

    `texts[level][i]` and `shares[level][i]` are the label, and the share of the domain under that label, of
    value i at a level from 0 (raw) up to just below the root. `domain` is the number m of level-0 values.
    """

    texts: list[list[str]]
    shares: list[Floats]
    domain: float


@dataclass(frozen=True)
class Fitted:
    """A hierarchy fitted to one column's distinct values.

    `values` are the raw values in the given order (None is missing); `nodes` is int32 (n_values, height + 1), the
    node of each value per level, 0 the raw value and the last level the root; `labels[level][node]` is the text.
    The identity of a node is (level, label): the same text on two levels is two nodes. `covers[level][node]` is
    the share of the domain of `domain` level-0 values under the node.
    """

    name: str
    values: list[object]
    nodes: Ints
    labels: list[list[str]]
    covers: list[Floats] = field(repr=False)
    domain: float

    @property
    def height(self) -> int:
        """The level of the root."""
        return len(self.labels) - 1

    def shares(self, level: int) -> Floats:
        """The share of the domain (0 to 1) that each node of a level covers, for ARX's Loss metric."""
        return self.covers[level]


def is_missing(value: object) -> bool:
    """None, and the empty text: both would be written as nothing, so they must be one node."""
    return value is None or value == ""


def assemble(name: str, values: Sequence[object], climb: Climb) -> Fitted:
    """Number the nodes of every level by first appearance, and add the missing leaf and the root.

    Raises HierarchyError where one node would have two parents (the levels do not nest).
    """
    present = [i for i, value in enumerate(values) if not is_missing(value)]
    levels = [_level(climb, level, present, len(values)) for level in range(len(climb.texts))]
    root = (np.zeros(len(values), dtype=np.int32), [ROOT], np.ones(1))
    columns, labels, covers = zip(*levels, root, strict=True)
    nodes = np.stack(columns, axis=1).astype(np.int32)
    _check_nesting(nodes)
    return Fitted(name, list(values), nodes, list(labels), list(covers), climb.domain)


def _level(climb: Climb, level: int, present: list[int], size: int) -> tuple[Ints, list[str], Floats]:
    # A missing value is keyed by None, so that a value that spells "(missing)" is still another node.
    index: dict[str | None, int] = {}
    shares: list[float] = []
    column = np.empty(size, dtype=np.int32)
    texts = climb.texts[level]
    known = dict(zip(present, range(len(present)), strict=True))
    for i in range(size):
        place = known.get(i)
        key = None if place is None else texts[place]
        if key not in index:
            index[key] = len(index)
            shares.append(1 / climb.domain if place is None else float(climb.shares[level][place]))
        column[i] = index[key]
    missing = "" if level == 0 else MISSING
    return column, [missing if key is None else key for key in index], np.array(shares)


def _check_nesting(nodes: Ints) -> None:
    problems = []
    for level in range(nodes.shape[1] - 1):
        pairs = np.unique(nodes[:, level : level + 2], axis=0)
        torn = len(pairs) - len(np.unique(pairs[:, 0]))
        if torn:
            problems.append(not_nested(level, torn))
    if problems:
        raise HierarchyError(problems)


def not_nested(level: int, torn: int) -> tuple[str, str]:
    """The problem of `torn` labels of a level having more than one label above them."""
    return "not_nested", f"level {level}: {torn} labels lie under two labels of the next level"
