"""The verifier's own rules: identifier shapes, dates, Safe Harbor, l and t, order of keys, tracing; its solitude."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import app.deid.verify as package
from app.deid.verify import REFUSALS, Recorded, is_identifier_like
from app.deid.verify.identifiers import IN_CODES, PATTERNS, SUSPECT
from app.deid.verify.keys import read_keys
from app.deid.verify.parts import Part
from app.deid.verify.reader import reader
from app.deid.verify.scope import leaving
from app.deid.verify.survey import survey
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan
from tests.amounts import first, tries
from tests.attack.release import Release, lawful


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return lawful(tmp_path)


IDENTIFIERS = {
    "identifier_resident": [
        "880412-2345678", "8804122345678", "000229-3******", "880412-2●●●●●●", "주민번호 880412-1234567.", "900101-1",
        "880412 - 2345678", "(880412–5345678)", "번호8804122345678입니다",
    ],
    "identifier_phone": [
        "010-1234-5678", "01012345678", "010.123.4567", "+82-10-1234-5678", "+821012345678", "82 10 1234 5678",
        "02-123-4567", "031) 1234-5678", "tel 016-234-5678", "+82 2 1234 5678",
    ],
    "identifier_email": ["a@b.kr", "mail kim.s+x@snu.ac.kr please"],
    "identifier_ssn": ["999-12-3456"],
    "identifier_ci": ["A" * 86 + "=="],
}  # fmt: skip
HARMLESS = [
    "", "4329847", "45.5", "0.8804122345678", "2024-03-01", "2024-03-01 12:00:00", "2024-03", "120/80", "E11.9",
    "881332-2345678", "880432-2345678", "a" * 16, "0912ab8804122345", "9012311234567abc", "10-20 years", "30-39",
    "550e8400-e29b-41d4-a716-446655440000", "00904-1982-61", "1700000000", "urn:x:y", "p < 0.05", "88041223456789",
]  # fmt: skip


@pytest.mark.parametrize(("code", "text"), [(code, t) for code, texts in IDENTIFIERS.items() for t in texts])
def test_identifiers_are_known_by_their_shape(code: str, text: str) -> None:
    assert is_identifier_like(text) == code


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_are_let_be(text: str) -> None:
    assert is_identifier_like(text) is None


@given(st.one_of([st.from_regex(p) for shapes in PATTERNS.values() for p in shapes]))
@settings(max_examples=tries(100, 300), deadline=None)
def test_the_cheap_first_look_overlooks_nothing(text: str) -> None:
    assert re.search(SUSPECT, text)


def test_codes_are_judged_more_gently_but_never_by_other_kinds() -> None:
    assert IN_CODES.keys() == PATTERNS.keys()


@pytest.mark.parametrize(
    ("value", "refused"),
    first(2, [("8806012345678", False), ("8812012345678", True), ("01012345678", False)]),
)
def test_product_numbers_in_codes_are_no_people(release: Release, value: str, refused: bool) -> None:
    release.db.execute("UPDATE visit SET code = ? WHERE code = 'E11'", [value])
    assert release.codes() == ({"identifier_resident"} if refused else set())


@pytest.mark.parametrize(
    ("to", "value", "refused"),
    first(
        2,
        [
            ("month", "2024-03-01", False),
            ("year", "2024-03-01", True),
            ("month", "2024-03", False),
            ("month", "2024-03-02", True),
            ("month", "March 2024", True),
            ("year", "2024", False),
            ("year", "2024-01-01", False),
        ],
    ),
)
def test_truncated_dates_tell_no_more_than_planned(
    release: Release, to: str, value: str, refused: bool
) -> None:
    release.planned("person")[-1]["params"] = {"to": to}
    release.db.execute("UPDATE person SET joined = ?", [value])
    assert release.codes() == ({"date_not_truncated"} if refused else set())


@pytest.mark.parametrize(("kind", "refused"), first(2, [("TIMESTAMP '2024-03-01 00:00:01'", True), ("202403", False),
    ("DATE '2024-03-01'", False), ("DATE '2024-03-09'", True), ("20240309", True)]))  # fmt: skip
def test_truncated_dates_of_other_types(release: Release, kind: str, refused: bool) -> None:
    release.db.execute(f"CREATE OR REPLACE TABLE person AS SELECT * REPLACE ({kind} AS joined) FROM person")
    assert release.codes() == ({"date_not_truncated"} if refused else set())


def test_relative_days_are_integers(release: Release) -> None:
    release.db.execute("ALTER TABLE visit ALTER day TYPE DATE USING DATE '2024-01-01' + day")
    assert release.codes() == {"not_integer"}


@pytest.mark.parametrize(
    ("label", "refused"),
    first(
        3,
        [
            ("90+", False),
            ("[90, 120]", True),
            ("91", True),
            ("[80, 90)", False),
            (">=90", False),
            ("95+", True),
            ("90-94", True),
        ],
    ),
)
def test_safe_harbor_gathers_ages_above_89(release: Release, label: str, refused: bool) -> None:
    release.plan["privacy"]["preset"] = "hipaa_safe_harbor"
    release.planned("person")[-1]["params"] = {"to": "year"}
    release.db.execute("UPDATE person SET joined = '2024'")
    release.db.execute("UPDATE person SET age = ? WHERE age = '80+'", [label])
    assert release.codes() == ({"safe_harbor_age"} if refused else set())


def test_safe_harbor_has_no_dates_finer_than_a_year(release: Release) -> None:
    release.plan["privacy"]["preset"] = "hipaa_safe_harbor"
    release.planned("person")[-1] = {"name": "joined", "transform": "shift_date"}
    release.db.execute("ALTER TABLE person ALTER joined TYPE DATE USING (joined || '-05')::DATE")
    release.windows["person", "joined"] = (date(2024, 1, 5), date(2024, 12, 5))
    assert release.codes() == {"safe_harbor_date"}


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP"])
@pytest.mark.parametrize(
    ("first", "last", "outside"),
    [("2024-01-05", "2024-12-05", 0), ("2024-01-06", "2024-12-05", 40), ("2024-01-05", "2024-11-30", 40)],
)
def test_a_shifted_date_outside_its_window_is_refused(
    release: Release, kind: str, first: str, last: str, outside: int
) -> None:
    """40 people joined on each fifth of a month; the last moment of the last day is inside."""
    release.planned("person")[-1] = {"name": "joined", "transform": "shift_date"}
    moment = "(joined || '-05')::DATE" if kind == "DATE" else "(joined || '-05 23:59:59')::TIMESTAMP"
    release.db.execute(f"ALTER TABLE person ALTER joined TYPE {kind} USING {moment}")
    release.windows["person", "joined"] = (date.fromisoformat(first), date.fromisoformat(last))
    found = [(one.code, one.column, one.count) for one in release.verdict().refusals]
    assert found == ([("date_outside_window", "joined", outside)] if outside else [])


def test_a_shifted_date_without_a_window_must_be_missing(release: Release) -> None:
    release.planned("person")[-1] = {"name": "joined", "transform": "shift_date"}
    release.db.execute("ALTER TABLE person ALTER joined TYPE DATE USING (joined || '-05')::DATE")
    assert release.codes() == {"date_outside_window"}
    empty = lawful(release.folder)
    empty.planned("person")[-1] = {"name": "joined", "transform": "shift_date"}
    empty.db.execute("ALTER TABLE person ALTER joined TYPE DATE USING NULL")
    assert empty.verdict().ok


@pytest.mark.parametrize("day", [-1, 900])
def test_a_relative_day_beyond_the_window_is_refused(release: Release, day: int) -> None:
    """Days 0 to 899 are all that a window of 900 days can hold of anyone."""
    release.db.execute("UPDATE visit SET day = ? WHERE day = 7", [day])
    assert release.codes() == {"date_outside_window"}


def test_t_closeness_is_a_distance_to_all(release: Release) -> None:
    release.column("person", "disease")["role"] = {"kind": "sensitive", "t": 0.2}
    assert release.verdict().ok
    leaning = lawful(release.folder)
    leaning.column("person", "disease")["role"] = {"kind": "sensitive", "t": 0.2}
    leaning.db.execute(
        "UPDATE person SET disease = 'A' WHERE age = '80+' AND sex = 'M' AND disease IN ('B', 'C')"
    )
    assert [(f.code, f.count) for f in leaning.verdict().refusals] == [("sensitive_far", 1)]


def test_a_closed_value_alone_in_its_class_is_refused_and_an_open_one_is_not(release: Release) -> None:
    release.db.execute(
        "UPDATE person SET disease = 'A' WHERE age = '80+' AND sex = 'M' AND disease IS NOT NULL"
    )
    release.column("person", "disease")["role"] = {"kind": "sensitive", "closed": ["B"]}
    assert release.verdict().ok
    release.column("person", "disease")["role"] = {"kind": "sensitive", "closed": ["A"]}
    assert release.codes() == {"sensitive_homogeneous"}


def test_people_outside_the_participant_tables_domain_are_a_class_of_their_own(release: Release) -> None:
    """They have no labels; with k of them they may have rows, unless a filter chose people, which cannot see them."""
    release.db.execute("CREATE TABLE outside AS SELECT person_id FROM lawful ORDER BY ALL LIMIT 20")
    release.db.execute("DELETE FROM person WHERE person_id IN (FROM outside)")
    release.people_before -= 20
    release.eligible = release.db.sql(
        "SELECT 'person' AS \"table\", person_id AS pseudonym FROM person UNION ALL "
        "SELECT 'visit', person_id FROM lawful UNION ALL SELECT 'lab', person_id FROM lawful"
    ).to_arrow_table()
    report = release.verdict()
    assert report.ok, report.refusals
    assert report.k_reached == 20
    assert release.codes(k=21) == {"class_below_k"}
    release.plan["filter"] = [{"table": "person", "column": "sex", "values": ["F", "M"]}]
    assert release.codes() == {"suppressed_person"}


def test_without_the_participant_table_everybody_is_one_class(release: Release) -> None:
    release.plan["tables"] = [t for t in release.plan["tables"] if t["name"] == "visit"]
    report = release.verdict()
    assert (report.ok, report.k_reached, report.classes) == (True, 480, 0)


def test_people_are_counted_alike_whether_or_not_they_are_known_to_have_one_row(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    release.write("person", "SELECT * FROM person LIMIT 0")
    release.stage("person")
    quick = release.verdict()
    monkeypatch.setattr(package, "survey", lambda *args: replace(survey(*args), single=False))
    assert release.verdict() == quick
    assert quick.k_reached == 60
    assert quick.classes == 8


def test_one_row_a_person_is_proven_from_the_keys(release: Release) -> None:
    def single(*queries: str) -> bool:
        release.paths["person"] = []
        for query in queries:
            release.write("person", query)
        plan, words = Plan.model_validate(release.plan), Dictionary.model_validate(release.dictionary)
        person = leaving(plan, words)[0][0]
        parts = [Part(path, "", 0, {}) for path in release.paths["person"]]
        with reader(release.folder, "1GB", 1) as questions:
            return survey(questions, person, parts).single

    rows = "SELECT * FROM person ORDER BY ALL"
    first, second = f"{rows} LIMIT 200", f"{rows} OFFSET 200"
    assert single(rows)
    assert single(first, "SELECT * FROM person LIMIT 0", second)
    assert not single(second, first)
    assert not single(f"{rows} LIMIT 201", second)  # one person in both
    assert not single("SELECT * FROM person UNION ALL (FROM person LIMIT 1) ORDER BY ALL")
    assert not single("SELECT * REPLACE (NULL AS person_id) FROM person ORDER BY ALL LIMIT 1")


def test_the_plans_own_k_holds_where_it_is_stricter(release: Release) -> None:
    release.plan["privacy"]["k"] = 61
    assert "class_below_k" in release.codes(k=2)


def test_an_unknown_transform_table_or_column_is_refused(release: Release) -> None:
    release.planned("visit")[3]["transform"] = "sparkle"
    assert "transform_unknown" in release.codes()
    release.planned("visit").append({"name": "nowhere", "transform": "keep"})
    assert "unknown_column" in release.codes()


def test_a_raw_date_or_id_is_refused_whatever_it_holds(release: Release) -> None:
    release.planned("visit")[0]["transform"] = "keep"
    release.planned("visit")[2]["transform"] = "keep"
    found = {(f.code, f.column) for f in release.verdict().refusals}
    assert found >= {("raw_identifier", "visit_id"), ("raw_identifier", "day")}


def test_a_reason_column_holds_reasons_only(release: Release) -> None:
    release.db.execute("UPDATE visit SET remark__missing = 'see letter' WHERE remark__missing IS NOT NULL")
    assert release.codes() == {"reason_unknown"}


def test_a_table_that_nobody_planned_and_one_that_is_missing(release: Release) -> None:
    release.stage_all()
    release.paths["extra"], release.paths["concept"] = release.paths["concept"], []
    assert {"table_unexpected", "part_missing"} <= release.codes()


def test_rows_without_a_person_are_refused(release: Release) -> None:
    release.stage("lab")
    release.db.execute("INSERT INTO visit SELECT * REPLACE (NULL AS person_id) FROM visit LIMIT 1")
    release.stage("visit", query=f"SELECT * FROM visit ORDER BY {release.order('visit')}")
    assert "person_unknown" in release.codes()


def test_a_row_count_that_is_not_the_recorded_one_is_refused(release: Release) -> None:
    release.stage("concept")
    path = release.paths["concept"][0]
    release.recorded[path] = Recorded(release.recorded[path].sha256, 3)
    assert release.codes() == {"rows_changed"}


def test_the_footers_writer_is_one_of_a_few(release: Release) -> None:
    """The writer's name is a text like any other: it could say anything."""
    release.stage("concept")
    path = release.paths["concept"].pop()
    path.write_bytes(path.read_bytes().replace(b"DuckDB version", b"MRN-0077 was a"))
    release.adopt("concept", path)
    assert release.codes() == {"writer_unknown"}


