"""Local recoding: classes are split top-down, each where it pays most, never below what is lawful."""

from collections.abc import Sequence

import numpy as np

from app.deid.anonymity.frequency import AnonymityError, Floats, Frequency, Rows, check_root, rule_of
from app.deid.anonymity.ladder import Lattice, build, canonical, lattice
from app.deid.anonymity.search import Layer, Limits, Search
from app.deid.anonymity.tree import SUPPRESSED, Recoding
from app.deid.hierarchies import Fitted

# Policies: a split is worth the loss it saves per entropy^alpha.
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)

# Classes of at most this many times k people try every policy's split; above, each policy keeps to its own tree.
# On UCI Adult 64 gave all but .001 of the loss that trying everywhere saves, at two thirds of the CPU.
EXPLORE = 64

# Beyond this many tuples the widened search would take minutes: only the policies' own trees, and fewer of them.
MANY = 200_000


def fit_local(
    freq: Frequency,
    fitted: Sequence[Fitted],
    k: int,
    *,
    weights: Sequence[float] | None = None,
    max_level: Sequence[int | None] | None = None,
    min_level: Sequence[int | None] | None = None,
    alphas: Sequence[float] = ALPHAS,
) -> Recoding:
    """The recoding of least loss among those that the policies `alphas` reach together; every class is lawful.

    `weights`, `max_level` (the highest level that may be released) and `min_level` (the lowest) are per column; a
    class that would need a level above `max_level` is suppressed (class -1). The order of tuples does not matter.
    Raises AnonymityError when even all people together are unlawful, or everything would be suppressed.
    """
    rule, measures = rule_of(freq, k), freq.measures()
    check_root(rule, measures.sum(axis=0))
    weigh, floor, ceiling = per_column(fitted, weights, min_level, max_level)
    ladders = [build(fit) for fit in fitted]
    lat = lattice(ladders)
    order = canonical(freq.codes, ladders)
    order = order[measures[order].any(axis=1)]
    policies, explore = _effort(len(order), alphas, k)
    limits = Limits(rule, floor, ceiling, weigh, policies, explore)
    layers = Search(lat, freq.codes[order], measures[order], limits).run()
    picks = _best(lat, layers, weigh)
    recoding = _plant(lat, layers, picks, fitted, ceiling)
    _prove(recoding, freq, fitted, k)
    return recoding


def per_column(
    fitted: Sequence[Fitted],
    weights: Sequence[float] | None,
    min_level: Sequence[int | None] | None,
    max_level: Sequence[int | None] | None,
) -> tuple[Floats, Rows, Rows]:
    heights = [fit.height for fit in fitted]
    low = [level or 0 for level in min_level or [0] * len(heights)]
    given = max_level or heights
    high = [top if level is None else min(level, top) for level, top in zip(given, heights, strict=True)]
    weigh = np.array([1.0] * len(heights) if weights is None else list(weights))
    problems = []
    if len(weigh) != len(heights) or (weigh < 0).any() or not weigh.any():
        problems.append(("bad_weights", "weights must be one a column, none below 0 and not all 0"))
    if len(low) != len(heights) or any(a > b or a < 0 for a, b in zip(low, high, strict=False)):
        problems.append(("bad_levels", "the lowest level of a column lies above its highest"))
    if problems:
        raise AnonymityError(problems)
    return weigh, np.array(low, np.intp), np.array(high, np.intp)


def _effort(tuples: int, alphas: Sequence[float], k: int) -> tuple[Floats, float]:
    policies = np.array(sorted(set(alphas)), np.float64)
    if tuples <= MANY:
        return policies, float(EXPLORE * k)
    middle = len(policies) // 2
    return policies[max(0, middle - 1) : middle + 1], 0.0


def _best(lat: Lattice, layers: list[Layer], weights: Floats) -> list[Rows]:
    """Per layer and class the branch to take (-1: stay whole), for the least Loss over all.

    Loss is a product over columns, so the sum that a tree can be optimised for is its gradient, found by iterating
    from equal slopes; three rounds were enough on every table tried.
    """
    slopes = weights
    people = layers[0].sums[0, 0]
    for _ in range(3):
        picks = _pick(lat, layers, slopes)
        slopes = weights / (1 + _charged(lat, layers, picks) / people)
    return picks


