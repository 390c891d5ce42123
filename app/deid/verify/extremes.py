"""The smallest and the largest value of columns of one part, read by Arrow: no statistics of the file are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.deid.verify.keys import BATCH, in_dictionaries

Ends = tuple[Any, Any]


def read_extremes(path: Path, columns: list[str]) -> dict[str, Ends] | None:
    """(smallest, largest) of each column, both None where it holds nothing; NaN is larger than any number, as DuckDB
    has it. None where Arrow cannot read or compare a column: then look closer. Memory: one batch."""
    found: dict[str, Ends] = dict.fromkeys(columns, (None, None))
    try:
        with pq.ParquetFile(path, read_dictionary=in_dictionaries(path, columns)) as file:
            for batch in file.iter_batches(BATCH, columns=columns, use_threads=False):
                for name in columns:
                    found[name] = _wider(found[name], _ends(batch.column(name)))
    except (OSError, OverflowError, pa.ArrowException, ValueError):  # the library's words may quote the file
        return None
    return found


def _ends(column: pa.Array) -> Ends:
    if pa.types.is_dictionary(column.type):  # a dictionary may hold what no row uses
        column = column.dictionary.take(pc.unique(column.indices))
    numbers = column
    if pa.types.is_floating(column.type):
        numbers = column.filter(pc.invert(pc.is_nan(column)))
    ends = pc.min_max(numbers)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if len(numbers) - numbers.null_count == len(column) - column.null_count:
        return low, high
    return (float("nan") if low is None else low), float("nan")


def _wider(one: Ends, other: Ends) -> Ends:
    if one[0] is None or other[0] is None:
        return other if one[0] is None else one
    low = other[0] if one[0] != one[0] or other[0] < one[0] else one[0]
    high = one[1] if one[1] != one[1] or other[1] < one[1] else other[1]
    return low, high
