"""Every transform on every engine: a table of cases, what the released type promises, and no transform left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from math import inf, nan
from pathlib import Path
from typing import Any

import duckdb
import pytest

import app.deid.transforms as folder
from app.deid.keyed import keyed_id, record_key, register, space_key
from app.deid.transforms import Params, Rendering, Transform, transforms
from app.deid.transforms.contract import ROLES, TYPES
from app.schemas.dictionary import Column

KEY = bytes(range(32))
PSEUDONYM = "00c0ffee00c0ffee"


@dataclass(frozen=True)
class Case:
    """Values in, values out; each is one row of the person whose crosswalk row is given."""

    type: str
    values: Sequence[tuple[Any, Any]]
    params: dict[str, Any] = field(default_factory=dict)
    role: dict[str, Any] = field(default_factory=lambda: {"kind": "attribute"})
    shift: int = 14
    anchor: date | None = date(2020, 2, 29)
    missing: dict[str, str] = field(default_factory=dict)

    def column(self) -> Column:
        return Column.model_validate(
            {"name": "열", "type": self.type, "role": self.role, "missing": self.missing}
        )


DATE, NUMBER = {"kind": "date"}, {"kind": "number"}
CODE = {"kind": "code", "vocabulary": "KCD", "version": "9"}
VISIT = {"kind": "record_id", "of": "visit"}


moment = datetime.fromisoformat


# Of 15 bytes and fewer, of 16 and more; letters of one, three and four bytes; with what else fills a block.
IDS = ("12", "방문-12", "a'b", "1" * 15, "1" * 16, "가" * 5, "가" * 5 + "1", "0f8fad5b-d9cb-469f-a165-70867728950e",
       "😀" * 4, "a\x00", "a", "\xff" * 9)  # fmt: skip


def keyed(space: str, *values: tuple[Any, str]) -> list[tuple[Any, Any]]:
    return [*((value, keyed_id(KEY, space, text)) for value, text in values), (None, None)]


CASES: dict[str, list[Case]] = {
    "keep": [
        Case("string", [("서울 O'Neil", "서울 O'Neil"), ("", ""), (None, None)]),
        Case("integer", [(2**53 + 1, 2**53 + 1), (-1, -1), (None, None)]),
        Case("number", [(0.1, 0.1), (None, None)], role=NUMBER),
        Case("boolean", [(True, True), (False, False), (None, None)]),
    ],
    "drop": [],  # has no SQL: see below
    "pseudonymise": [
        Case("string", [("P-1", PSEUDONYM), (None, PSEUDONYM)], role={"kind": "participant_id"}),
        Case("integer", [(7, PSEUDONYM)], role={"kind": "participant_id"}),
    ],
    "keyed_id": [
        Case(
            "string",
            [*keyed("record:visit", *((id_, id_) for id_ in IDS)), ("", None)],
            {"space": "record:visit"},
            VISIT,
        ),
        Case("integer", keyed("record:visit", (12, "12"), (-3, "-3")), {"space": "record:visit"}, VISIT),
        Case("number", [*keyed("provider", (12.0, "12"), (1.5, "1.5")), (nan, None)], {"space": "provider"}, VISIT),
        Case("string", keyed("it's", ("12", "12")), {"space": "it's"}, VISIT),
    ],
    "shift_date": [
        Case(
            "date",
            [
                (date(2020, 2, 29), date(2020, 3, 14)),
                (date(2019, 2, 15), date(2019, 3, 1)),
                (date(2020, 2, 16), date(2020, 3, 1)),
                (date(9999, 12, 31), None),
                (date(2099, 12, 31), None),
                (date(1900, 1, 1), None),
                (date(1899, 12, 29), date(1900, 1, 12)),
                (date(2100, 1, 1), None),
                (date(1, 1, 1), None),
                (None, None),
            ],
            role=DATE,
        ),
        Case("date", [(date(2021, 3, 1), date(2020, 3, 2)), (date(2020, 3, 7), date(2019, 3, 9))], {}, DATE, -364),
        Case(
            "datetime",
            [
                (moment("2020-02-29 23:59:59.123456"), moment("2020-02-22 23:59:59.123456")),
                (moment("9999-12-31 23:59:00"), None),
                (None, None),
            ],
            role=DATE,
            shift=-7,
        ),
    ],
    "truncate_date": [
        Case(
            "date",
            [(date(2020, 2, 29), 2020), (date(1999, 12, 31), 1999), (date(2000, 1, 1), 2000), (None, None)],
            {"to": "year"},
            DATE,
        ),
        Case(
            "date", [(date(2020, 2, 29), "2020-02"), (date(987, 11, 1), "0987-11"), (None, None)], {"to": "month"}, DATE
        ),
        Case("datetime", [(moment("2020-12-31 23:59:59"), "2020-12")], {"to": "month"}, DATE),
    ],
    "relative_day": [
        Case(
            "date",
            [
                (date(2020, 2, 29), 0),
                (date(2020, 3, 1), 1),
                (date(2020, 2, 28), -1),
                (date(2021, 2, 28), 365),
                (date(9999, 12, 31), None),
                (None, None),
            ],
            role=DATE,
        ),
        Case("datetime", [(moment("2020-03-01 00:01:00"), 1), (moment("2020-02-29 23:59:00"), 0)], role=DATE),
        Case("date", [(date(2020, 3, 1), None)], role=DATE, anchor=None),
    ],
    "band": [
        Case(
            "integer",
            [(0, "[0, 5)"), (4, "[0, 5)"), (5, "[5, 10)"),
             (89, "[85, 90)"), (90, ">=90"), (117, ">=90"), (-1, "<0"), (None, None)],
            {"width": 5, "low": 0, "high": 90},
            NUMBER,
        ),
        Case(
            "number",
            [
                (0.3, "[0.3, 0.4)"),
                (0.29999999999999993, "[0.2, 0.3)"),
                (0.7, "[0.7, 0.8)"),
                (0.0, "[0.0, 0.1)"),
                (-0.0, "[0.0, 0.1)"),
                (1.0, ">=1"),
                (1e300, ">=1"),
                (-1e300, "<0"),
                (nan, None),
                (inf, None),
            ],
            {"width": 0.1, "low": 0, "high": 1},
            NUMBER,
        ),
        # Just below an edge: the division alone rounds up to the next band.
        Case(
            "number",
            [(-3.5000000000000004, "[-3.6, -3.5)"), (-3.5, "[-3.5, -3.4)")],
            {"width": 0.1, "low": -10.5, "high": 0},
            NUMBER,
        ),
        Case(
            "number",
            [(-10.5, "[-10.5, -8.0)"), (-8.0, "[-8.0, -5.5)"), (-0.1, "[-0.5, 2.0)"), (-10.6, "<-10.5")],
            {"width": 2.5, "low": -10.5, "high": 2},
            NUMBER,
        ),
    ],
    "clamp": [
        Case("integer", [(89, 89), (90, 90), (117, 90), (-4, 0), (None, None)], {"bottom": 0, "top": 90}, NUMBER),
        Case("integer", [(2**53 + 1, 2**53 + 1), (-1, 0)], {"bottom": 0}, NUMBER),
        Case("number", [(1.5, 1.5), (1e308, 2.5), (nan, None), (inf, None), (-inf, None)], {"top": 2.5}, NUMBER),
    ],
    "round_number": [
        Case("number", [(0.25, 0.3), (0.35, 0.4), (0.3, 0.3), (-0.25, -0.2), (None, None)], {"to": 0.1}, NUMBER),
        Case("integer", [(7, 5), (8, 10), (-7, -5), (-8, -10), (0, 0)], {"to": 5}, NUMBER),
        Case("integer", [(5, 10), (-5, 0), (15, 20), (-15, -10)], {"to": 10}, NUMBER),
        Case("number", [(2.5, 3.0), (-2.5, -2.0), (1e16, None), (nan, None), (inf, None)], {"to": 1}, NUMBER),
        Case("number", [(2.4, 2.5), (2.6, 2.5), (3.75, 5.0), (1.0, 0.0)], {"to": 2.5}, NUMBER),
        Case(
            "integer", [(80, 80), (95, 90), (10**17, 90), (-3, 0), (84, 80)], {"to": 20, "bottom": 0, "top": 90}, NUMBER
        ),
        Case("integer", [(3, 2.5), (5, 5.0)], {"to": 2.5}, NUMBER),
    ],
    "generalise": [
        Case("string", [("서울/강남", "서울/강남"), ("[30, 40)", "[30, 40)"), (None, None)], {}, {"kind": "site"}),
        Case("integer", [("*", "*")], role={"kind": "quasi_identifier"}),
    ],
    "roll_up": [
        Case("string", [("E11", "E11"), (None, None)], {"min_participants": 11, "hierarchy": "kcd"}, CODE),
        Case("integer", [(201826, "201826"), (None, None)], {"min_participants": 11}, CODE),
    ],
    "label_missing": [
        Case(
            "number",
            [("refused", "refused"), ("not_asked", "not_asked"), ("Kim", None), ("unknown", None), (None, None)],
            role=NUMBER,
            missing={"888": "refused", "999": "not_asked", "998": "not_asked"},
        )
    ],
}  # fmt: skip


def run_duckdb(transform: Transform[Any], case: Case) -> tuple[list[Any], str]:
    """The released values, in order, and the SQL type, of one case run on DuckDB."""
    column = case.column()
    params = transform.Params.model_validate(case.params)
    stored = {"generalise": "VARCHAR", "roll_up": "VARCHAR", "label_missing": "VARCHAR"}
    kinds = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
    kind = stored.get(transform.name) or {**kinds, "date": "DATE", "datetime": "TIMESTAMP"}[case.type]
    connection = duckdb.connect()
    connection.execute(f'CREATE TABLE rows (i INTEGER, "열" {kind})')
    for i, (value, _) in enumerate(case.values):
        # 201826 as a label is text.
        connection.execute(
            "INSERT INTO rows VALUES (?, ?)",
            [i, str(value) if kind == "VARCHAR" and value is not None else value],
        )
    row = "SELECT ? AS pseudonym, ?::INTEGER AS shift_days, ?::DATE AS anchor_date"
    connection.execute(f"CREATE TABLE crosswalk AS {row}", [PSEUDONYM, case.shift, case.anchor])
    register(connection, record_key(KEY), [case.params["space"]] if "space" in case.params else [])
    sql = transform.sql('rows."열"', column, params, Rendering())
    assert sql is not None
    relation = connection.sql(f"SELECT {sql} AS out FROM rows, crosswalk ORDER BY i")
    return [row[0] for row in relation.fetchall()], str(relation.types[0])


ENGINES: dict[str, Callable[[Transform[Any], Case], tuple[list[Any], str]]] = {"duckdb": run_duckdb}


def test_the_suite_covers_exactly_the_folder():
    files = {path.stem for path in Path(folder.__path__[0]).glob("*.py")} - {
        "__init__",
        "contract",
        "rendering",
    }
    assert set(transforms()) == files == set(CASES)
    assert [name for name, cases in CASES.items() if not cases] == ["drop"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "case"),
    [pytest.param(n, c, id=f"{n}-{c.type}-{i}") for n, cases in CASES.items() for i, c in enumerate(cases)],
)
def test_values_leave_as_the_table_says(engine: str, name: str, case: Case):
    transform = transforms()[name]
    released = transform.released(case.column(), transform.Params.model_validate(case.params))
    values, sql_type = ENGINES[engine](transform, case)
    assert values == [after for _, after in case.values]
    assert sql_type == released.sql


def test_what_is_dropped_has_no_sql():
    drop = transforms()["drop"]
    assert drop.sql("anything", Case("string", []).column(), drop.Params(), Rendering()) is None
    assert drop.roles == ROLES


@pytest.mark.parametrize("name", CASES)
def test_every_transform_keeps_the_contract(name: str):
    transform = transforms()[name]
    assert transform.name == name
    assert transform.roles
    assert transform.roles <= ROLES
    assert transform.types <= TYPES
    assert issubclass(transform.Params, Params)
    assert transform.Params.model_config["extra"] == "forbid"
    assert transform.Params.model_config["frozen"]
    for case in CASES[name]:
        assert case.column().role.kind in transform.roles
        assert case.type in transform.types
        released = transform.released(case.column(), transform.Params.model_validate(case.params))
        assert released.ko
        assert released.en


@pytest.mark.parametrize("name", sorted(set(CASES) - {"drop"}))
def test_no_key_stands_in_the_sql(name: str):
    for case in CASES[name]:
        transform = transforms()[name]
        sql = (
            transform.sql("x", case.column(), transform.Params.model_validate(case.params), Rendering()) or ""
        )
        secrets = (KEY, record_key(KEY), space_key(record_key(KEY), case.params.get("space", "")))
        assert not any(one.hex()[:16] in sql.lower() or one.decode("latin1") in sql for one in secrets)


def test_only_the_crosswalk_makes_dates_and_pseudonyms_depend_on_the_person():
    for name in ("shift_date", "relative_day", "pseudonymise", "keyed_id"):
        case = CASES[name][0]
        transform = transforms()[name]
        params = transform.Params.model_validate(case.params)
        assert transform.released(case.column(), params).sensitive_to_identity
    for name in ("keep", "band", "clamp", "round_number", "truncate_date", "roll_up"):
        case = CASES[name][0]
        transform = transforms()[name]
        params = transform.Params.model_validate(case.params)
        assert not transform.released(case.column(), params).sensitive_to_identity
