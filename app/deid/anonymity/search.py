"""Breadth-first growth of every split that a few greedy policies would make, sharing classes they have in common."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.deid.anonymity.frequency import Bools, Floats, Longs, Rows, Rule
from app.deid.anonymity.keys import Places, grouped
from app.deid.anonymity.ladder import Lattice


@dataclass(frozen=True)
class Limits:
    """What a split must respect: the rule, per column the finest and the coarsest level, weights, and policies.

    `floor[q]` is never gone below; classes above `ceiling[q]` must be split whatever it costs, and are suppressed
    where that is unlawful. `alphas` are the policies; classes of at most `explore` people follow all of them.
    """

    rule: Rule
    floor: Rows
    ceiling: Rows
    weights: Floats
    alphas: Floats
    explore: float


@dataclass(frozen=True)
class Layer:
    """Classes after the same number of splits.

    Per class: `nodes` (n, n_qi) global nodes, `sums` (n, n_measures), `follows` (n, n_alphas); `forced` is above a
    ceiling, `dead` is below all of them but unlawful, so suppressed.
    Then the way to the next layer: `branch_class`, `branch_column` per branch, and per edge `edge_branch`,
    `edge_target` (a class of the next layer) and `edge_node` (a global node; -1 is the remainder).
    """

    nodes: Rows
    sums: Floats
    follows: Bools
    forced: Bools
    dead: Bools
    branch_class: Rows
    branch_column: Rows
    edge_branch: Rows
    edge_target: Rows
    edge_node: Rows


@dataclass(frozen=True)
class Crowd:
    """The (tuple, class) pairs of a layer: `row`, `home` (the class), and per column `rank`, the child each is in."""

    row: Rows
    home: Rows
    rank: list[npt.NDArray[Any]]


@dataclass(frozen=True)
class Groups:
    """The non-empty children of every (class, column) that may be split: `cell` = column * n_classes + class, sorted
    by column, class and `rank`; `of[q]` tells the group of keys class * width + rank of column q."""

    cell: Rows
    rank: Rows
    sums: Floats
    of: list[Places]


@dataclass(frozen=True)
class Edges:
    """The ways down that are taken: `cell` and `column` they leave from, the global `node` they lead to (-1: the
    remainder), the `nodes` (n, n_qi) and `sums` of the class there, and per group its edge (-1 none)."""

    cell: Rows
    column: Rows
    node: Rows
    nodes: Rows
    sums: Floats
    of_group: Rows


class Search:
    """Grows layers until nothing can be split; deterministic, and blind to the order of the tuples given."""

    def __init__(self, lat: Lattice, codes: npt.NDArray[np.int32], measures: Longs, limits: Limits) -> None:
        self.lat, self.limits = lat, limits
        self.codes = [np.ascontiguousarray(column) for column in codes.T]
        self.measures = [np.ascontiguousarray(measure, np.float64) for measure in measures.T]
        self.columns = len(self.codes)
        # Ranks in the smallest type that holds them, level after level: they are read more than all else.
        small = np.min_scalar_type(max(ladder.width for ladder in lat.ladders))
        self.ranks = [ladder.rank.astype(small).ravel() for ladder in lat.ladders]
        self.marks = _marks(len(codes))
        self.layers: list[Layer] = []

    def run(self) -> list[Layer]:
        """All layers, from the root class down."""
        size, policies = len(self.codes[0]), len(self.limits.alphas)
        row, home, roots = np.arange(size), np.zeros(size, np.intp), self.lat.roots[None, :]
        crowd = Crowd(row, home, [self._ranks(q, roots, home, row) for q in range(self.columns)])
        people = np.array([[measure.sum() for measure in self.measures]])
        layer = self._layer(roots, people, np.ones((1, policies), np.bool_))
        while len(crowd.row):
            layer, following, crowd = self._grow(layer, crowd)
            self.layers.append(layer)
            layer = following
        if len(layer.nodes):
            # Every class of the last layer is suppressed: nobody is left to go on with.
            self.layers.append(layer)
        return self.layers

    def _layer(self, nodes: Rows, sums: Floats, follows: Bools) -> Layer:
        none = np.zeros(0, np.intp)
        forced: Bools = np.logical_or.reduce(self.lat.level[nodes] > self.limits.ceiling, axis=1)
        dead = ~forced & ~self.limits.rule.lawful(sums)
        return Layer(nodes, sums, follows, forced, dead, none, none, none, none, none)

    def _ranks(self, q: int, nodes: Rows, home: Rows, row: Rows) -> npt.NDArray[Any]:
        """The rank of each tuple among the children of its class's node (0 below the raw level)."""
        ranks = self.ranks[q]
        begin = np.maximum(self.lat.level[nodes[:, q]] - 1, 0) * (
            len(ranks) // (self.lat.ladders[q].height + 1)
        )
        found: npt.NDArray[Any] = ranks[begin[home] + self.codes[q][row]]
        return found

    def _grow(self, layer: Layer, crowd: Crowd) -> tuple[Layer, Layer, Crowd]:
        groups = self._groups(layer, crowd)
        kept, rest = self._divide(layer, groups)
        goes = self._choose(layer, groups, kept, rest)
        wanted: Bools = np.logical_or.reduce(goes, axis=2)
        edges = self._edges(layer, groups, kept, rest, wanted)
        pair, edge, ends = self._moves(crowd, groups, edges, wanted)
        target, first = self._same(crowd.row[pair], edge, edges)
        follows = np.zeros((len(first), goes.shape[2]), np.bool_)
        np.logical_or.at(follows, target, goes[edges.column, edges.cell % len(layer.nodes)])
        following = self._layer(edges.nodes[first], edges.sums[first], follows)
        branches = np.unique(edges.cell)
        grown = replace(
            layer,
            branch_class=branches % len(layer.nodes),
            branch_column=branches // len(layer.nodes),
            edge_branch=np.searchsorted(branches, edges.cell),
            edge_target=target,
            edge_node=edges.node,
        )
        # A class that several edges lead to takes its tuples from the first.
        use = np.flatnonzero(((first[target] == np.arange(len(target))) & ~following.dead[target])[edge])
        ends = np.searchsorted(use, ends)
        return grown, following, self._settle(crowd, pair[use], target, edge[use], ends, edges, following)

    def _groups(self, layer: Layer, crowd: Crowd) -> Groups:
        size, count = len(layer.nodes), 0
        members = np.bincount(crowd.home, minlength=size)
        measured = [measure[crowd.row] for measure in self.measures]
        cells, ranks, sums, of = [], [], [], []
        for q, ladder in enumerate(self.lat.ladders):
            home, rank, each = crowd.home, crowd.rank[q], measured
            able = self.lat.level[layer.nodes[:, q]] > self.limits.floor[q]
            if 2 * members[able].sum() < len(home):
                # Most pairs lie in classes that cannot be split on this column any more.
                pairs = np.flatnonzero(able[home])
                home, rank, each = home[pairs], rank[pairs], [measure[pairs] for measure in measured]
            keys = home * ladder.width + rank
            places, found, totals = grouped(keys, size * ladder.width, each, count)
            cells.append(found // ladder.width + q * size)
            ranks.append(found % ladder.width)
            sums.append(totals)
            of.append(places)
            count += len(found)
        return Groups(np.concatenate(cells), np.concatenate(ranks), np.concatenate(sums), of)

    def _divide(self, layer: Layer, groups: Groups) -> tuple[Bools, Floats]:
        """Which groups become classes, and the sums of the remainder of each cell.

        Children that are not lawful go to the remainder, which is filled from the smallest lawful child. Classes
        that must be split keep every child: what is unlawful in the end is suppressed.
        """
        cells = len(layer.nodes) * self.columns
        kept = self.limits.rule.lawful(groups.sums)
        if layer.forced.any():
            kept |= np.tile(layer.forced, self.columns)[groups.cell]
        while True:
            rest = _totals(groups.cell[~kept], groups.sums[~kept], cells)
            short = rest.any(axis=1) & ~self.limits.rule.lawful(rest)
            lend = np.flatnonzero(short[groups.cell] & kept)
            if not len(lend):
                return kept, rest
            order = lend[np.lexsort((groups.rank[lend], groups.sums[lend, 0], groups.cell[lend]))]
            kept[order[np.unique(groups.cell[order], return_index=True)[1]]] = False

    def _choose(self, layer: Layer, groups: Groups, kept: Bools, rest: Floats) -> Bools:
        """bool (n_qi, n_classes, n_policies): the column, if any, on which a policy splits a class it reaches."""
        size = len(layer.nodes)
        gain, entropy = self._worth(layer, groups, kept, rest)
        some = np.bincount(groups.cell[kept], minlength=size * self.columns).reshape(self.columns, size) > 0
        levels = self.lat.level[layer.nodes].T
        free = some & (levels > self.limits.floor[:, None]) & ~layer.dead & ((gain > 0) | (entropy <= 0))
        able = np.where(layer.forced, levels > self.limits.ceiling[:, None], free)
        log_gain = np.log(np.where(gain > 0, gain, 1e-300))
        log_entropy = np.log(np.where(entropy > 0, entropy, 1.0))
        score = log_gain[:, :, None] - log_entropy[:, :, None] * self.limits.alphas
        # A lone child costs no entropy: going down to it is free, so it goes before every split.
        score[entropy <= 0] = np.inf
        score[~able] = -np.inf
        follows = layer.follows | (layer.sums[:, 0] <= self.limits.explore)[:, None]
        follows &= np.logical_or.reduce(able, axis=0)[:, None]
        best = score.argmax(axis=0)
        goes: Bools = (best == np.arange(self.columns)[:, None, None]) & follows
        return goes

    def _worth(self, layer: Layer, groups: Groups, kept: Bools, rest: Floats) -> tuple[Floats, Floats]:
        """The loss saved by, and the entropy of, every split: (n_qi, n_classes) each."""
        size = len(layer.nodes)
        cell, people = groups.cell[kept], groups.sums[kept, 0]
        parent = layer.nodes.T.ravel()[cell]
        saved = people * (self.lat.cost[parent] - self.lat.cost[self.lat.first[parent] + groups.rank[kept]])
        total = np.tile(np.maximum(layer.sums[:, 0], 1), self.columns)
        shape = self.columns, size
        gain = np.bincount(cell, saved, size * self.columns).reshape(shape)
        entropy = np.bincount(cell, _surprise(people / total[cell]), size * self.columns)
        entropy_all: Floats = (entropy + _surprise(rest[:, 0] / total)).reshape(shape)
        return gain * self.limits.weights[:, None], entropy_all

    def _edges(self, layer: Layer, groups: Groups, kept: Bools, rest: Floats, wanted: Bools) -> Edges:
        size, flags = len(layer.nodes), wanted.ravel()
        to_child = np.flatnonzero(flags[groups.cell] & kept)
        to_rest = np.unique(groups.cell[flags[groups.cell] & ~kept])
        cell = np.concatenate([groups.cell[to_child], to_rest])
        nodes = layer.nodes[cell % size]
        place = np.arange(len(to_child)), cell[: len(to_child)] // size
        nodes[place] = self.lat.first[nodes[place]] + groups.rank[to_child]
        rest_of = np.full(len(flags), -1)
        rest_of[to_rest] = np.arange(len(to_child), len(cell))
        of_group = rest_of[groups.cell]
        of_group[to_child] = np.arange(len(to_child))
        node = np.concatenate([nodes[place], np.full(len(to_rest), -1)])
        sums = np.concatenate([groups.sums[to_child], rest[to_rest]])
        return Edges(cell, cell // size, node, nodes, sums, of_group)

    def _moves(self, crowd: Crowd, groups: Groups, edges: Edges, wanted: Bools) -> tuple[Rows, Rows, Rows]:
        """The pairs of the crowd that move and the edge each follows, column by column, and where each column ends;
        a pair may move several times."""
        here, edge = [], []
        for q, ladder in enumerate(self.lat.ladders):
            pairs = np.flatnonzero(wanted[q][crowd.home])
            keys = crowd.home[pairs] * ladder.width + crowd.rank[q][pairs]
            here.append(pairs)
            edge.append(edges.of_group[groups.of[q].at(keys)])
        ends = np.cumsum([len(pairs) for pairs in here])
        return np.concatenate(here), np.concatenate(edge), ends

    def _same(self, row: Rows, edge: Rows, edges: Edges) -> tuple[Rows, Rows]:
        """Edges that lead to one and the same class (same tuples, same levels): per edge the class, per class its
        first edge."""
        prints = [np.bincount(edge, mark[row], len(edges.cell)) for mark in self.marks]
        radix = np.cumprod([1] + [ladder.height + 1 for ladder in self.lat.ladders[:-1]], dtype=np.float64)
        levels = (self.lat.level[edges.nodes] * radix).sum(axis=1)
        order = np.lexsort((levels, *prints))
        key = np.stack([*prints, levels])[:, order]
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = (key[:, 1:] != key[:, :-1]).any(axis=0)
        target = np.empty(len(order), np.intp)
        # The sort is stable, so the first of equals is the first edge.
        target[order] = np.cumsum(fresh) - 1
        return target, order[fresh]

    def _settle(
        self, crowd: Crowd, pair: Rows, target: Rows, edge: Rows, ends: Rows, edges: Edges, following: Layer
    ) -> Crowd:
        """The crowd of the next layer, from the pairs that move on; those of column q end at `ends[q]`."""
        row, home = crowd.row[pair], target[edge]
        ranks, start = [], 0
        for q, end in enumerate(ends.tolist()):
            rank = crowd.rank[q][pair]
            # Only those that went down to a child on this column stand on another node of it.
            moved = start + np.flatnonzero(edges.node[edge[start:end]] >= 0)
            rank[moved] = self._ranks(q, following.nodes, home[moved], row[moved])
            ranks.append(rank)
            start = end
        return Crowd(row, home, ranks)


def _marks(size: int) -> list[Floats]:
    # Fixed pseudo-random 26-bit numbers per tuple: a class is recognised by two exact sums of them.
    index = np.arange(size, dtype=np.uint64)
    marks = []
    for salt in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F):
        mixed = (index + np.uint64(1)) * np.uint64(salt)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        marks.append((mixed >> np.uint64(38)).astype(np.float64))
    return marks


def _totals(cell: Rows, sums: Floats, cells: int) -> Floats:
    return np.stack([np.bincount(cell, sums[:, c], cells) for c in range(sums.shape[1])], axis=1)


def _surprise(share: Floats) -> Floats:
    return -share * np.log(np.where(share > 0, share, 1.0))
