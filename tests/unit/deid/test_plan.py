"""Plans: each role's default transform, ids consistent across tables, and every refusal, all at once."""

import datetime as dt
import json
from typing import Any

import duckdb
import pytest

from app.deid.choices import chosen, space
from app.deid.codebook import codebook
from app.deid.filters import where
from app.deid.plan import check, draft, filter_columns
from app.deid.roles import check_dictionary
from app.deid.transforms import Rendering
from app.errors import Problem
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Condition, Plan, PlannedColumn, Privacy, plan_hash


def field(name: str, kind: str, type: str = "string", **more: Any) -> dict[str, Any]:  # noqa: A002
    role = {"kind": kind, **more.pop("role", {})}
    return {"name": name, "type": type, "role": role, **more}


def dictionary(**changes: Any) -> Dictionary:
    """Two hospitals' worth of shapes: people, visits, lab values by way of the visit, mothers and children."""
    document = {
        "title": {"ko": "코호트", "en": "Cohort"},
        "hierarchies": {
            "age": {"kind": "interval", "bounds": [0, 90], "widths": [5, 10, 30]},
            "sex": {"kind": "flat"},
            "kcd": {"kind": "prefix", "lengths": [3, 1]},
        },
        "tables": [
            {
                "name": "person",
                "kind": "participant",
                "fields": [
                    field("person_id", "participant_id"),
                    field("이름", "direct_identifier"),
                    field("age", "quasi_identifier", "integer", role={"hierarchy": "age", "min_level": 1}),
                    field("sex", "quasi_identifier", role={"hierarchy": "sex"},
                          labels={"M": {"ko": "남", "en": "male"}, "F": {"ko": "여", "en": "female"}}),
                    field("hospital", "site"),
                    field("family", "family_id"),
                    field("smoker", "sensitive", role={"l": 2}, missing={"888": "refused", "999": "not_asked"}),
                    field("height", "number", "number", role={"round": 5, "top": 200}, unit="cm",
                          missing={"999": "refused"}),
                    field("genome", "handle"),
                    field("token", "linkage_token"),
                    field("blood_type", "attribute", labels={"A": {"ko": "에이형", "en": "A"}}),
                ],
            },
            {
                "name": "visit",
                "kind": "event",
                "primary_key": ["visit_id"],
                "foreign_keys": [{"column": "doctor", "table": "staff", "references": "staff_id"}],
                "fields": [
                    field("person_id", "participant_id"),
                    field("visit_id", "record_id"),
                    field("visit_date", "date", "date", role={"mode": "shift"}),
                    field("visit_datetime", "date", "datetime", role={"mode": "shift"}),
                    field("diagnosis", "code", role={"vocabulary": "KCD", "version": "9", "roll_up": "kcd"}),
                    field("ward", "site"),
                    field("doctor", "provider_id"),
                    field("note", "free_text"),
                    field("weight", "number", "number", role={"bottom": 30, "top": 150}, unit="kg"),
                    field("score", "number", "integer"),
                    field("pages", "attribute", "integer"),
                ],
            },
            {
                "name": "lab",
                "kind": "event",
                "participant_via": "visit.visit_id",
                "via_column": "claim",
                "fields": [
                    field("claim", "record_id", role={"of": "visit_id"}),
                    field("test", "code", role={"vocabulary": "LOINC", "min_participants": 30}),
                    field("source_row", "record_id", role={"drop": True}),
                ],
            },
            {
                "name": "mother_child",
                "kind": "link",
                "fields": [field("mother", "participant_id"), field("child", "participant_id"),
                           field("kind", "attribute")],
            },
            {
                "name": "staff",
                "kind": "reference",
                "primary_key": ["staff_id"],
                "fields": [field("staff_id", "record_id"), field("specialty", "code", role={"vocabulary": "own"}),
                           field("since", "date", "date", role={"mode": "year"})],
            },
        ],
    }  # fmt: skip
    return check_dictionary({**document, **changes})


DICTIONARY = dictionary()
PRIVACY = Privacy(k=11)


def planned(plan: Plan, table: str) -> dict[str, tuple[str, dict[str, Any]]]:
    return {column.name: (column.transform, column.params) for column in plan.table(table).columns}


