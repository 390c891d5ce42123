"""Keyed ids read as two machine words each: their shape, order and extremes at the speed of memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Words = npt.NDArray[np.uint64]
WIDTH = 16
BATCH = 131_072
_HEX = np.zeros(256, dtype=np.bool_)
_HEX[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = True


@dataclass
class Keys:
    """What the key columns of one part hold; `less` and `ties` compare a row's first two keys with the row before,
    `repeats` its first alone. `firsts` has each value of the first column once, as 64 bits."""

    less: int = 0
    repeats: int = 0
    ties: int = 0
    extremes: dict[str, tuple[str, str]] = field(default_factory=dict)
    firsts: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))


def read_keys(path: Path, columns: list[str]) -> Keys | None:
    """None where any value of a column is missing or not 16 lower-case hex characters: then look closer."""
    keys, last, begun = Keys(), None, list[npt.NDArray[np.uint64]]()
    with pq.ParquetFile(path, read_dictionary=in_dictionaries(path, columns)) as file:
        for batch in file.iter_batches(BATCH, columns=columns, use_threads=False):
            words = [words_of(batch.column(name)) for name in columns]
            whole = [w for w in words if w is not None]
            if len(whole) < len(columns):
                return None
            if batch.num_rows:
                pairs = np.concatenate(whole[:2], axis=1)
                rows = pairs if last is None else np.concatenate([last, pairs])
                less, ties = _compare(rows)
                keys.less, keys.ties, last = keys.less + less, keys.ties + ties, pairs[-1:]
                keys.repeats += _compare(rows[:, : WIDTH // 8])[1] if len(columns) > 1 else ties
                begun.append(_begun(rows[:, : WIDTH // 8], len(pairs)))
                for name, column in zip(columns, whole, strict=True):
                    low, high = _extremes(column)
                    before = keys.extremes.get(name, (low, high))
                    keys.extremes[name] = (min(low, before[0]), max(high, before[1]))
    if begun:
        keys.firsts = np.concatenate(begun)
        if (keys.firsts[1:] <= keys.firsts[:-1]).any():
            keys.firsts = np.sort(keys.firsts)
            keys.firsts = keys.firsts[np.concatenate([[True], keys.firsts[1:] != keys.firsts[:-1]])]
    return keys


def in_dictionaries(path: Path, columns: list[str]) -> list[str]:
    """The columns that repeat their values, such as pseudonyms: each value is then looked at once a page."""
    metadata = pq.read_metadata(path)
    if metadata.num_row_groups == 0:
        return []
    chunks = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)]
    return [c.path_in_schema for c in chunks if c.has_dictionary_page and c.path_in_schema in columns]


def words_of(column: pa.Array) -> Words | None:
    """(n, 2) words in the order of the text; None where a value is missing or no keyed id."""
    if pa.types.is_dictionary(column.type):
        values = words_of(column.dictionary)
        return None if values is None or column.null_count else values[column.indices.to_numpy()]
    if column.null_count or column.type != pa.string():
        return None
    size = len(column)
    if size == 0:
        return np.zeros((0, 2), np.uint64)
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + size + 1]
    if not (np.diff(ends) == WIDTH).all():
        return None
    text = np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]
    if not _HEX[text].all():
        return None
    return text.view(">u8").astype(np.uint64).reshape(size, WIDTH // 8)


def bits_of(column: pa.ChunkedArray) -> npt.NDArray[np.uint64] | None:
    """The 64 bits that each keyed id of a column spells; None where a value is missing or no keyed id. Memory: these,
    and one batch."""
    found = [np.empty(0, dtype=np.uint64)]
    for chunk in column.chunks:
        for start in range(0, len(chunk), BATCH):
            text = _text_of(chunk.slice(start, BATCH))
            try:
                spelled = b"" if text is None else bytes.fromhex(text.decode("ascii"))
            except ValueError:  # what is wrong is not to be quoted
                return None
            if text is None or spelled.hex().encode() != text:  # capitals and blanks spell as well
                return None
            found.append(np.frombuffer(spelled, dtype=">u8").astype(np.uint64))
    return np.concatenate(found)


def _text_of(column: pa.Array) -> bytes | None:
    """The values of a column end to end; None where one is missing or not as long as a keyed id."""
    if column.null_count or column.type != pa.string():
        return None
    if len(column) == 0:
        return b""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    if not (np.diff(ends) == WIDTH).all():
        return None
    return bytes(memoryview(data)[int(ends[0]) : int(ends[-1])])


def _begun(rows: Words, new: int) -> npt.NDArray[np.uint64]:
    """Of the last `new` rows those that begin another value than the row before, by the 64 bits they spell."""
    begin = np.ones(len(rows), dtype=np.bool_)
    begin[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    letters = rows[-new:][begin[-new:]].astype(">u8").view(np.uint8).reshape(-1, WIDTH)
    halves = np.where(letters >= ord("a"), letters - (ord("a") - 10), letters - ord("0"))
    bytes_ = np.ascontiguousarray(halves[:, 0::2] << 4 | halves[:, 1::2])
    return bytes_.view(">u8").astype(np.uint64).reshape(-1)


def _compare(rows: Words) -> tuple[int, int]:
    equal = np.ones(len(rows) - 1, dtype=np.bool_)
    less = np.zeros(len(rows) - 1, dtype=np.bool_)
    for word in rows.T:
        less |= equal & (word[1:] < word[:-1])
        equal &= word[1:] == word[:-1]
    return int(less.sum()), int(equal.sum())


def _extremes(column: Words) -> tuple[str, str]:
    high, low = column[:, 0], column[:, 1]
    ends = []
    for pick in (np.min, np.max):
        first = pick(high)
        ends.append(np.array([first, pick(low[high == first])], dtype=">u8").tobytes().decode())
    return ends[0], ends[1]
