"""A second, quite different cohort is registered by its dictionary alone, and its vault holds no one's identity."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.consents import queries
from app.db import Database
from tests.acceptance.second_cohort.cohort import SecondCohort, second_cohort
from tests.databases import SQLITE_FIRST
from tests.integration.intake.world import COHORT, IntakeWorld, begun


@pytest.fixture(scope="module")
def cohort() -> SecondCohort:
    return second_cohort()


def registered(url: str, folder: Path, cohort: SecondCohort) -> Iterator[IntakeWorld]:
    db = Database(url)
    # Children before their parents: they wait.
    made = begun(folder, db, cohort.dictionary, {table: cohort.files[table] for table in cohort.ORDER})
    assert made.failed_jobs() == []
    yield made
    db.dispose()


@pytest.fixture
def world(database_url: str, tmp_path: Path, cohort: SecondCohort) -> Iterator[IntakeWorld]:
    yield from registered(database_url, tmp_path, cohort)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, cohort: SecondCohort) -> Iterator[IntakeWorld]:
    """One for the tests that only read."""
    folder = tmp_path_factory.mktemp("loaded")
    yield from registered(f"sqlite:///{folder / 'baekman.db'}", folder, cohort)


@SQLITE_FIRST
def test_the_version_becomes_ready_and_its_report_counts(world: IntakeWorld, cohort: SecondCohort) -> None:
    version = world.submit()
    report = version.report or {}
    assert (version.state, report["problems"], version.people) == ("ready", [], len(cohort.people))
    tables = {table["table"]: table for table in report["tables"]}
    assert set(tables) == set(cohort.files)
    assert (tables["claim"]["rows"], tables["claim"]["left_out"]) == (cohort.counts["claim"] - 1, 1)
    # The stranger's claim was left out, so its lines have no person: counted, not called orphans.
    assert (tables["claim_line"]["rows"], tables["claim_line"]["left_out"]) == (
        cohort.counts["claim_line"] - 3,
        3,
    )
    assert report["left_out"] == 4
    assert tables["people"]["not_stored"] == ["성명", "주민등록번호", "주소", "메모"]
    smoking = next(c for c in tables["people"]["columns"] if c["name"] == "흡연")
    # 24 not asked are shown rounded, 6 refusals are fewer than 11 and hidden.
    assert (cohort.counts["not_asked"], cohort.counts["refused"]) == (24, 6)
    assert smoking == {"name": "흡연", "null_share": 0.12, "missing": {"not_asked": 25, "refused": None}}
    assert [(w["code"], w["table"], w["column"], w["count"]) for w in report["warnings"]] == [
        ("mixed_units", "lab", "결과값", 1)
    ]


def test_missing_codes_leave_as_null_with_their_reason(loaded: IntakeWorld, cohort: SecondCohort) -> None:
    people = loaded.table("people").to_pydict()
    reasons = people["흡연__missing"]
    assert (reasons.count("not_asked"), reasons.count("refused")) == (
        cohort.counts["not_asked"],
        cohort.counts["refused"],
    )
    assert {value for value, reason in zip(people["흡연"], reasons, strict=True) if reason} == {None}
    assert max(value for value in people["흡연"] if value is not None) == 3
    assert people["키__missing"].count("unknown") == 8
    assert max(value for value in people["키"] if value is not None) < 300
    assert (
        loaded.table("lab").to_pydict()["결과값__missing"].count("below_detection")
        == cohort.counts["below_detection"]
    )


def test_every_table_is_typed_keyed_and_clustered(loaded: IntakeWorld, cohort: SecondCohort) -> None:
    lab, lines, pairs = loaded.table("lab"), loaded.table("claim_line"), loaded.table("mother_child")
    assert [str(field.type) for field in lab.schema] == [
        "int32", "int64", "timestamp[us]", "string", "double", "string", "string",
    ]  # fmt: skip
    assert lines.column_names == ["__participant", "명세번호", "청구번호", "약품코드", "금액"]
    assert pairs.column_names == ["__participant_1", "__participant_2", "관계"]
    assert "__participant" not in loaded.table("code_book").column_names
    for name in ("people", "claim", "claim_line", "lab"):
        keys = loaded.table(name)["__participant"].to_pylist()
        assert keys == sorted(keys)
    # A line has the person of its claim.
    of_claim = dict(
        zip(*(loaded.table("claim")[n].to_pylist() for n in ("청구번호", "__participant")), strict=True)
    )
    assert all(of_claim[row["청구번호"]] == row["__participant"] for row in lines.to_pylist())
    everyone = set(loaded.table("people")["__participant"].to_pylist())
    assert len(everyone) == len(cohort.people)
    assert set(pairs["__participant_1"].to_pylist()) | set(pairs["__participant_2"].to_pylist()) < everyone


def test_the_vault_holds_no_name_number_address_text_or_source_id(
    loaded: IntakeWorld, cohort: SecondCohort
) -> None:
    held = set()
    raw = b""
    for name in loaded.vault.list():
        path = loaded.vault.local_path(name, loaded.folder)
        raw += path.read_bytes()
        for column in pq.read_table(path).columns:
            held |= {str(value) for value in column.unique().to_pylist()}
    assert len(held) > 1000
    text = "\n".join(held)
    assert [secret for secret in cohort.secrets if secret in text] == []
    # Footers and statistics are not compressed.
    assert [secret for secret in cohort.secrets if secret.encode() in raw] == []


@SQLITE_FIRST
def test_nothing_told_and_nothing_left_behind(world: IntakeWorld, cohort: SecondCohort) -> None:
    world.upload("consents", cohort.consents)
    world.submit()
    said = world.said()
    assert [secret for secret in cohort.secrets if secret in said] == []
    assert world.inbox.names() == []  # every original is gone
    assert world.left_behind() == []
    database = b"".join(path.read_bytes() for path in world.folder.glob("baekman.db*"))
    assert [secret for secret in cohort.secrets if secret.encode() in database] == []


@pytest.mark.again
def test_consents_cover_by_domain_purpose_and_day(world: IntakeWorld, cohort: SecondCohort) -> None:
    assert (world.upload("consents", cohort.consents).report or {})["problems"] == []
    n = len(cohort.people)

    def covered(domain: str, term: str | None, on: date = date(2026, 3, 2)) -> int:
        purpose = {"term": term} if term else None
        with world.db.read() as session:
            return len(queries.covered(session, COHORT, domain, purpose, on))

    # Of ten: seven all, one of them only for health research; one withdrawn, one clinical only, one never asked.
    assert covered("clinical", None) == covered("clinical", "HMB") == 8 * n // 10 + 1
    assert covered("genomic", None) == 7 * n // 10 + 1
    assert covered("genomic", "GRU") == 6 * n // 10 + 1
    assert covered("genomic", "GRU", date(2031, 1, 1)) == 6 * n // 10
    with world.db.read() as session:
        assert queries.counts(session, date(2026, 3, 2)).by_institution == {"ins_a": 8 * n // 10 + 1}


@pytest.mark.again
@SQLITE_FIRST
def test_the_same_files_give_the_same_bytes(world: IntakeWorld, cohort: SecondCohort) -> None:
    before = {name: row.sha256 for name, row in world.held().items()}
    world.upload("people", cohort.files["people"])
    world.upload("lab", cohort.files["lab"])
    after = world.held()
    assert (after["lab"].generation, after["people"].generation) == (2, 2)
    assert {name: row.sha256 for name, row in after.items()} == before
