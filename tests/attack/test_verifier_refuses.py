"""Plants one fault at a time in a lawful release: the verifier must see each, and say so by its code."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest

from tests.amounts import first
from tests.attack.release import PEOPLE, Release, lawful


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return lawful(tmp_path)


def test_a_lawful_release_passes(release: Release) -> None:
    report = release.verdict()
    assert report.ok, report.refusals
    assert (report.k_reached, report.classes, report.max_risk) == (60, 8, 1 / 60)
    assert report.people == {"person": PEOPLE, "visit": PEOPLE, "lab": PEOPLE}
    assert report.rows == {"person": PEOPLE, "visit": 3 * PEOPLE, "lab": 6 * PEOPLE, "concept": 2}


def test_a_forgetful_generaliser_is_caught(release: Release) -> None:
    """It reaches k for most and leaves 5 % of the people in classes below k, unsuppressed."""
    release.db.execute("UPDATE person SET age = '8' || substr(person_id, 1, 1) WHERE rowid < 24")
    assert "class_below_k" in release.codes()


def test_k_must_hold_among_the_people_of_every_table(release: Release) -> None:
    """Sixty people share each class; only five of one class have visits."""
    in_class = "SELECT person_id FROM person WHERE age = '80+' AND sex = 'M' ORDER BY ALL OFFSET 5"
    release.db.execute(f"CREATE TABLE gone AS {in_class}")
    for statement in (
        "DELETE FROM lab WHERE visit_id IN (SELECT visit_id FROM visit WHERE person_id IN (FROM gone))",
        "DELETE FROM visit WHERE person_id IN (FROM gone)",
    ):
        release.db.execute(statement)
    found = [f for f in release.verdict().refusals if f.code == "class_below_k"]
    assert [(f.table, f.count) for f in found] == [("visit", 1), ("lab", 1)]


def test_k_counts_families_where_the_plan_releases_them(release: Release) -> None:
    release.db.execute("ALTER TABLE person ADD COLUMN household VARCHAR")
    release.db.execute("UPDATE person SET household = substr(md5('home' || (rowid % 40)), 1, 16)")
    release.planned("person").append({"name": "household", "transform": "keyed_id"})
    report = release.verdict()
    assert "class_below_k" in {f.code for f in report.refusals}
    assert report.k_reached == 5  # forty homes over eight classes


def test_a_filter_column_counts_as_a_quasi_identifier(release: Release) -> None:
    """`recruited_by` has no identifying role, but the recipient knows whom the filter chose."""
    release.db.execute("ALTER TABLE person ADD COLUMN recruited_by VARCHAR")
    release.db.execute("UPDATE person SET recruited_by = CASE WHEN rowid < 20 THEN 'x' ELSE 'y' END")
    release.planned("person").append({"name": "recruited_by", "transform": "keep"})
    assert release.verdict().ok
    release.plan["filter"] = [{"table": "person", "column": "recruited_by", "values": ["x", "y"]}]
    assert "class_below_k" in release.codes()


def test_a_filter_on_a_column_that_is_not_released_is_refused(release: Release) -> None:
    release.plan["filter"] = [{"table": "person", "column": "ward", "values": ["7"]}]
    assert "filter_not_released" in release.codes()


def test_one_extra_person_is_seen(release: Release) -> None:
    release.db.execute(
        "INSERT INTO person SELECT 'ffffffffffffffff', age, sex, disease, joined FROM person LIMIT 1"
    )
    release.people_before += 1
    found = [(f.code, f.table, f.count) for f in release.verdict().refusals]
    assert found == [("not_eligible", "person", 1)]


def test_consent_is_judged_per_table(release: Release) -> None:
    """Somebody who consents to the participant table's domain only has rows elsewhere."""
    release.db.execute("CREATE TABLE most AS SELECT person_id FROM lawful ORDER BY ALL OFFSET 1")
    release.eligible = release.db.sql(
        "SELECT 'person' AS \"table\", person_id AS pseudonym FROM lawful UNION ALL "
        "SELECT 'visit', person_id FROM most UNION ALL SELECT 'lab', person_id FROM lawful"
    ).to_arrow_table()
    assert [(f.code, f.table, f.count) for f in release.verdict().refusals] == [("not_eligible", "visit", 1)]


