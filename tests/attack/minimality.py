"""An attacker who knows the algorithm, every hierarchy and everybody's tuple: what a split tells beyond the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.deid.anonymity.frequency import Frequency
from app.deid.anonymity.recoding import Recoding
from app.deid.hierarchies import Fitted

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Told:
    """Shares of the people who leave, but for `narrowed_to`.

    `below_k`: people whose candidates are fewer than k, a candidate being who bears a label that fits them and stands
    under none of the siblings split off. `remainder`: people in or below a remainder. `finer`: people whose remainder
    holds one single value, so that the label hides nothing of its column. `narrowed_to`: of the people whose tuples a
    label of the release fits, the share that is left when those under siblings are taken away (mean over people).
    `betrayed`: people whose sensitive value follows, because their group was large enough, a smaller one was split
    off, and theirs was not: it must have been of one value. `surprised`: those of them with another value than the
    most common one. `wrong`: people of whom the attacker believes a value that they have not.
    """

    below_k: float
    remainder: float
    finer: float
    narrowed_to: float
    betrayed: float
    surprised: float
    wrong: float


def attack(recoding: Recoding, freq: Frequency, fitted: Sequence[Fitted], k: int) -> Told:
    """Every person's candidates and, where the table has a sensitive column, the first one's values."""
    people = freq.counts[:, 0]
    released = recoding.assign(freq.codes, fitted)
    out = released >= 0
    resting = np.where(
        out, replace(recoding, moved=(), ceiling=recoding.heights).assign(freq.codes, fitted), -1
    )
    under = _under(recoding, resting)
    remainders = [node for node in under if node and recoding.column[node] < 0]
    total = int(people[out].sum())
    in_rest, in_finer = np.zeros(len(people), np.bool_), np.zeros(len(people), np.bool_)
    betrayed, surprised, wrong = np.zeros(len(people), np.bool_), 0, 0
    for node in remainders:
        inside = under[node]
        in_rest[inside] = True
        column, level, kept = _siblings(recoding, node)
        groups = fitted[column].nodes[freq.codes[inside, column], level]
        if len(set(groups.tolist())) == 1:
            in_finer[inside] = True
        least = (
            min(int(people[under[one]].sum()) for one in kept if one in under) if kept & under.keys() else 0
        )
        for value in set(groups.tolist()) if freq.sensitive and least else ():
            group = inside[groups == value]
            size = int(people[group].sum())
            if size >= k and size > least and not betrayed[group].all():
                worth = _one_value(freq, released, group)
                if worth < 0:
                    continue
                fresh = group[~betrayed[group]]
                betrayed[group] = True
                usual = int(freq.sensitive[0].hist.sum(axis=0).argmax())
                surprised += int(people[fresh].sum()) if worth != usual else 0
                wrong += int(people[fresh].sum() - freq.sensitive[0].hist[fresh, worth].sum())
    sizes = np.bincount(released[out], people[out], len(recoding.parent))
    fits = _fitting(recoding, freq, fitted, np.unique(released[out]))
    left = sizes[released[out]]
    return Told(
        float(people[out][left < k].sum() / total),
        float(people[in_rest].sum() / total),
        float(people[in_finer].sum() / total),
        float(np.average(left / fits[released[out]], weights=people[out])),
        float(people[betrayed].sum() / total),
        surprised / total,
        wrong / total,
    )


def _under(recoding: Recoding, resting: Rows) -> dict[int, Rows]:
    """The tuples that come by each node."""
    found: dict[int, list[Rows]] = {}
    for node in np.unique(resting[resting >= 0]).tolist():
        here = np.flatnonzero(resting == node)
        while node >= 0:
            found.setdefault(node, []).append(here)
            node = recoding.parent[node]
    return {node: np.concatenate(parts) for node, parts in found.items()}


def _siblings(recoding: Recoding, node: int) -> tuple[int, int, set[int]]:
    """The column and level on which a remainder's parent was split, and the children split off."""
    kept = {
        n
        for n, above in enumerate(recoding.parent)
        if above == recoding.parent[node] and recoding.column[n] >= 0
    }
    one = next(iter(kept))
    return recoding.column[one], recoding.level[one], kept


def _one_value(freq: Frequency, released: npt.NDArray[np.int32], group: Rows) -> int:
    """The value of a group known to have one only, -1 where the classes leave several possible: a value fits where
    each class has it at least as often as it has people of the group."""
    hist, people = freq.sensitive[0].hist, freq.counts[:, 0]
    fits = np.ones(hist.shape[1], np.bool_)
    for node in np.unique(released[group]):
        fits &= hist[released == node].sum(axis=0) >= people[group[released[group] == node]].sum()
    return int(np.flatnonzero(fits)[0]) if fits.sum() == 1 else -1


def _fitting(
    recoding: Recoding, freq: Frequency, fitted: Sequence[Fitted], classes: Rows
) -> npt.NDArray[np.float64]:
    """Per class the people (of all who leave or not) whose tuple its labels fit, siblings and all."""
    found = np.ones(len(recoding.parent))
    for node in classes.tolist():
        fit = np.ones(len(freq.codes), np.bool_)
        for q, (level, text) in enumerate(recoding.labels(node)):
            if level < fitted[q].height:
                fit &= fitted[q].nodes[freq.codes[:, q], level] == fitted[q].labels[level].index(text)
        found[node] = freq.counts[fit, 0].sum()
    return found
