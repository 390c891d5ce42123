"""The pace and its interval: silent with little history, right where the truth is known, wide where growth jumps."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from app.catalog.projection import project, weekly

START, GOAL_DAY = date(2026, 1, 1), date(2032, 12, 31)


def days(values: list[int]) -> list[tuple[date, int]]:
    return [(START + timedelta(n), value) for n, value in enumerate(values)]


@pytest.mark.parametrize("count", [0, 1, 20, 49])
def test_too_little_history_says_nothing(count: int) -> None:
    told = project(days([1000 + 10 * n for n in range(count)]), 10_000, GOAL_DAY)
    assert (told.pace, told.expected, told.reached) == (None, None, None)
    assert project(days([1000 + 10 * n for n in range(50)]), 10_000, GOAL_DAY).pace is not None


def test_a_steady_pace_is_told_with_its_day() -> None:
    told = project(days([1000 + 10 * n for n in range(100)]), 3990, GOAL_DAY)
    assert told.pace is not None
    assert (told.pace.usual, told.pace.low, told.pace.high) == pytest.approx((10, 10, 10))
    assert told.reached == told.earliest == told.latest == START + timedelta(99 + 200)
    left = (GOAL_DAY - START).days - 99
    assert told.expected == (1990 + 10 * left,) * 3


def test_one_large_addition_does_not_set_the_pace_but_widens_the_interval() -> None:
    told = project(days([1000 + 10 * n + (9000 if n > 60 else 0) for n in range(200)]), 10**6, GOAL_DAY)
    assert told.pace is not None
    assert told.pace.usual == pytest.approx(10)
    assert told.pace.low == pytest.approx(10, abs=3)
    assert told.pace.high > 60


def test_who_stands_still_or_shrinks_never_arrives() -> None:
    still, shrinking = (project(days([v(n) for n in range(90)]), 10_000, GOAL_DAY)
                        for v in (lambda _n: 500, lambda n: 5000 - 20 * n))  # fmt: skip
    assert (still.reached, still.earliest, still.expected) == (None, None, (500, 500, 500))
    assert (shrinking.reached, shrinking.latest, shrinking.expected) == (None, None, (0, 0, 0))


def test_who_has_arrived_has_arrived() -> None:
    told = project(days([20_000 + n for n in range(90)]), 10_000, GOAL_DAY)
    assert told.reached == told.earliest == told.latest == START + timedelta(89)


def test_days_without_a_figure_are_as_the_day_before() -> None:
    gaps = [one for one in days([1000 + 10 * n for n in range(100)]) if one[0].day % 3]
    assert project(gaps, 10_000, GOAL_DAY).pace == pytest.approx(project(gaps, 10_000, GOAL_DAY).pace)
    assert all((b[0] - a[0]).days == 7 for a, b in zip(weekly(gaps), weekly(gaps)[1:], strict=False))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Weeks of random growth, half of them seen: the mean pace of the other half lies in the interval."""
    rng, hits, tries = np.random.default_rng(7), 0, 120
    for _ in range(tries):
        gains = rng.gamma(1.5, 60, size=7 * 104)
        values = (5000 + np.cumsum(gains)).astype(int).tolist()
        seen, ahead = days(values)[: 7 * 52], values[7 * 52 :]
        told = project(seen, 10**7, START + timedelta(len(values) - 1))
        assert told.pace is not None
        hits += told.pace.low <= (ahead[-1] - seen[-1][1]) / len(ahead) <= told.pace.high
    assert 0.78 <= hits / tries <= 0.99