def codes(problem: pytest.ExceptionInfo[Problem]) -> set[tuple[str, str | None, str | None]]:
    assert problem.value.code == "plan_invalid"
    return {(one.code, one.table, one.column) for one in problem.value.findings}


def wish(tables: Any, *conditions: Condition, privacy: Privacy = PRIVACY) -> Plan:
    return draft(DICTIONARY, tables, conditions, privacy, "ver_1")


def refused(
    tables: Any, *conditions: Condition, privacy: Privacy = PRIVACY
) -> set[tuple[str, str | None, str | None]]:
    with pytest.raises(Problem) as problem:
        wish(tables, *conditions, privacy=privacy)
    return codes(problem)


def changed(table: str, column: str, transform: str, **params: Any) -> Plan:
    """The plan of everything with one column by another transform."""
    plan = wish(None)
    tables = []
    for one in plan.tables:
        columns = tuple(
            PlannedColumn(name=c.name, transform=transform, params=params)
            if (one.name, c.name) == (table, column)
            else c
            for c in one.columns
        )
        tables.append(one.model_copy(update={"columns": columns}))
    return plan.model_copy(update={"tables": tuple(tables)})


def refused_change(table: str, column: str, transform: str, **params: Any) -> set[str]:
    with pytest.raises(Problem) as problem:
        check(changed(table, column, transform, **params), DICTIONARY)
    assert {(one.table, one.column) for one in problem.value.findings} == {(table, column)}
    return {one.code for one in problem.value.findings}


# --- drafting -----------------------------------------------------------------------------------------------


def test_every_role_leaves_by_its_default():
    plan = wish(None)
    assert [table.name for table in plan.tables] == ["person", "visit", "lab", "mother_child"]
    assert planned(plan, "person") == {
        "person_id": ("pseudonymise", {}),
        "age": ("generalise", {}),
        "sex": ("generalise", {}),
        "hospital": ("generalise", {}),
        "family": ("keyed_id", {"space": "family"}),
        "smoker": ("keep", {}),
        "smoker__missing": ("label_missing", {}),
        "height": ("round_number", {"to": 5.0, "top": 200.0}),
        "height__missing": ("label_missing", {}),
        "genome": ("keyed_id", {"space": "handle:genome"}),
        "blood_type": ("keep", {}),
    }
    assert planned(plan, "visit") == {
        "person_id": ("pseudonymise", {}),
        "visit_id": ("keyed_id", {"space": "record:visit_id"}),
        "visit_date": ("shift_date", {}),
        "visit_datetime": ("shift_date", {}),
        "diagnosis": ("roll_up", {"min_participants": 11, "hierarchy": "kcd"}),
        "ward": ("roll_up", {"min_participants": 11, "hierarchy": None}),
        "doctor": ("keyed_id", {"space": "record:staff_id"}),
        "weight": ("clamp", {"bottom": 30.0, "top": 150.0}),
        "score": ("keep", {}),
        "pages": ("keep", {}),
    }
    assert planned(plan, "lab") == {
        "claim": ("keyed_id", {"space": "record:visit_id"}),
        "test": ("roll_up", {"min_participants": 30, "hierarchy": None}),
    }
    assert planned(plan, "mother_child") == {
        "mother": ("pseudonymise", {}),
        "child": ("pseudonymise", {}),
        "kind": ("keep", {}),
    }


def test_a_reference_table_leaves_only_by_name_and_its_ids_meet_those_that_point_at_it():
    plan = wish({"staff": [], "visit": ["doctor"]})
    assert planned(plan, "staff") == {
        "staff_id": ("keyed_id", {"space": "record:staff_id"}),
        "specialty": ("keep", {}),
        "since": ("keep", {}),
    }
    assert planned(plan, "visit")["doctor"] == ("keyed_id", {"space": "record:staff_id"})


def test_an_id_space_follows_keys_through_every_table():
    for table, column in (("visit", "visit_id"), ("lab", "claim")):
        assert (
            space(DICTIONARY, DICTIONARY.table(table), DICTIONARY.table(table).column(column))
            == "record:visit_id"
        )