def test_a_suppressed_person_has_no_events(release: Release) -> None:
    release.db.execute("DELETE FROM person WHERE rowid = 3")
    found = {(f.code, f.table) for f in release.verdict().refusals}
    assert found >= {("suppressed_person", "visit"), ("suppressed_person", "lab")}


def test_more_suppression_than_the_plan_allows_is_refused(release: Release) -> None:
    release.people_before = PEOPLE * 2
    report = release.verdict()
    assert {f.code for f in report.refusals} == {"too_many_suppressed"}
    assert report.suppressed == pytest.approx(0.5)


def test_more_people_than_expected_are_refused(release: Release) -> None:
    release.people_before = PEOPLE - 1
    assert release.codes() == {"people_unexpected"}


def test_more_rows_of_a_person_than_the_cap_are_refused(release: Release) -> None:
    """Everyone has three visits with two laboratory rows each; the dictionary's cap counts as much as the plan's."""
    visit, lab = (t for t in release.plan["tables"] if t["name"] in ("visit", "lab"))
    visit["max_rows_per_person"], lab["max_rows_per_person"] = 3, 6
    assert release.verdict().ok
    visit["max_rows_per_person"], lab["max_rows_per_person"] = 2, 5
    found = [(f.code, f.table, f.count) for f in release.verdict().refusals]
    assert found == [("too_many_rows", "visit", PEOPLE), ("too_many_rows", "lab", PEOPLE)]
    visit["max_rows_per_person"], lab["max_rows_per_person"] = 3, 6
    release.db.execute("INSERT INTO visit SELECT * REPLACE (-serial AS serial) FROM visit WHERE rowid = 3")
    release.paths.pop("visit")
    assert ("too_many_rows", "visit", 1) in [(f.code, f.table, f.count) for f in release.verdict().refusals]
    release.plan["tables"][1].pop("max_rows_per_person")
    next(t for t in release.dictionary["tables"] if t["name"] == "visit")["max_rows_per_person"] = 2
    assert "too_many_rows" in release.codes()


def test_a_person_twice_in_the_participant_table_is_refused(release: Release) -> None:
    release.db.execute("INSERT INTO person SELECT * REPLACE ('x' AS disease) FROM person WHERE rowid = 5")
    assert "person_repeated" in release.codes()


def test_a_dropped_column_in_the_footer_is_refused(release: Release) -> None:
    """As pandas does: the frame's metadata goes along and names the column that was left out."""
    rows = release.db.sql(f"SELECT * FROM person ORDER BY {release.order('person')}").to_arrow_table()
    path = release.folder / "next.parquet"
    pq.write_table(
        rows.replace_schema_metadata({"pandas": '{"columns": ["name"]}'}), path, compression="zstd"
    )
    release.adopt("person", path)
    assert release.codes() == {"footer_metadata"}


def test_a_key_value_beside_the_schema_is_refused(release: Release) -> None:
    release.stage("person", options="COMPRESSION zstd, KV_METADATA {dropped: 'name'}")
    assert release.codes() == {"footer_metadata"}


def test_a_column_that_the_plan_drops_is_refused(release: Release) -> None:
    release.db.execute("ALTER TABLE person ADD COLUMN name VARCHAR DEFAULT 'secret'")
    assert "columns_differ" in release.codes()


def test_a_vault_key_is_refused(release: Release) -> None:
    release.db.execute("ALTER TABLE visit ADD COLUMN __participant INTEGER DEFAULT 1")
    assert "columns_differ" in release.codes()


def test_statistics_of_rows_that_are_not_there_are_refused(release: Release) -> None:
    """A footer that keeps the smallest value from before suppression: patched in place, as no honest writer would."""
    release.stage("lab", parts=1)
    path = release.paths["lab"].pop()
    body, low = path.read_bytes(), b"\x00" * 8  # the smallest value, 0.0, as the statistics spell it
    footer = body.rindex(b"PAR1") - 4 - int.from_bytes(body[-8:-4], "little")
    assert body.count(low, footer) >= 1
    path.write_bytes(body[:footer] + body[footer:].replace(low, b"\x00" * 6 + b"\xf0\xbf"))
    release.adopt("lab", path)
    found = [f for f in release.verdict().refusals if f.code == "statistics_leak"]
    assert [(f.table, f.column) for f in found] == [("lab", "value")]


