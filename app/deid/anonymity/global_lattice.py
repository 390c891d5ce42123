"""Global recoding: the full-domain node of least loss, found exactly, by bounds and cut down-sets."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from app.deid.anonymity.frequency import (
    AnonymityError,
    Bools,
    Floats,
    Frequency,
    Ints,
    Rows,
    Rule,
    check_root,
    rule_of,
)
from app.deid.anonymity.full_domain import FullDomain
from app.deid.anonymity.keys import countable, distinct
from app.deid.anonymity.ladder import Ladder, build, canonical
from app.deid.anonymity.local import per_column
from app.deid.hierarchies import Fitted

# The bounds of all nodes are held at once: 8 bytes each, sorted once.
MAX_NODES = 20_000_000

Node = tuple[int, ...]


def fit_global(
    freq: Frequency,
    fitted: Sequence[Fitted],
    k: int,
    max_suppression: float,
    *,
    weights: Sequence[float] | None = None,
    max_level: Sequence[int | None] | None = None,
    min_level: Sequence[int | None] | None = None,
) -> FullDomain:
    """The full-domain recoding of least Loss that suppresses at most the share `max_suppression` of people.

    Exact: equal to trying every node within `min_level` and `max_level`; of nodes of equal loss the one with the
    smallest levels. Raises AnonymityError when no node will do, or there are more than MAX_NODES.
    """
    rule = rule_of(freq, k)
    check_root(rule, freq.measures().sum(axis=0))
    weigh, floor, ceiling = per_column(fitted, weights, min_level, max_level)
    search = Descent(freq, fitted, rule, max_suppression, weigh, floor, ceiling)
    node = search.run()
    return _released(search, node, fitted)


class Descent:
    """One exact search over the lattice between two nodes, `floor` and `ceiling`."""

    def __init__(
        self,
        freq: Frequency,
        fitted: Sequence[Fitted],
        rule: Rule,
        max_suppression: float,
        weights: Floats,
        floor: Rows,
        ceiling: Rows,
    ) -> None:
        self.ladders = [build(fit) for fit in fitted]
        measures = freq.measures()
        order = canonical(freq.codes, self.ladders)
        order = order[measures[order].any(axis=1)]
        self.codes = freq.codes[order]
        self.measures = np.ascontiguousarray(measures[order].T, np.float64)
        self.people = self.measures[0]
        self.total = max(1.0, float(self.people.sum()))
        # Suppression is a count of people; the margin keeps a share such as .07 from losing a person to rounding.
        self.budget = max_suppression * self.total + 1e-9
        self.rule, self.weights = rule, weights / weights.sum()
        self.floor, self.top = tuple(floor.tolist()), tuple(ceiling.tolist())
        self.columns = [
            _Column(ladder, self.codes[:, q], self.people) for q, ladder in enumerate(self.ladders)
        ]
        # Where a union with a lawful class may be unlawful, only people below k are sure to be suppressed below.
        covered = all(self.measures[a:b].any(axis=0).all() for a, b, *_ in rule.sensitive)
        self.sure = rule if rule.nested and covered else Rule(rule.k, 1, ())
        self.halves: dict[tuple[int, Node], tuple[Ints, int]] = {}

    def run(self) -> Node:
        """The best node; raises AnonymityError where none keeps within the budget."""
        best, node = self._greedy()
        bounds = self._bounds()
        alive = bounds <= best
        flat_bounds, flat_alive = bounds.ravel(), alive.ravel()
        within = np.flatnonzero(flat_alive)
        for place in within[np.argsort(flat_bounds[within], kind="stable")[::-1]]:
            if flat_bounds[place] > best or not flat_alive[place]:
                continue
            here = tuple(int(i) for i in np.unravel_index(place, bounds.shape))
            found = tuple(i + low for i, low in zip(here, self.floor, strict=True))
            cost, hopeless = self.judge(found)
            if hopeless:
                # Whatever is finer suppresses at least as many.
                alive[tuple(slice(0, i + 1) for i in here)] = False
            if cost is not None and (cost < best or (cost == best and (node is None or found < node))):
                best, node = cost, found
        if node is None:
            raise AnonymityError(
                [("too_much_suppression", "no node of the lattice keeps within max_suppression")]
            )
        return node

    def _bounds(self) -> Floats:
        """Log loss of every node without any suppression, which no suppression can beat."""
        shape = tuple(high - low + 1 for low, high in zip(self.floor, self.top, strict=True))
        if np.prod([float(size) for size in shape]) > MAX_NODES:
            raise AnonymityError([("too_many_nodes", f"the lattice has more than {MAX_NODES} nodes")])
        bounds = np.zeros(shape)
        for q, column in enumerate(self.columns):
            steps = self.weights[q] * np.log1p(column.mean[self.floor[q] : self.top[q] + 1])
            bounds = bounds + steps.reshape([-1 if i == q else 1 for i in range(len(shape))])
        # Sums in another order differ in the last digits; a bound must never be above the cost it bounds.
        return bounds - 1e-12

    def _greedy(self) -> tuple[float, Node | None]:
        """An incumbent: from the top, always to the best node one step down."""
        cost, _ = self.judge(self.top)
        best, node = (np.inf, None) if cost is None else (cost, self.top)
        here: Node | None = self.top
        while here is not None:
            steps = [(self.judge(step)[0], step) for step in self._down(here)]
            lawful = sorted((cost, step) for cost, step in steps if cost is not None)
            here = lawful[0][1] if lawful else None
            if lawful and lawful[0][0] < best:
                best, node = lawful[0]
        return best, node

    def _down(self, node: Node) -> Iterator[Node]:
        for q, level in enumerate(node):
            if level > self.floor[q]:
                yield (*node[:q], level - 1, *node[q + 1 :])

    def judge(self, node: Node) -> tuple[float | None, bool]:
        """The log loss of a node (None: over budget), and whether all finer nodes are over budget too."""
        keys, bound = self._keys(node)
        sums = np.stack([np.bincount(keys, column, bound) for column in self.measures], axis=1)
        small = ~self.sure.lawful(sums)
        if sums[small, 0].sum() > self.budget:
            return None, True
        if self.sure is not self.rule:
            small = ~self.rule.lawful(sums)
            if sums[small, 0].sum() > self.budget:
                return None, False
        out = np.flatnonzero(small[keys])
        people = self.people[out]
        log = 0.0
        for q, column in enumerate(self.columns):
            extra = (people * (1 - column.cost[node[q]][self.codes[out, q]])).sum() / self.total
            log += self.weights[q] * float(np.log1p(column.mean[node[q]] + extra))
        return log, False

    def groups(self, node: Node) -> tuple[Rows, int]:
        """The group of each tuple at a node, numbered without gaps, and how many there are."""
        found, place = distinct(*self._keys(node))
        return place, len(found)

    def _keys(self, node: Node) -> tuple[Rows, int]:
        """A number of each tuple that tells its group at a node, and what it is below: two cached halves, combined.

        Numbers that no group has are few enough to count over; nodes with too many are numbered without gaps.
        """
        middle = (len(node) + 1) // 2
        left, wide = self._half(0, node[:middle])
        right, size = self._half(middle, node[middle:])
        keys = np.multiply(left, size, dtype=np.intp)
        keys += right
        if countable(wide * size, len(keys)):
            return keys, wide * size
        found, place = distinct(keys, wide * size)
        return place, len(found)

    def _half(self, start: int, levels: Node) -> tuple[Ints, int]:
        """The groups by the columns from `start` on, at these levels: those by all but the last, split by it."""
        if (start, levels) not in self.halves:
            if not levels:
                return np.zeros(len(self.people), np.int32), 1
            above, size = self._half(start, levels[:-1])
            column, level = self.columns[start + len(levels) - 1], levels[-1]
            keys = np.multiply(above, column.sizes[level], dtype=np.intp) + column.nodes[level]
            found, place = distinct(keys, size * column.sizes[level])
            self.halves[start, levels] = place.astype(np.int32), len(found)
        return self.halves[start, levels]


class _Column:
    """What one column costs at each level: `cost[level]` per value, `mean[level]` over people; and its nodes."""

    def __init__(self, ladder: Ladder, codes: Ints, people: Floats) -> None:
        levels = range(ladder.height + 1)
        self.sizes = [len(ladder.cost[level]) for level in levels]
        self.nodes = [ladder.node[level][codes].astype(np.intp) for level in levels]
        self.cost = [ladder.cost[level][ladder.node[level]] for level in levels]
        means = [(self.cost[level][codes] * people).sum() / max(1.0, people.sum()) for level in levels]
        self.mean: npt.NDArray[np.float64] = np.array(means)


def _released(search: Descent, node: Node, fitted: Sequence[Fitted]) -> FullDomain:
    groups, size = search.groups(node)
    sums = np.stack([np.bincount(groups, column, size) for column in search.measures], axis=1)
    good: Bools = search.rule.lawful(sums)
    shown, first = np.unique(groups, return_index=True)
    codes = search.codes[first[good[shown]]]
    columns = [
        [fit.labels[level][at] for at in fit.nodes[codes[:, q], level]]
        for q, (fit, level) in enumerate(zip(fitted, node, strict=True))
    ]
    texts = list(zip(*columns, strict=True))
    if not texts:
        raise AnonymityError([("all_suppressed", "no group can be released")])
    names, heights = tuple(fit.name for fit in fitted), tuple(fit.height for fit in fitted)
    return FullDomain(names, heights, node, tuple(enumerate(sorted(texts))))