def _pick(lat: Lattice, layers: list[Layer], slopes: Floats) -> list[Rows]:
    value: Floats = np.zeros(0)
    picks = []
    for layer in reversed(layers):
        whole = (_cost(lat, layer) * slopes).sum(axis=1)
        pick = np.full(len(whole), -1)
        if len(layer.branch_class):
            split = np.bincount(layer.edge_branch, value[layer.edge_target], len(layer.branch_class))
            order = np.lexsort((split, layer.branch_class))
            classes, first = np.unique(layer.branch_class[order], return_index=True)
            branch = order[first]
            # A split must pay more than rounding.
            pays = split[branch] < whole[classes] - 1e-9
            whole[classes[pays]], pick[classes[pays]] = split[branch[pays]], branch[pays]
        value = whole
        picks.append(pick)
    return picks[::-1]


def _cost(lat: Lattice, layer: Layer) -> Floats:
    # (n, n_qi): what the people of each class cost when it stays whole; suppressed ones cost all.
    cost = lat.cost[layer.nodes]
    cost[layer.dead | layer.forced] = 1.0
    return cost * layer.sums[:, :1]


def _charged(lat: Lattice, layers: list[Layer], picks: list[Rows]) -> Floats:
    """The cost of each column (n_qi,) over the classes that the picks end in."""
    reached = np.ones(1, np.bool_)
    total = np.zeros(layers[0].nodes.shape[1])
    for layer, pick in zip(layers, picks, strict=True):
        total += _cost(lat, layer)[reached & (pick < 0)].sum(axis=0)
        taken = np.zeros(len(layer.branch_class), np.bool_)
        taken[pick[reached & (pick >= 0)]] = True
        following = np.zeros(int(layer.edge_target.max(initial=-1)) + 1, np.bool_)
        following[layer.edge_target[taken[layer.edge_branch]]] = True
        reached = following
    return total


def _plant(
    lat: Lattice, layers: list[Layer], picks: list[Rows], fitted: Sequence[Fitted], ceiling: Rows
) -> Recoding:
    """The tree of the picks, numbered layer by layer, children by their parent and the order of their labels."""
    column_of = np.concatenate(
        [np.full(sum(map(len, ladder.cost)), q) for q, ladder in enumerate(lat.ladders)]
    )
    number = np.zeros(1, np.intp)
    nodes: list[tuple[int, int, int, str]] = [(-1, -1, -1, "")]
    dead: list[int] = []
    for layer, pick in zip(layers, picks, strict=True):
        dead += number[(number >= 0) & layer.dead & (pick < 0)].tolist()
        taken = np.zeros(len(layer.branch_class), np.bool_)
        taken[pick[(number >= 0) & (pick >= 0)]] = True
        edges = np.flatnonzero(taken[layer.edge_branch])
        parent = number[layer.branch_class[layer.edge_branch[edges]]]
        order = np.argsort(parent, kind="stable")
        edges, parent = edges[order], parent[order]
        number = np.full(int(layer.edge_target.max(initial=-1)) + 1, -1)
        number[layer.edge_target[edges]] = np.arange(len(nodes), len(nodes) + len(edges))
        for above, node in zip(parent.tolist(), layer.edge_node[edges].tolist(), strict=True):
            edge = (int(column_of[node]), int(lat.level[node]), lat.text[node]) if node >= 0 else (-1, -1, "")
            nodes.append((above, *edge))
    parents, columns, levels, labels = zip(*nodes, strict=True)
    names, heights = tuple(fit.name for fit in fitted), tuple(fit.height for fit in fitted)
    moved = tuple((node, SUPPRESSED) for node in sorted(dead))
    return Recoding(names, heights, tuple(ceiling.tolist()), parents, columns, levels, labels, moved)


def _prove(recoding: Recoding, freq: Frequency, fitted: Sequence[Fitted], k: int) -> None:
    """Refuse a result of our own that is not lawful: the tree is applied afresh, and the classes counted afresh."""
    assigned = recoding.assign(freq.codes, fitted)
    measures = freq.measures()
    out = assigned >= 0
    if not measures[out].any():
        raise AnonymityError(
            [("all_suppressed", "no class can be released within the highest levels allowed")]
        )
    classes, place = np.unique(assigned[out], return_inverse=True)
    sums = np.stack([np.bincount(place, column[out], len(classes)) for column in measures.T], axis=1)
    bad = sums.any(axis=1) & ~rule_of(freq, k).lawful(sums)
    if bad.any():
        raise AnonymityError(
            [("unlawful_result", f"{int(bad.sum())} classes of our own result are unlawful")]
        )
