"""A cohort quite unlike OMOP: insurance claims with Korean columns, CP949 files, a mother-child table, missing codes.

Made from a seed; every name, number and address is invented. `secrets` holds what must never be stored or told.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.integration.intake.world import csv_bytes

SURNAMES, GIVEN = (
    "김이박최정강조윤장임한오서신권황안송류홍",
    ("서연", "민준", "하윤", "도윤", "지우", "서준", "예은", "시우"),
)
PROVINCES = ["서울특별시", "부산광역시", "경기도", "강원특별자치도", "전라남도", "제주특별자치도"]
REGIONS = {
    "서울특별시": "수도권",
    "경기도": "수도권",
    "부산광역시": "영남",
    "강원특별자치도": "강원",
    "전라남도": "호남",
    "제주특별자치도": "제주",
}
TESTS = {
    "GLU": ("공복혈당", "Fasting glucose"),
    "CRE": ("크레아티닌", "Creatinine"),
    "HDL": ("고밀도콜레스테롤", "HDL cholesterol"),
}
STRANGER = "외-9001"  # has a claim but is not in the participant table


@dataclass
class SecondCohort:
    """The files as an institution would hold them, its dictionary, and what they hold that must not be kept."""

    dictionary: dict[str, Any]
    files: dict[str, bytes]
    consents: bytes
    secrets: set[str]
    people: list[str]
    counts: dict[str, int] = field(default_factory=dict)

    ORDER = ("claim_line", "lab", "claim", "mother_child", "code_book", "people")


def second_cohort(people: int = 240, seed: int = 7) -> SecondCohort:
    """The cohort of a seed."""
    rng = random.Random(seed)
    # None begins with 0: "010969-1292" would be refused as a telephone number, and rightly.
    ids = [f"등록-{100_000 + rng.randrange(10**6) % 900_000}-{i}" for i in range(people)]
    secrets = {*ids, STRANGER}
    person_rows, counts = _people(rng, ids, secrets)
    claims, lines = _claims(rng, ids)
    files = {
        "people": csv_bytes(person_rows, "cp949"),
        "claim": csv_bytes(claims, "cp949", "|", "\r\n"),
        "claim_line": _claim_lines(lines),
        "mother_child": csv_bytes(_mother_child(ids), "cp949"),
        "lab": b"\xef\xbb\xbf" + csv_bytes(_lab(rng, ids, counts), "utf-8", end="\r\n"),
        "code_book": csv_bytes([["코드", "한글명", "영문명"], *([c, *names] for c, names in TESTS.items())]),
    }
    counts["claim"], counts["claim_line"] = len(claims) - 1, len(lines)
    return SecondCohort(_dictionary(), files, csv_bytes(_consents(ids)), secrets, ids, counts)


def _people(rng: random.Random, ids: list[str], secrets: set[str]) -> tuple[list[list[Any]], dict[str, int]]:
    rows: list[list[Any]] = [
        ["등록번호", "성명", "주민등록번호", "주소", "성별", "생년월일", "시도", "키", "흡연", "메모"]
    ]
    counts = {"not_asked": 0, "refused": 0}
    for i, one in enumerate(ids):
        born = date(1930, 1, 1) + timedelta(days=rng.randrange(90 * 365))
        woman, province = i % 2, PROVINCES[rng.randrange(len(PROVINCES))]
        name = rng.choice(SURNAMES) + rng.choice(GIVEN) + f"_{i}"
        number = f"{born:%y%m%d}-{(3 if born.year >= 2000 else 1) + woman}{rng.randrange(10**6):06d}"
        address = f"{province} 가람로 {i + 1}번길 {rng.randrange(1, 99)}, 30{i}호"
        note = f'{name} 님, "재방문" 예정\n연락처 010-{1000 + i}-{rng.randrange(10**4):04d}'
        secrets |= {name, number, number.replace("-", ""), address, note}
        smoking = 888 if i % 10 == 3 else 999 if i % 40 == 5 else rng.randrange(1, 4)
        counts["not_asked"] += smoking == 888
        counts["refused"] += smoking == 999
        height = "999" if i % 30 == 0 else f"{rng.gauss(165, 9):.1f}"
        rows.append(
            [one, name, number, address, 1 + woman, f"{born:%Y%m%d}", province, height, smoking, note]
        )
    return rows, counts


# The first and last day of the observation: nothing of these days leaves, and all that lies well between does.
EDGES = ("2022-12-01", "2026-02-01")


def _claims(rng: random.Random, ids: list[str]) -> tuple[list[list[Any]], list[tuple[Any, ...]]]:
    claims: list[list[Any]] = [["청구번호", "등록번호", "진료일", "요양기관", "진단코드"]]
    lines: list[tuple[Any, ...]] = []
    claims += [
        [f"E{n}{i:04d}", one, day, "기관0", "I10"]
        for n, day in enumerate(EDGES)
        for i, one in enumerate(ids[:60])
    ]
    for i, one in enumerate([*(one for one in ids for _ in range(2)), STRANGER]):
        claims.append(
            [
                f"C{i:05d}",
                one,
                f"2024-{i % 12 + 1:02d}-{i % 27 + 1:02d}",
                f"기관{i % 9}",
                ("I10", "E119", "J304")[i % 3],
            ]
        )
        lines += [
            (1000 + 3 * i + j, f"C{i:05d}", ("A10BA02", "C09AA05")[j % 2], 1500.0 * (j + 1)) for j in range(3)
        ]
    rng.shuffle(lines)
    return claims, lines


def _claim_lines(lines: list[tuple[Any, ...]]) -> bytes:
    number, claim, drug, amount = zip(*lines, strict=True)
    # 명세번호 comes as a float, as pandas writes whole numbers once a value was missing.
    table = pa.table(
        {
            "명세번호": pa.array([float(n) for n in number]),
            "청구번호": claim,
            "약품코드": drug,
            "금액": amount,
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _mother_child(ids: list[str]) -> list[list[Any]]:
    pairs = [
        # Whoever does not consent is the first of a pair here and the second there.
        [*((one, other) if i % 2 else (other, one)), "출산" if i % 5 else "입양"]
        for i, (one, other) in enumerate(zip(ids[1::4], ids[2::4], strict=False))
    ]
    return [["모_등록번호", "자_등록번호", "관계"], *pairs]


def _lab(rng: random.Random, ids: list[str], counts: dict[str, int]) -> list[list[Any]]:
    rows: list[list[Any]] = [["검사번호", "등록번호", "검사일시", "검사코드", "결과값", "단위"]]
    counts["below_detection"] = 0
    rows += [
        [9000 + 100 * n + i, one, f"{day} 08:00", "GLU", 99.0, "mg/dL"]
        for n, day in enumerate(EDGES)
        for i, one in enumerate(ids[:60])
    ]
    for i, one in enumerate(ids):
        code = list(TESTS)[i % 3]
        metric = code == "GLU" and i % 2
        value: object = round(rng.gauss(5.5, 1), 2) if metric else round(rng.gauss(99, 12), 1)
        if i % 24 == 7:
            value, counts["below_detection"] = "<LOD", counts["below_detection"] + 1
        rows.append(
            [
                i + 1,
                one,
                f"2024-05-{i % 28 + 1:02d} 08:{i % 60:02d}",
                code,
                value,
                "mmol/L" if metric else "mg/dL",
            ]
        )
    return rows


def _consents(ids: list[str]) -> list[list[Any]]:
    rows: list[list[Any]] = [
        ["participant_id", "domain", "state", "purposes", "form_version", "given_at", "valid_until"]
    ]
    for i, one in enumerate(ids):
        if i % 10 == 9:
            continue  # registered, but never asked
        domain = "clinical" if i % 10 == 8 else "all"
        rows.append(
            [
                one,
                domain,
                "withdrawn" if i % 10 == 7 else "granted",
                "HMB" if i % 10 == 6 else "",
                "v2",
                "2024-01-02",
                None,
            ]
        )
    return [*rows, ["동의서만-1", "all", "granted", "", "v2", "2024-01-02", "2030-12-31"]]


def _dictionary() -> dict[str, Any]:
    def column(
        name: str, kind: str, type_: str = "string", role: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        return {"name": name, "type": type_, "role": {"kind": kind, **(role or {})}, **more}

    yes_no = {
        "1": {"ko": "피움", "en": "smokes"},
        "2": {"ko": "끊음", "en": "former"},
        "3": {"ko": "안 피움", "en": "never"},
    }
    people = {
        "name": "people", "kind": "participant", "encoding": "cp949",
        "fields": [
            column("등록번호", "participant_id"),
            column("성명", "direct_identifier"),
            column("주민등록번호", "direct_identifier"),
            column("주소", "direct_identifier"),
            column("성별", "quasi_identifier", "integer", {"hierarchy": "sex"},
                   labels={"1": {"ko": "남", "en": "male"}, "2": {"ko": "여", "en": "female"}}),
            column("생년월일", "quasi_identifier", "date", format="%Y%m%d"),
            column("시도", "quasi_identifier", role={"hierarchy": "region"}),
            column("키", "number", "number", {"round": 1}, unit="cm", missing={"999": "unknown"}),
            column("흡연", "attribute", "integer", labels=yes_no, missing={"888": "not_asked", "999": "refused"}),
            column("메모", "free_text"),
        ],
    }  # fmt: skip
    claim = {
        "name": "claim", "kind": "event", "encoding": "cp949", "delimiter": "|", "domain": "public",
        "primary_key": ["청구번호"],
        "fields": [
            column("청구번호", "record_id"),
            column("등록번호", "participant_id"),
            column("진료일", "date", "date"),
            column("요양기관", "provider_id"),
            column("진단코드", "code", role={"vocabulary": "KCD", "version": "8"}),
        ],
    }  # fmt: skip
    claim_line = {
        "name": "claim_line", "kind": "event", "format": "parquet", "domain": "public", "primary_key": ["명세번호"],
        "participant_via": "claim.청구번호",
        "foreign_keys": [{"column": "청구번호", "table": "claim", "references": "청구번호"}],
        "fields": [
            column("명세번호", "record_id", "integer"),
            column("청구번호", "record_id"),
            column("약품코드", "code", role={"vocabulary": "ATC"}),
            column("금액", "number", "number", unit="[KRW]"),
        ],
    }  # fmt: skip
    mother_child = {
        "name": "mother_child", "kind": "link", "encoding": "cp949", "primary_key": ["모_등록번호", "자_등록번호"],
        "fields": [
            column("모_등록번호", "participant_id"), column("자_등록번호", "participant_id"),
            column("관계", "attribute"),
        ],
    }  # fmt: skip
    lab = {
        "name": "lab", "kind": "event", "primary_key": ["검사번호"],
        "foreign_keys": [{"column": "검사코드", "table": "code_book", "references": "코드"}],
        "fields": [
            column("검사번호", "record_id", "integer"),
            column("등록번호", "participant_id"),
            column("검사일시", "date", "datetime"),
            column("검사코드", "code", role={"vocabulary": "local"}),
            column("결과값", "number", "number", unit_column="단위",
                   missing={"<LOD": "below_detection", "888": "not_asked"}),
            column("단위", "attribute"),
        ],
    }  # fmt: skip
    code_book = {
        "name": "code_book", "kind": "reference", "primary_key": ["코드"],
        "fields": [column("코드", "attribute"), column("한글명", "attribute"), column("영문명", "attribute")],
    }  # fmt: skip
    hierarchies = {
        "sex": {"kind": "flat"},
        "region": {"kind": "table", "levels": [[one, REGIONS[one], "*"] for one in PROVINCES]},
    }
    return {
        "title": {"ko": "건강보험 청구 코호트", "en": "Claims cohort"},
        "hierarchies": hierarchies,
        "tables": [people, claim, claim_line, mother_child, lab, code_book],
    }
