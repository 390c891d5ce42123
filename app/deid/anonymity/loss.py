"""What a recoding costs: ARX's Loss, and the figures of the classes that a certificate states."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.deid.anonymity.frequency import Floats, Frequency, Ints, Longs
from app.deid.anonymity.ladder import costs
from app.deid.anonymity.recoding import AnyRecoding
from app.deid.hierarchies import Fitted


def loss(recoding: AnyRecoding, freq: Frequency, fitted: Sequence[Fitted]) -> float:
    """ARX's Loss with gs = 0.5 over people (count column 0): prod(1 + L)^(1/D) - 1 of the columns' mean costs.

    0 is the raw table, 1 is all suppressed; a suppressed person costs 1 in every column.
    """
    return combine(column_losses(recoding, freq, fitted, recoding.assign(freq.codes, fitted)))


def column_losses(recoding: AnyRecoding, freq: Frequency, fitted: Sequence[Fitted], assigned: Ints) -> Floats:
    """L of each column, (n_qi,): the mean over people of (share - 1/m) / (1 - 1/m), suppressed people 1.

    `assigned` (n_tuples,) is the class of each tuple, as `recoding.assign` tells it.
    """
    out = np.flatnonzero(assigned >= 0)
    levels, codes = recoding.levels_of(assigned[out]), freq.codes[out]
    people = freq.counts[:, 0]
    kept, total = people[out], max(1, int(people.sum()))
    losses = np.full(len(fitted), float(people.sum() - kept.sum()))
    for q, fit in enumerate(fitted):
        # What one person of each raw value costs at each level, value by value.
        each = np.stack([costs(fit, level)[fit.nodes[:, level]] for level in range(fit.height + 1)])
        losses[q] += (kept * each[levels[:, q], codes[:, q]]).sum()
    return losses / total


def combine(losses: Floats, weights: Floats | None = None) -> float:
    """The geometric mean of (1 + L) over columns, less 1; `weights` (n_qi,) weigh the columns."""
    weigh = np.ones(len(losses)) if weights is None else weights
    return float(np.expm1((weigh * np.log1p(losses)).sum() / weigh.sum()))


def summary(assigned: Ints, counts: Longs) -> dict[str, Any]:
    """The figures of an assignment (n_tuples,) over `counts` (n_tuples, n_units), by people (column 0).

    `classes`, `smallest` and `average` size, `suppressed` people, and `max_risk`, the prosecutor's 1 / smallest.
    """
    out = assigned >= 0
    people: npt.NDArray[Any] = np.bincount(assigned[out], counts[out, 0])
    sizes = people[people > 0]
    smallest = int(sizes.min()) if len(sizes) else 0
    return {
        "classes": len(sizes),
        "smallest": smallest,
        "average": float(sizes.mean()) if len(sizes) else 0.0,
        "suppressed": int(counts[~out, 0].sum()),
        "max_risk": 1 / smallest if smallest else 0.0,
    }
