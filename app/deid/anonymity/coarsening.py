"""Release memory: a pinned recoding met by changed counts is only ever merged upwards, as little as will do."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.deid.anonymity.frequency import AnonymityError, Frequency, Longs, Rule, check_root, rule_of
from app.deid.anonymity.tree import SUPPRESSED, Recoding
from app.deid.hierarchies import Fitted


def coarsen_tree(recoding: Recoding, freq: Frequency, fitted: Sequence[Fitted], k: int) -> Recoding:
    """The recoding with every class that is no longer lawful merged into its parent's label, to a fixed point.

    Classes that stay lawful keep their ids and labels, unless they are needed to fill a parent: then the cheapest
    go (those already at its labels, then the smallest). Above the ceiling a class is suppressed. Raises
    AnonymityError when the root is below k, or nothing is left to release.
    """
    rule, measures = rule_of(freq, k), freq.measures()
    check_root(rule, measures.sum(axis=0))
    assigned = recoding.assign(freq.codes, fitted)
    sums = np.zeros((len(recoding.parent), measures.shape[1]), np.int64)
    np.add.at(sums, assigned[assigned >= 0], measures[assigned >= 0])
    merge = Merge(recoding, rule, sums)
    merge.run()
    if not merge.sums.any():
        raise AnonymityError(
            [("all_suppressed", "no class can be released within the highest levels allowed")]
        )
    moved = merge.moves()
    return recoding if moved == recoding.moved else replace(recoding, moved=moved)  # which knows its index


class Merge:
    """One coarsening under way: the sums of the live classes, and where each merged class went."""

    def __init__(self, recoding: Recoding, rule: Rule, sums: Longs) -> None:
        self.recoding, self.rule, self.sums = recoding, rule, sums
        self.parent, self.levels = recoding.parent, recoding.levels
        self.known: dict[int, int] = dict(recoding.moved)
        self.children: dict[int, list[int]] = {}
        for node, above in enumerate(recoding.parent):
            self.children.setdefault(above, []).append(node)

    def run(self) -> None:
        """Merge from the deepest unlawful class up; ids grow downwards, so the largest id goes first."""
        live = self.sums.any(axis=1)
        queue = [-int(node) for node in np.flatnonzero(live & ~self.rule.lawful(self.sums))]
        heapq.heapify(queue)
        while queue:
            node = -heapq.heappop(queue)
            if not self.sums[node].any() or self._lawful(node):
                continue
            above = self._above(node)
            self._send(node, above)
            if above >= 0 and not self._fill(above):
                heapq.heappush(queue, -above)

    def moves(self) -> tuple[tuple[int, int], ...]:
        """Every merged class, earlier ones included, with the class where it is in the end; ascending."""
        return tuple((node, self._end(node)) for node in sorted(self.known))

    def _end(self, node: int) -> int:
        while node in self.known:
            node = self.known[node]
        return node

    def _lawful(self, node: int) -> bool:
        return bool(self.rule.lawful(self.sums[node][None, :])[0])

    def _above(self, node: int) -> int:
        # The parent; suppressed where there is none, or where its labels are too coarse to be released.
        above = self._end(self.parent[node])
        if above < 0 or (self.levels[above] > np.array(self.recoding.ceiling)).any():
            return SUPPRESSED
        return above

    def _send(self, node: int, target: int) -> None:
        if target >= 0:
            self.sums[target] += self.sums[node]
        self.sums[node] = 0
        self.known[node] = target

    def _fill(self, node: int) -> bool:
        """Take in live classes below a node until it is lawful; False if all of them are not enough."""
        if self._lawful(node):
            return True
        below = self._below(node)
        same = (self.levels[below] == self.levels[node]).all(axis=1)
        order = np.lexsort((below, self.sums[below, 0], ~same))
        for taken in below[order]:
            self._send(int(taken), node)
            if self._lawful(node):
                return True
        return False

    def _below(self, node: int) -> npt.NDArray[Any]:
        found, open_nodes = [], [node]
        while open_nodes:
            below = self.children.get(open_nodes.pop(), [])
            found += [other for other in below if self.sums[other].any()]
            open_nodes += below
        return np.array(sorted(found), np.intp)
