"""Who has several pseudonyms over several cohorts is one person to the verifier, wherever k or rare values count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.release import Release, lawful


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A lawful release, of which the first twenty pseudonyms (`few`) are ten people."""
    made = lawful(tmp_path)
    made.db.execute(
        "CREATE TABLE few AS SELECT person_id, row_number() OVER (ORDER BY person_id) - 1 AS n FROM lawful "
        "ORDER BY n LIMIT 20"
    )
    made.twins = made.db.sql(
        "SELECT person_id AS pseudonym, (n // 2)::INTEGER AS person FROM few"
    ).to_arrow_table()
    return made


def test_twins_alone_are_nothing_to_refuse(release: Release) -> None:
    release.plan["tables"] = [t for t in release.plan["tables"] if t["name"] != "lab"]
    report = release.verdict()
    assert report.ok, report.refusals
    assert report.evidence is None  # it would count pseudonyms


@pytest.mark.parametrize(("column", "value"), [("code", "'Z99'"), ("serial", "7")])
def test_a_value_of_ten_people_is_rare_whatever_the_number_of_their_pseudonyms(
    release: Release, column: str, value: str
) -> None:
    """A code by the plan's 11 people; a site outside the participant table by k."""
    release.column("visit", "serial")["role"] = {"kind": "site"}
    release.db.execute(f"UPDATE visit SET {column} = {value} WHERE person_id IN (SELECT person_id FROM few)")
    found = [(f.code, f.table, f.column, f.count) for f in release.verdict().refusals]
    assert found == [("rare_label", "visit", column, 1)]
    release.twins = None
    assert release.codes() == set()


def test_a_value_is_held_by_every_person_of_a_row(release: Release) -> None:
    """On a link table as well: ten rows of two people each, who are ten in all."""
    release.dictionary["tables"].append({
        "name": "pair", "kind": "link", "participant": ["one", "other"], "fields": [
            {"name": "one", "role": {"kind": "participant_id"}}, {"name": "other", "role": {"kind": "participant_id"}},
            {"name": "code", "role": {"kind": "code", "vocabulary": "KCD", "min_participants": 11}},
        ],
    })  # fmt: skip
    columns = [
        *({"name": n, "transform": "pseudonymise"} for n in ("one", "other")),
        {"name": "code", "transform": "keep"},
    ]
    release.plan["tables"].append({"name": "pair", "columns": columns})
    release.db.execute(
        "CREATE TABLE pair AS SELECT a.person_id AS one, b.person_id AS other, 'A' AS code FROM few a JOIN few b "
        "ON b.n = a.n + 10"
    )
    release.stage("pair", query="SELECT * FROM pair ORDER BY ALL")
    every = "SELECT 'pair' AS \"table\", person_id AS pseudonym FROM lawful"
    for table in ("person", "visit", "lab"):
        every += f" UNION ALL SELECT '{table}', person_id FROM lawful"
    release.eligible = release.db.sql(every).to_arrow_table()
    assert "rare_label" in release.codes()
    release.twins = None
    assert "rare_label" not in release.codes()


def test_people_without_labels_are_counted_by_people(release: Release) -> None:
    """Ten people of twenty pseudonyms consent to other domains than the participant table's: a class of ten."""
    release.db.execute("DELETE FROM person WHERE person_id IN (SELECT person_id FROM few)")
    release.people_before -= 20
    release.eligible = release.db.sql(
        "SELECT 'person' AS \"table\", person_id AS pseudonym FROM person UNION ALL "
        "SELECT 'visit', person_id FROM lawful UNION ALL SELECT 'lab', person_id FROM lawful"
    ).to_arrow_table()
    assert release.codes() == {"class_below_k"}
    release.twins = None
    assert release.codes() == set()


def test_without_the_participant_table_people_are_counted(release: Release) -> None:
    release.plan["tables"] = [t for t in release.plan["tables"] if t["name"] == "visit"]
    report = release.verdict()
    assert (report.ok, report.k_reached) == (True, 470)