def test_an_empty_part_is_lawful(release: Release) -> None:
    release.stage("visit")
    release.write("visit", "SELECT * FROM visit LIMIT 0")
    assert release.verdict().ok


def keys_file(folder: Path, rows: list[tuple[str | None, str]]) -> Path:
    path = folder / "keys.parquet"
    columns = {
        "p": pa.array([p for p, _ in rows], pa.string()),
        "k": pa.array([k for _, k in rows], pa.string()),
    }
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


@given(rows=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 3))))
@settings(max_examples=50, deadline=None)
def test_keys_compare_as_their_texts_do(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]]
) -> None:
    texts = [(f"{p % 5:016x}" if k else f"{p:016x}", f"{k:016x}") for p, k in rows]
    path = keys_file(tmp_path_factory.mktemp("keys"), texts)  # type: ignore[arg-type]
    found, alone = read_keys(path, ["p", "k"]), read_keys(path, ["p"])
    assert found is not None
    assert alone is not None
    pairs = list(pairwise(texts))
    repeats = sum(a[0] == b[0] for a, b in pairs)
    assert (found.repeats, alone.repeats, alone.ties) == (repeats, repeats, repeats)
    assert alone.less == sum(b[0] < a[0] for a, b in pairs)
    assert (found.less, found.ties) == (sum(b < a for a, b in pairs), sum(a == b for a, b in pairs))
    if texts:
        assert found.extremes["p"] == (min(p for p, _ in texts), max(p for p, _ in texts))