def test_dictionary_pages_of_filtered_rows_are_refused(release: Release) -> None:
    """PyArrow writes every category of a dictionary array, also those whose rows were filtered away."""
    rows = release.db.sql(f"SELECT * FROM person ORDER BY {release.order('person')}").to_arrow_table()
    ages = rows["age"].combine_chunks()
    encoded = pa.DictionaryArray.from_arrays(
        pa.array([sorted(set(ages.to_pylist())).index(a) for a in ages.to_pylist()], pa.int32()),
        pa.array([*sorted(set(ages.to_pylist())), "1950-03-02"]),
    )
    path = release.folder / "next.parquet"
    pq.write_table(rows.set_column(1, "age", encoded), path, compression="zstd", store_schema=False)
    release.adopt("person", path)
    found = [(f.code, f.column, f.count) for f in release.verdict().refusals]
    assert ("dictionary_leak", "age", 1) in found


def test_unsorted_rows_are_refused(release: Release) -> None:
    release.stage("visit", query="SELECT * FROM visit ORDER BY day")
    assert "rows_unsorted" in release.codes()


def test_the_order_within_a_person_is_checked(release: Release) -> None:
    """Two rows of one person change places: their order in the source would show."""
    release.stage("visit", query="SELECT * FROM visit ORDER BY person_id, day DESC, visit_id")
    assert release.codes() == {"rows_unsorted"}


def test_the_order_across_parts_is_checked(release: Release) -> None:
    release.stage("visit")
    release.paths["visit"].reverse()
    assert "parts_overlap" in release.codes()


def test_rows_reached_through_a_parent_are_ordered_by_their_person(release: Release) -> None:
    release.stage("lab", query="SELECT * FROM lab ORDER BY visit_id, value")
    assert "rows_unsorted" in release.codes()


@pytest.mark.parametrize("table", first(1, ["visit", "lab"]))
def test_a_person_lies_in_one_part(release: Release, table: str) -> None:
    release.paths[table] = []
    ordered = f"SELECT * FROM {table} ORDER BY {release.order(table)}"
    release.write(table, f"{ordered} LIMIT 1000")
    release.write(table, f"{ordered} OFFSET 1000")
    assert release.codes() == {"parts_overlap"}


def test_rows_without_a_parent_are_refused(release: Release) -> None:
    release.db.execute("INSERT INTO lab VALUES ('0123456789abcdef', 1.0)")
    release.stage("lab", query=f"SELECT * FROM lab ORDER BY {release.order('lab')}")
    assert "orphan_rows" in release.codes()


def test_a_table_whose_people_cannot_be_traced_is_refused(release: Release) -> None:
    release.planned("visit")[1]["transform"] = "drop"
    assert "untraceable" in release.codes()


@pytest.mark.parametrize(
    ("planted", "code"),
    first(
        3,
        [
            ("seen 880412-2345678 today", "identifier_resident"),
            ("call 010-1234-5678", "identifier_phone"),
            ("a.b@hospital.kr", "identifier_email"),
            ("8804122345678", "identifier_resident"),
            ("880412-2******", "identifier_resident"),
            ("+82 10 1234 5678", "identifier_phone"),
        ],
    ),
)
def test_an_identifier_in_a_kept_column_is_refused_without_its_value(
    release: Release, planted: str, code: str
) -> None:
    release.db.execute("UPDATE visit SET remark = ? WHERE rowid = 700", [planted])
    report = release.verdict()
    assert [(f.code, f.table, f.column, f.count) for f in report.refusals] == [(code, "visit", "remark", 1)]
    assert planted not in str(report)


def test_a_resident_number_as_an_integer_is_refused(release: Release) -> None:
    release.db.execute("UPDATE visit SET serial = 8804122345678 WHERE rowid = 700")
    assert release.codes() == {"identifier_resident"}


def test_resident_numbers_that_lost_their_zeros_are_refused(release: Release) -> None:
    """Born 2004-12-01 and the like: eleven or twelve digits as integers."""
    release.db.execute("UPDATE visit SET serial = 412013000000 + rowid")
    assert release.codes() == {"identifier_resident"}


def test_a_key_that_is_not_keyed_is_refused(release: Release) -> None:
    release.db.execute("UPDATE visit SET visit_id = '8804122345678' WHERE rowid = 7")
    assert "key_not_keyed" in release.codes()


