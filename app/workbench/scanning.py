"""Scan a flat file for what looks like an identifier: kinds, columns, lines and counts; never a value."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from app.deid.identifiers import MARKS, Source, judge, look, mark_of
from app.schemas.dictionary import Attribute, Column, Dictionary
from app.workbench.flat import MOST_LINES, arrive, connect
from app.workbench.preparing import Say

_DECLARED = frozenset({"direct_identifier", "free_text", "linkage_token"})


@dataclass(frozen=True)
class Hit:
    """One kind of identifier in one column: the cells that hold it and the first lines (the header is line 1).

    Where it is not `sure` the shape fits but chance would explain it too.
    """

    column: str
    kind: str
    count: int
    lines: tuple[int, ...]
    sure: bool


def scan(
    file: Path, delimiter: str, encoding: str, dictionary: Dictionary | None, say: Say
) -> dict[str, Any]:
    """Scan every cell of a file. With a dictionary, columns that are declared to hold identifiers are passed over."""
    with tempfile.TemporaryDirectory(prefix="baekman-") as folder:
        con = connect("2GB", 2, Path(folder))
        try:
            say("reading the file")
            arrival = arrive(con, file, delimiter, encoding, Path(folder))
            say("scanning every cell")
            found = hits_of(con, arrival.names, dictionary)
        finally:
            con.close()
    said = [
        {"column": h.column, "kind": h.kind, "cells": h.count, "lines": list(h.lines)}
        for h in found
        if h.sure
    ]
    doubts = [{"column": h.column, "kind": h.kind, "cells": h.count} for h in found if not h.sure]
    return {"rows": arrival.rows, "columns": len(arrival.names), "hits": said, "doubts": doubts}


def hits_of(con: duckdb.DuckDBPyConnection, names: Sequence[str], dictionary: Dictionary | None) -> list[Hit]:
    """The hits in `arrived`, by column and kind."""

    def ask(query: str) -> list[tuple[Any, ...]]:
        return con.execute(query).fetchall()

    sources = [
        source
        for i, name in enumerate(names)
        if (source := _source(con, dictionary, name, f"c{i}")) is not None
    ]
    found = []
    for source, seen in zip(sources, look(ask, "arrived", sources), strict=True):
        verdict = judge(source.column, seen)
        for sure, kinds in ((True, verdict.hits), (False, verdict.doubts)):
            for kind, marks in kinds.items():
                count, lines = _places(con, source, marks)
                found.append(Hit(source.column.name, kind, count, lines, sure))
    return found


def _source(
    con: duckdb.DuckDBPyConnection, dictionary: Dictionary | None, name: str, cell: str
) -> Source | None:
    """How a column is scanned; None where the dictionary says that it holds identifiers, so it never leaves.

    A column of whole numbers is scanned as numbers, for these lose leading zeros on their way through spreadsheets;
    one that has kept its leading zeros is a column of texts.
    """
    column = next((c for c in dictionary.people.fields if c.name == name), None) if dictionary else None
    if column is not None and column.role.kind in _DECLARED:
        return None
    whole = f"regexp_full_match({cell}, '(0|[1-9][0-9]{{0,17}})(\\.0*)?')"
    alike = con.execute(
        f"SELECT count({cell}) > 0 AND coalesce(bool_and({whole}), false) FROM arrived"
    ).fetchall()
    role = column.role if column is not None else Attribute(kind="attribute")
    # Built without its checks: the names of a foreign file may be none that a dictionary allows.
    scanned = Column.model_construct(name=name, type="integer" if alike[0][0] else "string", role=role)
    return Source(scanned, f"TRY_CAST(TRY_CAST({cell} AS DOUBLE) AS BIGINT)" if alike[0][0] else cell)


def _places(
    con: duckdb.DuckDBPyConnection, source: Source, marks: Sequence[str]
) -> tuple[int, tuple[int, ...]]:
    which = ", ".join(str(MARKS.index(mark)) for mark in marks)
    query = f"SELECT count(*), min(__row + 1, {MOST_LINES}) FROM arrived WHERE {mark_of(source)} IN ({which})"
    count, lines = con.execute(query).fetchall()[0]
    return int(count), tuple(lines or ())