def test_pseudonyms_and_reasons_come_along_unasked_in_the_dictionarys_order():
    plan = wish({"visit": ["score"], "person": ["height", "age"]})
    assert [c.name for c in plan.table("person").columns] == ["person_id", "age", "height", "height__missing"]
    assert [c.name for c in plan.table("visit").columns] == ["person_id", "score"]
    assert plan_hash(plan) == plan_hash(wish({"person": ["age", "height"], "visit": ["score"]}))


def test_a_plan_without_the_participant_table_releases_none_of_its_quasi_identifiers():
    plan = wish({"visit": ["diagnosis"]})
    assert [table.name for table in plan.tables] == ["visit"]
    assert "generalise" not in {transform for transform, _ in planned(plan, "visit").values()}


def test_safe_harbor_drafts_years():
    plan = wish({"visit": ["visit_date"]}, privacy=Privacy(k=11, preset="hipaa_safe_harbor"))
    assert planned(plan, "visit")["visit_date"] == ("truncate_date", {"to": "year"})


def _capped(*names: str, most: int = 5) -> Dictionary:
    document = DICTIONARY.model_dump(mode="json")
    for table in document["tables"]:
        if table["name"] in names:
            table["max_rows_per_person"] = most
    return Dictionary.model_validate_json(json.dumps(document))


def test_a_cap_comes_from_the_dictionary_and_only_gets_stricter():
    words = _capped("visit")
    assert draft(words, {"visit": []}, (), PRIVACY, "ver_1").table("visit").max_rows_per_person == 5
    asked = draft(words, {"visit": []}, (), PRIVACY, "ver_1", {"visit": 2})
    assert asked.table("visit").max_rows_per_person == 2
    for wrong in (6, None):
        table = asked.table("visit").model_copy(update={"max_rows_per_person": wrong})
        with pytest.raises(Problem) as refused:
            check(asked.model_copy(update={"tables": (table,)}), words)
        places = [(f.code, f.table, f.pointer) for f in refused.value.findings]
        assert places == [("finer_than_dictionary", "visit", "/tables/0/max_rows_per_person")]


def test_a_cap_where_it_cannot_be_is_refused():
    """On the participant table, on a table that leads others to their person, on one that does not leave."""
    with pytest.raises(Problem) as refused:
        draft(DICTIONARY, {"person": [], "visit": [], "lab": []}, (), PRIVACY, "ver_1",
              {"person": 1, "visit": 2, "labs": 3})  # fmt: skip
    found = [(f.code, f.table) for f in refused.value.findings]
    assert found == [("unknown_table", "labs"), ("cap_not_allowed", "person"), ("cap_not_allowed", "visit")]
    assert draft(DICTIONARY, {"visit": []}, (), PRIVACY, "ver_1", {"visit": 2})
    assert draft(DICTIONARY, {"visit": [], "lab": []}, (), PRIVACY, "ver_1", {"lab": 2})
    with pytest.raises(Problem) as refused:
        check_dictionary(_capped("person", "visit").model_dump(mode="json"))
    assert [(f.code, f.table) for f in refused.value.findings] == [
        ("contradiction", "person"), ("contradiction", "lab"),
    ]  # fmt: skip


def test_a_plan_without_a_cap_has_the_hash_it_had():
    plan = draft(DICTIONARY, {"visit": []}, (), PRIVACY, "ver_1")
    assert "max_rows_per_person" not in json.dumps(plan.model_dump(mode="json"))
    capped = draft(DICTIONARY, {"visit": []}, (), PRIVACY, "ver_1", {"visit": 2})
    assert plan_hash(capped) != plan_hash(plan)


def test_a_drafted_plan_is_one_that_passes():
    check(wish(None), DICTIONARY)


def test_all_unknown_names_are_told_at_once_with_near_matches_and_all_that_never_leaves():
    with pytest.raises(Problem) as problem:
        wish(
            {
                "person": ["AGE", "heigth", "이름", "token"],
                "vist": ["x"],
                "visit": ["note", "zzz"],
                "lab": ["source_row"],
            },
            Condition(table="persons", column="age", values=("x",)),
        )
    assert codes(problem) == {
        ("unknown_column", "person", "AGE"),
        ("unknown_column", "person", "heigth"),
        ("never_leaves", "person", "이름"),
        ("never_leaves", "person", "token"),
        ("unknown_table", "vist", None),
        ("never_leaves", "visit", "note"),
        ("unknown_column", "visit", "zzz"),
        ("never_leaves", "lab", "source_row"),
    }
    near = {one.column or one.table: one.near for one in problem.value.findings}
    assert near["AGE"][0] == "age"
    assert near["heigth"][0] == "height"
    assert near["vist"][0] == "visit"
    assert near["zzz"] == ()


