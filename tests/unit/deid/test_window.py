"""The window of moved dates: where it begins and ends, and what cannot open or close it."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb
import numpy as np
import pytest

from app.deid import window
from app.deid.transforms import Rendering
from app.deid.window import Window, from_json, observed, to_json, windows
from app.errors import Problem

EPOCH = date(1970, 1, 1)
FIRST, LAST = (date(2015, 1, 1) - EPOCH).days, (date(2024, 12, 31) - EPOCH).days
R = Rendering(shift_days="shift")


def body(*more: tuple[date, int]) -> tuple[np.ndarray, np.ndarray]:
    """Ten people on every day of ten years, and more."""
    people = dict.fromkeys(range(FIRST, LAST + 1), 10)
    people |= {(day - EPOCH).days: n for day, n in more}
    days = sorted(people)
    return np.array(days), np.array([people[d] for d in days])


def test_the_window_is_what_every_shift_fills() -> None:
    days, people = body()
    tail = len(days) // 200  # half a per cent of the days at each end
    (found,) = windows({("visit", "day"): (days, people)}, 26, 11).values()
    assert abs((found.first - EPOCH).days - (FIRST + tail + 183)) <= 1
    assert abs((found.last - EPOCH).days - (LAST - tail - 183)) <= 1
    first, last = observed(days, people, 11) or (0, 0)
    for shift in (-182, 182):  # whoever was moved furthest still has rows on the first and on the last day
        assert first + shift < (found.first - EPOCH).days
        assert last + shift > (found.last - EPOCH).days


@pytest.mark.parametrize(
    "wild",
    [
        [(date(2030, 1, 1), 11)],
        [(date(1990, 6, 1), 3), (date(2026, 6, 1), 90)],
        [(date(2050, 12, 31), 4000)],  # an expected end, of many
        [(date(1998, 1, 1) + timedelta(400 * n), 5) for n in range(12)],
        [(date(2025, 6, 1) + timedelta(100 * n), 1) for n in range(90)],
    ],
)
def test_wild_dates_neither_open_nor_close_it(wild: list[tuple[date, int]]) -> None:
    (usual,) = windows({("visit", "day"): body()}, 26, 11).values()
    (found,) = windows({("visit", "day"): body(*wild)}, 26, 11).values()
    assert abs((found.first - usual.first).days) <= 20
    assert abs((found.last - usual.last).days) <= 20


def test_each_column_has_its_own_window_and_births_open_none() -> None:
    births = np.arange((date(1930, 1, 1) - EPOCH).days, (date(1990, 1, 1) - EPOCH).days)
    found = windows({("p", "born"): (births, np.full(len(births), 2)), ("v", "day"): body()}, 26, 11)
    assert found["p", "born"].last < date(1990, 1, 1)
    assert found["v", "day"].first > date(2015, 7, 1)


def test_all_that_spans_too_little_is_told_at_once_with_what_would_do() -> None:
    year = np.arange(FIRST, FIRST + 366)
    few = np.array([FIRST, LAST])
    given = {
        ("v", "day"): (year, np.full(366, 10)),
        ("v", "end"): (few, np.array([3, 3])),
        ("v", "ok"): body(),
        ("v", "empty"): (few[:0], few[:0]),
    }
    with pytest.raises(Problem) as refused:
        windows(given, 26, 11)
    assert [(f.code, f.column) for f in refused.value.findings] == [
        ("window_closed", "day"),
        ("window_closed", "end"),
    ]
    hints = [f.hint or "" for f in refused.value.findings]
    most = int(hints[0].split("at most ")[1].rstrip(")"))
    assert "at most" not in hints[1]
    del given["v", "end"]
    assert set(windows(given, most, 11)) == {("v", "day"), ("v", "ok")}
    with pytest.raises(Problem):
        windows(given, most + 1, 11)


def test_a_row_leaves_with_one_date_inside_or_with_none_at_all() -> None:
    con = duckdb.connect()
    rows = "(VALUES (1, DATE '2020-01-08', NULL), (2, DATE '2019-12-01', DATE '2020-02-01'), "
    rows += "(3, DATE '2019-12-01', NULL), (4, NULL, NULL), (5, DATE '9999-12-31', NULL), "
    rows += "(6, DATE '2020-01-08', DATE '2030-01-01'), "
    rows += "(7, DATE '2020-01-07', NULL)) t(i, a, b)"
    one = Window(date(2020, 1, 1), date(2020, 12, 31))
    query = f"SELECT i FROM {rows}, (SELECT -7 AS shift) WHERE {window.has_a_place({'a': one, 'b': one}, R)} ORDER BY i"
    assert [i for (i,) in con.execute(query).fetchall()] == [1, 2, 4, 5, 6]
    shown = f"SELECT i FROM {rows}, (SELECT -7 AS shift) WHERE {window.is_inside('b', one, R)}"
    assert con.execute(shown).fetchall() == [(2,)]
    closed = (
        f"SELECT i FROM {rows}, (SELECT -7 AS shift) WHERE {window.has_a_place({'a': None}, R)} ORDER BY i"
    )
    assert [i for (i,) in con.execute(closed).fetchall()] == [4, 5]


def test_what_is_pinned_is_read_again() -> None:
    found = {
        ("v", "day"): Window(date(2020, 1, 1), date(2021, 1, 1)),
        ("p", "일자"): Window(date(2019, 1, 1), date(2020, 1, 1)),
    }
    assert from_json(to_json(found)) == found
