"""Keyed ids of records, families, staff and handles: equal within a project and a space, and nobody without the key
tells which id they are of (ADR 54).

An id is one block of AES-256 under a key of its own space, cut to 64 bits. DuckDB finds it by a function of ours that
works on whole columns (`register`), so that neither SQL nor a table of a connection ever holds a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from duckdb.func import PythonUDFType

from app.deid import pseudonyms
from app.deid.choices import chosen
from app.deid.transforms.keyed_id import KeyedIdParams
from app.deid.transforms.rendering import keyed_name
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan

_BLOCK = 16
_COLUMNS = PythonUDFType.ARROW
_SHORT = _BLOCK - 1
_HASHED = 0xFF


def record_key(key: bytes) -> bytes:
    """What the keys of all spaces of a project come from. Secret, like the key."""
    return pseudonyms.subkey(key, "record")


def space_key(record_key: bytes, space: str) -> bytes:
    """The AES-256 key of one space."""
    return pseudonyms.subkey(record_key, f"space {space}")


def keyed_id(key: bytes, space: str, value: str) -> str:
    """16 lower-case hex characters of one id in one space of a project."""
    found: str = keyed_ids(space_key(record_key(key), space), pa.array([value], pa.string()))[0].as_py()
    return found


def keyed_ids(key: bytes, values: pa.Array) -> pa.StringArray:
    """The ids (texts without nulls) keyed under the key of a space."""
    return names(keyed_words(key, values))


def keyed_words(key: bytes, values: pa.Array) -> pseudonyms.Words:
    """The 64 bits of each keyed id, whose hexadecimal text is the id."""
    return pseudonyms.macs(key, _blocks(values))


def names(words: pseudonyms.Words) -> pa.StringArray:
    """64 bits each as 16 lower-case hex characters."""
    starts = np.arange(0, 16 * len(words) + 1, 16, dtype=np.int32)
    text = words.astype(">u8").tobytes().hex().encode()
    return pa.StringArray.from_buffers(len(words), pa.py_buffer(starts), pa.py_buffer(text))


def spaces(plan: Plan, dictionary: Dictionary) -> set[str]:
    """Every space that the rows of a plan are keyed in, the orders of capped tables among them."""
    found = set[str]()
    for planned in plan.tables:
        for choice in chosen(planned, dictionary.table(planned.name)):
            if isinstance(choice.params, KeyedIdParams):
                found.add(choice.params.space)
        if planned.max_rows_per_person:
            found.add(cap_space(planned.name))
    return found


def cap_space(table: str) -> str:
    """The space of the order in which rows of a capped table are taken."""
    return f"cap:{table}"


def register(con: duckdb.DuckDBPyConnection, record_key: bytes, spaces: Iterable[str]) -> None:
    """Make the functions of these spaces (`Rendering.keyed`) known to a connection; they end with it."""
    for space in sorted(spaces):
        function = _function(space_key(record_key, space))
        con.create_function(keyed_name(space), function, ["VARCHAR"], "VARCHAR", type=_COLUMNS)


def secrets(record_key: bytes, spaces: Iterable[str]) -> pa.Table:
    """One row with the key of each space, for an engine that has the cipher itself."""
    named = {
        keyed_name(space): pa.array([space_key(record_key, space)], pa.binary()) for space in sorted(spaces)
    }
    return pa.table(named or {"none": pa.array([b""], pa.binary())})


def _function(key: bytes) -> Callable[[pa.ChunkedArray], pa.Array]:
    def keyed(column: pa.ChunkedArray) -> pa.Array:
        """One vector of DuckDB, without nulls: those stay what they are."""
        return keyed_ids(key, column)

    return keyed


def _blocks(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """One block an id, uint8 (n, 16): ids that differ are blocks that differ.

    An id of up to 15 bytes (UTF-8) stands for itself, filled with zeros, its length in the last byte; a longer one is
    told by the first 15 bytes of its SHA-256 and 255.
    """
    texts = values.cast(pa.large_string())
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    if texts.null_count:
        raise pseudonyms.PseudonymError("an id is missing")
    _, starts_of, data = texts.buffers()
    count = len(texts)
    starts = np.frombuffer(starts_of, dtype=np.int64)[texts.offset : texts.offset + count + 1]
    lengths = np.diff(starts)
    blocks = np.zeros((count, _BLOCK), dtype=np.uint8)
    most = int(lengths.max(initial=0))
    if most == 0:
        return blocks
    held = np.frombuffer(data, dtype=np.uint8)
    if most <= _SHORT and int(lengths.min()) == most:
        blocks[:, :most] = held[starts[0] : starts[-1]].reshape(count, most)
    else:
        width = min(most, _SHORT)
        place = np.minimum(starts[:-1, None] + np.arange(width), len(held) - 1)
        blocks[:, :width] = held[place] * (np.arange(width) < lengths[:, None])
    blocks[:, _SHORT] = np.minimum(lengths, _HASHED)
    for row in np.flatnonzero(lengths > _SHORT):
        hashed = hashlib.sha256(held[starts[row] : starts[row + 1]].tobytes()).digest()
        blocks[row] = np.frombuffer(hashed[:_SHORT] + bytes([_HASHED]), dtype=np.uint8)
    return blocks
