"""A small lawful release, built from seeded people by DuckDB alone, and ways to plant one fault in it."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from app.deid.verify import Expectation, Recorded, Staged, VerifierReport, verify
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan

PEOPLE = 480

DICTIONARY: dict[str, Any] = {
    "tables": [
        {
            "name": "person",
            "kind": "participant",
            "participant": ["person_id"],
            "fields": [
                {"name": "person_id", "type": "integer", "role": {"kind": "participant_id"}},
                {"name": "name", "role": {"kind": "direct_identifier"}},
                {"name": "household", "role": {"kind": "family_id"}},
                {"name": "age", "role": {"kind": "quasi_identifier"}},
                {"name": "sex", "role": {"kind": "quasi_identifier"}},
                {"name": "ward", "role": {"kind": "site"}},
                {"name": "recruited_by", "role": {"kind": "attribute"}},
                {"name": "disease", "role": {"kind": "sensitive", "l": 2}},
                {"name": "joined", "type": "date", "role": {"kind": "date", "mode": "month"}},
            ],
        },
        {
            "name": "visit",
            "kind": "event",
            "participant": ["person_id"],
            "fields": [
                {"name": "visit_id", "type": "integer", "role": {"kind": "record_id"}},
                {"name": "person_id", "type": "integer", "role": {"kind": "participant_id"}},
                {"name": "day", "type": "date", "role": {"kind": "date", "mode": "relative_day"}},
                {"name": "code", "role": {"kind": "code", "vocabulary": "KCD"}},
                {"name": "remark", "role": {"kind": "attribute"}, "missing": {"888": "refused"}},
                {"name": "serial", "type": "integer", "role": {"kind": "attribute"}},
                {"name": "note", "role": {"kind": "free_text"}},
            ],
        },
        {
            "name": "lab",
            "kind": "event",
            "participant_via": "visit.visit_id",
            "fields": [
                {"name": "visit_id", "type": "integer", "role": {"kind": "record_id"}},
                {"name": "value", "type": "number", "role": {"kind": "number"}},
            ],
        },
        {
            "name": "concept",
            "kind": "reference",
            "fields": [
                {"name": "code", "role": {"kind": "attribute"}},
                {"name": "title", "role": {"kind": "attribute"}},
            ],
        },
    ]
}

PLAN: dict[str, Any] = {
    "version_id": "v1",
    "tables": [
        {
            "name": "person",
            "columns": [
                {"name": "person_id", "transform": "pseudonymise"},
                {"name": "name", "transform": "drop"},
                {"name": "age", "transform": "generalise"},
                {"name": "sex", "transform": "generalise"},
                {"name": "disease", "transform": "keep"},
                {"name": "joined", "transform": "truncate_date", "params": {"to": "month"}},
            ],
        },
        {
            "name": "visit",
            "columns": [
                {"name": "visit_id", "transform": "keyed_id"},
                {"name": "person_id", "transform": "pseudonymise"},
                {"name": "day", "transform": "relative_day"},
                {"name": "code", "transform": "roll_up", "params": {"min_participants": 11}},
                {"name": "remark", "transform": "keep"},
                {"name": "remark", "transform": "label_missing"},
                {"name": "serial", "transform": "keep"},
            ],
        },
        {
            "name": "lab",
            "columns": [
                {"name": "visit_id", "transform": "keyed_id"},
                {"name": "value", "transform": "round_number", "params": {"to": 0.5}},
            ],
        },
        {
            "name": "concept",
            "columns": [{"name": "code", "transform": "keep"}, {"name": "title", "transform": "keep"}],
        },
    ],
    "privacy": {"k": 11, "max_suppression": 0.1},
}

# i numbers people 0..479; 4 age bands x 2 sexes make 8 classes of 60, each with 4 diseases.
PERSON = f"""SELECT substr(md5('key' || i), 1, 16) AS person_id, ['20-39','40-59','60-79','80+'][1 + i % 4] AS age,
['F','M'][1 + (i // 4) % 2] AS sex, ['A','B','C',NULL][1 + (i // 8) % 4] AS disease,
printf('2024-%02d', 1 + i % 12) AS joined FROM range({PEOPLE}) t(i)"""
VISIT = f"""SELECT substr(md5('visit' || j), 1, 16) AS visit_id, substr(md5('key' || (j % {PEOPLE})), 1, 16)
AS person_id, (j * 7 % 900)::INTEGER AS day, ['E11','I10',NULL][1 + (j // {PEOPLE}) % 3] AS code,
CASE WHEN j % 9 > 0 THEN 'seen in ward ' || j % 3 END AS remark,
CASE WHEN j % 9 = 0 THEN 'refused' END AS remark__missing,
(4000000 + j % 50)::BIGINT AS serial FROM range({PEOPLE * 3}) t(j)"""
LAB = f"""SELECT substr(md5('visit' || (m % {PEOPLE * 3})), 1, 16) AS visit_id, (m % 20) / 2.0 AS value
FROM range({PEOPLE * 6}) t(m)"""
CONCEPT = "SELECT * FROM (VALUES ('E11', 'Type 2 diabetes'), ('I10', 'Hypertension')) t(code, title)"


@dataclass
class Release:
    """A release under construction: change `db`, `plan`, `dictionary` or `paths`, then ask the verifier."""

    folder: Path
    plan: dict[str, Any]
    dictionary: dict[str, Any]
    db: duckdb.DuckDBPyConnection = field(default_factory=lambda: duckdb.connect(":memory:"))
    paths: dict[str, list[Path]] = field(default_factory=dict)
    recorded: dict[Path, Recorded] = field(default_factory=dict)
    people_before: int = PEOPLE
    forbidden: tuple[str, ...] = ()
    windows: dict[tuple[str, str], tuple[date, date]] = field(
        default_factory=lambda: {("visit", "day"): (date(2020, 1, 1), date(2022, 6, 18))}  # days 0 to 899
    )
    eligible: pa.Table | None = None
    twins: pa.Table | None = None

    def order(self, table: str) -> str:
        """The lawful order of a table's rows."""
        if table == "lab":
            return "(SELECT v.person_id FROM visit v WHERE v.visit_id = lab.visit_id), visit_id, value"
        return {"person": "ALL", "concept": "ALL"}.get(
            table, "person_id, visit_id, COLUMNS(* EXCLUDE (person_id, visit_id))"
        )

    def stage(
        self, table: str, parts: int = 2, query: str | None = None, options: str = "COMPRESSION zstd"
    ) -> None:
        """Write a table as the engine would: cut by pseudonym, ordered, named by content."""
        self.paths[table] = []
        if query is not None or table == "concept":
            self.write(table, query or f"SELECT * FROM {table} ORDER BY {self.order(table)}", options)
            return
        person = {"lab": "(SELECT v.person_id FROM visit v WHERE v.visit_id = lab.visit_id)"}.get(
            table, "person_id"
        )
        for n in range(parts):
            low, high = f"{256 * n // parts:02x}", f"{256 * (n + 1) // parts:02x}" if n + 1 < parts else "g"
            chosen = f"SELECT * FROM {table} WHERE {person} >= '{low}' AND {person} < '{high}'"
            self.write(table, f"{chosen} ORDER BY {self.order(table)}", options)

    def write(self, table: str, query: str, options: str = "COMPRESSION zstd") -> None:
        """One more part of a table."""
        path = self.folder / "next.parquet"
        self.db.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, {options})").fetchall()
        self.adopt(table, path)

    def adopt(self, table: str, path: Path) -> None:
        """Name a written file by its content and append it to the table's parts."""
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        named = path.rename(self.folder / f"{sha256}.parquet")
        self.paths.setdefault(table, []).append(named)
        self.recorded[named] = Recorded(sha256, pq.read_metadata(named).num_rows)

    def stage_all(self) -> None:
        """Every planned table that is not staged yet."""
        for planned in self.plan["tables"]:
            if planned["name"] not in self.paths:
                self.stage(planned["name"])

    def verdict(self, k: int = 11) -> VerifierReport:
        """What the verifier says."""
        self.stage_all()
        if self.eligible is None:
            everyone = [
                f"SELECT '{t}' AS \"table\", person_id AS pseudonym FROM lawful"
                for t in ("person", "visit", "lab")
            ]
            self.eligible = self.db.sql(" UNION ALL ".join(everyone)).to_arrow_table()
        spill = self.folder / "spill"
        spill.mkdir(exist_ok=True)
        expectation = Expectation(
            plan=Plan.model_validate(self.plan),
            dictionary=Dictionary.model_validate(self.dictionary),
            k=k,
            eligible=self.eligible,
            people_before=self.people_before,
            recorded=self.recorded,
            forbidden=self.forbidden,
            windows=self.windows,
            twins=self.twins,
        )
        return verify(Staged(self.paths), expectation, spill=spill)

    def codes(self, k: int = 11) -> set[str]:
        """The codes of all refusals."""
        return {found.code for found in self.verdict(k).refusals}

    def column(self, table: str, name: str) -> dict[str, Any]:
        """The dictionary entry of a column, to be changed."""
        found = next(t for t in self.dictionary["tables"] if t["name"] == table)
        entry: dict[str, Any] = next(f for f in found["fields"] if f["name"] == name)
        return entry

    def planned(self, table: str) -> list[dict[str, Any]]:
        """The planned columns of a table, to be changed."""
        columns: list[dict[str, Any]] = next(t for t in self.plan["tables"] if t["name"] == table)["columns"]
        return columns


def lawful(folder: Path) -> Release:
    """A release that the verifier passes, until a test plants a fault."""
    release = Release(folder, deepcopy(PLAN), deepcopy(DICTIONARY))
    for table, query in {"person": PERSON, "visit": VISIT, "lab": LAB, "concept": CONCEPT}.items():
        release.db.execute(f"CREATE TABLE {table} AS {query}")
    release.db.execute("CREATE TABLE lawful AS SELECT person_id FROM person")
    return release
