"""Estimates with 95 % confidence intervals, by numpy alone; weights of values may be fractions.

A released label stands for its values in equal parts, so an indicator may be a fraction and a count a sum of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Z = 1.959963984540054
_ROUNDS = 40


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def mean(x: Floats, weight: Floats | None = None) -> Estimate | None:
    """The (weighted) mean of what is not missing; None of fewer than two values or no spread at all in weights."""
    w = np.ones(len(x)) if weight is None else weight
    known = ~np.isnan(x) & ~np.isnan(w) & (w > 0)
    x, w = x[known], w[known]
    if len(x) < 2:
        return None
    centre = float((w * x).sum() / w.sum())
    error = math.sqrt(float((w**2 * (x - centre) ** 2).sum())) / float(w.sum())
    return Estimate(centre, centre - Z * error, centre + Z * error)


def median(x: Floats) -> Estimate | None:
    """The median; its interval by order statistics (normal approximation of the binomial)."""
    x = np.sort(x[~np.isnan(x)])
    n = len(x)
    if n < 10:
        return None
    reach = Z * math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - reach)), min(n - 1, math.ceil(n / 2 + reach))
    return Estimate(float(np.median(x)), float(x[low]), float(x[high]))


def deviation(x: Floats) -> Estimate | None:
    """The standard deviation; its error by the fourth moment."""
    x = x[~np.isnan(x)]
    if len(x) < 10 or x.std() == 0:
        return None
    sd, centred = float(x.std(ddof=1)), x - x.mean()
    kurtosis = float((centred**4).mean() / (centred**2).mean() ** 2)
    error = sd * math.sqrt(max(0.0, kurtosis - 1) / (4 * len(x)))
    return Estimate(sd, sd - Z * error, sd + Z * error)


def correlation(x: Floats, y: Floats) -> Estimate | None:
    """Pearson's correlation; its interval by Fisher's z."""
    known = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[known], y[known]
    if len(x) < 10 or x.std() == 0 or y.std() == 0:
        return None
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -0.999999, 0.999999))
    z, error = math.atanh(r), 1 / math.sqrt(len(x) - 3)
    return Estimate(r, math.tanh(z - Z * error), math.tanh(z + Z * error))


def odds_ratio(x: Floats, y: Floats) -> Estimate | None:
    """The odds ratio of two indicators, each cell with 0.5 more (Haldane); its interval by Woolf."""
    known = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[known], y[known]
    cells = np.array([(x * y).sum(), (x * (1 - y)).sum(), ((1 - x) * y).sum(), ((1 - x) * (1 - y)).sum()])
    if len(x) < 10 or (cells < 1).any():
        return None
    a, b, c, d = cells + 0.5
    centre, error = math.log(a * d / (b * c)), math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return Estimate(math.exp(centre), math.exp(centre - Z * error), math.exp(centre + Z * error))


def linear(y: Floats, x: Floats) -> list[Estimate] | None:
    """The slopes of y on the columns of x (an intercept is added), by least squares; None where they are not
    determined."""
    known = ~np.isnan(y) & ~np.isnan(x).any(axis=1)
    y, design = y[known], np.column_stack([np.ones(int(known.sum())), x[known]])
    n, columns = design.shape
    if n < 10 * columns or np.linalg.matrix_rank(design) < columns:
        return None
    inverse = np.linalg.inv(design.T @ design)
    slopes = inverse @ design.T @ y
    error = np.sqrt(np.diag(inverse) * ((y - design @ slopes) ** 2).sum() / (n - columns))
    return [_around(float(b), float(e)) for b, e in zip(slopes[1:], error[1:], strict=True)]


def logistic(y: Floats, x: Floats) -> list[Estimate] | None:
    """The log odds of y on the columns of x (an intercept is added), by Newton's steps; y may be a fraction."""
    known = ~np.isnan(y) & ~np.isnan(x).any(axis=1)
    y, design = y[known], np.column_stack([np.ones(int(known.sum())), _scaled(x[known])])
    n, columns = design.shape
    if n < 10 * columns or np.linalg.matrix_rank(design) < columns or not 0 < y.mean() < 1:
        return None
    beta = np.zeros(columns)
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        information = (design * (p * (1 - p))[:, None]).T @ design
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e10:
            return None
        step = np.linalg.solve(information, design.T @ (y - p))
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            error = np.sqrt(np.diag(np.linalg.inv(information))) / np.r_[1.0, _scales(x[known])]
            slopes = beta / np.r_[1.0, _scales(x[known])]
            return [_around(float(b), float(e)) for b, e in zip(slopes[1:], error[1:], strict=True)]
    return None


