"""One pass over each part: order of neighbouring rows, extremes of every column, keys that are not keyed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from app.deid.verify.extremes import read_extremes
from app.deid.verify.keys import Keys, read_keys
from app.deid.verify.parts import Part
from app.deid.verify.reader import Reader, name, scan
from app.deid.verify.scope import Leaving

KEY = "[0-9a-f]{16}"


@dataclass
class Survey:
    """What the parts of one table hold: per part the (smallest, largest) of each column; counts over all parts.

    `unsorted` counts rows less than the row before them in the same part (nulls come last), where asked for.
    `people`: by position of a part the distinct people that its rows begin with, as 64 bits, where they could be told.
    `single` is True where it is proven that every row has another person: the first key is a person's and always grows.
    """

    extremes: list[dict[str, tuple[Any, Any]]] = field(default_factory=list)
    malformed: dict[str, int] = field(default_factory=dict)
    people: dict[int, npt.NDArray[np.uint64]] = field(default_factory=dict)
    unsorted: int = 0
    single: bool = False


def survey(reader: Reader, table: Leaving, parts: Sequence[Part]) -> Survey:
    """Read every part once; rows are compared whole only where their first two keys tie or are no keys."""
    found = Survey(single=bool(table.persons))
    keyed = [n for n in sort_key(table) if n in {out.name for out in table.outs if out.keyed}]
    for part in parts:
        keys = read_keys(part.path, keyed) if keyed else None
        extremes: dict[str, tuple[Any, Any]] = {} if keys is None else {**keys.extremes}
        if keys is None:
            _malformed(reader, keyed, part, found)
        elif keyed[0] in table.persons:
            found.people[part.position] = keys.firsts
        extremes |= _extremes(reader, [n for n in table.names if n not in extremes], part)
        found.extremes.append(extremes)
        if table.via is None:  # else the order is that of the parent's people: judged by its own rule
            enough = keys is not None and _decides(keys, keyed, sort_key(table))
            found.unsorted += keys.less if keys and enough else reader.number(descents(table, [part]))
        found.single &= keys is not None and keyed[0] in table.persons and not (keys.less or keys.repeats)
    if found.single:
        ends = [e for e in (e[table.persons[0]] for e in found.extremes) if e[0] is not None]
        found.single = all(before[1] < after[0] for before, after in pairwise(ends))
    return found


def _decides(keys: Keys, keyed: list[str], order: list[str]) -> bool:
    """Whether the first key, or the first two, tell the order of all rows: they lead it, and no two are equal."""
    return (keyed[:1] == order[:1] and not keys.repeats) or (keyed[:2] == order[:2] and not keys.ties)


def _malformed(reader: Reader, keyed: list[str], part: Part, found: Survey) -> None:
    for column in keyed:
        wrong = f"NOT regexp_full_match({name(column)}::VARCHAR, '{KEY}')"
        count = reader.number(f"SELECT count(*) FROM {scan([part.path])} WHERE {wrong}")
        found.malformed[column] = found.malformed.get(column, 0) + count


def _extremes(reader: Reader, columns: list[str], part: Part) -> dict[str, tuple[Any, Any]]:
    told = read_extremes(part.path, columns)
    if told is not None:
        return told
    asked = ", ".join(f"min({name(n)}) AS a{i}, max({name(n)}) AS b{i}" for i, n in enumerate(columns))
    row = reader.values(f"SELECT {asked} FROM {scan([part.path])}")
    return {n: (row[f"a{i}"], row[f"b{i}"]) for i, n in enumerate(columns)}


def sort_key(table: Leaving) -> list[str]:
    """The columns that rows are ordered by: the pseudonym, then all others as released."""
    first = table.persons[:1]
    return [*first, *(n for n in table.names if n not in first)]


def descents(table: Leaving, parts: Sequence[Part]) -> str:
    """SQL that counts the rows less than the row before them. A row with a null is greater: nulls come last."""
    key = f"row({', '.join(name(n) for n in sort_key(table))})"
    rows = scan([p.path for p in parts])
    return f"SELECT count(*) FROM (SELECT {key} < lag({key}) OVER () AS less FROM {rows}) WHERE less"
