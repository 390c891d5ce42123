"""What the files tell beside their rows: footers, statistics, notes of other tools, columns that were to be dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from app.deid.attacks.extract import Extract, Sheet, quoted
from app.deid.attacks.result import Result, Words, judged

HARMLESS_KEYS = frozenset({b"ARROW:schema"})


def footers(extract: Extract, dropped: Collection[str]) -> Result:
    """Every part against the manifest: its digest, its columns, its footer; `dropped` are names of columns that must
    not occur in a footer (from the dictionary; may be empty)."""
    found = {
        "parts": 0,
        "digest_differs": 0,
        "columns_differ": 0,
        "foreign_metadata": 0,
        "dropped_names_in_footer": 0,
        "statistics_beyond_rows": 0,
    }
    for sheet in extract.sheets:
        columns = _columns(extract, sheet)
        released = {leaf.name for leaf in sheet.leaves}
        for path, digest in zip(sheet.paths, sheet.digests, strict=True):
            found["parts"] += 1
            with path.open("rb") as file:
                found["digest_differs"] += hashlib.file_digest(file, "sha256").hexdigest() != digest
            meta = pq.read_metadata(path)
            found["columns_differ"] += meta.schema.to_arrow_schema().names != columns
            found["foreign_metadata"] += len(set(meta.metadata or {}) - HARMLESS_KEYS)
            footer = _footer(path)
            found["dropped_names_in_footer"] += sum(
                n.encode() in footer for n in set(dropped) - released if len(n) > 3
            )
            found["statistics_beyond_rows"] += _lies(extract, meta, path)
    good = not any(n for name, n in found.items() if name != "parts")
    return Result(
        "footers",
        Words("파일 꼬리말·통계값·도구 메타데이터", "Footers, statistics and tool metadata of the files"),
        Words("파일 그 자체", "the files themselves"),
        Words("삭제된 열·값의 흔적 0", "no trace of a dropped column or row"),
        dict(found),
        judged(good),
    )


def _columns(extract: Extract, sheet: Sheet) -> list[str]:
    told = next(t for t in extract.manifest["tables"] if t["name"] == sheet.name)
    return [c["name"] for c in told["columns"]]


def _footer(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        return file.read(length)


def _lies(extract: Extract, meta: Any, path: Path) -> int:
    """Columns whose statistics name a smallest or largest value that no row has."""
    told: dict[str, list[Any]] = {}
    for group in range(meta.num_row_groups):
        for i in range(meta.num_columns):
            column = meta.row_group(group).column(i)
            stats = column.statistics
            if stats is not None and stats.has_min_max:
                told.setdefault(column.path_in_schema, []).extend((stats.min, stats.max))
    # Read by Arrow: DuckDB would answer min and max from the very statistics that are doubted.
    table = pq.read_table(path, columns=sorted(told), use_threads=False)
    lies = 0
    for name, values in told.items():
        extract.load("really", table.select([name]))
        [row] = extract.rowset(f"SELECT min({quoted(name)}) AS a, max({quoted(name)}) AS b FROM really")
        if row["a"] is not None:
            lies += any(_beyond(value, row["a"], row["b"]) for value in values)
    return lies


def _beyond(told: Any, low: Any, high: Any) -> bool:
    said = told.decode(errors="replace") if isinstance(told, bytes) else told
    if isinstance(said, str) and isinstance(high, str):  # long texts are cut: the largest is rounded up
        return said < low[: len(said)] or (said > high and said[:-1] > high[: len(said) - 1])
    return bool(said < low or said > high)
