"""Hierarchies: labels follow the spec alone, missing values stay apart, and refusals name no value."""

from datetime import date
from typing import Any

import numpy as np
import pytest

from app.deid.hierarchies import Fitted, HierarchyError, default_spec, fit, kinds, parse_arx, preview

SPECS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "interval": ({"kind": "interval", "bounds": [0, 90], "widths": [5, 10, 30]}, [3, 89, 90, -1, 44]),
    "table": (
        {"kind": "table", "levels": [["a", "x", "*"], ["b", "x", "*"], ["c", "y", "*"]]},
        ["a", "c", "b"],
    ),
    "prefix": ({"kind": "prefix", "lengths": [4, 3, 1], "strip": "."}, ["I10.9", "I11", "J45.0"]),
    "date": (
        {"kind": "date", "levels": ["month", "quarter", "year", "5y", "10y"]},
        ["2020-02-29", date(2019, 12, 31), "2024-07-01"],
    ),
    "region": ({"kind": "region", "system": "mois", "as_of": "2025-01-01"}, ["1111010100", "26", "48170"]),
    "icd": ({"kind": "icd", "version": "KCD-8"}, ["E11.78", "I10", "U29"]),
    "ancestors": (
        {
            "kind": "ancestors",
            "table": "t",
            "child": "c",
            "parent": "p",
            "steps": 2,
            "parents": {"b": "a", "c": "b", "d": "a"},
        },
        ["c", "d", "a"],
    ),
    "flat": ({"kind": "flat", "groups": {"warm": ["red", "ocher"], "cold": ["blue"]}}, ["blue", "red"]),
}


def path(fitted: Fitted, i: int) -> list[str]:
    return [fitted.labels[level][fitted.nodes[i, level]] for level in range(fitted.height + 1)]


def test_every_kind_of_the_folder_is_tried_here():
    assert set(kinds()) == set(SPECS)


@pytest.mark.parametrize("kind", SPECS)
def test_levels_nest_and_end_in_one_star(kind):
    spec, values = SPECS[kind]
    fitted = fit(spec, [*values, None], "column")
    assert fitted.labels[-1] == ["*"]
    assert fitted.nodes.shape == (len(values) + 1, fitted.height + 1)
    assert fitted.nodes.dtype == np.int32
    for level in range(fitted.height):
        pairs = {(int(low), int(high)) for low, high in fitted.nodes[:, level : level + 2]}
        assert len(pairs) == len({low for low, _ in pairs})
        assert (fitted.shares(level)[fitted.nodes[:, level]] <= 1).all()
        here, above = fitted.shares(level), fitted.shares(level + 1)
        assert (here[fitted.nodes[:, level]] <= above[fitted.nodes[:, level + 1]] + 1e-12).all()


@pytest.mark.parametrize("kind", SPECS)
def test_a_label_does_not_depend_on_which_values_are_present(kind):
    spec, values = SPECS[kind]
    alone = [path(fit(spec, [value]), 0) for value in values]
    together = fit(spec, values[::-1])
    assert [path(together, len(values) - 1 - i) for i in range(len(values))] == alone


@pytest.mark.parametrize("kind", SPECS)
def test_missing_is_its_own_leaf_until_the_root(kind):
    spec, values = SPECS[kind]
    fitted = fit(spec, [*values, None, ""])
    assert path(fitted, len(values)) == ["", *["(missing)"] * (fitted.height - 1), "*"]
    assert path(fitted, len(values) + 1) == path(fitted, len(values))
    for level in range(fitted.height):
        assert (fitted.nodes[: len(values), level] != fitted.nodes[len(values), level]).all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "interval",
            [["3", "[0, 5)", "[0, 10)", "[0, 30)", "*"], ["89", "[85, 90)", "[80, 90)", "[60, 90)", "*"]],
        ),
        ("table", [["a", "x", "*"], ["c", "y", "*"]]),
        ("prefix", [["I10.9", "I109", "I10", "I", "*"], ["I11", "I11", "I11", "I", "*"]]),
        ("date", [["2020-02-29", "2020-02", "2020-Q1", "2020", "2020-2024", "2020-2029", "*"]]),
        ("flat", [["blue", "cold", "*"], ["red", "warm", "*"]]),
    ],
)
def test_labels(kind, expected):
    spec, values = SPECS[kind]
    fitted = fit(spec, values)
    assert [path(fitted, i) for i in range(len(expected))] == expected


def test_numbers_outside_the_bounds_go_to_open_bands():
    spec, _ = SPECS["interval"]
    assert preview(spec, 2, [90, 1000, -5]) == [">=90", ">=90", "<0"]


