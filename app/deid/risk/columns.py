"""What each column loses: labels by ARX's Loss, other columns by the cells and distinct values that are gone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from app.deid import hierarchies
from app.deid.anonymity.ladder import costs
from app.deid.fitting import hierarchy_spec
from app.deid.hierarchies import Fitted
from app.deid.risk.ground import Ground, Leaf, quoted

_KEYS = ("participant_id", "record_id", "family_id", "provider_id", "handle")


_NAMED = 5  # labels of a level that are named


@dataclass(frozen=True)
class Step:
    """A level of a hierarchy laid over the eligible people: how many labels it makes, the fewest people under one of
    them, the people released at this level, and the commonest labels of at least min_cell people with their people."""

    level: int
    labels: int
    fewest: int
    released: int
    commonest: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ColumnLoss:
    """One column that leaves. `loss` (0: as it was, 1: nothing is left) is ARX's Loss with gs = 0.5 over eligible
    people for a label, else the share of filled cells that leave empty or not at all. `levels` counts the people
    released at each level of the hierarchy, raw first; `steps` is a preview of those levels. Both are empty for other
    columns.
    """

    table: str
    column: str
    role: str
    transform: str
    loss: float
    cells_before: int
    cells_after: int
    distinct_before: int
    distinct_after: int
    levels: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()


def column_losses(ground: Ground) -> list[ColumnLoss]:
    """Every column of a table of people that leaves, keys apart, in the plan's order."""
    wanted = [f for f in ground.leaves if f.role not in _KEYS and f.table.kind != "reference"]
    return [_loss(ground, leaf) for leaf in wanted]


def total_loss(losses: list[ColumnLoss]) -> float:
    """The Loss of all labels together: the geometric mean of (1 + loss), less 1."""
    labels = [one.loss for one in losses if one.transform == "generalise"]
    return float(np.expm1(np.log1p(labels).mean())) if labels else 0.0


def _loss(ground: Ground, leaf: Leaf) -> ColumnLoss:
    name = quoted(leaf.name)
    asked = f"SELECT count({name}) AS cells, count(DISTINCT {name}) AS kinds FROM"
    before = ground.row(f"{asked} {ground.before(leaf.table, once=True)}")
    after = ground.row(f"{asked} {ground.after(leaf.table, once=True)}")
    loss, steps = 1 - after["cells"] / before["cells"] if before["cells"] else 0.0, tuple[Step, ...]()
    if leaf.transform == "generalise":
        loss, steps = _label_loss(ground, leaf)
    # A filter of rows can leave fewer; a label for a missing value can leave more.
    return ColumnLoss(
        leaf.table.name, leaf.name, leaf.role, leaf.transform, min(1.0, max(0.0, loss)),
        before["cells"], after["cells"], before["kinds"], after["kinds"], tuple(s.released for s in steps), steps,
    )  # fmt: skip


def _label_loss(ground: Ground, leaf: Leaf) -> tuple[float, tuple[Step, ...]]:
    name = quoted(leaf.name)
    before, after = (ground.one_row_each(leaf.table, released=side) for side in (False, True))
    pairs = ground.arrow(
        f"SELECT b.{name} AS v, a.{name} AS l, a.p IS NULL AS gone, count(*) AS n FROM {before} b "
        f"LEFT JOIN {after} a USING (p) GROUP BY ALL"
    ).to_pylist()
    if not pairs:
        return 0.0, ()
    values = list(dict.fromkeys(pair["v"] for pair in pairs))
    fitted = hierarchies.fit(hierarchy_spec(ground.dictionary, leaf.choice.column), values, leaf.name)
    place = {value: i for i, value in enumerate(values)}
    charge = [costs(fitted, level) for level in range(fitted.height + 1)]
    total, people, levels, held = 0.0, 0, [0] * (fitted.height + 1), [0] * len(values)
    for pair in pairs:
        people += pair["n"]
        held[place[pair["v"]]] += pair["n"]
        level = None if pair["gone"] else level_of(fitted, place[pair["v"]], pair["l"])
        if level is None:
            total += pair["n"]
            continue
        levels[level] += pair["n"]
        total += pair["n"] * float(charge[level][fitted.nodes[place[pair["v"]], level]])
    least = ground.plan.privacy.min_cell
    return total / people, tuple(_step(fitted, at, held, n, least) for at, n in enumerate(levels))


def _step(fitted: Fitted, level: int, held: list[int], released: int, least: int) -> Step:
    under: Counter[str] = Counter()
    for value, people in enumerate(held):
        under[fitted.labels[level][fitted.nodes[value, level]]] += people
    ranked = sorted(under.items(), key=lambda one: (-one[1], one[0]))
    named = tuple(one for one in ranked[:_NAMED] if one[1] >= least)
    return Step(level, len(under), min(under.values()), released, named)


def level_of(fitted: Fitted, value: int, label: str | None) -> int | None:
    """The lowest level on which the value at this place bears the label; None where it bears it on none."""
    for level in range(fitted.height + 1):
        if fitted.labels[level][fitted.nodes[value, level]] == (label or ""):
            return level
    return None
