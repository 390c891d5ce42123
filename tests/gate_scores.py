"""What the identifier gate says of labelled columns: found, missed, and wrong, cell by cell."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from app.deid.identifiers import MARKS, Source, judge, look, mark_of
from app.schemas.dictionary import Column
from tests import labelled
from tests.labelled import Labelled

Told = tuple[dict[str, int], set[int], dict[str, int]]


def found(columns: Sequence[Labelled], *, of_people: bool = True) -> dict[str, Told]:
    """Per column, as an upload sees it: kinds hit with their cells, the rows hit, doubtful kinds with their cells."""
    con = duckdb.connect()
    typed = {
        f"c{i}": pa.array([cell or None for cell in c.cells]).cast(
            pa.int64() if c.type == "integer" else pa.string()
        )
        for i, c in enumerate(columns)
    }
    rows = pa.array(range(len(columns[0].cells)))
    con.register("stage", pa.table({"row": rows, **typed}))
    sources = [Source(_column(c), f"c{i}") for i, c in enumerate(columns)]

    def ask(query: str) -> list[tuple[Any, ...]]:
        return list(con.execute(query).fetchall())

    answer = {}
    for one, source, seen in zip(columns, sources, look(ask, "stage", sources), strict=True):
        verdict = judge(source.column, seen, of_people=of_people)
        which = ", ".join(str(MARKS.index(mark)) for mark in verdict.marks()) or "-1"
        rows = {r[0] for r in ask(f"SELECT row FROM stage WHERE {mark_of(source)} IN ({which})")}
        hits = {kind: seen.count(*marks) for kind, marks in verdict.hits.items()}
        answer[one.name] = (hits, rows, {kind: seen.count(*marks) for kind, marks in verdict.doubts.items()})
    con.close()
    return answer


def _column(one: Labelled) -> Column:
    role: dict[str, Any] = {"kind": one.role, **({"vocabulary": "x"} if one.role == "code" else {})}
    return Column.model_validate({"name": one.name, "type": one.type, "role": role})


def scores(columns: Sequence[Labelled]) -> dict[str, Any]:
    """Recall by kind, precision over cells, and the harmless columns that would be refused or warned of.

    A cell that holds an identifier is found where its column is refused and the cell is among those told.
    """
    told = found(columns)
    held, right, missed = Counter[str](), Counter[str](), Counter[str]()
    wrong: dict[str, int] = {}
    wrong_names = 0
    for column in columns:
        hits, rows, _ = told[column.name]
        for row, kind in enumerate(column.kinds):
            if kind:
                held[kind] += 1
                right[kind] += row in rows
                missed[column.name] += row not in rows
        false = sum(row in rows for row, kind in enumerate(column.kinds) if not kind)
        if false:
            wrong[column.name] = false
            wrong_names += false * ("personal_name" in hits)
    harmless = [c.name for c in columns if not any(c.kinds)]
    names = right["personal_name"]
    return {
        "cells with an identifier": sum(held.values()),
        "recall": {kind: round(right[kind] / held[kind], 4) for kind in sorted(held)},
        "precision": round(sum(right.values()) / max(1, sum(right.values()) + sum(wrong.values())), 4),
        "precision of names": round(names / max(1, names + wrong_names), 4),
        "missed by column": dict(+missed),
        "wrong by column": wrong,
        "harmless columns": len(harmless),
        "harmless columns refused": {name: told[name][0] for name in harmless if told[name][0]},
        "harmless columns warned of": {name: told[name][2] for name in harmless if told[name][2]},
    }


def made(rows: int, seed: int = 20261) -> list[Labelled]:
    """The whole labelled set."""
    draw = random.Random(seed)
    return [*labelled.harmful(draw, rows), *labelled.harmless(draw, rows), *labelled.synthea(draw, rows)]
