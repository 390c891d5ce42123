"""Two releases of the same people laid on each other: the classes of their meet, for k does not compose.

Who holds both knows of each person the label of one and of the other, so the crowd a person hides in is the meet of
their two classes. For two full-domain releases that is the class at the meet node of the lattice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.deid.anonymity.frequency import Ints, Longs
from app.deid.anonymity.recoding import from_json
from app.deid.hierarchies import Fitted
from app.deid.risk.classes import ClassRisk, risk_of


@dataclass(frozen=True)
class Intersection:
    """The crowds of people who are in both releases. `only_first` and `only_second` count people in one alone: they
    are recognised as such only by who can link the two, so they make no crowd here."""

    other: str
    k: int
    both: ClassRisk
    only_first: int
    only_second: int

    @property
    def needs_signature(self) -> bool:
        """True where 0.1 % of the people in both, or more, are in crowds below k."""
        return self.both.below_k_share >= 0.001


def intersect(
    first: npt.NDArray[np.integer], second: npt.NDArray[np.integer], people: Longs, k: int, other: str = ""
) -> Intersection:
    """The meet of two assignments of the same tuples: `first` and `second` (n,) hold class ids, negative where
    suppressed, `people` (n,) how many people each tuple stands for (ones, where the tuples are people)."""
    in_first, in_second = first >= 0, second >= 0
    both = in_first & in_second & (people > 0)
    pairs = np.stack([first[both].astype(np.int64), second[both].astype(np.int64)], axis=1)
    _, crowd = np.unique(pairs, axis=0, return_inverse=True)
    sizes, counts = np.unique(np.bincount(crowd.ravel(), people[both]).astype(np.int64), return_counts=True)
    held: Mapping[int, int] = dict(zip(sizes.tolist(), counts.tolist(), strict=True))
    return Intersection(
        other,
        k,
        risk_of(held, k),
        int(people[in_first & ~in_second].sum()),
        int(people[in_second & ~in_first].sum()),
    )


def intersect_recodings(
    first: str, second: str, codes: Ints, people: Longs, fitted: Sequence[Fitted], k: int, other: str = ""
) -> Intersection:
    """The meet of two recodings (their texts) over one frequency table: `codes` (n, n_qi), `people` (n,).

    The recodings must be of the columns of `fitted`, in order; AnonymityError where they are not.
    """
    assigned = [from_json(text).assign(codes, fitted) for text in (first, second)]
    return intersect(assigned[0], assigned[1], people, k, other)


def classes_of_labels(rows: Sequence[Sequence[str | None]]) -> npt.NDArray[np.int64]:
    """A class id for each row of released labels, for releases of which only the labels are at hand."""
    index: dict[tuple[str | None, ...], int] = {}
    return np.array([index.setdefault(tuple(row), len(index)) for row in rows], dtype=np.int64)
