"""Columns of many people as arrays: the database lays them end to end, without a row of Python's own for each.

Such a row costs more than reading it. What is asked stays with the question; here is only how the answer is carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    ARRAY,
    Connection,
    Integer,
    LargeBinary,
    String,
    any_,
    bindparam,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import aggregate_strings

Keys = npt.NDArray[np.int32]
Block = npt.NDArray[np.uint8]

_KEY = 4  # bytes
_DIGITS = 5  # bytes of a key in SQLite's form: ten digits, of which the first is no nought
_FROM = 5_000_000_000
_WORTH = 100 ** np.arange(_DIGITS - 1, -1, -1, dtype=np.int64)


def numbers(column: Any) -> aggregate_strings:
    """An aggregate: the whole numbers of a column as one text, in no order; see `as_numbers`."""
    return func.aggregate_strings(cast(column, String), ",")


def as_numbers(text: str | None) -> Keys:
    """What `numbers` has told; empty where there was no row."""
    return np.fromstring(text or "", dtype=np.int32, sep=",")


def pairs(connection: Connection, key: Any, data: Any) -> ColumnElement[Any]:
    """An aggregate: each row's key (int32) and the bytes of its `data` by turns, in no order; see `as_pairs`.

    All `data` must have as many bytes: the question has to leave out what is longer, shorter or null."""
    if connection.dialect.name == "postgresql":
        return func.string_agg(func.int4send(key).op("||")(data), literal(b"", LargeBinary))
    # SQLite's aggregates are of texts. `printf` would cost as much as all the rest.
    return func.group_concat(cast(key + _FROM, String).concat(func.hex(data)), "")


def as_pairs(told: bytes | str | None, width: int) -> tuple[Keys, Block]:
    """What `pairs` has told: the keys, and the bytes of each as uint8 of shape (n, width)."""
    if not isinstance(told, str):
        rows = np.frombuffer(told or b"", dtype=np.uint8).reshape(-1, _KEY + width)
        return np.ascontiguousarray(rows[:, :_KEY]).view(">i4").ravel().astype(np.int32), rows[:, _KEY:]
    rows = np.frombuffer(bytes.fromhex(told), dtype=np.uint8).reshape(-1, _DIGITS + width)
    digits = rows[:, :_DIGITS]
    keys = ((digits >> 4) * 10 + (digits & 15)) @ _WORTH - _FROM
    return keys.astype(np.int32), rows[:, _DIGITS:]


def one_of(connection: Connection, column: Any, name: str) -> ColumnElement[bool]:
    """That a column is one of the numbers given as `name` in the form of `given`: one value, however many they are."""
    if connection.dialect.name == "postgresql":
        return column == any_(bindparam(name, type_=ARRAY(Integer)))  # type: ignore[no-any-return]
    each = func.json_each(bindparam(name, type_=String)).table_valued("value")
    return column.in_(select(each.c.value))  # type: ignore[no-any-return]


def given(connection: Connection, keys: Sequence[int]) -> Any:
    """Numbers as `one_of` takes them."""
    return list(keys) if connection.dialect.name == "postgresql" else str(list(keys))