def survival(time: Floats, observed: Floats, at: float) -> Estimate | None:
    """Kaplan and Meier's share without the event beyond `at`; its interval by Greenwood."""
    known = ~np.isnan(time) & ~np.isnan(observed)
    time, observed = time[known], observed[known]
    if len(time) < 10:
        return None
    ends, place = np.unique(time, return_inverse=True)
    events = np.bincount(place, observed)
    at_risk = len(time) - np.r_[0.0, np.cumsum(np.bincount(place))[:-1]]
    used = (ends <= at) & (events > 0)
    d, n = events[used], at_risk[used]
    share = float(np.prod(1 - d / n))
    inside = d < n
    error = share * math.sqrt(float((d[inside] / (n[inside] * (n[inside] - d[inside]))).sum()))
    return Estimate(share, max(0.0, share - Z * error), min(1.0, share + Z * error))


def cox(time: Floats, observed: Floats, x: Floats) -> list[Estimate] | None:
    """The log hazard ratios of the columns of x by Cox's partial likelihood, ties by Breslow, Newton's steps."""
    known = ~np.isnan(time) & ~np.isnan(observed) & ~np.isnan(x).any(axis=1)
    time, observed, x = time[known], observed[known], x[known]
    if observed.sum() < 10 * x.shape[1]:
        return None
    scales = _scales(x)
    x = _scaled(x)
    if np.linalg.matrix_rank(np.column_stack([np.ones(len(x)), x])) <= x.shape[1]:
        return None
    order = np.argsort(-time, kind="stable")
    time, observed, x = time[order], observed[order], x[order]
    # Everyone with an equal or later time is at risk: of ties, up to the last.
    last = np.searchsorted(-time, -time, side="right") - 1
    beta = np.zeros(x.shape[1])
    for _ in range(_ROUNDS):
        risk = np.exp(np.clip(x @ beta, -30, 30))
        s0 = np.cumsum(risk)[last]
        s1 = np.cumsum(risk[:, None] * x, axis=0)[last] / s0[:, None]
        s2 = np.cumsum(risk[:, None, None] * x[:, :, None] * x[:, None, :], axis=0)[last] / s0[:, None, None]
        gradient = (observed[:, None] * (x - s1)).sum(axis=0)
        information = (observed[:, None, None] * (s2 - s1[:, :, None] * s1[:, None, :])).sum(axis=0)
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e10:
            return None
        step = np.linalg.solve(information, gradient)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            error = np.sqrt(np.diag(np.linalg.inv(information)))
            return [_around(float(b), float(e)) for b, e in zip(beta / scales, error / scales, strict=True)]
    return None


def overlap(a: Estimate, b: Estimate) -> float:
    """How far two intervals agree, 0 to 1: the mean of the shares of each that lie in the other (Karr et al. 2006,
    "A framework for evaluating the utility of data altered to protect confidentiality")."""
    common = min(a.high, b.high) - max(a.low, b.low)
    widths = a.high - a.low, b.high - b.low
    if min(widths) <= 0:
        return float(math.isclose(a.value, b.value, rel_tol=1e-9, abs_tol=1e-12))
    return max(0.0, (common / widths[0] + common / widths[1]) / 2)


def _around(value: float, error: float) -> Estimate:
    return Estimate(value, value - Z * error, value + Z * error)


def _scales(x: Floats) -> Floats:
    scales: Floats = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    return scales


def _scaled(x: Floats) -> Floats:
    scaled: Floats = (x - x.mean(axis=0)) / _scales(x)
    return scaled