def test_findings_of_names_and_of_the_filter_come_together():
    found = refused({"person": ["age", "heigth"]}, Condition(table="persons", column="age", values=("x",)))
    assert found == {("unknown_column", "person", "heigth"), ("unknown_table", "persons", None)}


def test_a_wish_for_nothing_is_refused():
    assert refused({}) == {("nothing_asked", None, None)}


def test_a_date_declared_an_attribute_never_leaves():
    table = {
        "name": "person",
        "kind": "participant",
        "fields": [field("person_id", "participant_id"), field("enrolled", "attribute", "date")],
    }
    with pytest.raises(Problem) as problem:
        draft(dictionary(tables=[table]), {"person": ["enrolled"]}, (), PRIVACY, "ver_1")
    assert codes(problem) == {("never_leaves", "person", "enrolled")}


# --- checking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "transform", "params", "code"),
    [
        ("person", "age", "keep", {}, "transform_not_allowed"),
        ("person", "hospital", "roll_up", {"min_participants": 11}, "transform_not_allowed"),
        ("visit", "ward", "generalise", {}, "transform_not_allowed"),
        ("visit", "visit_id", "keep", {}, "transform_not_allowed"),
        ("visit", "visit_date", "keep", {}, "transform_not_allowed"),
        ("visit", "diagnosis", "keep", {}, "transform_not_allowed"),
        ("visit", "score", "shift_date", {}, "transform_not_allowed"),
        ("person", "smoker__missing", "keep", {}, "transform_not_allowed"),
        ("visit", "score", "rounding", {}, "unknown_transform"),
        ("visit", "score", "band", {"width": 5}, "bad_params"),
        ("visit", "score", "band", {"width": 5, "low": 0, "high": 7}, "bad_params"),
        ("visit", "score", "band", {"width": "5", "low": 0, "high": 10}, "bad_params"),
        ("visit", "score", "clamp", {}, "bad_params"),
        ("visit", "score", "clamp", {"top": 9.5}, "bad_params"),
        ("visit", "score", "keep", {"anything": 1}, "bad_params"),
        ("visit", "visit_id", "keyed_id", {"space": "family"}, "wrong_space"),
        (
            "visit",
            "diagnosis",
            "roll_up",
            {"min_participants": 5, "hierarchy": "kcd"},
            "finer_than_dictionary",
        ),
        ("lab", "test", "roll_up", {"min_participants": 11}, "finer_than_dictionary"),
        ("visit", "diagnosis", "roll_up", {"min_participants": 11, "hierarchy": "sex"}, "wrong_hierarchy"),
        ("visit", "weight", "keep", {}, "finer_than_dictionary"),
        ("visit", "weight", "clamp", {"bottom": 20, "top": 150}, "finer_than_dictionary"),
        ("person", "height", "round_number", {"to": 1, "top": 200}, "finer_than_dictionary"),
        ("person", "height", "band", {"width": 7, "low": 0, "high": 196}, "finer_than_dictionary"),
        ("person", "height", "clamp", {"top": 200}, "finer_than_dictionary"),
        ("visit", "visit_date", "truncate_date", {"to": "month"}, "finer_than_dictionary"),
    ],
)
def test_what_the_dictionary_forbids_is_refused(
    table: str, column: str, transform: str, params: Any, code: str
):
    assert refused_change(table, column, transform, **params) == {code}


@pytest.mark.parametrize(
    ("table", "column", "transform", "params"),
    [
        ("visit", "weight", "band", {"width": 10, "low": 40, "high": 140}),
        ("visit", "weight", "round_number", {"to": 10, "bottom": 30, "top": 150}),
        ("person", "height", "band", {"width": 10, "low": 100, "high": 200}),
        ("visit", "score", "band", {"width": 10, "low": 0, "high": 90}),
        ("visit", "diagnosis", "roll_up", {"min_participants": 20}),
        ("visit", "score", "drop", {}),
        ("person", "hospital", "drop", {}),
    ],
)
def test_what_protects_more_is_accepted(table: str, column: str, transform: str, params: Any):
    check(changed(table, column, transform, **params), DICTIONARY)


