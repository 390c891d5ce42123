"""What looks like an identifier, and what only resembles one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from app.deid.identifiers import (
    BARE,
    BARE_NUMBER,
    PATTERNS,
    Source,
    bare_is_hit,
    judge,
    look,
    looks_like,
    scan,
    scan_of,
)
from app.deid.identifiers.cards import check_digit_holds, sql_is_card
from app.schemas.dictionary import Column

FOUND = {
    "resident_number": [
        "800101-1234567", "8001011234567", "000229-4999999", "991231-0000000", "450817-8123456", "800101 - 1234567",
        "800101-1******", "800101-*******", "환자 8001011234567 내원", "번호:800101–2234567.",
    ],
    "phone_number": [
        "010-1234-5678", "연락처 011-234-5678", "+82-10-1234-5678", "010.1234.5678", "02-123-4567", "(031) 123-4567",
    ],
    "social_security_number": ["999-12-3456"],
    "e_mail_address": [
        "gil.dong+x@example.co.kr", "gil [at] example.com", "write gil(at)example[dot]co[dot]kr",
        "gil 골뱅이 naver.com", "gil at example dot com", "reach gil.hong at gmail.com please",
    ],
    "payment_card": ["4111-****-****-1111", "5500 00** **** 5559"],
    "coordinates": ["37.5665, 126.9780", "POINT(126.97801 37.56653)", "37°33'59.4\"N 126°58'40.8\"E"],
    "connecting_information": ["A" * 86 + "=="],
}  # fmt: skip
HARMLESS = [
    "", "800101", "801301-1234567", "800132-1234567", "9912345678901", "1609459200000", "80010112345678",
    "f8001011234567a0", "2024-01-02", "8001-01-1234567", "1234-5678", "E11.9", "10-1234-5678",
    "user@host", "seen at home. ok", "meet at 5 p.m.", "at clinic.com", "12.3456, 13.4567", "36.5, 127.1",
    "1234****5678", "12 ** 34", "35.1234 mg, 130.1 mmHg", "50-78-2", "d2f1c5d0-1c1e-4b8f-9d0a-8001011234ab",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_found(kind: str, text: str) -> None:
    assert looks_like(text) == kind


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless(text: str) -> None:
    assert looks_like(text) is None


def test_the_engine_and_python_read_the_patterns_alike() -> None:
    con = duckdb.connect()
    texts = [text for texts in FOUND.values() for text in texts] + HARMLESS
    for text in texts:
        patterns = [*PATTERNS.values(), BARE]
        hits = [con.execute("SELECT regexp_matches(?, ?)", [text, p]).fetchall()[0][0] for p in patterns]
        assert any(hits) == (looks_like(text) is not None)


def column(role: str, type_: str = "string") -> Column:
    return Column.model_validate({"name": "c", "type": type_, "role": {"kind": role}})


def test_a_whole_number_may_have_lost_its_leading_zero() -> None:
    con = duckdb.connect()
    for number, hit in [
        ("50101_3000000", True),
        ("8001011234567", True),
        ("8001011234567.0", True),
        ("13013000000", False),
    ]:
        text = number.replace("_", "")
        assert con.execute("SELECT regexp_matches(?, ?)", [text, BARE_NUMBER]).fetchall()[0][0] is hit


def test_declared_identifiers_and_dates_are_not_scanned() -> None:
    assert scan_of(column("direct_identifier")) is None
    assert scan_of(column("free_text")) is None
    assert scan_of(column("attribute", "date")) is None
    assert scan_of(column("linkage_token")) is not None
    assert scan_of(column("participant_id")) is not None


def test_long_ids_are_judged_by_what_chance_gives() -> None:
    # One thirteen-digit number in 27 begins with a date; resident numbers all do.
    assert not bare_is_hit(column("record_id"), bare=40, long=1000)
    assert bare_is_hit(column("record_id"), bare=900, long=1000)
    assert bare_is_hit(column("participant_id"), bare=1, long=1)
    assert bare_is_hit(column("attribute"), bare=1, long=1000)


def _judged(name: str, values: list[object], type_: str = "string") -> tuple[set[str], set[str]]:
    con = duckdb.connect()
    con.execute(f"CREATE TABLE t (v { {'string': 'VARCHAR', 'number': 'DOUBLE'}.get(type_, 'BIGINT') })")
    con.executemany("INSERT INTO t VALUES (?)", [[value] for value in values])
    column = Column.model_validate({"name": name, "type": type_, "role": {"kind": "attribute"}})
    (seen,) = look(lambda query: con.execute(query).fetchall(), "t", [Source(column, "v")])
    verdict = judge(column, seen)
    return set(verdict.hits), set(verdict.doubts)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([f"010-****-{n:04}" for n in range(30)], "phone_number"),
        ([f"gil{n} @ example.co.kr" for n in range(30)], "e_mail_address"),
        ([f"래미안아파트 {100 + n}동 {n}03호" for n in range(10, 40)], "address"),
        ([f"{s}, {a}" for s in ("Kim", "Lee", "PARK") for a in ("Min-ju", "Seo Yeon", "Jiwoo", "Ha")], "personal_name"),
        ([f"{s}{a}{b}" for s in "金李朴崔鄭姜" for a in "民瑞俊" for b in "秀英"], "personal_name"),
        ([f"{n:03}-{n * 37:05}-A" for n in range(100, 160)], "record_number"),
        (["no card", *["4111 1111 1111 1111", "paid by 5500-0055-5555-5559.", "378282246310005"] * 9], "payment_card"),
        ([f"{48 + n / 7:.5f}, {2 + 8.3 + n / 9:.5f}" for n in range(30)], "coordinates"),
        ([f"{8501011234567 + n:.12e}" for n in range(30)], "resident_number"),
        ([f"{501013234567 + n:.12E}" for n in range(30)], "resident_number"),
        ([f"{501013234567 + n}.0" for n in range(30)], "resident_number"),
    ],
)  # fmt: skip
def test_shapes_that_an_attacker_of_the_gate_would_try(values: list[object], kind: str) -> None:
    assert kind in _judged("v", values)[0]


def test_what_passes_a_check_digit_by_chance_is_no_card() -> None:
    draw = random.Random(4)
    orders: list[object] = [
        f"{draw.randrange(2000, 9999)}-{draw.randrange(10**4):04}-" * 2 for _ in range(300)
    ]
    orders = [str(order)[:-1] for order in orders]
    assert _judged("order", orders) == (set(), {"payment_card"})
    assert _judged("order", [draw.randrange(10**15, 10**16) for _ in range(300)], "integer")[0] == set()
    assert _judged("card_no", [draw.randrange(10**15, 10**16) for _ in range(300)], "integer")[0] == {
        "payment_card"
    }
    assert check_digit_holds("4111111111111111")
    assert not check_digit_holds("4111111111111112")
    numbers = [
        "4111111111111111",
        "378282246310005",
        "30569309025904",
        "6222020000000000000",
        "9430123412341234",
    ]
    query = f"SELECT n, {sql_is_card('n')} FROM (SELECT unnest(?) AS n)"
    told = dict(duckdb.execute(query, [numbers]).fetchall())
    assert told == {number: check_digit_holds(number) for number in numbers}
    assert set(told.values()) == {True, False}


def test_a_single_coordinate_is_one_where_the_name_says_so() -> None:
    degrees: list[object] = [37.5 + n / 1013 for n in range(40)]
    for name, hits in (("GPS_LAT", {"coordinates"}), ("위도", {"coordinates"}), ("haematocrit", set())):
        assert _judged(name, degrees, "number")[0] == hits
        assert _judged(name, [f"{degree:.6f}" for degree in degrees])[0] == hits
    # One number a site, or whole degrees, is no home.
    assert _judged("lat", [37.0, 38.5, 36.0] * 20, "number")[0] == set()


def test_numbers_are_judged_by_what_the_name_says() -> None:
    charts: list[object] = [1_000_000 + 37 * n for n in range(60)]
    assert _judged("chart_no", charts, "integer")[0] == {"record_number"}
    assert _judged("steps", charts, "integer")[0] == set()
    accounts: list[object] = [f"123-{n:06}-01-{n:03}" for n in range(60)]
    assert _judged("계좌번호", accounts)[0] == {"account_number"}
    assert _judged("분류", accounts)[0] == set()


def test_seconds_since_1970_are_not_old_phone_numbers_unless_the_name_says_so() -> None:
    seconds: list[object] = [1_600_000_000 + 86_400 * n for n in range(100)]
    assert _judged("taken_at", seconds, "integer") == (set(), {"phone_number"})
    assert _judged("phone", seconds, "integer")[0] == {"phone_number"}
    mixed: list[object] = [*(1_000_000_000 + n for n in range(5)), *seconds]
    assert _judged("taken_at", mixed, "integer")[0] == set()


def test_the_first_rows_tell_of_a_column_only_what_all_of_it_would() -> None:
    seven, other = 9001011, 9_999_999  # 1 January 1990 and a digit; nothing
    cases: dict[str, Sequence[int | None]] = {
        "others_first": [other] * 9 + [seven] * 91,  # at odds with the first rows, and still a column of them
        "too_many_others_first": [other] * 11 + [seven] * 89,
        "others_last": [seven] * 89 + [other] * 11,
        "just_enough": [other] * 10 + [seven] * 90,
        "holes": [None] * 50 + [seven] * 46 + [other] * 4,
    }
    con = duckdb.connect(config={"threads": 1})
    con.register("cells", pa.table({name: pa.array(cells, pa.int64()) for name, cells in cases.items()}))

    def ask(query: str) -> list[tuple[Any, ...]]:
        return con.execute(query).fetchall()

    named = dict(enumerate(cases))
    filled = [sum(one is not None for one in cells) for cells in cases.values()]
    left = scan._worth_marking(
        ask, "cells", {("integer", None): named}, dict.fromkeys(named, float(other)), filled
    )
    assert set(left[("integer", None)].values()) == {"others_first", "just_enough", "holes"}
