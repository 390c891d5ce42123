"""From the daily figures that were shown to a pace and a date, with how sure that is; pure, and silent where unsure.

The pace is the slope of Theil and Sen over weekly points, the median of all slopes between two of them: a single large
addition does not set it. Points are weekly, for figures move in batches. The interval is drawn from what weeks have
brought (bootstrap in blocks of four weeks, for weeks resemble their neighbours): how well the past tells the pace, and
how the weeks to come may vary. There a large addition may come again, or none, so the interval is wide where growth
came in steps. It says nothing of what has never happened, such as a new programme or the end of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

WINDOW_DAYS = 365  # the past that the pace is taken from
FEWEST_WEEKS = 8  # weekly points; fewer say nothing
SURE = 0.9  # of the interval
_DRAWS, _BLOCK = 2_000, 4  # of the bootstrap: how often, and weeks that are drawn together
_FAR = date(2999, 12, 31)


@dataclass(frozen=True, slots=True)
class Pace:
    """People a day: the usual number, and the lower and upper end of its interval."""

    usual: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Projection:
    """`pace` None: too little history. `expected` is (usual, low, high) people on the goal's day; the days are when the
    goal is reached at the usual, the high and the low pace, None where it never is."""

    pace: Pace | None
    expected: tuple[int, int, int] | None = None
    reached: date | None = None
    earliest: date | None = None
    latest: date | None = None


def project(history: Sequence[tuple[date, int]], goal: int, goal_day: date) -> Projection:
    """The projection of figures by day, ascending; of the same figures always the same."""
    if not history:
        return Projection(None)
    day, people = history[-1]
    left = max(0, (goal_day - day).days)
    pace = pace_of(history, left)
    if pace is None:
        return Projection(None)
    expected = tuple(max(0, round(people + rate * left)) for rate in (pace.usual, pace.low, pace.high))
    usual, low, high = (_when(day, people, rate, goal) for rate in (pace.usual, pace.low, pace.high))
    return Projection(pace, (expected[0], expected[1], expected[2]), usual, high, low)


def pace_of(history: Sequence[tuple[date, int]], days_ahead: int) -> Pace | None:
    """The pace of the last year, and the interval of the mean pace over the days to come; None where there are fewer
    than eight weeks of figures."""
    points = weekly(history)
    if len(points) < FEWEST_WEEKS:
        return None
    people = np.array([people for _day, people in points], dtype=np.float64)
    first, second = np.triu_indices(len(points), 1)
    usual = float(np.median((people[second] - people[first]) / (7 * (second - first))))
    gains = np.diff(people) / 7
    rng = np.random.default_rng(0)  # who asks again is told the same
    blocks = -(-len(gains) // _BLOCK)
    begins = rng.integers(0, len(gains), size=(_DRAWS, blocks))
    places = (begins[:, :, None] + np.arange(_BLOCK)) % len(gains)
    drawn = gains[places.reshape(_DRAWS, -1)[:, : len(gains)]]
    # How much the mean of the weeks to come may differ from that of all weeks: by the means of neighbouring ones.
    neighbours = gains[(np.arange(len(gains))[:, None] + np.arange(_BLOCK)) % len(gains)].mean(axis=1)
    spread = neighbours.std() * math.sqrt(_BLOCK / max(days_ahead // 7, _BLOCK))
    means = drawn.mean(axis=1) + spread * rng.standard_normal(_DRAWS)
    means = np.maximum(means, gains.min())  # no week was seen that would drag the mean of many below this
    low, high = np.quantile(means, [(1 - SURE) / 2, (1 + SURE) / 2])
    return Pace(usual, min(usual, float(low)), max(usual, float(high)))


def weekly(history: Sequence[tuple[date, int]]) -> list[tuple[date, int]]:
    """The newest figure, and of the year before it one every seven days; a day without one has the last before it."""
    if not history:
        return []
    last, first = history[-1][0], max(history[0][0], history[-1][0] - timedelta(days=WINDOW_DAYS))
    points, at = [], len(history) - 1
    day = last
    while day >= first:
        while history[at][0] > day:
            at -= 1
        points.append((day, history[at][1]))
        day -= timedelta(days=7)
    return points[::-1]


def _when(day: date, people: int, rate: float, goal: int) -> date | None:
    if people >= goal:
        return day
    if rate <= 0 or (goal - people) / rate > (_FAR - day).days:
        return None
    return day + timedelta(days=math.ceil((goal - people) / rate))
