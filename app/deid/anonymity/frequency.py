"""The frequency table that every algorithm works on, and the one rule that says whether a class is lawful."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


class AnonymityError(Exception):
    """No lawful recoding exists, or the input is unusable; `problems` holds every (code, detail), no data value."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{code}: {detail}" for code, detail in self.problems))


class Sensitive(NamedTuple):
    """A sensitive column: `hist` int64 (n_tuples, n_values) counts people per value; `closed` marks values, bool
    (n_values), that may never be the only one of a class, also where l is None.

    `l` asks for that many distinct values in every class (distinct l-diversity, Machanavajjhala 2006); `t` bounds
    the total variation distance of every class to the overall distribution (t-closeness for equal ground
    distances, Li 2007).
    """

    name: str
    hist: Longs
    l: int | None  # noqa: E741 - the name that the literature and the callers use
    t: float | None
    closed: Bools


@dataclass(frozen=True)
class Frequency:
    """Distinct quasi-identifier tuples and the people behind them.

    `codes` is int32 (n_tuples, n_qi), indexes into Fitted.values; `counts` is int64 (n_tuples, n_units): column 0 the
    people (or one per family) of the participant table, further columns the people present in each other table.
    """

    codes: Ints
    counts: Longs
    sensitive: list[Sensitive] = field(default_factory=list)

    def measures(self) -> Longs:
        """int64 (n_tuples, n_units + all sensitive values): everything a class is judged by, summable."""
        return np.concatenate([self.counts, *(column.hist for column in self.sensitive)], axis=1).astype(
            np.int64
        )


@dataclass(frozen=True)
class Rule:
    """When a class is lawful, judged from its summed measures alone."""

    k: int
    units: int
    # (first column, end column, l, t, overall distribution, closed) of each sensitive column.
    sensitive: tuple[tuple[int, int, int | None, float | None, Floats, Bools], ...]

    @property
    def nested(self) -> bool:
        """True where the union of a lawful class with any other class is lawful."""
        return self.units == 1 and all(t is None for _, _, _, t, _, _ in self.sensitive)

    def lawful(self, sums: npt.NDArray[Any]) -> Bools:
        """bool (n_classes,) for `sums` (n_classes, n_measures): column 0 at least k, every other count column 0 or
        at least k, every sensitive constraint kept."""
        good: Bools = sums[:, 0] >= self.k
        if self.units > 1:
            others = sums[:, 1 : self.units]
            good &= ((others == 0) | (others >= self.k)).all(axis=1)
        for first, end, distinct, distance, overall, closed in self.sensitive:
            hist = sums[:, first:end]
            total = hist.sum(axis=1)
            present = (hist > 0).sum(axis=1)
            good &= (total == 0) | (present >= (distinct or 1))
            good &= (present != 1) | ~(hist[:, closed] > 0).any(axis=1)
            if distance is not None:
                share = hist / np.maximum(total, 1)[:, None]
                # The margin only absorbs rounding of the shares themselves.
                good &= (total == 0) | (np.abs(share - overall).sum(axis=1) / 2 <= distance + 1e-12)
        return good


def rule_of(freq: Frequency, k: int) -> Rule:
    """The rule of a frequency table at k. Raises AnonymityError on a table it cannot judge."""
    problems = _problems(freq, k)
    if problems:
        raise AnonymityError(problems)
    spans, first = [], freq.counts.shape[1]
    for column in freq.sensitive:
        total = column.hist.sum(axis=0)
        overall = total / max(1, int(total.sum()))
        end = first + column.hist.shape[1]
        spans.append((first, end, column.l, column.t, overall, column.closed.astype(np.bool_)))
        first = end
    return Rule(k, freq.counts.shape[1], tuple(spans))


def _problems(freq: Frequency, k: int) -> list[tuple[str, str]]:
    size = len(freq.codes)
    problems = []
    if k < 1:
        problems.append(("bad_k", f"k is {k}, below 1"))
    if size == 0 or freq.codes.ndim != 2 or freq.counts.ndim != 2 or freq.counts.shape[1] == 0:
        return [*problems, ("empty", "the frequency table has no tuples, columns or counts")]
    if len(freq.counts) != size or (freq.counts < 0).any():
        problems.append(("bad_counts", "counts must be one row a tuple, none below 0"))
    for column in freq.sensitive:
        if column.hist.ndim != 2 or len(column.hist) != size or column.closed.shape != column.hist.shape[1:]:
            problems.append(("bad_sensitive", f"{column.name}: one row a tuple and one closed mark a value"))
    return problems


def check_root(rule: Rule, sums: npt.NDArray[Any]) -> None:
    """Raise AnonymityError unless all people together, `sums` (n_measures,), are a lawful class."""
    if rule.lawful(sums[None, :])[0]:
        return
    units = sums[: rule.units]
    small = [i for i, count in enumerate(units) if count < rule.k and (i == 0 or count > 0)]
    problems = [("below_k", f"count column {i} has fewer than {rule.k} people in all") for i in small]
    # With the people counts made good, whatever is still unlawful is a sensitive column.
    made_good = np.where(np.arange(len(sums)) < rule.units, rule.k, sums)
    if not rule.lawful(made_good[None, :])[0]:
        problems.append(("sensitive", "the sensitive columns break their rule over all people together"))
    raise AnonymityError(problems)
