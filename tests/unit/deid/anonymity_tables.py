"""Small made-up frequency tables, seeded, for the tests of the anonymity rooms."""

from typing import Any

import numpy as np

from app.deid.anonymity.frequency import Frequency, Rule, Sensitive, rule_of
from app.deid.hierarchies import fit

AGE = {"kind": "interval", "bounds": [0, 120], "widths": [5, 10, 20, 40]}
CITY = {"kind": "flat", "groups": {"north": ["a", "b", "c"], "south": ["d", "e"], "isle": ["f"]}}
SEX = {"kind": "flat", "groups": {"any": ["m", "w"]}}


def people(size, seed=1, units=1, distinct=None, distance=None, closed=()):
    """A frequency table of `size` people with correlated columns, and its hierarchies."""
    draw = np.random.default_rng(seed)
    age = np.clip(draw.normal(48, 22, size), 0, 119).astype(int)
    city = np.minimum(draw.geometric(0.4, size) - 1, 5)
    sex = draw.integers(0, 2, size)
    illness = np.minimum(draw.geometric(0.5, size) - 1 + (age > 70), 3)
    ages, age = np.unique(age, return_inverse=True)
    codes, home = np.unique(np.stack([age, city, sex], axis=1), axis=0, return_inverse=True)
    counts = np.zeros((len(codes), units), np.int64)
    for unit in range(units):
        present = draw.random(size) < 1 / (1 + 2 * unit)
        np.add.at(counts[:, unit], home.ravel(), present if unit else 1)
    sensitive = []
    if distinct or distance or closed:
        hist = np.zeros((len(codes), 4), np.int64)
        np.add.at(hist, (home.ravel(), illness), 1)
        sensitive.append(Sensitive("illness", hist, distinct, distance, np.isin(np.arange(4), closed)))
    fitted = [fit(AGE, ages.tolist(), "age"), fit(CITY, list("abcdef"), "city"), fit(SEX, ["m", "w"], "sex")]
    return Frequency(codes.astype(np.int32), counts, sensitive), fitted


def permuted(freq, order):
    """The same table with its tuples in another order."""
    sensitive = [column._replace(hist=column.hist[order]) for column in freq.sensitive]
    return Frequency(freq.codes[order], freq.counts[order], sensitive)


def unlawful(recoding, freq, fitted, k, rule: Rule | None = None):
    """How many released groups of equal labels break the rule: counted by labels, as a recipient would."""
    rule = rule or rule_of(freq, k)
    groups: dict[tuple[tuple[int, str], ...], Any] = {}
    for class_id, measures in zip(recoding.assign(freq.codes, fitted).tolist(), freq.measures(), strict=True):
        if class_id >= 0:
            labels = tuple(recoding.labels(class_id))
            groups[labels] = groups.get(labels, 0) + measures
    sums = np.array([total for total in groups.values() if total.any()])
    return int((~rule.lawful(sums)).sum()) if len(sums) else 0


def is_coarser(later, earlier, codes, fitted):
    """Whether every tuple's label is, per column, its earlier one or above it (or the tuple is suppressed)."""
    before, after = earlier.assign(codes, fitted), later.assign(codes, fitted)
    if (after[before < 0] >= 0).any():
        return False
    both = after >= 0
    return bool((later.levels_of(after[both]) >= earlier.levels_of(before[both])).all())
