"""Class sizes before and after: what an attacker who knows a person's quasi-identifiers can hope for.

Sizes are counted as k is: in families where the dictionary names them, for who finds the family has found them all,
else in people, of whom one may have two pseudonyms over several cohorts.

Prosecutor model (El Emam, "Guide to the De-Identification of Personal Health Information", 2013): the risk of a
person is 1 / the size of their class; the average risk over people is classes / people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from app.deid.risk.ground import Ground

EDGES = (1, 2, 3, 5, 11, 20, 50, 100, 200, 500, 1000)
"""The smallest size of each bar of the histogram; the last bar is open."""


@dataclass(frozen=True)
class Bar:
    """Classes of `low` to `high` people (None: and more), and the people in them."""

    low: int
    high: int | None
    classes: int
    people: int


@dataclass(frozen=True)
class ClassRisk:
    """The classes of one side. Risks and shares are of people, 0 to 1; 0 where there is nobody. Where k counts
    families, every figure is of families (one that lies in two classes counts in both)."""

    people: int
    classes: int
    smallest: int
    median: int
    largest: int
    average_risk: float
    max_risk: float
    unique_share: float
    below_k_share: float
    histogram: tuple[Bar, ...]


@dataclass(frozen=True)
class Uniqueness:
    """Both sides; before is the raw table of everyone eligible, under the same columns."""

    k: int
    quasi_identifiers: tuple[str, ...]
    before: ClassRisk
    after: ClassRisk
    counted: Literal["people", "families"] = "people"


def uniqueness(ground: Ground) -> Uniqueness:
    """The class sizes of raw values and of released labels; without quasi-identifiers all people are one class."""
    k, names = ground.plan.privacy.k, tuple(leaf.name for leaf in ground.labels)
    roster = ground.roster
    if roster is None or not names:
        number = "SELECT count(DISTINCT unit) FROM unit"
        everyone = ground.number(number), ground.number(f"{number} SEMI JOIN out USING (p)")
        before, after = ({n: 1} if n else {} for n in everyone)
    else:
        before, after = (_sizes(ground, ground.classes(roster, released=side)) for side in (False, True))
    counted: Literal["people", "families"] = "families" if ground.families else "people"
    return Uniqueness(k, names, risk_of(before, k), risk_of(after, k), counted)


def risk_of(sizes: Mapping[int, int], k: int) -> ClassRisk:
    """The figures of classes, given how many there are of each size."""
    people = sum(size * n for size, n in sizes.items())
    classes = sum(sizes.values())
    share = {size: size * n / people for size, n in sizes.items()}
    return ClassRisk(
        people=people,
        classes=classes,
        smallest=min(sizes, default=0),
        median=_median(sizes),
        largest=max(sizes, default=0),
        average_risk=classes / people if people else 0.0,
        max_risk=1 / min(sizes) if sizes else 0.0,
        unique_share=share.get(1, 0.0),
        below_k_share=sum(share[size] for size in sizes if size < k),
        histogram=tuple(_bars(sizes)),
    )


def _sizes(ground: Ground, classes: str) -> dict[int, int]:
    groups = f"SELECT count(DISTINCT unit) AS n FROM {classes} JOIN unit USING (p) GROUP BY class"
    return {row["n"]: row["c"] for row in ground.rows(f"SELECT n, count(*) AS c FROM ({groups}) GROUP BY n")}


def _median(sizes: Mapping[int, int]) -> int:
    """The size of the class of the person in the middle."""
    people, seen = sum(size * n for size, n in sizes.items()), 0
    for size in sorted(sizes):
        seen += size * sizes[size]
        if 2 * seen >= people:
            return size
    return 0


def _bars(sizes: Mapping[int, int]) -> Iterable[Bar]:
    for low, above in zip(EDGES, (*EDGES[1:], None), strict=True):
        held = {s: n for s, n in sizes.items() if s >= low and (above is None or s < above)}
        last = None if above is None else above - 1
        yield Bar(low, last, sum(held.values()), sum(s * n for s, n in held.items()))
