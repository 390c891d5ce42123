"""What a local recoding is: an immutable tree of splits, kept as text, applied to any tuples, only ever coarsened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from app.deid.anonymity.frequency import AnonymityError, Ints, Rows
from app.deid.hierarchies import ROOT, Fitted

SUPPRESSED = -1


@dataclass(frozen=True)
class Recoding:
    """A tree whose node number is its class id; parents come before children and node 0 is the root.

    `names`, `heights` and `ceiling` (the highest level that may be released) are per column. Per node: `parent`,
    and the edge to it: `column`, `level`, `label`, or column -1 for the remainder, which keeps its parent's labels.
    All children of a node are on one column and level. A tuple goes down by its labels; where no child has its
    label it goes to the remainder, and without one it stays at the node. `moved` sends classes to an ancestor's,
    or to -1 (suppressed).
    """

    names: tuple[str, ...]
    heights: tuple[int, ...]
    ceiling: tuple[int, ...]
    parent: tuple[int, ...]
    column: tuple[int, ...]
    level: tuple[int, ...]
    label: tuple[str, ...]
    moved: tuple[tuple[int, int], ...] = ()

    @cached_property
    def _finest(self) -> Rows:
        # (n_nodes, n_qi): the node whose edge gives a class its label in a column, -1 where that is the root's label.
        depth = np.zeros(len(self.parent), np.intp)
        for node, above in enumerate(self.parent[1:], 1):
            depth[node] = depth[above] + 1
        parent, column = np.array(self.parent), np.array(self.column)
        finest = np.full((len(parent), len(self.heights)), -1, np.intp)
        order = np.argsort(depth, kind="stable")
        # A depth at a time: what stands above a node is known when its turn comes.
        for nodes in np.split(order, np.cumsum(np.bincount(depth))[:-1])[1:]:
            finest[nodes] = finest[parent[nodes]]
            own = nodes[column[nodes] >= 0]
            finest[own, column[own]] = own
        return finest

    @cached_property
    def levels(self) -> Ints:
        """int32 (n_nodes, n_qi): the released level of each class and column."""
        finest = self._finest
        levels = np.where(finest < 0, np.array(self.heights), np.array(self.level)[finest])
        return levels.astype(np.int32)

    @cached_property
    def outcome(self) -> Ints:
        """int32 (n_nodes,): the class that the tuples which come to rest at a node are released in, or -1."""
        outcome = np.arange(len(self.parent), dtype=np.int32)
        for node, target in self.moved:
            outcome[node] = target
        outcome[(self.levels > np.array(self.ceiling)).any(axis=1)] = SUPPRESSED
        outcome[outcome >= 0] = np.where(
            outcome[outcome[outcome >= 0]] < 0, SUPPRESSED, outcome[outcome >= 0]
        )
        return outcome

    def class_ids(self) -> list[int]:
        """The ids of every class that a tuple can be released in, ascending."""
        return [int(node) for node in np.unique(self.outcome) if node >= 0]

    def labels(self, class_id: int) -> list[tuple[int, str]]:
        """(level, label) per column of a class; raises AnonymityError for an id that is not a class."""
        if not 0 <= class_id < len(self.parent):
            raise AnonymityError([("no_such_class", "the class id is not a position in the tree")])
        levels: list[int] = self.levels[class_id].tolist()
        return list(zip(levels, self.texts([class_id])[0], strict=True))

    def texts(self, class_ids: Sequence[int]) -> list[tuple[str, ...]]:
        """The labels of each class, a text per column."""
        finest = self._finest[np.asarray(class_ids, np.intp)]
        words = np.array([*self.label, ROOT], dtype=object)
        return [tuple(row) for row in words[finest].tolist()]

    def assign(self, codes: Ints, fitted: Sequence[Fitted]) -> Ints:
        """int32 (n_tuples,): the class of every tuple of `codes` (n_tuples, n_qi), -1 where it is suppressed.

        `fitted` may hold other values than those the tree was made from. Raises AnonymityError if it is of other
        columns or heights.
        """
        check_columns(self.names, self.heights, fitted)
        return self.outcome[self._rest_at(codes, fitted)]

    def levels_of(self, assigned: Ints) -> Ints:
        """int32 (n, n_qi): the released levels of class ids none of which is -1."""
        return self.levels[assigned]

    def _rest_at(self, codes: Ints, fitted: Sequence[Fitted]) -> Rows:
        seen, split, level, rest, keys, child = self._index
        # One table for all columns: the word of value v of column q at a level is word[start[q] + level * size[q] + v].
        words = [_words(fit, seen, q).ravel() for q, fit in enumerate(fitted)]
        word = np.concatenate(words)
        start = np.cumsum([0, *(len(w) for w in words[:-1])])
        size = np.array([len(fit.values) for fit in fitted])
        # Per node that is split: where the words of its column and level begin.
        begin = np.where(split >= 0, start[split] + level * size[split], 0)
        flat, wide = np.ascontiguousarray(codes).ravel(), codes.shape[1]
        node = np.zeros(len(codes), np.intp)
        active = np.arange(len(codes))
        while len(active := active[split[node[active]] >= 0]):
            here = node[active]
            key = here * len(seen) + word[begin[here] + flat[active * wide + split[here]]]
            place = np.searchsorted(keys, key)
            following = np.where(
                keys[place] == key, child[place], np.where(rest[here] >= 0, rest[here], here)
            )
            node[active] = following
            active = active[following != here]
        return node

    @cached_property
    def _index(self) -> tuple[dict[tuple[int, int, str], int], Rows, Rows, Rows, Rows, Rows]:
        # A number per (column, level, label) seen, and the children sorted by (node, number). Number 0 is "unseen".
        seen: dict[tuple[int, int, str], int] = {(-1, -1, ""): 0}
        size = len(self.parent)
        split, level, rest = np.full(size, -1), np.full(size, -1), np.full(size, -1)
        word = np.zeros(size, np.intp)
        for node in range(1, size):
            above, column = self.parent[node], self.column[node]
            if column < 0:
                rest[above] = node
                continue
            split[above], level[above] = column, self.level[node]
            word[node] = seen.setdefault((column, self.level[node], self.label[node]), len(seen))
        child = np.flatnonzero(word)
        keys = np.array(self.parent, np.intp)[child] * len(seen) + word[child]
        order = np.argsort(keys)
        # A last key that none can equal keeps the search inside the array, also when there are no children at all.
        never = np.iinfo(np.int64).max
        return seen, split, level, rest, np.append(keys[order], never), np.append(child[order], 0)

    def to_json(self) -> str:
        """The canonical text: equal recodings have equal texts."""
        columns = [list(column) for column in zip(self.names, self.heights, self.ceiling, strict=True)]
        nodes = [list(node) for node in zip(self.parent, self.column, self.level, self.label, strict=True)]
        document = {"kind": "tree", "columns": columns, "nodes": nodes, "moved": self.moved}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recoding:
        """The recoding of a text written by `to_json`; raises AnonymityError on any other."""
        try:
            document: dict[str, Any] = json.loads(text)
            if document["kind"] != "tree":
                raise ValueError
            names, heights, ceiling = zip(*document["columns"], strict=True)
            parent, column, level, label = zip(*document["nodes"], strict=True)
            moved = tuple((int(node), int(target)) for node, target in document["moved"])
        except (ValueError, KeyError, TypeError) as error:
            raise AnonymityError([("bad_recoding", "the text is not a recoding tree")]) from error
        if parent[0] != -1 or any(not 0 <= above < node for node, above in enumerate(parent) if node):
            raise AnonymityError([("bad_recoding", "a node comes before its parent")])
        return cls(names, heights, ceiling, parent, column, level, label, moved)


def _words(fitted: Fitted, seen: dict[tuple[int, int, str], int], q: int) -> Rows:
    # (height + 1, n_values): the tree's number of each value's label, 0 where the tree does not know it.
    rows = []
    for level, labels in enumerate(fitted.labels):
        numbers = np.array([seen.get((q, level, label), 0) for label in labels], np.intp)
        rows.append(numbers[fitted.nodes[:, level]])
    return np.stack(rows)


def check_columns(names: Sequence[str], heights: Sequence[int], fitted: Sequence[Fitted]) -> None:
    """Raise AnonymityError unless the hierarchies are those, in order, that a recoding was made with."""
    if list(names) != [fit.name for fit in fitted] or list(heights) != [fit.height for fit in fitted]:
        raise AnonymityError([("mismatch", "the hierarchies have other names or heights than the recoding")])
