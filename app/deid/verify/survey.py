"""One pass over each part: order of neighbouring rows, extremes of every column, keys that are not keyed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.deid.verify.parts import Part
from app.deid.verify.reader import Reader, name, scan
from app.deid.verify.scope import Leaving

KEY = "[0-9a-f]{16}"


@dataclass
class Survey:
    """What the parts of one table hold: per part the (smallest, largest) of each column; counts over all parts.

    `unsorted` counts rows less than the row before them in the same part (nulls come last), where asked for.
    """

    extremes: list[dict[str, tuple[Any, Any]]] = field(default_factory=list)
    malformed: dict[str, int] = field(default_factory=dict)
    unsorted: int = 0


def survey(reader: Reader, table: Leaving, parts: Sequence[Part]) -> Survey:
    """Read every part once, and once more only where neighbours tie on the short key."""
    found = Survey()
    keyed = [out.name for out in table.outs if out.keyed and out.name not in table.persons[:1]]
    for part in parts:
        columns = list(enumerate(table.names))
        asked = [f"min({name(n)}) AS a{i}, max({name(n)}) AS b{i}" for i, n in columns]
        asked += [
            f"count(*) FILTER (WHERE NOT regexp_full_match({name(n)}::VARCHAR, '{KEY}')) AS k{i}"
            for i, n in enumerate(keyed)
        ]
        less, tie, lagged = _neighbours(table)
        asked += [f"count(*) FILTER (WHERE {less}) AS less", f"count(*) FILTER (WHERE {tie}) AS ties"]
        row = reader.row(f"SELECT {', '.join(asked)} FROM (SELECT *{lagged} FROM {scan([part.path])})")
        if row["ties"]:
            row["less"] = reader.number(descents(table, [part]))
        found.unsorted += row["less"]
        found.extremes.append({n: (row[f"a{i}"], row[f"b{i}"]) for i, n in columns})
        for i, n in enumerate(keyed):
            found.malformed[n] = found.malformed.get(n, 0) + row[f"k{i}"]
    return found


def sort_key(table: Leaving) -> list[str]:
    """The columns that rows are ordered by: the pseudonym, then all others as released."""
    first = table.persons[:1]
    return [*first, *(n for n in table.names if n not in first)]


def descents(table: Leaving, parts: Sequence[Part]) -> str:
    """SQL that counts the rows less than the row before them. A row with a null is greater: nulls come last."""
    key = f"row({', '.join(name(n) for n in sort_key(table))})"
    rows = scan([p.path for p in parts])
    return f"SELECT count(*) FROM (SELECT {key} < lag({key}) OVER () AS less FROM {rows}) WHERE less"


def _neighbours(table: Leaving) -> tuple[str, str, str]:
    """(less, tie, lagged columns): comparing (pseudonym, next key) is enough where that key is unique, as keyed ids
    are; whole rows cost more. Where no such key follows, every row ties."""
    key = sort_key(table)
    if table.via is not None:
        return "false", "false", ""  # the order is that of the parent's people: judged by its own rule
    if not table.persons or len(key) < 2 or key[1] not in {o.name for o in table.outs if o.keyed}:
        return "false", "true", ""
    p, k, q, j = name(key[0]), name(key[1]), '"__p"', '"__k"'
    less = f"{p} < {q} OR ({p} = {q} AND ({k} < {j} OR ({j} IS NULL AND {k} IS NOT NULL)))"
    tie = f"{p} IS NOT DISTINCT FROM {q} AND {k} IS NOT DISTINCT FROM {j}"
    return less, tie, f", lag({p}) OVER () AS {q}, lag({k}) OVER () AS {j}"
