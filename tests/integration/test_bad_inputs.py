"""Bad input ends quarantined or rejected with table, column, lines and counts, never values; nothing is lost."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.db import Database
from app.deid.roles import check_dictionary
from app.errors import Problem
from app.models import Upload
from tests.amounts import first
from tests.integration.intake.world import IntakeWorld, begun, csv_bytes, problems

PLANTED = "SECRET-VALUE"


def column(name: str, kind: str = "attribute", type_: str = "string", **more: Any) -> dict[str, Any]:
    role = {"kind": kind, **({"vocabulary": "KCD"} if kind == "code" else {})}
    return {"name": name, "type": type_, "role": role, **more}


def dictionary() -> dict[str, Any]:
    person = {
        "name": "person", "kind": "participant",
        "fields": [column("person_id", "participant_id", "integer"), column("born", "date", "date"), column("city")],
    }  # fmt: skip
    visit = {
        "name": "visit", "kind": "event", "primary_key": ["visit_id"],
        "fields": [
            column("visit_id", "record_id", "integer"), column("person_id", "participant_id", "integer"),
            column("cost", "number", "number"), column("note"),
        ],
    }  # fmt: skip
    bill = {
        "name": "bill", "kind": "event", "format": "parquet", "primary_key": ["bill_id"],
        "participant_via": "visit.visit_id",
        "fields": [
            column("bill_id", "record_id", "integer"), column("visit_id", "record_id", "integer"),
            column("code"),
        ],
    }  # fmt: skip
    return {"tables": [person, visit, bill]}


PEOPLE: list[list[Any]] = [
    ["person_id", "born", "city"],
    *([i, f"19{50 + i % 40}-01-15", "서울"] for i in range(1, 201)),
]
VISITS: list[list[Any]] = [
    ["visit_id", "person_id", "cost", "note"],
    *([i, i % 200 + 1, 10.5, "ok"] for i in range(1, 401)),
]


def bills(visits: list[int], codes: list[Any] | None = None, **more: Any) -> bytes:
    table = pa.table(
        {"bill_id": range(len(visits)), "visit_id": visits, "code": codes or ["A"] * len(visits), **more}
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeWorld]:
    """People and visits are accepted; what was accepted must stand after every test."""
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    made = begun(tmp_path, db, dictionary(), {"person": csv_bytes(PEOPLE), "visit": csv_bytes(VISITS)})
    before = {name: row.sha256 for name, row in made.held().items()}
    objects = set(made.vault.list())
    yield made
    assert {name: row.sha256 for name, row in made.held().items()} == before
    assert set(made.vault.list()) == objects
    assert made.left_behind() == []
    assert PLANTED not in made.said()
    db.dispose()


def visits(changes: dict[int, list[Any]]) -> bytes:
    """The visits with some lines replaced, by line number."""
    return csv_bytes([changes.get(line, row) for line, row in enumerate(VISITS, 1)])


def told(upload: Upload, state: str) -> list[dict[str, Any]]:
    assert upload.state == state
    found = problems(upload)
    for one in found:
        assert one.pop("detail")
    return found


def test_a_wrong_type(world: IntakeWorld) -> None:
    bad = {line: [line - 1, 1, PLANTED, "x"] for line in range(100, 130)} | {50: ["7.5", 1, 2, "x"]}
    assert told(world.upload("visit", visits(bad)), "quarantined") == [
        {"code": "wrong_type", "table": "visit", "column": "visit_id", "lines": [50], "count": 1},
        {
            "code": "wrong_type",
            "table": "visit",
            "column": "cost",
            "lines": list(range(100, 120)),
            "count": 30,
        },
    ]


@pytest.mark.again
def test_lines_are_those_of_the_file_when_values_span_lines(world: IntakeWorld) -> None:
    bad: dict[int, list[Any]] = {
        10: [9, 1, 2, "two\nlines"],
        11: [10, 1, 2, "three\n\nlines"],
        12: [11, 1, PLANTED, "x"],
    }
    assert told(world.upload("visit", visits(bad)), "quarantined") == [
        {"code": "wrong_type", "table": "visit", "column": "cost", "lines": [15], "count": 1}
    ]


def test_dates_that_do_not_exist(world: IntakeWorld) -> None:
    rows = csv_bytes([*PEOPLE[:3], [901, "2023-02-30", "서울"], [902, "15.01.1950", "서울"]])
    assert told(world.upload("person", rows), "quarantined") == [
        {"code": "wrong_type", "table": "person", "column": "born", "lines": [4, 5], "count": 2}
    ]


def test_a_missing_column_and_an_unexpected_one_with_its_near_match(world: IntakeWorld) -> None:
    rows = [["visit_id", "person_id", "costs", "note"], *VISITS[1:]]
    assert told(world.upload("visit", csv_bytes(rows)), "rejected") == [
        {"code": "missing_column", "table": "visit", "column": "cost", "near": ["costs"]},
        {"code": "unexpected_column", "table": "visit", "column": "costs", "near": ["cost"]},
    ]


def test_a_file_without_a_header_tells_no_value_as_a_name(world: IntakeWorld) -> None:
    rows = [[1, 2, 3.5, PLANTED], *VISITS[1:]]
    assert told(world.upload("visit", csv_bytes(rows)), "rejected") == [
        {"code": "no_header", "table": "visit", "lines": [1], "count": 4}
    ]


def test_ragged_rows(world: IntakeWorld) -> None:
    bad: dict[int, list[Any]] = {7: [6, 1], 9: [8, 1, 2, "x", PLANTED], 20: [19, 1, "?", "x"]}
    assert told(world.upload("visit", visits(bad)), "quarantined") == [
        {"code": "ragged_row", "table": "visit", "lines": [7], "count": 1},
        {"code": "ragged_row", "table": "visit", "lines": [9], "count": 1},
        {"code": "wrong_type", "table": "visit", "column": "cost", "lines": [20], "count": 1},
    ]


def test_quotes_that_are_not_closed(world: IntakeWorld) -> None:
    content = visits({}).replace(b"30,31,10.5,ok", f'30,31,10.5,"{PLANTED}'.encode())
    found = told(world.upload("visit", content), "quarantined")
    assert ("bad_quotes", [31]) in [(one["code"], one["lines"]) for one in found]


def test_a_wrong_encoding(world: IntakeWorld) -> None:
    content = csv_bytes(
        PEOPLE[:4], "utf-8"
    ) + "5,1950-01-01,부산\n6,1950-01-01,Busan\n7,1950-01-01,대구\n".encode("cp949")
    upload = world.upload("person", content)
    assert told(upload, "rejected") == [
        {"code": "wrong_encoding", "table": "person", "lines": [5, 7], "count": 2}
    ]
    assert (upload.report or {})["problems"][0]["hint"] == "they can be read as cp949"
    utf16 = csv_bytes(PEOPLE, "utf-16")
    assert [one["code"] for one in told(world.upload("person", utf16), "rejected")] == ["wrong_encoding"]
    assert [
        one["code"] for one in told(world.upload("person", b"person_id,born,city\n1,\0,x\n"), "rejected")
    ] == ["nul_byte"]


def test_a_duplicate_primary_key(world: IntakeWorld) -> None:
    bad: dict[int, list[Any]] = {
        30: [4, 1, 1, "x"],
        31: [4, 2, 2, "x"],
        40: [6, 3, 3, "x"],
        41: [None, 3, 3, "x"],
    }
    assert told(world.upload("visit", visits(bad)), "quarantined") == [
        {"code": "missing_value", "table": "visit", "column": "visit_id", "lines": [41], "count": 1},
        {"code": "duplicate_key", "table": "visit", "column": "visit_id", "lines": [30, 40], "count": 3},
    ]
    twice = csv_bytes([*PEOPLE, [7, "1950-01-01", PLANTED]])
    assert told(world.upload("person", twice), "quarantined") == [
        {"code": "duplicate_key", "table": "person", "column": "person_id", "lines": [202], "count": 1}
    ]


@pytest.mark.parametrize(
    "number",
    first(2, ["800101-1234567", "010-1234-5678", "8001011234567", "번호 030229-3******", "a.b@example.org"]),
)
def test_an_identifier_in_a_harmless_column_destroys_the_original(world: IntakeWorld, number: str) -> None:
    upload = world.upload("visit", visits({17: [16, 1, 2, number], 18: [17, 1, 2, f"({number})"]}))
    assert told(upload, "rejected") == [
        {"code": "identifier", "table": "visit", "column": "note", "lines": [17, 18], "count": 2}
    ]
    assert upload.original == "removed"
    assert world.inbox.names() == []
    assert number not in world.said()
    here = b"".join(path.read_bytes() for path in world.folder.rglob("*") if path.is_file())
    assert number.encode() not in here


@pytest.mark.again
def test_resident_numbers_that_lost_their_hyphen_and_leading_zero(world: IntakeWorld) -> None:
    upload = world.upload(
        "visit", visits({line: [line - 1, 1, 50101_3000000 + line, "x"] for line in (5, 6)})
    )
    assert told(upload, "rejected") == [
        {"code": "identifier", "table": "visit", "column": "cost", "lines": [5, 6], "count": 2}
    ]
    assert upload.original == "removed"


def test_long_numbers_of_an_own_kind_are_no_resident_numbers(world: IntakeWorld) -> None:
    numbered = bills([1, 2, 3], ["A", "B", "C"])
    table = pq.read_table(io.BytesIO(numbered)).set_column(
        0, "bill_id", pa.array([9912345678901, 9954321678902, 9999999999999])
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    before = set(world.vault.list())
    assert world.upload("bill", sink.getvalue()).state == "accepted"
    world.vault.delete((set(world.vault.list()) - before).pop())
    with world.db.unit_of_work() as session:
        from app.models import VaultTable

        session.delete(session.get_one(VaultTable, ("ver_1", "bill", 1)))


def test_a_parent_key_without_a_parent(world: IntakeWorld) -> None:
    content = bills([1, 2, 999_001, 3, 999_002])
    assert told(world.upload("bill", content), "quarantined") == [
        {"code": "no_parent", "table": "bill", "column": "visit_id", "lines": [3, 5], "count": 2}
    ]


def test_an_empty_file(world: IntakeWorld) -> None:
    for content in (b"", b"\n\n  \n", csv_bytes(VISITS[:1])):
        assert told(world.upload("visit", content), "rejected") == [{"code": "empty_file", "table": "visit"}]
    assert told(world.upload("bill", bills([])), "rejected") == [{"code": "empty_file", "table": "bill"}]


def test_a_truncated_or_damaged_parquet(world: IntakeWorld) -> None:
    whole = bills(list(range(1, 400)))
    for content in (whole[:-40], whole[: len(whole) // 2], whole[:4], whole[:-8] + b"\xff\xff\xff\x7fPAR1"):
        assert told(world.upload("bill", content), "rejected") == [{"code": "truncated", "table": "bill"}]
    holed = whole[:40] + bytes(200) + whole[240:]
    assert [one["code"] for one in told(world.upload("bill", holed), "rejected")] == ["unreadable"]
    assert [one["code"] for one in told(world.upload("bill", visits({})), "rejected")] == ["not_parquet"]


@pytest.mark.again
def test_a_zip_bomb_of_a_csv_is_never_opened(world: IntakeWorld) -> None:
    text = ",".join(["visit_id", "person_id", "cost", "note"]).encode() + b"\n" + b"1,1,1,x\n" * 2_000_000
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("visit.csv", text)
    for content in (gzip.compress(text), packed.getvalue()):
        assert len(content) < len(text) / 200
        assert told(world.upload("visit", content), "rejected") == [{"code": "not_csv", "table": "visit"}]


@pytest.mark.again
def test_a_parquet_that_grows_beyond_reason(world: IntakeWorld) -> None:
    table = pa.table({"bill_id": [1] * 3_000_000, "visit_id": [1] * 3_000_000, "code": ["A"] * 3_000_000})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    assert told(world.upload("bill", sink.getvalue()), "rejected") == [{"code": "bomb", "table": "bill"}]


@pytest.mark.again
def test_a_line_without_end(world: IntakeWorld) -> None:
    content = visits({}) + b"401,1,1," + b"x" * 3_000_000 + b"\n"
    assert told(world.upload("visit", content), "rejected") == [
        {"code": "line_too_long", "table": "visit", "lines": [402]}
    ]


def test_rows_of_unknown_people_fail_only_above_the_stated_share(world: IntakeWorld) -> None:
    bad = {line: [line - 1, 5000 + line, 1, "x"] for line in range(10, 15)}
    assert told(world.upload("visit", visits(bad)), "quarantined") == [
        {"code": "unknown_people", "table": "visit", "lines": [10, 11, 12, 13, 14], "count": 5}
    ]


def test_a_replacement_that_fails_leaves_what_was_accepted(world: IntakeWorld) -> None:
    before = world.held()["visit"]
    world.upload("visit", visits({3: [2, 1, PLANTED, "x"]}))
    after = world.held()["visit"]
    assert (after.generation, after.upload_id) == (before.generation, before.upload_id)
    assert (
        world.upload("visit", visits({3: [2, 1, PLANTED, "x"]})).original == "kept"
    )  # to be looked at, for 14 days


def test_a_dictionary_names_what_is_wrong_all_at_once() -> None:
    document = dictionary()
    document["tables"][0]["fields"].append(column("age", "quasi_identifer"))
    document["tables"][1]["fields"].append(column("x", "attribute", type_="int"))
    with pytest.raises(Problem) as refused:
        check_dictionary(document)
    found = refused.value.findings
    assert [(f.code, f.table, f.column, f.pointer, f.near) for f in found] == [
        ("unknown_role", "person", "age", "/tables/0/fields/3/role/kind", ("quasi_identifier",)),
        ("unknown_word", "visit", "x", "/tables/1/fields/4/type", ()),
    ]
    document = dictionary()
    document["tables"][1]["primary_key"] = ["visit_ids"]
    document["tables"][2]["participant_via"] = "visits.visit_id"
    document["tables"][2]["foreign_keys"] = [{"column": "visit", "table": "visit", "references": "id"}]
    with pytest.raises(Problem) as refused:
        check_dictionary(document)
    assert [(f.code, f.table, f.column, f.pointer, f.near) for f in refused.value.findings] == [
        ("unknown_column", "visit", "visit_ids", "/tables/1/primary_key/0", ("visit_id",)),
        ("unknown_table", "bill", None, "/tables/2/participant_via", ("visit",)),
        ("unknown_column", "bill", "visit", "/tables/2/foreign_keys/0/column", ("visit_id",)),
        ("unknown_column", "visit", "id", "/tables/2/foreign_keys/0/references", ()),
    ]