@pytest.mark.parametrize(
    "odd", [None, "", "ABCDEF0123456789", "0123456789abcde", "0123456789abcdeg", "가" * 5 + "a"]
)
def test_odd_keys_are_left_to_a_closer_look(tmp_path: Path, odd: str | None) -> None:
    assert read_keys(keys_file(tmp_path, [("0" * 16, "f" * 16), (odd, "f" * 16)]), ["p", "k"]) is None


def test_a_missing_key_comes_last_and_is_lawful(release: Release) -> None:
    release.planned("visit").append(release.planned("visit").pop(0))
    release.plan["tables"] = [t for t in release.plan["tables"] if t["name"] in ("person", "visit")]
    release.db.execute("UPDATE visit SET visit_id = NULL WHERE rowid % 5 = 0")
    names = "person_id, day, code, remark, remark__missing, serial, visit_id"
    release.stage("visit", query=f"SELECT {names} FROM visit ORDER BY ALL")
    assert release.verdict().ok


def test_every_refusal_is_planted_somewhere() -> None:
    """A code without a test that provokes it may be dead."""
    here = Path(__file__)
    others = (here.with_name("test_verify_evidence.py"), here.parents[2] / "attack/test_verifier_refuses.py")
    tests = "".join(path.read_text() for path in (here, *others))
    assert {code for code in REFUSALS if f'"{code}"' not in tests} == set()


def test_the_verifier_shares_no_code_with_what_it_verifies() -> None:
    """Its imports are its own files, the schemas, the errors, DuckDB, PyArrow, NumPy and the standard library."""
    allowed = ("app.deid.verify", "app.schemas", "app.errors", "duckdb", "pyarrow", "numpy")
    standard = {
        "__future__",
        "collections",
        "contextlib",
        "dataclasses",
        "datetime",
        "hashlib",
        "itertools",
        "math",
        "pathlib",
        "re",
        "typing",
    }
    for path in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            strange = [n for n in names if not n.startswith(allowed) and n.split(".")[0] not in standard]
            assert not strange, (path.name, strange)
