"""Rare codes: how many stay, climb to a broader code or leave empty, and how many people each touches."""

from __future__ import annotations

from dataclasses import dataclass

from app.deid import hierarchies
from app.deid.risk.ground import Ground, Leaf, quoted


@dataclass(frozen=True)
class CodeLoss:
    """One rolled-up column, over the people who leave: distinct codes, the cells that hold them and the people who
    have at least one such cell."""

    table: str
    column: str
    kept: int
    rolled_up: int
    dropped: int
    cells: int
    cells_rolled_up: int
    cells_dropped: int
    people_rolled_up: int
    people_dropped: int


def code_losses(ground: Ground) -> list[CodeLoss]:
    """Every column that leaves by `roll_up`, in the plan's order.

    Told from the values themselves: a raw code that is also released is kept; one whose label on some level of the
    hierarchy is released was rolled up; any other was dropped.
    """
    wanted = [f for f in ground.leaves if f.transform == "roll_up" and f.table.kind != "reference"]
    return [_loss(ground, leaf) for leaf in wanted]


def _loss(ground: Ground, leaf: Leaf) -> CodeLoss:
    v = f"CAST({quoted(leaf.name)} AS VARCHAR)"
    raw, rows = (
        f"SELECT b.p, {v} AS v FROM {side} b SEMI JOIN out USING (p) WHERE {v} IS NOT NULL"
        for side in (ground.before(leaf.table), ground.before(leaf.table, once=True))
    )
    counted = ground.arrow(f"SELECT v, count(*) AS n FROM ({rows}) GROUP BY v ORDER BY v")
    shown = ground.arrow(f"SELECT DISTINCT {v} AS v FROM {ground.after(leaf.table)}")
    codes, out = counted["v"].to_pylist(), set(shown["v"].to_pylist())
    climbs = _climbing(ground, leaf, [code for code in codes if code not in out], out)
    fate = ["kept" if code in out else "rolled_up" if code in climbs else "dropped" for code in codes]
    ground.load("fate", counted.append_column("f", [fate]))
    people = {
        row["f"]: row["n"]
        for row in ground.rows(
            f"SELECT f, count(DISTINCT p) AS n FROM ({raw}) JOIN fate USING (v) GROUP BY f"
        )
    }
    cells = {row["f"]: row["n"] for row in ground.rows("SELECT f, sum(n)::BIGINT AS n FROM fate GROUP BY f")}
    return CodeLoss(
        leaf.table.name, leaf.name, fate.count("kept"), fate.count("rolled_up"), fate.count("dropped"),
        sum(cells.values()), cells.get("rolled_up", 0), cells.get("dropped", 0),
        people.get("rolled_up", 0), people.get("dropped", 0),
    )  # fmt: skip


def _climbing(ground: Ground, leaf: Leaf, gone: list[str], out: set[str]) -> set[str]:
    name = getattr(leaf.choice.params, "hierarchy", None)
    if name is None or not gone:
        return set()
    fitted = hierarchies.fit(ground.dictionary.hierarchies[name], gone, leaf.name)
    return {
        code
        for i, code in enumerate(gone)
        if any(fitted.labels[level][fitted.nodes[i, level]] in out for level in range(1, fitted.height))
    }
