"""The parts as bytes: name, hash, footer, schema, statistics, dictionaries: all that a file tells beside its rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.deid.verify.evidence import Expectation, Staged, refusal
from app.deid.verify.scope import Leaving
from app.errors import Finding

# The Arrow schema (types only; its own metadata must be empty) is the one key a writer may leave in the footer.
ALLOWED_KEYS = frozenset({b"ARROW:schema"})
ALLOWED_FIELD_KEYS = frozenset({b"PARQUET:field_id"})
WRITERS = re.compile(
    r"(DuckDB|parquet-cpp-arrow|parquet-mr) version [0-9A-Za-z.\-]+( \(build [0-9A-Za-z.\-]+\))?"
)


@dataclass(frozen=True)
class Part:
    """One part that could be read, and the extremes that its statistics tell per column (None: not told)."""

    path: Path
    sha256: str
    rows: int
    told: dict[str, tuple[Any, Any]]
    position: int = 0


def read_parts(
    staged: Staged, tables: list[Leaving], expectation: Expectation
) -> tuple[dict[str, list[Part]], list[Finding]]:
    """Every part of every table of the plan, and all that is wrong with their bytes."""
    findings = [
        refusal("table_unexpected", table=n) for n in sorted(set(staged.tables) - {t.name for t in tables})
    ]
    parts: dict[str, list[Part]] = {table.name: [] for table in tables}
    stay = {table for table, _ in expectation.standing}
    for table in tables:
        paths = staged.tables.get(table.name, ())
        if not paths and table.name not in stay:
            findings.append(refusal("part_missing", table=table.name))
        for number, path in enumerate(paths):
            recorded = expectation.recorded.get(path)
            position = number if recorded is None or recorded.position is None else recorded.position
            where = {"table": table.name, "pointer": f"part {position}"}
            part, found = _read(path, table, position, where)
            findings += found
            if part is not None:
                parts[table.name].append(part)
                findings += _recorded(part, expectation, where)
    return parts, findings


def _read(
    path: Path, table: Leaving, position: int, where: dict[str, str]
) -> tuple[Part | None, list[Finding]]:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with pq.ParquetFile(path) as file:
            findings = list(_footer(file, table, where))
            told = _told(file.metadata)
            part = Part(path, sha256, file.metadata.num_rows, told, position)
            if not any(found.code == "columns_differ" for found in findings):
                findings += list(_dictionaries(path, where))
    except (OSError, pa.ArrowException, ValueError):  # the library's words may quote the file: not passed on
        return None, [refusal("part_unreadable", **where)]
    return part, findings


def _recorded(part: Part, expectation: Expectation, where: dict[str, str]) -> Iterator[Finding]:
    if part.path.name != f"{part.sha256}.parquet":
        yield refusal("name_not_content", **where)
    recorded = expectation.recorded.get(part.path)
    if recorded is not None and recorded.sha256 != part.sha256:
        yield refusal("bytes_changed", **where)
    if recorded is not None and recorded.rows != part.rows:
        yield refusal("rows_changed", **where)


def _footer(file: pq.ParquetFile, table: Leaving, where: dict[str, str]) -> Iterator[Finding]:
    metadata, schema = file.metadata, file.schema_arrow
    flat = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    if list(schema.names) != table.names or flat != table.names:
        yield refusal("columns_differ", **where, count=len(set(schema.names) ^ set(table.names)))
    loud = [field for field in schema if not set(field.metadata or {}) <= ALLOWED_FIELD_KEYS]
    if not set(metadata.metadata or {}) <= ALLOWED_KEYS or schema.metadata or loud:
        yield refusal("footer_metadata", **where)
    if not WRITERS.fullmatch(metadata.created_by or ""):
        yield refusal("writer_unknown", **where)
    chunks = [
        metadata.row_group(g).column(c)
        for g in range(metadata.num_row_groups)
        for c in range(metadata.num_columns)
    ]
    if any(chunk.compression != "ZSTD" for chunk in chunks):
        yield refusal("compression_wrong", **where)
    if any(chunk.path_in_schema not in table.names for chunk in chunks):
        yield refusal("statistics_leak", **where)


def _told(metadata: pq.FileMetaData) -> dict[str, tuple[Any, Any]]:
    """Per column the smallest minimum and the largest maximum of the footer."""
    told: dict[str, tuple[Any, Any]] = {}
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            statistics = chunk.statistics
            if statistics is not None and statistics.has_min_max:
                low, high = statistics.min, statistics.max
                if chunk.path_in_schema in told:
                    before = told[chunk.path_in_schema]
                    low, high = min(low, before[0]), max(high, before[1])
                told[chunk.path_in_schema] = (low, high)
    return told


def _dictionaries(path: Path, where: dict[str, str]) -> Iterator[Finding]:
    """A writer that keeps the categories of filtered rows hides values in dictionary pages that no row shows."""
    with pq.ParquetFile(path) as file:
        texts = [
            f.name
            for f in file.schema_arrow
            if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)
        ]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        groups = [(file.metadata.row_group(g), g) for g in range(file.metadata.num_row_groups)]
        for number, name in enumerate(file.schema_arrow.names):
            with_page = [
                g for group, g in groups if name in texts and group.column(number).has_dictionary_page
            ]
            unused = sum(
                _unused(file.read_row_group(g, columns=[name], use_threads=False)) for g in with_page
            )
            if unused:
                yield refusal("dictionary_leak", **where, column=name, count=unused)


def _unused(group: pa.Table) -> int:
    chunks = group.column(0).chunks
    return sum(len(c.dictionary) - pc.count_distinct(c.indices, mode="only_valid").as_py() for c in chunks)