def test_an_origin_shifts_the_bands_and_fractions_are_exact():
    spec = {"kind": "interval", "bounds": [0, 1], "widths": [0.1, 0.2], "origin": 0.05, "unit": 0.01}
    assert preview(spec, 1, [0.05, 0.15, 0.0]) == ["[0.05, 0.15)", "[0.15, 0.25)", "[0, 0.05)"]
    assert fit(spec, [0.3]).domain == 100


def test_table_shares_count_rows_of_the_table_not_values_present():
    fitted = fit(SPECS["table"][0], ["a"])
    assert [fitted.shares(level).tolist() for level in range(3)] == [[1 / 3], [2 / 3], [1.0]]


def test_arx_text_is_a_table():
    spec = parse_arx("\ufeffa;x;*\r\nb;'y;*\r\n\r\n")
    assert spec == {"kind": "table", "levels": [["a", "x", "*"], ["b", "'y", "*"]]}
    assert fit({**spec, "name": "c"}, ["a"]).name == "c"


def test_a_table_without_a_root_gets_one():
    spec = {"kind": "table", "levels": [["a", "x"], ["b", "y"]]}
    assert path(fit(spec, ["b"]), 0) == ["b", "y", "*"]


@pytest.mark.parametrize(
    ("spec", "values", "codes"),
    [
        ({"kind": "astrology"}, ["zebra"], {"unknown_kind"}),
        ({}, ["zebra"], {"unknown_kind"}),
        ({"kind": "flat"}, [], {"empty"}),
        ({"kind": "table", "levels": []}, ["zebra"], {"empty"}),
        ({"kind": "table", "levels": [["zebra", "*"], ["a"]]}, ["zebra"], {"ragged"}),
        ({"kind": "table", "levels": [["a", "*"]]}, ["zebra"], {"not_covered"}),
        ({"kind": "table", "levels": [["zebra", "*"], ["zebra", "*"]]}, ["zebra"], {"duplicate"}),
        (
            {
                "kind": "table",
                "levels": [["a", "x", "p", "*"], ["zebra", "x", "q", "*"], ["c", "(missing)", "q", "*"]],
            },
            ["zebra"],
            {"not_nested", "reserved_label"},
        ),
        ({"kind": "interval", "bounds": [0, 9], "widths": [2, 3]}, ["zebra"], {"not_nested"}),
        (
            {"kind": "interval", "bounds": [9, 0], "widths": [], "unit": 0},
            [1],
            {"bad_bounds", "bad_widths", "bad_unit"},
        ),
        (
            {"kind": "interval", "bounds": [0, 9], "widths": [3]},
            [1, "zebra", True, float("nan")],
            {"not_covered"},
        ),
        ({"kind": "date", "levels": ["year", "month"]}, ["2020-01-01"], {"not_nested"}),
        ({"kind": "date", "levels": ["week"]}, ["2020-01-01"], {"bad_levels"}),
        ({"kind": "date", "levels": ["year"]}, ["zebra", "2021-02-29", "20200101"], {"not_covered"}),
        ({"kind": "prefix", "lengths": [3, 5]}, ["zebra"], {"bad_lengths"}),
        ({"kind": "prefix", "lengths": [3], "strip": "zebra"}, ["zebra"], {"not_covered"}),
        ({"kind": "flat", "groups": {"g": ["a"]}}, ["zebra"], {"not_covered"}),
        ({"kind": "flat", "groups": {"g": ["zebra"], "h": ["zebra"]}}, ["zebra"], {"bad_groups"}),
    ],
)
def test_refusals_say_everything_but_no_value(spec, values, codes):
    with pytest.raises(HierarchyError) as refused:
        fit(spec, values)
    assert {code for code, _ in refused.value.problems} == codes
    assert "zebra" not in str(refused.value)


@pytest.mark.parametrize(
    ("column_type", "values"),
    [
        ("integer", [0, 45, 89]),
        ("number", [0.5, -3.25]),
        ("date", ["1950-03-02"]),
        ("string", ["06236"]),
    ],
)
def test_defaults_cover_their_type(column_type, values):
    for spec in (default_spec(column_type), default_spec(column_type, values)):
        assert fit(spec, [*values, None]).height >= 3


def test_an_unknown_type_or_level_is_refused():
    with pytest.raises(HierarchyError, match="unknown_type"):
        default_spec("blob")
    with pytest.raises(HierarchyError, match="no_such_level"):
        preview({"kind": "flat"}, 2, ["a"])
