"""A register as it arrived: CSV, Parquet or NDJSON, told apart by their first bytes, as one relation of texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.deid.dictionary_shape import near
from app.engines.intake.arrival import Arrival, Bounds, match, no_text, receive
from app.engines.intake.connection import Connection
from app.engines.intake.lines import header, transcode
from app.engines.intake.reading import csv_source, literal, parquet_source
from app.errors import Finding
from app.schemas.dictionary import Table
from app.schemas.register import COLUMNS, NEEDED

NAME = "consents"


@dataclass
class Register:
    """A register that can be read: `names` are the columns it has; where `findings` is not empty it is not read."""

    kind: str
    arrival: Arrival
    table: Table
    names: tuple[str, ...]

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with its outside."""
        return self.arrival.findings

    @property
    def is_readable(self) -> bool:
        """Whether its lines can be looked at: lines of another encoding are passed over, all else has to be right."""
        return all(one.code in ("wrong_encoding", "nul_byte") and one.lines for one in self.findings)

    def source(self) -> str:
        """SQL of its rows: `__row`, counted from 1, and a text for every column, null where there is none."""
        if self.kind == "ndjson":
            return _ndjson_source(self.arrival.path)
        raw = (csv_source if self.kind == "csv" else parquet_source)(self.arrival, self.table)
        picked = [
            f"c{self.names.index(name)} AS {name}" if name in self.names else f"NULL::VARCHAR AS {name}"
            for name in COLUMNS
        ]
        first = "__row" if self.kind == "csv" else "__row - 1 AS __row"
        return f"(SELECT {first}, {', '.join(picked)} FROM {raw})"


