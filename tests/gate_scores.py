"""What the identifier gate says of labelled columns: found, missed, and wrong, cell by cell."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from app.deid.identifiers import MARKS, Source, judge, look, mark_of, text_mark
from app.deid.identifiers.scan import is_text, stream
from app.schemas.dictionary import Column
from tests import labelled
from tests.labelled import Labelled

Told = tuple[dict[str, int], set[int], dict[str, int]]


def found(columns: Sequence[Labelled], *, of_people: bool = True) -> dict[str, Told]:
    """Per column, as an upload sees it: kinds hit with their cells, the rows hit, doubtful kinds with their cells."""
    con = duckdb.connect()
    typed = {
        f"c{i}": pa.array([cell or None for cell in c.cells]).cast(
            {"integer": pa.int64(), "number": pa.float64()}.get(c.type, pa.string())
        )
        for i, c in enumerate(columns)
    }
    rows = pa.array(range(len(columns[0].cells)))
    con.register("stage", pa.table({"row": rows, **typed}))
    sources = [Source(_column(c), f"c{i}") for i, c in enumerate(columns)]

    def ask(query: str) -> list[tuple[Any, ...]]:
        return list(con.execute(query).fetchall())

    answer = {}
    marked = _marked(ask, sources)
    for one, source, seen in zip(columns, sources, look(ask, "stage", sources), strict=True):
        verdict = judge(source.column, seen, of_people=of_people)
        which = {MARKS.index(mark) for mark in verdict.marks()}
        rows = {row for row, mark in marked[source.value] if mark in which}
        hits = {kind: seen.count(*marks) for kind, marks in verdict.hits.items()}
        answer[one.name] = (hits, rows, {kind: seen.count(*marks) for kind, marks in verdict.doubts.items()})
    con.close()
    return answer


def _marked(
    ask: Callable[[str], list[tuple[Any, ...]]], sources: Sequence[Source]
) -> dict[str, list[tuple[int, int]]]:
    """By column: each row with its mark. All texts in one query, for patterns take long to compile."""
    texts = {i: source.value for i, source in enumerate(sources) if is_text(source.column)}
    asked = (
        [f"SELECT 'c' || c, row, {text_mark('v')} AS mark {stream('stage', texts, 'row')}"] if texts else []
    )
    asked += [
        f"SELECT '{source.value}' AS c, row, {mark_of(source)} AS mark FROM stage"
        for source in sources
        if not is_text(source.column)
    ]
    found: dict[str, list[tuple[int, int]]] = {source.value: [] for source in sources}
    for query in asked:
        for column, row, mark in ask(query):
            found[column].append((row, mark))
    return found


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