def test_bad_parameters_are_told_without_their_values():
    with pytest.raises(Problem) as problem:
        check(changed("visit", "score", "clamp", top="8001011234567"), DICTIONARY)
    assert "8001011234567" not in str(problem.value.to_dict())


def test_everything_wrong_is_told_at_once():
    plan = changed("visit", "score", "rounding")
    worse = plan.model_copy(
        update={
            "privacy": Privacy(k=2, preset="expert_0_09"),
            "filter": (Condition(table="visit", column="note", values=("x",)),),
            "tables": (*plan.tables, plan.tables[0]),
        }
    )
    with pytest.raises(Problem) as problem:
        check(worse, DICTIONARY)
    assert {one.code for one in problem.value.findings} == {
        "unknown_transform",
        "contradiction",
        "filter_not_in_plan",
        "duplicate_table",
    }


def test_a_table_that_holds_people_leaves_with_their_pseudonym():
    assert refused_change("visit", "person_id", "drop") == {"pseudonym_missing"}


def test_a_column_planned_twice_is_refused():
    plan = wish({"visit": ["score"]})
    columns = plan.table("visit").columns
    twice = plan.model_copy(
        update={"tables": (plan.tables[0].model_copy(update={"columns": (*columns, columns[-1])}),)}
    )
    with pytest.raises(Problem) as problem:
        check(twice, DICTIONARY)
    assert codes(problem) == {("duplicate_column", "visit", "score")}


def test_a_timeline_of_two_modes_is_refused_with_all_places():
    with pytest.raises(Problem) as problem:
        check(changed("visit", "visit_datetime", "truncate_date", to="year"), DICTIONARY)
    assert codes(problem) == {
        ("date_modes_conflict", "visit", "visit_date"),
        ("date_modes_conflict", "visit", "visit_datetime"),
    }


@pytest.mark.parametrize(
    ("year", "moment"),
    [("YEAR_OF_BIRTH", "BIRTH_DATETIME"), ("진단연도", "진단일자"), ("death_year", "date_of_death")],
)
def test_a_shifted_date_beside_the_true_year_of_the_same_event_is_refused(year: str, moment: str):
    table = {
        "name": "person",
        "kind": "participant",
        "fields": [
            field("person_id", "participant_id"),
            field(year, "quasi_identifier", "integer", role={"hierarchy": "age"}),
            field(moment, "date", "datetime", role={"mode": "shift"}, missing={"0": "unknown"}),
        ],
    }
    twins = dictionary(tables=[table])
    with pytest.raises(Problem) as problem:
        draft(twins, {"person": [year, moment]}, (), PRIVACY, "ver_1")
    assert codes(problem) == {("date_twin", "person", moment)}
    draft(twins, {"person": [moment]}, (), PRIVACY, "ver_1")
    for everything in (None, dict[str, list[str]](person=[])):
        plan = draft(twins, everything, (), PRIVACY, "ver_1")
        assert set(planned(plan, "person")) == {"person_id", year}


@pytest.mark.parametrize(
    ("privacy", "code"),
    [
        (Privacy(k=5, preset="expert_0_09"), "contradiction"),
        (Privacy(preset="cms_11"), "contradiction"),
        (Privacy(preset="expert"), "unknown_preset"),
    ],
)
def test_limits_that_contradict_are_refused(privacy: Privacy, code: str):
    assert refused({"person": ["age"]}, privacy=privacy) == {(code, None, None)}


def test_safe_harbor_refuses_shifted_dates():
    plan = wish({"visit": ["visit_date"]}).model_copy(update={"privacy": Privacy(preset="hipaa_safe_harbor")})
    with pytest.raises(Problem) as problem:
        check(plan, DICTIONARY)
    assert codes(problem) == {("against_preset", "visit", "visit_date")}


# --- filters -------------------------------------------------------------------------------------------------


def test_filter_columns_are_told_once_each():
    plan = wish(
        None,
        Condition(table="visit", column="diagnosis", values=("E11",)),
        Condition(table="person", column="age", level=1, values=("[30, 35)",)),
        Condition(table="person", column="age", level=2, values=("[30, 40)",)),
    )
    assert filter_columns(plan) == (("person", "age"), ("visit", "diagnosis"))