def arrived(path: Path, target: Path, bounds: Bounds) -> Register:
    """Read the outside of a register; a text is written again to `target` with plain line ends."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] == b"PAR1":
        return _table(path, target, bounds, "parquet", _parquet_names(path))
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        table = _described("csv", NEEDED)
        arrival = Arrival(target, "ndjson", findings=transcode(path, target, table))
        return Register("ndjson", arrival, table, COLUMNS)
    return _table(path, target, bounds, "csv", _csv_names(head))


def ndjson_findings(db: Connection, path: Path) -> list[Finding]:
    """Lines that are no object, hold a property that is no column, or one twice; told without their names."""
    names = ", ".join(literal(name) for name in COLUMNS)
    lists = "json_type(line -> 'purposes') = 'ARRAY'"
    nested = " OR ".join(
        f"json_type(line -> {literal(name)}) IN ('OBJECT'{'' if name == 'purposes' else ', ' + repr('ARRAY')})"
        for name in COLUMNS
    )
    db.ask(
        f"CREATE TEMP VIEW judged AS SELECT __row, CASE WHEN NOT json_valid(line) THEN 'bad_json' "
        f"WHEN json_type(line) <> 'OBJECT' THEN 'bad_json' "
        f"WHEN len(list_distinct(json_keys(line))) < len(json_keys(line)) THEN 'duplicate_column' "
        f"WHEN NOT list_has_all([{names}], json_keys(line)) THEN 'unexpected_column' "
        f"WHEN {nested} THEN 'wrong_type' "
        f"WHEN {lists} AND list_has_any(list_transform(json_extract(line, '$.purposes[*]'), lambda x: json_type(x)), "
        "['OBJECT', 'ARRAY', 'NULL', 'BOOLEAN', 'BIGINT', 'UBIGINT', 'DOUBLE']) "
        f"THEN 'wrong_type' END AS code FROM {_json_lines(path)}"
    )
    details = {
        "bad_json": "lines are no JSON objects",
        "duplicate_column": "lines hold a property twice",
        "unexpected_column": "lines hold a property that is not a column of a register",
        "wrong_type": "values are single texts, and purposes a list of texts",
    }
    found = db.ask(
        "SELECT code, count(*), min(__row, 20) FROM judged WHERE code IS NOT NULL GROUP BY code ORDER BY code"
    )
    hint = ", ".join(COLUMNS)
    return [
        Finding(code, details[code], lines=tuple(rows), count=count,
                hint=hint if code == "unexpected_column" else None)
        for code, count, rows in found
    ]  # fmt: skip


def _json_lines(path: Path) -> str:
    # Read as lines of one text: a line of JSON may hold anything but a line end. No file holds the byte 1 (bad_json).
    options = (
        r"columns = {'line': 'VARCHAR'}, auto_detect = false, header = false, delim = '\x01', quote = '', escape = '',"
        r" new_line = '\n', compression = 'none', null_padding = false"
    )
    numbered = f"SELECT row_number() OVER () AS __row, line FROM read_csv({literal(str(path))}, {options})"
    return f"(SELECT * FROM ({numbered}) WHERE trim(coalesce(line, '')) <> '')"


def _ndjson_source(path: Path) -> str:
    shape = literal(json.dumps(dict.fromkeys(COLUMNS, "VARCHAR")))
    picked = ", ".join(f"said.{name}" for name in COLUMNS)
    return f"(SELECT __row, {picked} FROM (SELECT __row, from_json(line, {shape}) AS said FROM {_json_lines(path)}))"


def _table(path: Path, target: Path, bounds: Bounds, kind: str, present: list[str]) -> Register:
    known = [name for name in COLUMNS if name in present or name in NEEDED]
    table = _described(kind, known)
    if kind == "parquet":
        arrival = receive(path, target, table, bounds)
        if "purposes" in known and _is_list_of_texts(path, "purposes"):
            arrival.findings = [
                one for one in arrival.findings if (one.code, one.column) != ("wrong_type", "purposes")
            ]
    else:
        arrival = _csv(path, target, table)
    arrival.findings = [_plain(one) for one in arrival.findings]
    return Register(kind, arrival, table, tuple(known))


def _csv(path: Path, target: Path, table: Table) -> Arrival:
    """Lines that cannot be decoded are told, and the rest is read on: every fault is told at once."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return Arrival(path, "csv", findings=[Finding("empty_file", "the register has no lines")])
    if (refused := no_text(path, head, table)) is not None:
        return refused
    arrival = Arrival(target, "csv", findings=transcode(path, target, table))
    if not any(one.code in ("empty_file", "line_too_long") for one in arrival.findings):
        match(arrival, table, header(target, table))
    return arrival


def _plain(finding: Finding) -> Finding:
    """The finding in the words of a register: it has no dictionary, and its table no name."""
    if finding.code == "unexpected_column":
        return Finding(
            finding.code, "a column of the file is not a column of a register", column=finding.column,
            near=near(finding.column or "", COLUMNS), hint=", ".join(COLUMNS),
        )  # fmt: skip
    hint = ", ".join(COLUMNS) if finding.code in ("no_header", "missing_column") else finding.hint
    return Finding(
        finding.code,
        finding.detail,
        None,
        finding.column,
        finding.lines,
        finding.count,
        None,
        hint,
        finding.near,
    )


def _described(kind: str, names: tuple[str, ...] | list[str]) -> Table:
    fields = [{"name": name, "type": "string", "role": {"kind": "attribute"}} for name in names]
    return Table.model_validate({"name": NAME, "kind": "reference", "format": kind, "fields": fields})


def _csv_names(head: bytes) -> list[str]:
    line = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace").splitlines()[:1]
    return [name.strip().strip('"').strip().casefold() for one in line for name in one.split(",")]


def _parquet_names(path: Path) -> list[str]:
    try:
        return [name.strip().casefold() for name in pq.read_schema(path).names]
    except (pa.ArrowException, OSError, ValueError):
        return []  # what is damaged is told by `receive`


def _is_list_of_texts(path: Path, name: str) -> bool:
    field = next(field for field in pq.read_schema(path) if field.name.strip().casefold() == name)
    return bool(pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type))
