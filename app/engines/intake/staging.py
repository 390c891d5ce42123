"""A file read into the engine once: the view `stage` holds its rows typed; what could not be read is told."""

from __future__ import annotations

import duckdb

from app.engines.intake.arrival import Arrival, Bounds
from app.engines.intake.connection import Connection
from app.engines.intake.lines import LONGEST_LINE
from app.engines.intake.places import Places
from app.engines.intake.reading import (
    STRAY,
    csv_source,
    literal,
    parquet_source,
    quoted,
    stage_query,
    stage_view,
)
from app.engines.intake.rejects import rejects
from app.errors import Finding
from app.schemas.dictionary import Table


def stage(arrival: Arrival, table: Table, db: Connection, places: Places, bounds: Bounds) -> list[Finding]:
    """Make the view `stage`: `__row`, from 1 in the order of the file, and of each column what `reading.Staged` names.
    What does not fit in memory goes to the folder of the connection. What forbids to go on has the code `bomb`,
    `unreadable` or `empty_file`."""
    if arrival.kind == "parquet" and (bomb := _bomb(arrival, table, db, bounds)) is not None:
        return [bomb]
    try:
        _read(arrival, table, db)
    except duckdb.InterruptException:
        raise  # somebody ended the check; it says nothing of the file
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        if arrival.kind == "csv":
            raise
        return [_unreadable(table, error)]
    except duckdb.Error as error:
        return [_unreadable(table, error)]
    findings = rejects(db, places, table.name) if arrival.kind == "csv" else []
    if not findings and db.one("SELECT count(*) FROM stage") == 0:
        findings.append(Finding("empty_file", "the file has no rows", table.name))
    return findings


def _read(arrival: Arrival, table: Table, db: Connection) -> None:
    """The texts of what is not of its type are kept only where there is any, which a second reading does: a column of
    nothing takes the engine's memory as any other, and there was one of these for each that is not text.

    The rows of a CSV are numbered while they are read, which has one thread read all of it: lines are told by that.
    Those of a Parquet file are numbered by their place in the table."""
    numbered = arrival.kind == "csv"
    raw = csv_source(arrival, table) if numbered else parquet_source(arrival, table)
    cells = stage_query(table, raw, arrival.native, numbered=numbered, strays=False)
    db.ask(f"CREATE TEMP TABLE cells AS {cells}")
    strays = db.one(f"SELECT count(*) FROM cells WHERE {STRAY}") > 0
    if strays:
        db.ask("DROP TABLE cells")
        db.ask(f"CREATE TEMP TABLE cells AS {stage_query(table, raw, arrival.native, numbered=numbered)}")
    db.ask(f"CREATE VIEW stage AS {stage_view(table, 'cells', numbered=numbered, strays=strays)}")


def _bomb(arrival: Arrival, table: Table, db: Connection, bounds: Bounds) -> Finding | None:
    """A long value that stands once in the file and is named by every row is in no size that the file tells of
    itself: the bytes of all values are summed, which copies none of them."""
    if not arrival.texts:
        return None
    sizes = ", ".join(f"sum(strlen({quoted(name)})), max(strlen({quoted(name)}))" for name in arrival.texts)
    try:
        told = [
            int(n or 0) for n in db.ask(f"SELECT {sizes} FROM read_parquet({literal(str(arrival.path))})")[0]
        ]
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        return _unreadable(table, error)
    most = bounds.most(arrival.path.stat().st_size)
    if sum(told[::2]) > most:
        return Finding("bomb", f"the values of the file have more than {most} bytes together", table.name)
    if max(told[1::2]) > LONGEST_LINE:
        return Finding("bomb", f"a value of the file has more than {LONGEST_LINE} bytes", table.name)
    return None


def _unreadable(table: Table, error: Exception) -> Finding:
    # The library's own words may hold a value, so only the kind of failure is told.
    detail = "the file is damaged: its contents cannot be read"
    if isinstance(error, duckdb.OutOfMemoryException):
        return Finding("bomb", "reading the file takes more memory than a file may", table.name)
    return Finding("unreadable", detail, table.name)
