"""Estimates against published and hand-computed answers."""

import math

import numpy as np
import pytest

from app.deid.risk import estimates
from app.deid.risk.estimates import Estimate

# Freireich et al. 1963, weeks in remission of 42 children with leukaemia (0 = censored): the standard example.
TREATED = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
TREATED_SEEN = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
# Anscombe 1973, set I.
X = [10.0, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
Y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]


def floats(values: list[float] | list[int]) -> estimates.Floats:
    return np.array(values, dtype=np.float64)


def test_the_mean_and_its_interval():
    found = estimates.mean(floats([1, 2, 3, 4]))
    assert found is not None
    assert found.value == 2.5
    assert found.high - found.value == pytest.approx(1.959964 * math.sqrt(5) / 4)


def test_weights_choose_a_group():
    found = estimates.mean(floats([1, 2, 30, 40]), floats([1, 1, 0, 0]))
    assert found is not None
    assert found.value == 1.5


def test_missing_values_do_not_count():
    found = estimates.mean(floats([1, math.nan, 3]))
    assert found is not None
    assert found.value == 2


@pytest.mark.parametrize(("at", "share"), [(6, 0.857), (7, 0.807), (10, 0.753), (16, 0.627), (23, 0.448)])
def test_kaplan_and_meier(at: int, share: float):
    found = estimates.survival(floats(TREATED), floats(TREATED_SEEN), at)
    assert found is not None
    assert found.value == pytest.approx(share, abs=0.0006)


def test_greenwood():
    found = estimates.survival(floats(TREATED), floats(TREATED_SEEN), 10)
    assert found is not None
    assert (found.high - found.value) / 1.96 == pytest.approx(0.0963, abs=0.0005)


def test_cox():
    time = floats(PLACEBO + TREATED)
    seen = floats([1] * 21 + TREATED_SEEN)
    group = floats([1] * 21 + [0] * 21).reshape(-1, 1)
    found = estimates.cox(time, seen, group)
    assert found is not None
    # Published with Breslow's ties: 1.5092, standard error 0.4096.
    assert found[0].value == pytest.approx(1.5092, abs=0.0005)
    assert (found[0].high - found[0].value) / 1.96 == pytest.approx(0.4096, abs=0.0005)


def test_the_odds_ratio():
    x = floats([1] * 30 + [0] * 70)
    y = floats([1] * 10 + [0] * 20 + [1] * 30 + [0] * 40)
    found = estimates.odds_ratio(x, y)
    assert found is not None
    assert found.value == pytest.approx(10.5 * 40.5 / (20.5 * 30.5))


def test_the_logistic_slope_is_the_log_odds_ratio():
    x = floats([1] * 30 + [0] * 70).reshape(-1, 1)
    y = floats([1] * 10 + [0] * 20 + [1] * 30 + [0] * 40)
    found = estimates.logistic(y, x)
    assert found is not None
    assert found[0].value == pytest.approx(math.log(10 * 40 / (20 * 30)))
    assert (found[0].high - found[0].value) / 1.959964 == pytest.approx(
        math.sqrt(1 / 10 + 1 / 20 + 1 / 30 + 1 / 40)
    )


def test_the_correlation_of_anscombe():
    found = estimates.correlation(floats(X), floats(Y))
    assert found is not None
    assert found.value == pytest.approx(0.8164, abs=0.0001)


def test_the_line_of_anscombe():
    found = estimates.linear(floats(Y * 2), floats(X * 2).reshape(-1, 1))
    assert found is not None
    assert found[0].value == pytest.approx(0.5001, abs=0.0001)


def test_what_is_not_determined_is_not_estimated():
    twice = np.column_stack([floats(X * 3), floats(X * 3)])
    assert estimates.linear(floats(Y * 3), twice) is None
    assert estimates.cox(floats(X * 3), floats([1] * 33), twice) is None
    assert estimates.correlation(floats([1] * 20), floats(list(range(20)))) is None
    # Every exposed person ill, none of the others: the slope has no end.
    perfect = floats([1] * 20 + [0] * 20)
    assert estimates.logistic(perfect, perfect.reshape(-1, 1)) is None


def test_median_and_spread():
    numbers = floats(list(range(1, 102)))
    middle, spread = estimates.median(numbers), estimates.deviation(numbers)
    assert middle is not None
    assert spread is not None
    assert middle.value == 51
    assert middle.low < 51 < middle.high
    assert spread.value == pytest.approx(math.sqrt(101 * 102 / 12))


@pytest.mark.parametrize(
    ("other", "expected"),
    [((0, 10), 1.0), ((5, 15), 0.5), ((20, 30), 0.0), ((0, 20), 0.75), ((10, 10), 0.0)],
)
def test_overlap(other: tuple[float, float], expected: float):
    low, high = other
    one, two = Estimate(5, 0, 10), Estimate((low + high) / 2, low, high)
    assert estimates.overlap(one, two) == pytest.approx(expected)