def test_source_identifiers_that_the_gate_knows_are_refused(release: Release) -> None:
    release.forbidden = ("MRN-0077",)
    release.db.execute("UPDATE visit SET remark = 'MRN-0077' WHERE rowid = 9")
    assert release.codes() == {"forbidden_value"}


def test_bytes_that_changed_after_hashing_are_refused(release: Release) -> None:
    release.stage("concept")
    path = release.paths["concept"][0]
    release.db.execute(
        f"COPY (SELECT code, upper(title) AS title FROM concept ORDER BY ALL) TO '{path}' (COMPRESSION zstd)"
    ).fetchall()
    assert release.codes() == {"bytes_changed", "name_not_content"}


def test_a_cut_part_is_refused(release: Release) -> None:
    release.stage("lab")
    path = release.paths["lab"][0]
    path.write_bytes(path.read_bytes()[:-20])
    assert "part_unreadable" in release.codes()


def test_a_part_that_cannot_be_read_inside_is_refused(release: Release) -> None:
    """The footer is whole, the pages are not."""
    release.stage("concept")
    path = release.paths["concept"].pop()
    body = bytearray(path.read_bytes())
    body[4:60] = b"\xff" * 56
    path.write_bytes(body)
    release.adopt("concept", path)
    assert "part_unreadable" in release.codes()


@pytest.mark.parametrize("codec", first(1, ["snappy", "uncompressed"]))
def test_another_compression_is_refused(release: Release, codec: str) -> None:
    release.stage("visit", options=f"COMPRESSION {codec}")
    assert release.codes() == {"compression_wrong"}


class OneKey(encryption.KmsClient):  # type: ignore[misc]
    """Wraps nothing: enough to write an encrypted file."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return key_bytes.hex()


@pytest.mark.parametrize("plain_footer", first(1, [True, False]))
def test_an_encrypted_part_is_refused(release: Release, plain_footer: bool) -> None:
    """What the verifier cannot read it cannot have judged."""
    path = release.folder / "next.parquet"
    factory = encryption.CryptoFactory(lambda _: OneKey())
    configuration = encryption.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["title"]}, plaintext_footer=plain_footer
    )
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), configuration)
    rows = release.db.sql("FROM concept ORDER BY ALL").to_arrow_table()
    pq.write_table(rows, path, compression="zstd", encryption_properties=properties)
    release.paths["concept"] = [path]
    assert "part_unreadable" in release.codes()


def test_a_class_with_one_disease_is_refused(release: Release) -> None:
    release.db.execute(
        "UPDATE person SET disease = 'A' WHERE disease IS NOT NULL AND age = '80+' AND sex = 'M'"
    )
    found = [(f.code, f.column, f.count) for f in release.verdict().refusals]
    assert found == [("sensitive_homogeneous", "disease", 1)]


def test_what_the_classes_tell_beyond_the_base_rate_is_reported(release: Release) -> None:
    """Every class holds A, B and C in equal parts; then one class leans to A, another to B."""
    assert release.verdict().gains["person.disease"].gain == pytest.approx(0)
    leaning = lawful(release.folder)
    for sex, one, other in [("M", "A", "B"), ("F", "B", "A")]:
        leaning.db.execute(
            f"UPDATE person SET disease = '{one}' WHERE disease = '{other}' AND age = '80+' AND sex = '{sex}'"
        )
    guess = leaning.verdict().gains["person.disease"]
    assert guess.gain == pytest.approx(30 / 360)
    assert guess.surest == pytest.approx(2 / 3)


def test_a_rare_code_counts_people_not_rows(release: Release) -> None:
    """One person has fifty rows of a code."""
    release.db.execute(
        "INSERT INTO visit SELECT substr(md5('more' || i), 1, 16), (SELECT min(person_id) FROM person), i, 'G71', "
        "NULL, NULL, 4 FROM range(50) t(i)"
    )
    found = [(f.code, f.table, f.column, f.count) for f in release.verdict().refusals]
    assert found == [("rare_label", "visit", "code", 1)]


def test_a_role_that_never_leaves_is_refused_whatever_the_plan_says(release: Release) -> None:
    release.db.execute("ALTER TABLE visit ADD COLUMN note VARCHAR")
    release.planned("visit").append({"name": "note", "transform": "keep"})
    assert release.codes() == {"dropped_role_released"}
