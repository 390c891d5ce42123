"""A tiny cohort, raw and released, written by hand for the risk measures: every expected figure can be counted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.deid.plan import draft
from app.deid.risk import Bounds
from app.deid.risk.ground import Ground, stand
from app.deid.roles import check_dictionary
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan, Privacy

Rows = Sequence[Mapping[str, Any]]

DOCUMENT: dict[str, Any] = {
    "hierarchies": {
        "age": {"kind": "interval", "bounds": [0, 100], "widths": [10, 50]},
        "sex": {"kind": "flat"},
        "code": {"kind": "prefix", "lengths": [1]},
    },
    "tables": [
        {
            "name": "people",
            "kind": "participant",
            "fields": [
                {"name": "id", "role": {"kind": "participant_id"}},
                {"name": "sex", "role": {"kind": "quasi_identifier", "hierarchy": "sex"}},
                {"name": "age", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "age"}},
                {"name": "salary", "role": {"kind": "sensitive"}},
            ],
        },
        {
            "name": "visits",
            "kind": "event",
            "participant": ["id"],
            "fields": [
                {"name": "id", "role": {"kind": "participant_id"}},
                {"name": "code", "role": {"kind": "code", "vocabulary": "x", "roll_up": "code"}},
                {"name": "day", "type": "date", "role": {"kind": "date", "mode": "shift"}},
                {"name": "value", "type": "number", "role": {"kind": "number"}},
            ],
        },
    ],
}


def united() -> dict[str, Any]:
    """The same tables over several sources: each row names its own."""
    document = deepcopy(DOCUMENT)
    document["hierarchies"]["source"] = {"kind": "flat"}
    for table, most in zip(document["tables"], ({"max_level": 0}, {}), strict=True):
        role = {"kind": "quasi_identifier", "hierarchy": "source", **most}
        table["fields"].append({"name": "source", "role": role})
    return document


def dictionary(document: dict[str, Any] = DOCUMENT) -> Dictionary:
    return check_dictionary(document)


def plan(known: Dictionary, k: int = 2, min_cell: int = 2) -> Plan:
    return draft(known, None, (), Privacy(k=k, reserve=0, min_cell=min_cell), "v")


def pseudonym(key: int) -> str:
    # Not in the order of the keys: nothing may lean on that.
    return f"{1000 - key:016x}"


def crosswalk(keys: Sequence[int], same: Mapping[int, int] = {}) -> pa.Table:
    """`same`: the keys that bear the pseudonym of another one, for they are linked."""
    names = [pseudonym(same.get(key, key)) for key in keys]
    return pa.table({"key": pa.array(keys, pa.int32()), "pseudonym": names})


def twins(same: Mapping[int, int]) -> pa.Table:
    """People with a pseudonym for each of two keys: (pseudonym, person) of both."""
    both = {**{first: first for first in same.values()}, **same}
    return pa.table(
        {"pseudonym": [pseudonym(key) for key in both], "person": pa.array(both.values(), pa.int32())}
    )


def write(path: Path, rows: Rows, columns: Mapping[str, pa.DataType]) -> Path:
    data = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in columns.items()}
    pq.write_table(pa.table(data), path)
    return path


@contextmanager
def standing(
    folder: Path,
    raw_people: Rows,
    out_people: Rows,
    raw_visits: Rows = (),
    out_visits: Rows = (),
    *,
    k: int = 2,
    min_cell: int = 2,
    seed: int = 1,
    document: dict[str, Any] = DOCUMENT,
    linked: Mapping[int, int] = {},
    apart: Mapping[int, int] | None = None,
) -> Iterator[Ground]:
    """The ground over rows that name their person by `key`; eligible is who has a raw row. `linked` keys bear the
    pseudonym of another one; those of `apart` are one person with another one and have their own."""
    known = dictionary(document)
    files = files_of(folder, raw_people, out_people, raw_visits, out_visits)
    keys = [row["key"] for row in raw_people]
    bounds = Bounds(folder, memory="512MB", threads=1, seed=seed)
    walk, known_twins = crosswalk(keys, linked), twins(apart) if apart else None
    with stand(*files, walk, known, plan(known, k, min_cell), bounds, known_twins) as ground:
        yield ground


def files_of(
    folder: Path, raw_people: Rows, out_people: Rows, raw_visits: Rows, out_visits: Rows
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    text, number, whole, day = pa.string(), pa.float64(), pa.int64(), pa.date32()
    person = {"__participant": pa.int32()}
    raw = {
        "people": [
            write(
                folder / "raw_people.parquet",
                [{"__participant": row["key"], **row} for row in raw_people],
                {**person, "sex": text, "age": whole, "salary": text, "source": text},
            )
        ],
        "visits": [
            write(
                folder / "raw_visits.parquet",
                [{"__participant": row["key"], **row} for row in raw_visits],
                {**person, "code": text, "day": day, "value": number, "source": text},
            )
        ],
    }
    out = {
        "people": [
            write(
                folder / "out_people.parquet",
                [{"id": pseudonym(row["key"]), **row} for row in out_people],
                {"id": text, "sex": text, "age": text, "salary": text, "source": text},
            )
        ],
        "visits": [
            write(
                folder / "out_visits.parquet",
                [{"id": pseudonym(row["key"]), **row} for row in out_visits],
                {"id": text, "code": text, "day": day, "value": number, "source": text},
            )
        ],
    }
    return raw, out
