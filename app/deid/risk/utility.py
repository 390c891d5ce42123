"""Ten analyses, run on the raw and on the released people: how far the answers move.

They are chosen from the roles of the dictionary: the first ten of the list that the data can answer. Nothing is
tuned to look well: what is studied is what is commonest on the raw side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from app.deid.risk import estimates
from app.deid.risk.estimates import Estimate
from app.deid.risk.frame import Frame, frames
from app.deid.risk.ground import Floats, Ground

ANALYSES = 10
_PAIRS = 6
_COVARIATES = 3


@dataclass(frozen=True)
class Compared:
    """One estimate on both sides. `relative_error` is None where the raw value is 0, `overlap` is of the 95 %
    intervals; a released value that could not be computed is None and counts as an error of 1 and no overlap."""

    name: str
    raw: Estimate
    released: Estimate | None
    relative_error: float | None
    overlap: float


@dataclass(frozen=True)
class Analysis:
    """One analysis: its estimates, their median relative error and mean overlap."""

    name: str
    estimates: tuple[Compared, ...]
    median_relative_error: float
    mean_overlap: float


@dataclass(frozen=True)
class Utility:
    """The analyses that were run; `left_out` names those that the data cannot answer."""

    people: int
    released: int
    analyses: tuple[Analysis, ...]
    left_out: tuple[str, ...]
    median_relative_error: float
    mean_overlap: float


Found = dict[str, Estimate | None]


def utility(ground: Ground) -> Utility:
    """Run the analyses on a sample of the people (see `Bounds.studied`)."""
    raw, released = frames(ground)
    return compare(raw, released)


def compare(raw: Frame, released: Frame) -> Utility:
    """The first ten analyses that give an estimate on the raw frame, raw against released."""
    done: list[Analysis] = []
    left_out: list[str] = []
    for name, run in CATALOGUE.items():
        if len(done) == ANALYSES:
            break
        before = {key: found for key, found in run(raw, raw).items() if found is not None}
        if not before:
            left_out.append(name)
            continue
        after = run(released, raw)
        done.append(_analysis(name, before, after))
    errors = [a.median_relative_error for a in done]
    overlaps = [a.mean_overlap for a in done]
    return Utility(
        raw.people, released.people, tuple(done), tuple(left_out),
        float(np.median(errors)) if errors else 0.0, float(np.mean(overlaps)) if overlaps else 1.0,
    )  # fmt: skip


def _analysis(name: str, before: dict[str, Estimate], after: Found) -> Analysis:
    compared = tuple(_compared(key, raw, after.get(key)) for key, raw in before.items())
    errors = [c.relative_error for c in compared if c.relative_error is not None]
    return Analysis(
        name,
        compared,
        float(np.median(errors)) if errors else 0.0,
        float(np.mean([c.overlap for c in compared])),
    )


def _compared(name: str, raw: Estimate, released: Estimate | None) -> Compared:
    if released is None:
        return Compared(name, raw, None, 1.0, 0.0)
    error = abs(released.value - raw.value) / abs(raw.value) if raw.value else None
    return Compared(name, raw, released, error, estimates.overlap(raw, released))


# Each analysis: a frame, and the raw frame, which alone says what is studied.


def _code_prevalence(frame: Frame, raw: Frame) -> Found:
    return {name: estimates.mean(frame.codes[name]) for name in raw.codes}


def _shares(frame: Frame, raw: Frame) -> Found:
    return {name: estimates.mean(frame.shares[name]) for name in raw.shares}


def _means(frame: Frame, raw: Frame) -> Found:
    return {name: estimates.mean(frame.numbers[name]) for name in raw.numbers}


def _means_by_group(frame: Frame, raw: Frame) -> Found:
    return {
        f"{number} | {group}": estimates.mean(frame.numbers[number], frame.shares[group])
        for number in list(raw.numbers)[:_COVARIATES]
        for group in list(raw.shares)[: 2 * _PAIRS]
    }


def _kaplan_meier(frame: Frame, raw: Frame) -> Found:
    found: Found = {}
    for name, (time, observed) in raw.survival.items():
        if not np.nansum(observed):  # nor are there any times, where no day is known
            continue
        # The fixed times: the quarters of the raw follow-up, in whole months.
        quarters = np.nanquantile(time, [0.25, 0.5, 0.75])
        for at in sorted({max(30, round(float(q) / 30) * 30) for q in quarters}):
            there = frame.survival[name]
            found[f"{name} after {at} days"] = estimates.survival(there[0], there[1], at)
    return found


def _pairs(raw: Frame) -> Iterator[tuple[str, str]]:
    """Pairs of indicators of different columns."""
    for a, b in combinations(raw.indicators, 2):
        if a.partition(" = ")[0] != b.partition(" = ")[0]:
            yield a, b


def _few_pairs(raw: Frame) -> list[tuple[str, str]]:
    """Pairs that between them meet many columns: each column's commonest values come first."""
    seen: dict[str, int] = {}
    picked = []
    for a, b in _pairs(raw):
        if seen.get(a, 0) < 2 and seen.get(b, 0) < 2:
            picked.append((a, b))
            seen[a], seen[b] = seen.get(a, 0) + 1, seen.get(b, 0) + 1
        if len(picked) == _PAIRS:
            break
    return picked


