"""What a class tells of a sensitive value: how much surer the best guess is than without the release."""

from __future__ import annotations

from dataclasses import dataclass

from app.deid.risk.ground import Ground, Leaf, quoted

SURE = 0.9
"""A value is inferable where at least this share of a class has it."""


@dataclass(frozen=True)
class Inference:
    """One sensitive column; shares of (person, value) pairs, 0 to 1. Missing values are no values.

    `base` guesses the commonest value of everyone, `best` the commonest of each released class, `raw` the commonest
    of each raw class (what the quasi-identifiers tell before recoding); `surest` is the highest share of one value in
    a class, `inferable` the share of pairs in classes where one value has at least 0.9.
    """

    table: str
    column: str
    base: float
    best: float
    raw: float
    surest: float
    inferable: float

    @property
    def gain(self) -> float:
        """How much the release tells beyond the base rate."""
        return self.best - self.base


def inferences(ground: Ground) -> list[Inference]:
    """Every sensitive column that leaves and has values."""
    found = (_inference(ground, leaf) for leaf in ground.leaves if leaf.role == "sensitive")
    return [one for one in found if one is not None]


def _inference(ground: Ground, leaf: Leaf) -> Inference | None:
    after = ground.row(_guess(ground, leaf, ground.after(leaf.table), released=True))
    before = ground.row(_guess(ground, leaf, ground.before(leaf.table), released=False))
    if not after["n"]:
        return None
    n = float(after["n"])
    raw = before["best"] / before["n"] if before["n"] else 0.0
    return Inference(
        leaf.table.name, leaf.name, float(after["base"]) / n, float(after["best"]) / n, float(raw),
        float(after["surest"]), float(after["inferable"]) / n,
    )  # fmt: skip


def _guess(ground: Ground, leaf: Leaf, rows: str, released: bool) -> str:
    value, roster = f"CAST({quoted(leaf.name)} AS VARCHAR)", ground.roster
    classes = "SELECT p, 0 AS class FROM person"
    if roster is not None and ground.labels:
        classes = f"FROM {ground.classes(roster, released=released)}"
    pairs = f"SELECT DISTINCT p, {value} AS v FROM {rows} WHERE {value} IS NOT NULL"
    return (
        f"WITH held AS (SELECT class, v, count(*) AS n FROM ({pairs}) LEFT JOIN ({classes}) USING (p) GROUP BY ALL), "
        "c AS (SELECT class, max(n) AS top, sum(n) AS size FROM held GROUP BY class) "
        "SELECT sum(size) AS n, (SELECT max(n) FROM (SELECT sum(n) AS n FROM held GROUP BY v)) AS base, "
        "sum(top) AS best, max(top / size) AS surest, "
        f"coalesce(sum(size) FILTER (WHERE top / size >= {SURE}), 0) AS inferable FROM c"
    )
