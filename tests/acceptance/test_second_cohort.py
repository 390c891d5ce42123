"""A cohort quite unlike OMOP goes from its dictionary to a downloaded extract, and nothing in it names anyone."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.acceptance.second_cohort.cohort import EDGES, SecondCohort, second_cohort
from tests.acceptance.service import Service, opened, table_of

K = 11
CLASS = ("성별", "생년월일", "시도")
REASONS = {"888": "not_asked", "999": "refused"}
Rows = list[dict[str, Any]]


@dataclass
class Delivered:
    """What the institution gave and what the researcher got."""

    service: Service
    cohort: SecondCohort
    report: dict[str, Any]
    dry_run: dict[str, Any]
    bytes: dict[str, list[bytes]]
    rows: dict[str, Rows] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)  # pseudonym -> source id

    def __post_init__(self) -> None:
        self.rows = {name: table_of(parts).to_pylist() for name, parts in self.bytes.items()}
        self.known = {self.service.pseudonym(one): one for one in self.cohort.people}

    def people(self, table: str, column: str = "등록번호") -> set[str]:
        """The source ids of the people in a released table."""
        return {self.known[row[column]] for row in self.rows[table]}

    def source(self, table: str, delimiter: str = ",", encoding: str = "cp949") -> Rows:
        """The rows of a CSV as the institution holds them."""
        text = self.cohort.files[table].decode(encoding)
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))

    def consenting(self, *last_digits: int) -> set[str]:
        """Those whose number in the cohort ends in none of these digits."""
        return {one for i, one in enumerate(self.cohort.people) if i % 10 not in last_digits}


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivered]:
    cohort = second_cohort()
    with opened(tmp_path_factory.mktemp("second"), rows_per_part=60) as service:
        service.register_cohort(cohort.dictionary, [{"term": "HMB"}, {"term": "IRB"}])
        sent = [service.upload("consents", cohort.consents)]
        sent += [service.upload(table, cohort.files[table]) for table in cohort.ORDER]
        service.drain()
        assert {service.ok("hospital", "GET", url)["state"] for url in sent} == {"accepted"}
        report = service.publish()
        request = service.request({name: [] for name in cohort.files})
        permit = service.approve(request)
        dry_run = service.ok("steward", "GET", f"/v1/requests/{request}/dry-run")["result"]
        yield Delivered(service, cohort, report, dry_run, service.download(service.extract(permit)))


@pytest.mark.again
def test_no_name_number_address_text_or_source_id_leaves(delivered: Delivered) -> None:
    secrets = set(delivered.cohort.secrets)
    secrets |= {row["청구번호"] for row in delivered.source("claim", "|")}
    secrets |= {row["요양기관"] for row in delivered.source("claim", "|")}
    born = {row["생년월일"] for row in delivered.source("people")}
    held, raw = set(), b""
    for part in [part for parts in delivered.bytes.values() for part in parts]:
        raw += part
        found = pq.ParquetFile(io.BytesIO(part))
        raw += str(found.metadata.to_dict()).encode() + str(found.schema_arrow.metadata).encode()
        for column in found.read().columns:
            held |= {str(value) for value in column.to_pylist()}
    assert len(held) > 1000
    text = "\n".join(sorted(held))
    assert [secret for secret in secrets if secret in text] == []
    # A day stands alone: by chance its eight digits are in a pseudonym or a keyed id of one run in a thousand.
    assert (
        born & set(re.findall(r"(?<![0-9a-f])\d{8}(?![0-9a-f])", f"{text}\n{raw.decode('latin-1')}")) == set()
    )
    encoded = [secret.encode(encoding) for secret in secrets for encoding in ("utf-8", "cp949")]
    assert [secret for secret in encoded if secret in raw] == []
    left = {column for rows in delivered.rows.values() for column in rows[0]}
    assert left.isdisjoint({"성명", "주민등록번호", "주소", "메모"})
    # Record numbers leave as keyed ids, not as the numbers that the institution could look up.
    numbers = {str(n) for n in range(1, 3000)}
    for table, column in (("claim_line", "명세번호"), ("lab", "검사번호"), ("claim", "청구번호")):
        assert {str(row[column]) for row in delivered.rows[table]}.isdisjoint(numbers)


@pytest.mark.again
def test_those_who_withdrew_or_never_consented_are_absent(delivered: Delivered) -> None:
    # Of ten: one withdrew, one was never asked, one consents to clinical data only, the rest to all.
    clinical, public = delivered.consenting(7, 9), delivered.consenting(7, 8, 9)
    released = delivered.people("people")
    assert released <= clinical
    assert len(released) >= 0.9 * len(clinical)
    assert delivered.people("lab") == released
    assert delivered.people("claim") == released & public
    for column in ("모_등록번호", "자_등록번호"):
        assert delivered.people("mother_child", column) <= released
    assert len(delivered.rows["people"]) == len(released)


@pytest.mark.again
def test_a_pair_leaves_only_if_both_consent_and_both_are_pseudonyms(delivered: Delivered) -> None:
    released, pairs = delivered.people("people"), delivered.source("mother_child")
    both = {
        (pair["모_등록번호"], pair["자_등록번호"], pair["관계"])
        for pair in pairs
        if {pair["모_등록번호"], pair["자_등록번호"]} <= released
    }
    assert len(both) > 20
    for column, other in (("모_등록번호", "자_등록번호"), ("자_등록번호", "모_등록번호")):
        alone = [pair for pair in pairs if pair[column] in released and pair[other] not in released]
        assert len(alone) > 5, column
    found = Counter(
        (delivered.known[row["모_등록번호"]], delivered.known[row["자_등록번호"]], row["관계"])
        for row in delivered.rows["mother_child"]
    )
    assert found == Counter(both)


@pytest.mark.again
def test_claim_lines_reach_their_person_through_keyed_claims(delivered: Delivered) -> None:
    claims = {row["청구번호"]: row["등록번호"] for row in delivered.rows["claim"]}
    assert len(claims) == len(delivered.rows["claim"])
    lines = defaultdict(list)
    for row in delivered.rows["claim_line"]:
        lines[row["청구번호"]].append(row["금액"])
    assert set(lines) == set(claims)
    # Each claim was written with three lines of 1,500, 3,000 and 4,500 won, each person with two claims.
    assert {tuple(sorted(amounts)) for amounts in lines.values()} == {(1500.0, 3000.0, 4500.0)}
    assert set(Counter(claims.values()).values()) == {2}
    codes = defaultdict(list)
    for row in delivered.source("claim", "|"):
        if row["진료일"] not in EDGES:
            codes[row["등록번호"]].append(row["진단코드"])
    told = defaultdict(list)
    for row in delivered.rows["claim"]:
        told[delivered.known[row["등록번호"]]].append(row["진단코드"])
    assert all(sorted(codes[one]) == sorted(found) for one, found in told.items())


@pytest.mark.again
def test_missing_codes_leave_as_null_with_their_reason(delivered: Delivered) -> None:
    source = {row["등록번호"]: row for row in delivered.source("people")}
    counted: Counter[str] = Counter()
    for row in delivered.rows["people"]:
        raw = source[delivered.known[row["등록번호"]]]
        reason = REASONS.get(raw["흡연"])
        assert (row["흡연"], row["흡연__missing"]) == (None if reason else int(raw["흡연"]), reason)
        unknown = raw["키"] == "999"
        assert row["키__missing"] == ("unknown" if unknown else None)
        assert row["키"] is None if unknown else abs(row["키"] - float(raw["키"])) <= 0.5
        counted.update(filter(None, (reason, row["키__missing"])))
    assert counted["not_asked"] > 10
    assert counted["refused"] > 0
    assert counted["unknown"] > 0
    lab = {row["등록번호"]: row for row in delivered.source("lab", encoding="utf-8-sig")}
    for row in delivered.rows["lab"]:
        raw = lab[delivered.known[row["등록번호"]]]
        assert (row["검사코드"], row["단위"]) == (raw["검사코드"], raw["단위"])
        if raw["결과값"] == "<LOD":
            assert (row["결과값"], row["결과값__missing"]) == (None, "below_detection")
        else:
            assert (row["결과값"], row["결과값__missing"]) == (float(raw["결과값"]), None)


@pytest.mark.again
def test_mixed_units_are_told_and_stay_beside_their_values(delivered: Delivered) -> None:
    assert [(w["code"], w["table"], w["column"]) for w in delivered.report["warnings"]] == [
        ("mixed_units", "lab", "결과값")
    ]
    glucose = [row for row in delivered.rows["lab"] if row["검사코드"] == "GLU" and row["결과값"] is not None]
    assert {row["단위"] for row in glucose} == {"mmol/L", "mg/dL"}
    assert all((row["결과값"] < 20) == (row["단위"] == "mmol/L") for row in glucose)


@pytest.mark.again
def test_k_holds_among_the_people_of_every_table(delivered: Delivered) -> None:
    people = {row["등록번호"]: tuple(row[c] for c in CLASS) for row in delivered.rows["people"]}
    tables = {
        "people": set(people),
        "claim": {row["등록번호"] for row in delivered.rows["claim"]},
        "lab": {row["등록번호"] for row in delivered.rows["lab"]},
        "mother_child": {
            row[c] for row in delivered.rows["mother_child"] for c in ("모_등록번호", "자_등록번호")
        },
    }
    for table, members in tables.items():
        smallest = min(Counter(people[one] for one in members).values())
        assert smallest >= K, table
    assert len(set(people.values())) > 1  # something is still told apart
    assert delivered.dry_run["smallest_class"] >= K


@pytest.mark.again
def test_dates_move_by_one_shift_a_person(delivered: Delivered) -> None:
    days = defaultdict(list)
    for row in delivered.source("claim", "|"):
        if row["진료일"] not in EDGES:
            days[row["등록번호"]].append(row["진료일"])
    moved = defaultdict(list)
    for row in delivered.rows["claim"]:
        moved[delivered.known[row["등록번호"]]].append(row["진료일"])
    lab = {row["등록번호"]: row["검사일시"] for row in delivered.source("lab", encoding="utf-8-sig")}
    shifts = {}
    for row in delivered.rows["lab"]:
        one = delivered.known[row["등록번호"]]
        shift = row["검사일시"] - datetime.fromisoformat(lab[one])
        assert shift.seconds == 0
        shifts[one] = shift
        if one in moved:
            expected = sorted(date.fromisoformat(day) + shift for day in days[one])
            assert sorted(moved[one]) == expected
    assert len(set(shifts.values())) > 30  # of 52, drawn by a random key
    assert not any(shift.days == 0 for shift in shifts.values())


@pytest.mark.again
def test_rows_are_ordered_by_pseudonym_and_not_as_they_came(delivered: Delivered) -> None:
    for table in ("people", "claim", "lab"):
        order = [row["등록번호"] for row in delivered.rows[table]]
        assert len(delivered.bytes[table]) > 1
        assert order == sorted(order)


@pytest.mark.again
def test_the_papers_name_nobody(delivered: Delivered) -> None:
    service = delivered.service
    manifest = service.call("researcher", "GET", f"/v1/extracts/{service.ids['extract']}/manifest").text
    catalog = service.call("researcher", "GET", f"/v1/catalog/{service.ids['dataset']}").text
    for text in (manifest, catalog, str(delivered.report), str(delivered.dry_run)):
        assert [secret for secret in delivered.cohort.secrets if secret in text] == []
    assert "검사일시" in manifest
    assert "흡연" in catalog