def _odds_ratios(frame: Frame, raw: Frame) -> Found:
    known = frame.indicators
    return {f"{a} ~ {b}": estimates.odds_ratio(known[a], known[b]) for a, b in _few_pairs(raw)}


def _covariates(raw: Frame, without: str) -> list[str]:
    """One indicator of each of the first columns, none of the outcome's own."""
    own, names = without.partition(" = ")[0], dict[str, str]()
    for name, values in raw.indicators.items():
        column = name.partition(" = ")[0]
        if column != own and 0.02 < float(np.nanmean(values)) < 0.98:
            names.setdefault(column, name)
    return list(names.values())[:_COVARIATES]


def _design(frame: Frame, names: list[str]) -> Floats:
    return np.column_stack([frame.indicators[name] for name in names])


def _slopes(outcome: str, names: list[str], slopes: list[Estimate] | None) -> Found:
    if slopes is None:
        return {f"{outcome} ~ {name}": None for name in names}
    return {f"{outcome} ~ {name}": slope for name, slope in zip(names, slopes, strict=True)}


def _linear_model(frame: Frame, raw: Frame) -> Found:
    for outcome in raw.numbers:
        names = _covariates(raw, outcome)
        if names:
            slopes = estimates.linear(frame.numbers[outcome], _design(frame, names))
            return _slopes(outcome, names, slopes)
    return {}


def _cox_model(frame: Frame, raw: Frame) -> Found:
    for outcome in raw.survival:
        names = _covariates(raw, outcome)
        if names:
            time, observed = frame.survival[outcome]
            slopes = estimates.cox(time, observed, _design(frame, names))
            return _slopes(outcome, names, slopes)
    return {}


def _logistic_model(frame: Frame, raw: Frame) -> Found:
    for outcome in raw.indicators:
        names = _covariates(raw, outcome)
        if names and 0.02 < float(np.nanmean(raw.indicators[outcome])) < 0.98:
            slopes = estimates.logistic(frame.indicators[outcome], _design(frame, names))
            return _slopes(outcome, names, slopes)
    return {}


def _events_per_person(frame: Frame, raw: Frame) -> Found:
    return {name: estimates.mean(frame.counts[name]) for name in raw.counts}


def _time_between(frame: Frame, raw: Frame) -> Found:
    return {name: estimates.mean(frame.gaps[name]) for name in raw.gaps}


def _medians(frame: Frame, raw: Frame) -> Found:
    return {name: estimates.median(frame.numbers[name]) for name in raw.numbers}


def _spread(frame: Frame, raw: Frame) -> Found:
    return {name: estimates.deviation(frame.numbers[name]) for name in raw.numbers}


def _joint_shares(frame: Frame, raw: Frame) -> Found:
    known = frame.indicators
    return {f"{a} & {b}": estimates.mean(known[a] * known[b]) for a, b in _few_pairs(raw)}


def _correlations(frame: Frame, raw: Frame) -> Found:
    known, names = {**frame.numbers, **frame.indicators}, [*raw.numbers, *raw.indicators]
    pairs = [(a, b) for a, b in combinations(names, 2) if a.partition(" = ")[0] != b.partition(" = ")[0]]
    return {f"{a} ~ {b}": estimates.correlation(known[a], known[b]) for a, b in pairs[:_PAIRS]}


CATALOGUE: dict[str, Callable[[Frame, Frame], Found]] = {
    "code_prevalence": _code_prevalence,
    "shares": _shares,
    "means": _means,
    "means_by_group": _means_by_group,
    "kaplan_meier": _kaplan_meier,
    "odds_ratios": _odds_ratios,
    "linear_model": _linear_model,
    "cox_model": _cox_model,
    "events_per_person": _events_per_person,
    "time_between_events": _time_between,
    "joint_shares": _joint_shares,
    "logistic_model": _logistic_model,
    "medians": _medians,
    "spread": _spread,
    "correlations": _correlations,
}