@pytest.mark.parametrize(
    "condition",
    [
        {"table": "person", "column": "age", "level": 1, "at_least": 30, "at_most": 65},
        {"table": "person", "column": "sex", "values": ("F",)},
        {"table": "person", "column": "height", "at_least": 150, "at_most": 200},
        {"table": "person", "column": "blood_type", "values": ("A", "O")},
        {"table": "visit", "column": "weight", "at_least": 150},
        {"table": "visit", "column": "weight", "at_most": 30},
        {"table": "visit", "column": "diagnosis", "values": ("E11", "E1")},
        {"table": "visit", "column": "pages", "values": ("3",)},
        {"table": "mother_child", "column": "kind", "values": ("birth",)},
    ],
)
def test_a_filter_at_a_released_level_is_accepted(condition: dict[str, Any]):
    wish(None, Condition(**condition))


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ({"table": "person", "column": "age", "values": ("33",)}, "filter_too_fine"),
        ({"table": "person", "column": "age", "level": 1, "at_least": 33}, "filter_off_edge"),
        ({"table": "person", "column": "age", "level": 2, "at_least": 35}, "filter_off_edge"),
        ({"table": "person", "column": "age", "level": 1, "at_most": 95}, "filter_off_edge"),
        ({"table": "person", "column": "hospital", "values": ("서울",)}, "filter_too_fine"),
        ({"table": "person", "column": "smoker", "values": ("yes",)}, "filter_not_allowed"),
        ({"table": "person", "column": "person_id", "values": ("1",)}, "filter_not_allowed"),
        ({"table": "person", "column": "family", "values": ("1",)}, "filter_not_allowed"),
        ({"table": "person", "column": "height__missing", "values": ("refused",)}, "filter_not_allowed"),
        ({"table": "person", "column": "height", "at_least": 152}, "filter_off_edge"),
        ({"table": "person", "column": "height", "values": ("tall",)}, "filter_bad_value"),
        ({"table": "person", "column": "height", "level": 1, "at_least": 150}, "filter_level"),
        ({"table": "person", "column": "이름", "values": ("x",)}, "filter_not_in_plan"),
        ({"table": "person", "column": "nane", "values": ("x",)}, "unknown_column"),
        ({"table": "visit", "column": "visit_date", "values": ("2020-01-01",)}, "filter_not_allowed"),
        ({"table": "visit", "column": "score", "at_least": 3}, "filter_too_fine"),
        ({"table": "visit", "column": "weight", "at_least": 80}, "filter_off_edge"),
        ({"table": "visit", "column": "weight", "at_least": 30}, "filter_off_edge"),
        ({"table": "visit", "column": "weight", "values": ("80",)}, "filter_too_fine"),
        ({"table": "visit", "column": "pages", "at_least": 3}, "filter_not_allowed"),
        ({"table": "visit", "column": "diagnosis"}, "filter_empty"),
        ({"table": "person", "column": "height", "at_least": 160, "at_most": 150}, "filter_empty"),
        ({"table": "person", "column": "height", "at_least": 150, "values": ("150",)}, "filter_ambiguous"),
        ({"table": "person", "column": "height", "at_least": float("nan")}, "filter_bad_value"),
    ],
)
def test_a_filter_finer_than_what_leaves_is_refused(condition: dict[str, Any], code: str):
    assert code in {found for found, _, _ in refused(None, Condition(**condition))}


def test_dates_are_filtered_by_year_or_month_only_where_they_leave_so():
    privacy = Privacy(preset="hipaa_safe_harbor")
    since = Condition(table="visit", column="visit_date", at_least=2015, at_most=2020)
    wish({"visit": ["visit_date"]}, since, privacy=privacy)
    half = Condition(table="visit", column="visit_date", at_least=2015.5)
    assert refused({"visit": ["visit_date"]}, half, privacy=privacy) == {
        ("filter_off_edge", "visit", "visit_date")
    }


