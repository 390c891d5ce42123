"""Mappings: every kind has its cases here, the check lists everything at once, and no role grows weaker."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import duckdb
import pytest

from app.deid import united
from app.deid.mappings import Places, kinds
from app.deid.united_roles import weaker
from app.errors import Problem
from app.schemas.dictionary import Column, Dictionary
from app.standards.ucum import conversion
from tests.united import HANBIT, SAEBOM, mapping


def column(name: str = "c", role: dict[str, Any] | None = None, **more: Any) -> Column:
    return Column.model_validate({"name": name, "role": role or {"kind": "attribute"}, **more})


KCD8 = {"kind": "code", "vocabulary": "KCD", "version": "8"}
KCD9 = {"kind": "code", "vocabulary": "KCD", "version": "9"}
KG = column(type="number", unit="kg", role={"kind": "number"})
GRAMS = column(type="number", unit="g", role={"kind": "number"})
MIXED = column(type="number", unit_column="u", role={"kind": "number"})
# kind -> (source, target, parameters, [(value, unit, reason) -> united value], [values left unmapped])
CASES: dict[str, list[tuple[Column | None, Column, dict[str, Any], list[tuple[Any, Any, Any]], list[Any]]]] = {
    "same": [
        (column(), column(), {}, [("a", None, "a"), (None, None, None)], []),
        (column(), column(labels={"M": {}, "F": {}}), {}, [("M", None, "M")], ["X"]),
        (column(type="integer"), column(type="number"), {}, [(3, None, 3.0)], []),
    ],
    "recode": [
        (column(), column(), {"values": {"1": "M", "2": "F"}, "missing": {"9": "unknown"}},
         [("1", None, "M"), ("9", None, None), (None, None, None)], ["3"]),
        (column(type="integer"), column(), {"values": {"1": "O'Neil"}}, [(1, None, "O'Neil")], [2]),
    ],
    "unit": [
        (GRAMS, KG, {"units": {"g": {}}}, [(72500.0, None, 72.5), (None, None, None)], []),
        (MIXED, KG, {"units": {"g": {}, "kg": {}, "geun": {"factor": 0.6}}},
         [(72500.0, "g", 72.5), (70.0, "kg", 70.0), (100.0, "geun", 60.0)], [(1.0, "lb"), (1.0, None)]),
        (column(type="number", unit="[degF]", role={"kind": "number"}),
         column(type="number", unit="Cel", role={"kind": "number"}), {"units": {"[degF]": {}}},
         [(212.0, None, 100.0)], []),
    ],
    "vocabulary": [
        (column(role=KCD8), column(role=KCD9), {"codes": {"U07.1": "U07.3"}, "others": "unchanged"},
         [("U07.1", None, "U07.3"), ("I10", None, "I10")], []),
        (column(role=KCD8), column(role=KCD9), {"codes": {"I10": "I10"}, "missing": {"X99": "unknown"}},
         [("I10", None, "I10"), ("X99", None, None)], ["E11"]),
    ],
    "recode_by_site": [],  # needs a second column: see test_every_site_has_its_own_codes_and_reasons
    "missing": [(None, column(), {"why": "never asked there"}, [("anything", None, None)], [])],
}  # fmt: skip
EACH = [(name, i) for name, cases in CASES.items() for i in range(len(cases))]


def test_every_kind_has_its_cases():
    assert CASES.keys() == kinds().keys()


@pytest.mark.parametrize(("name", "case"), EACH)
def test_a_kind_maps_what_it_names_and_lists_the_rest(name: str, case: int) -> None:
    source, target, given, mapped, unmapped = CASES[name][case]
    kind = kinds()[name]
    params = kind.Params.model_validate(given)
    assert list(kind.findings(source, target, params)) == []
    con = duckdb.connect()
    con.execute("CREATE TABLE look (v VARCHAR, into_ VARCHAR, reason VARCHAR)")
    con.execute('ALTER TABLE look RENAME into_ TO "into"')
    for value, (into, reason) in kind.lookup(params).items():
        con.execute("INSERT INTO look VALUES (?, ?, ?)", [value, into, reason])
    at = Places("s.raw", "s.u" if source is not None and source.unit_column else None, None, "look")
    type_ = {"integer": "BIGINT", "number": "DOUBLE"}.get(source.type if source else "string", "VARCHAR")

    def ask(what: str, value: Any, unit: Any) -> Any:
        row = f"(SELECT CAST(? AS {type_}) AS raw, CAST(? AS VARCHAR) AS u) s"
        return con.execute(f"SELECT {what} FROM {row}", [value, unit]).fetchall()[0][0]

    question = kind.question(at, source, target, params)
    for value, unit, wanted in mapped:
        assert ask(kind.sql(at, source, target, params), value, unit) == wanted
        assert question is None or not ask(question.unmapped, value, unit)
    for one in unmapped:
        value, unit = one if isinstance(one, tuple) else (one, None)
        assert question is not None
        assert ask(question.unmapped, value, unit)
        assert question.what == "unit" or ask(kind.sql(at, source, target, params), value, unit) in (
            None,
            value,
        )


@pytest.mark.parametrize(
    ("by", "source", "target", "params", "code"),
    [
        ("same", GRAMS, KG, {}, "unit_unmapped"),
        ("same", column(type="number", role={"kind": "number"}), KG, {}, "unit_unmapped"),
        ("same", MIXED, KG, {}, "unit_unmapped"),
        ("same", column(role=KCD8), column(role=KCD9), {}, "vocabulary_unmapped"),
        ("same", column(type="integer"), column(), {}, "type_differs"),
        ("same", column(labels={"1": {"en": "male"}}), column(labels={"1": {"en": "female"}}), {}, "labels_differ"),
        ("recode", column(), column(type="integer"), {"values": {"a": "b"}}, "wrong_type"),
        ("recode", column(), column(labels={"M": {}}), {"values": {"a": "F"}}, "unlabelled_target"),
        ("recode", column(labels={"1": {}, "2": {}}), column(), {"values": {"1": "M"}}, "value_unmapped"),
        ("recode", column(), column(), {"values": {"1": "M"}, "missing": {"1": "unknown"}}, "recoded_twice"),
        ("unit", GRAMS, KG, {"units": {"kg": {}}}, "unit_unmapped"),
        ("unit", MIXED, KG, {"units": {"stone": {}}}, "conversion_unknown"),
        ("unit", GRAMS, column(type="number", role={"kind": "number"}), {"units": {"g": {}}}, "no_unit"),
        ("vocabulary", column(), column(role=KCD9), {"codes": {}}, "not_a_code"),
        ("vocabulary", column(role={"kind": "code", "vocabulary": "ICD10"}), column(role=KCD9),
         {"others": "unchanged"}, "others_of_another"),
        ("missing", None, column(required=True), {"why": "never asked"}, "required"),
    ],
)  # fmt: skip
def test_what_two_columns_say_differently_is_not_mapped_silently(by, source, target, params, code):
    kind = kinds()[by]
    found = [c for c, _detail in kind.findings(source, target, kind.Params.model_validate(params))]
    assert code in found


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ({"kind": "quasi_identifier"}, {"kind": "attribute"}),
        ({"kind": "sensitive", "l": 3}, {"kind": "sensitive", "l": 2}),
        ({"kind": "sensitive", "t": 0.2}, {"kind": "sensitive"}),
        ({"kind": "code", "vocabulary": "KCD", "min_participants": 50}, KCD9),
        ({"kind": "date", "mode": "year"}, {"kind": "date", "mode": "shift"}),
        ({"kind": "number", "round": 5.0}, {"kind": "number"}),
        ({"kind": "quasi_identifier", "min_level": 2}, {"kind": "quasi_identifier"}),
        ({"kind": "record_id"}, {"kind": "attribute"}),
    ],
)
def test_a_united_column_protects_no_less_than_its_source(source, target):
    assert list(weaker(column(role=source), column(role=target)))
    assert not list(weaker(column(role=source), column(role=source)))


def both(change: Any = None) -> list[str]:
    document = copy.deepcopy(mapping("ver_1", "ver_2"))
    if change:
        change(document)
    read = united.read(document)
    sources = {"hanbit": Dictionary.model_validate(HANBIT), "saebom": Dictionary.model_validate(SAEBOM)}
    return [f.code for f in united.findings(read, united.dictionary_of(read), sources)]


def test_a_whole_mapping_has_nothing_to_say_and_every_table_names_the_source():
    assert both() == []
    dictionary = united.dictionary_of(united.read(mapping("ver_1", "ver_2")))
    assert all(table.fields[-1].name == "source" for table in dictionary.tables)
    assert dictionary.people.fields[-1].role.max_level == 0  # type: ignore[union-attr]


def test_tables_kinds_domains_and_names_that_do_not_meet_are_told_together():
    def change(document: dict[str, Any]) -> None:
        tables = document["dictionary"]["tables"]
        tables[1]["domain"] = "lifelog"
        tables[1]["fields"].append({"name": "source", "role": {"kind": "attribute"}})
        tables[1]["fields"][0]["type"] = "integer"
        document["sources"][1]["tables"].pop("visits")
        document["sources"][0]["tables"]["visits"]["columns"]["code"]["by"] = "guess"
        document["sources"][0]["tables"]["nothing"] = {"absent": "there is none"}

    assert {
        "domain_differs",
        "reserved_column",
        "id_not_string",
        "table_unmapped",
        "unknown_mapping",
        "unknown_table",
    } <= set(both(change))


def test_a_mapping_of_another_shape_is_refused_without_a_value_of_it():
    with pytest.raises(Problem) as found:
        united.read({"dictionary": {}, "sources": [{"secret": "value"}]})
    assert found.value.code == "mapping_invalid"
    assert "value" not in str(found.value.to_dict()).replace("value_error", "")


@pytest.mark.parametrize(
    ("unit", "into", "value", "becomes"),
    [
        ("g", "kg", 72500, 72.5), ("mg/dL", "g/L", 110, 1.1), ("Cel", "K", 20, 293.15), ("[degF]", "Cel", 98.6, 37.0),
        ("kg", "kg", 3, 3), ("kg", "m", 1, None), ("kg", "stone", 1, None), ("mm[Hg]", "kPa", 120, 15.9986844898),
        # prefixes, powers, products, quotients and parentheses of UCUM
        ("10*3/uL", "10*9/L", 7.2, 7.2), ("10*9/L", "/nL", 7.2, 7.2), ("kg/m2", "g/cm2", 25, 2.5),
        ("fL", "um3", 90, 90),
        ("g/(24.h)", "mg/d", 1.5, 1500), ("U/L", "nkat/L", 60, 1000), ("m[IU]/L", "u[IU]/mL", 4, 4),
        ("mo", "a", 6, 0.5),
        ("kcal", "kJ", 1, 4.184), ("mmol/mol", "%", 48, 4.8), ("{cells}/uL", "{cells}/mL", 2, 2000),
        ("m.s-2", "cm/s2", 1, 100),
        # what is no factor: another dimension, a substance, a note that says something else, half an expression
        ("mmol/L", "mg/dL", 1, None), ("eq/L", "mol/L", 1, None), ("[IU]/L", "U/L", 1, None),
        ("mg//dL", "g/L", 1, None),
        ("mL/min/{1.73_m2}", "mL/min", 1, None), ("m(", "m", 1, None), ("", "g", 1, None), ("Cel/h", "K/h", 1, None),
        ("k[lb_av]", "kg", 1, None), ("g)", "kg", 1, None), ("0.g", "g", 1, None),
    ],
)  # fmt: skip
def test_units_convert_by_ucum(unit, into, value, becomes):
    found = conversion(unit, into)
    result = None if found is None else float(Fraction(str(value)) * found.factor + found.offset)
    assert result == (becomes if becomes is None else pytest.approx(becomes))


@pytest.mark.parametrize("unit", ["mg/dL", "mm[Hg]", "10*3/uL", "[lb_av]", "U/L", "Cel", "[degF]", "kg/m2"])
def test_there_and_back_is_exactly_where_it_was(unit):
    other = {"Cel": "[degF]", "[degF]": "K", "[lb_av]": "kg", "mm[Hg]": "kPa", "U/L": "kat/L"}.get(unit)
    into = other or {"mg/dL": "g/L", "10*3/uL": "10*9/L", "kg/m2": "g/cm2"}[unit]
    there, back = conversion(unit, into), conversion(into, unit)
    assert there is not None
    assert back is not None
    value = Fraction("98.6")
    assert (value * there.factor + there.offset) * back.factor + back.offset == value


def test_why_a_value_is_missing_is_not_lost_between_two_dictionaries():
    def change(document: dict[str, Any], reasons: dict[str, str]) -> None:
        weight = next(c for c in document["dictionary"]["tables"][0]["fields"] if c["name"] == "weight")
        weight["missing"] = reasons

    theirs = copy.deepcopy(HANBIT)
    next(c for c in theirs["tables"][0]["fields"] if c["name"] == "weight")["missing"] = {
        "-9": "refused",
        "-8": "unknown",
    }
    for said, lost in (({}, 2), ({"-9": "refused"}, 1), ({"-1": "unknown", "-2": "refused"}, 0)):
        document = copy.deepcopy(mapping("ver_1", "ver_2"))
        change(document, said)
        read = united.read(document)
        sources = {"hanbit": Dictionary.model_validate(theirs), "saebom": Dictionary.model_validate(SAEBOM)}
        found = [
            f for f in united.findings(read, united.dictionary_of(read), sources) if f.code == "reason_lost"
        ]
        assert [f.count for f in found] == ([lost] if lost else [])


BY_SITE = {
    "site": "ward",
    "sites": {
        "A": {"values": {"1": "M", "2": "F"}, "missing": {"-9": "refused"}},
        "B": {"values": {"1": "F", "0": "M"}},
    },
}  # fmt: skip


def test_every_site_has_its_own_codes_and_reasons():
    con = duckdb.connect()
    kind = kinds()["recode_by_site"]
    params = kind.Params.model_validate(BY_SITE)
    rows = [
        ("A", "1"),
        ("A", "2"),
        ("A", "-9"),
        ("B", "1"),
        ("B", "0"),
        ("B", "2"),
        ("C", "1"),
        (None, "1"),
        ("A", None),
    ]
    con.execute("CREATE TABLE s(ward VARCHAR, c VARCHAR)")
    con.executemany("INSERT INTO s VALUES (?, ?)", rows)
    con.execute('CREATE TABLE lookup_1(v VARCHAR, "into" VARCHAR, reason VARCHAR)')
    con.executemany(
        "INSERT INTO lookup_1 VALUES (?, ?, ?)", [(v, *both) for v, both in kind.lookup(params).items()]
    )
    at = Places("s.c", lookup="lookup_1", site="s.ward")
    target = column(labels={"M": {}, "F": {}}, missing={"-1": "refused"})
    assert list(kind.findings(column(), target, params)) == []
    mapped = con.execute(
        f"SELECT {kind.sql(at, column(), target, params)}, {kind.reason(at, params)} FROM s"
    ).fetchall()
    assert mapped == [
        ("M", None), ("F", None), (None, "refused"), ("F", None), ("M", None), *[(None, None)] * 4,
    ]  # fmt: skip
    asked = kind.question(at, column(), target, params)
    assert asked is not None
    listed = con.execute(f"SELECT {asked.value} FROM s WHERE {asked.unmapped} ORDER BY 1").fetchall()
    assert [one for (one,) in listed] == ["?: 1", "B: 2", "C: 1"]
    wrong = kind.Params.model_validate({"site": "ward", "sites": {"A": {"values": {"1": "X"}}}})
    assert [code for code, _ in kind.findings(column(labels={"2": {}}), target, wrong)] == [
        "unlabelled_target", "value_unmapped",
    ]  # fmt: skip


def test_the_column_of_sites_is_there_and_counts_as_used():
    def change(site: str) -> Any:
        def changed(document: dict[str, Any]) -> None:
            people = document["sources"][0]["tables"]["people"]
            values = {"values": {"F": "F", "M": "M"}}
            people["columns"]["sex"] = {
                "from": "gender",
                "by": "recode_by_site",
                "params": {"site": site, "sites": {"A": values}},
            }
            people["left_out"].pop("ward", None)

        return changed

    assert both(change("ward")) == []
    assert "unknown_column" in both(change("warp"))
