"""Frames and comparisons: what an analyst of the release would find, counted by hand."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from app.deid.risk.frame import Frame, frames
from app.deid.risk.utility import compare
from tests.unit.deid.risk_tables import Rows, standing

RAW = [
    {"key": 0, "sex": "M", "age": 22, "salary": "low"},
    {"key": 1, "sex": "M", "age": 28, "salary": "low"},
    {"key": 2, "sex": "F", "age": 40, "salary": "low"},
    {"key": 3, "sex": "F", "age": 60, "salary": "high"},
]
OUT = [
    {"key": 0, "sex": "M", "age": "[20, 30)", "salary": "low"},
    {"key": 1, "sex": "M", "age": "[20, 30)", "salary": "low"},
    {"key": 2, "sex": "*", "age": "*", "salary": "low"},
]
FIRST = date(2020, 1, 1)


def _visit(key: int, code: str, day: int, value: float | None = None) -> dict[str, object]:
    return {"key": key, "code": code, "day": FIRST + timedelta(days=day), "value": value}


def test_labels_stand_for_their_values_in_equal_parts(tmp_path: Path):
    with standing(tmp_path, RAW, OUT) as ground:
        raw, released = frames(ground)
    assert raw.people == 4
    assert released.people == 3
    assert raw.numbers["age"].tolist() == [22, 28, 40, 60]
    # Under [20, 30) lie 22 and 28, under * all four.
    assert released.numbers["age"].tolist() == [25, 25, 37.5]
    assert raw.shares["sex = M"].tolist() == [1, 1, 0, 0]
    assert released.shares["sex = M"].tolist() == [1, 1, 0.5]
    assert released.shares["salary = low"].tolist() == [1, 1, 1]


def test_events_become_features_of_people(tmp_path: Path):
    visits = [
        _visit(0, "A", 0, 5.0), _visit(0, "B", 10), _visit(1, "A", 0, 7.0), _visit(1, "A", 30, 9.0),
        _visit(2, "A", 5), _visit(2, "B", 25),
    ]  # fmt: skip
    # Shifted by weeks, and the second person's B is gone.
    later = [{**v, "day": v["day"] + timedelta(days=70)} for v in visits[:5]]  # type: ignore[operator]
    with standing(tmp_path, RAW, OUT, visits, later) as ground:
        raw, released = frames(ground)
    assert raw.counts["visits"].tolist() == [2, 2, 2, 0]
    assert released.counts["visits"].tolist() == [2, 2, 1]
    assert raw.codes["visits: B"].tolist() == [1, 0, 1, 0]
    assert released.codes["visits: B"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(raw.gaps["visits"], [10, 30, 20, np.nan])
    np.testing.assert_array_equal(raw.numbers["visits.value of A"], [5, 8, np.nan, np.nan])
    # The outcome is the commonest code that less than four in five have: A, of three in four.
    assert set(raw.survival) == {"visits: A"}
    time, seen = raw.survival["visits: A"]
    np.testing.assert_array_equal(time, [0, 0, 0, np.nan])
    np.testing.assert_array_equal(seen, [1, 1, 1, np.nan])


def test_follow_up_runs_to_the_outcome_or_the_last_event(tmp_path: Path):
    visits = [
        _visit(0, "A", 0), _visit(0, "B", 10), _visit(0, "A", 50), _visit(1, "A", 0), _visit(1, "A", 30),
        _visit(2, "A", 5), _visit(2, "B", 25), _visit(3, "A", 1), _visit(3, "A", 2),
    ]  # fmt: skip
    with standing(tmp_path, RAW, OUT, visits, visits[:7]) as ground:
        raw, released = frames(ground)
    assert set(raw.survival) == {"visits: B"}
    time, seen = raw.survival["visits: B"]
    assert (time.tolist(), seen.tolist()) == ([10, 30, 20, 1], [1, 0, 1, 0])
    assert released.survival["visits: B"][0].tolist() == [10, 30, 20]


def test_the_errors_of_a_comparison():
    raw = Frame(100, numbers={"x": np.repeat([10.0, 20.0], 50)})
    released = Frame(100, numbers={"x": np.repeat([12.0, 24.0], 50)})
    found = {a.name: a for a in compare(raw, released).analyses}
    (mean,) = found["means"].estimates
    assert (mean.raw.value, mean.released.value if mean.released else None) == (15, 18)
    assert mean.relative_error == pytest.approx(0.2)
    # 15 +- .98 and 18 +- 1.176 do not meet.
    assert mean.overlap == 0
    assert "code_prevalence" in compare(raw, released).left_out


def test_what_cannot_be_computed_any_more_counts_against_the_release():
    raw = Frame(50, numbers={"x": np.arange(50.0)})
    released = Frame(50, numbers={"x": np.full(50, np.nan)})
    found = {a.name: a for a in compare(raw, released).analyses}
    (mean,) = found["means"].estimates
    assert mean.released is None
    assert (mean.relative_error, mean.overlap) == (1.0, 0.0)


def test_an_untouched_release_is_as_good_as_the_raw_table():
    chance = np.random.default_rng(7)
    frame = Frame(
        500,
        shares={
            "sex = M": chance.integers(0, 2, 500).astype(float),
            "smoker = yes": chance.integers(0, 2, 500).astype(float),
        },
        codes={
            "visits: A": chance.integers(0, 2, 500).astype(float),
            "visits: B": chance.integers(0, 2, 500).astype(float),
        },
        numbers={"age": chance.normal(50, 9, 500)},
        counts={"visits": chance.poisson(3, 500).astype(float)},
        survival={"visits: A": (chance.exponential(300, 500), chance.integers(0, 2, 500).astype(float))},
    )
    found = compare(frame, frame)
    assert len(found.analyses) == 10
    assert {"kaplan_meier", "cox_model", "linear_model", "odds_ratios"} <= {a.name for a in found.analyses}
    assert (found.median_relative_error, found.mean_overlap) == (0.0, 1.0)


def _many(codes: Sequence[Sequence[tuple[str | None, int | None]]]) -> tuple[Rows, Rows, Rows]:
    """People and their visits, of each person a list of (code, day); they leave as they are."""
    people = [{"key": n, "sex": "FM"[n % 2], "age": 20 + n, "salary": "low"} for n in range(len(codes))]
    visits = [
        {"key": n, "code": code, "day": None if day is None else FIRST + timedelta(days=day)}
        for n, each in enumerate(codes)
        for code, day in each
    ]
    out = [{**one, "age": str(one["age"])} for one in people]
    return people, out, visits


def test_visits_without_any_day_leave_the_analyses_of_time_out(tmp_path: Path):
    people, out, visits = _many([[("A", None)]] * 10 + [[("B", None)]] * 10)
    with standing(tmp_path, people, out, visits, visits) as ground:
        found = compare(*frames(ground))
    assert {"kaplan_meier", "cox_model", "time_between_events"} <= {*found.left_out}
    assert "code_prevalence" in {one.name for one in found.analyses}


def test_whose_codes_are_all_missing_has_none_of_them(tmp_path: Path):
    people, out, visits = _many([[("A", 0), ("B", 90)]] * 10 + [[("A", 0), ("A", 90)]] * 9 + [[(None, 0)]])
    # Of one person more all codes are dropped.
    left = [{**visit, "code": None} if visit["key"] == 0 else visit for visit in visits]
    with standing(tmp_path, people, out, visits, left) as ground:
        raw, released = frames(ground)
    assert (raw.codes["visits: B"].mean(), released.codes["visits: B"].mean()) == (0.5, 0.45)
    assert "kaplan_meier" in {one.name for one in compare(raw, released).analyses}