def test_a_dropped_column_cannot_be_filtered():
    plan = changed("person", "blood_type", "drop")
    plan = plan.model_copy(
        update={"filter": (Condition(table="person", column="blood_type", values=("A",)),)}
    )
    with pytest.raises(Problem) as problem:
        check(plan, DICTIONARY)
    assert codes(problem) == {("filter_not_in_plan", "person", "blood_type")}


def test_a_reference_table_is_not_filtered():
    found = refused({"staff": []}, Condition(table="staff", column="specialty", values=("GP",)))
    assert found == {("filter_not_allowed", "staff", "specialty")}


def rows_that_pass(plan: Plan, table: str, kind: str, values: list[Any]) -> list[Any]:
    """The raw values whose released form meets the plan's only condition."""
    condition = plan.filter[0]
    choice = next(
        c for c in chosen(plan.table(table), DICTIONARY.table(table)) if c.planned.name == condition.column
    )
    r = Rendering()
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE t (x {kind})")
    connection.executemany("INSERT INTO t VALUES (?)", [[value] for value in values])
    released = choice.transform.sql("x", choice.column, choice.params, r)
    assert released is not None
    test = where(condition, choice, "x", released, r)
    return [row[0] for row in connection.sql(f"SELECT x FROM t WHERE {test} ORDER BY x").fetchall()]


def test_a_filter_tests_what_is_released_never_what_is_stored():
    heights = wish(None, Condition(table="person", column="height", at_least=150, at_most=155))
    assert rows_that_pass(heights, "person", "DOUBLE", [147.4, 147.6, 157.4, 157.6, None]) == [147.6, 157.4]
    listed = wish(None, Condition(table="person", column="height", values=("150", "200.0")))
    assert rows_that_pass(listed, "person", "DOUBLE", [149.0, 155.0, 230.0, None]) == [149.0, 230.0]


def test_a_range_over_bands_takes_whole_bands():
    ages = wish(None, Condition(table="person", column="age", level=1, at_least=30, at_most=40))
    assert rows_that_pass(ages, "person", "BIGINT", [29, 30, 39, 40, None]) == [30, 39]


def test_filter_values_are_quoted_and_missing_values_never_pass():
    codes_asked = wish(None, Condition(table="visit", column="diagnosis", values=("x' OR '1'='1", "E11")))
    assert rows_that_pass(codes_asked, "visit", "VARCHAR", ["E11", "I10", None]) == ["E11"]
    years = wish(
        {"visit": ["visit_date"]},
        Condition(table="visit", column="visit_date", at_least=2019, at_most=2020),
        privacy=Privacy(preset="hipaa_safe_harbor"),
    )
    days = [dt.date(2018, 12, 31), dt.date(2019, 1, 1), dt.date(2020, 12, 31), dt.date(2021, 1, 1), None]
    assert rows_that_pass(years, "visit", "DATE", days) == [dt.date(2019, 1, 1), dt.date(2020, 12, 31)]


# --- the codebook ------------------------------------------------------------------------------------------------


def test_the_codebook_tells_of_every_released_column_and_of_no_other():
    plan = changed("visit", "score", "drop")
    book = codebook(plan, DICTIONARY, {("person", "age"): [2, 1, 1]})
    columns = {
        (table["name"], column["name"]): column for table in book["tables"] for column in table["columns"]
    }
    expected = {(t.name, c.name) for t in plan.tables for c in t.columns} - {("visit", "score")}
    assert set(columns) == expected
    assert columns["person", "height"] == {
        "name": "height",
        "type": "double",
        "title": {"ko": "", "en": ""},
        "description": "",
        "role": "number",
        "transform": "round_number",
        "params": {"to": 5.0, "bottom": None, "top": 200.0},
        "released_as": {
            "ko": "5의 배수로 반올림; 200은(는) 그 이상",
            "en": "rounded to multiples of 5; 200 means that or more",
        },
        "differs_between_projects": False,
        "missing": ["refused"],
        "unit": "cm",
    }
    assert columns["person", "age"]["levels"] == [1, 2]
    assert columns["person", "sex"]["labels"]["F"] == {"ko": "여", "en": "female"}
    assert columns["person", "smoker__missing"]["labels"]["not_asked"]["en"] == "not asked"
    assert columns["visit", "diagnosis"]["vocabulary"] == {"name": "KCD", "version": "9"}
    assert columns["visit", "visit_date"]["differs_between_projects"]
