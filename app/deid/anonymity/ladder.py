"""A hierarchy renumbered so that order comes from labels alone, and siblings lie together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.deid.anonymity.frequency import Floats, Ints, Rows
from app.deid.hierarchies import Fitted


@dataclass(frozen=True)
class Ladder:
    """The nodes of one hierarchy in canonical order: by the labels on the way down from the root.

    `node[level][value]` is the canonical node of a value, `rank[level][value]` its place among the children of the
    node above (0 at the root), `first[level][node]` the first child (on level - 1) of a node, `cost[level][node]` the
    loss of one person released at that node (0 for a raw value, 1 for the whole domain, more never), `width` the
    largest number of children, `text[level][node]` the label.
    """

    height: int
    node: Ints
    rank: Ints
    first: list[Ints]
    cost: list[Floats]
    width: int
    text: list[list[str]]


def costs(fitted: Fitted, level: int) -> Floats:
    """Loss per node of a level, by ARX's Loss with gs = 0.5: (share - 1/m) / (1 - 1/m), within 0 and 1."""
    if fitted.domain <= 1:
        return np.zeros(len(fitted.shares(level)))
    floor = 1 / fitted.domain
    return np.clip((fitted.shares(level) - floor) / (1 - floor), 0.0, 1.0)


def build(fitted: Fitted) -> Ladder:
    """The canonical ladder of a fitted hierarchy; the order of its values and nodes does not matter."""
    height, size = fitted.height, len(fitted.values)
    node = np.zeros((height + 1, size), dtype=np.int32)
    rank = np.zeros((height + 1, size), dtype=np.int32)
    first: list[Ints] = [np.zeros(0, dtype=np.int32)] * (height + 1)
    cost, text = [costs(fitted, height)], [[fitted.labels[height][0]]]
    width = 1
    for level in range(height - 1, -1, -1):
        order, parent = _ordered(fitted, level, node[level + 1])
        place = np.empty(len(order), dtype=np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        node[level] = place[fitted.nodes[:, level]]
        starts = np.searchsorted(parent, np.arange(len(cost[0]))).astype(np.int32)
        first[level + 1] = starts
        rank[level] = node[level] - starts[node[level + 1]]
        width = max(width, int(rank[level].max()) + 1)
        cost.insert(0, costs(fitted, level)[order])
        text.insert(0, [fitted.labels[level][i] for i in order])
    return Ladder(height, node, rank, first, cost, width, text)


def _ordered(fitted: Fitted, level: int, above: Ints) -> tuple[list[int], Ints]:
    # The nodes of a level by (canonical parent, label), and the parent of each in that order.
    labels = fitted.labels[level]
    parent = np.zeros(len(labels), dtype=np.int32)
    parent[fitted.nodes[:, level]] = above
    order = sorted(range(len(labels)), key=lambda i: (parent[i], labels[i]))
    return order, parent[order]


@dataclass(frozen=True)
class Lattice:
    """All ladders side by side: global node numbers, so that one array lookup serves every column.

    `base[q][level]` is the global number of the first node of a level; per global node: `cost`, `level`, `first`
    (the global number of the first child), `text`. `rank[q]` is (height + 1, n_values).
    """

    ladders: Sequence[Ladder]
    base: list[list[int]]
    cost: Floats
    level: Rows
    first: Rows
    text: list[str]

    @property
    def roots(self) -> Rows:
        """The global numbers of the roots, one a column."""
        return np.array([self.base[q][ladder.height] for q, ladder in enumerate(self.ladders)])


def lattice(ladders: Sequence[Ladder]) -> Lattice:
    """Number the nodes of all ladders through."""
    base: list[list[int]] = []
    cost, level, first, text, count = [], [], [], [], 0
    for ladder in ladders:
        base.append([])
        for depth in range(ladder.height + 1):
            size = len(ladder.cost[depth])
            below = base[-1][depth - 1] if depth else 0
            base[-1].append(count)
            cost.append(ladder.cost[depth])
            level.append(np.full(size, depth))
            first.append(ladder.first[depth].astype(np.intp) + below if depth else np.zeros(size, np.intp))
            text += ladder.text[depth]
            count += size
    return Lattice(ladders, base, np.concatenate(cost), np.concatenate(level), np.concatenate(first), text)


def canonical(codes: Ints, ladders: Sequence[Ladder]) -> Ints:
    """int (n_tuples,): the order of the tuples by their canonical raw nodes, whatever order they came in."""
    keys = [ladder.node[0][codes[:, q]] for q, ladder in enumerate(ladders)]
    return np.lexsort(keys[::-1]).astype(np.int32)
