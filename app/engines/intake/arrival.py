"""What arrived, made readable or refused: a CSV becomes strict UTF-8 lines, a Parquet file is held to its own footer.

Nothing here is trusted: not the name, not the size that a file claims to have. No value is ever told.
"""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.deid.dictionary_shape import near
from app.deid.identifiers import looks_like
from app.engines.intake.lines import MOST_STRANGERS, header, transcode
from app.errors import Finding
from app.schemas.dictionary import Column, Table

_ROW_WEIGHT = 10  # bytes that a row of a Parquet file is taken to become, at least
# The first bytes of what is packed or is no text at all: a packed CSV is refused, so it cannot be a bomb.
_MAGIC = {
    b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard", b"7z\xbc\xaf\x27\x1c": "7-zip", b"\x04\x22\x4d\x18": "lz4", b"Rar!": "rar",
    b"PAR1": "Parquet", b"%PDF": "PDF", b"\xd0\xcf\x11\xe0": "an old Office file", b"SQLite format 3": "SQLite",
}  # fmt: skip
_NESTED = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a file may become when it is read: times its size, and bytes in all."""

    ratio: int
    expanded_bytes: int

    def most(self, size: int) -> int:
        """Bytes that a file of this size may become."""
        return min(self.ratio * size, self.expanded_bytes)


@dataclass
class Arrival:
    """A file that can be read: where, and which of its columns is which of the table's (None: it is not there).
    `native` are the columns of the table that the file holds in the very type the dictionary says."""

    path: Path
    kind: str
    names: list[str] = field(default_factory=list)
    position: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    renamed: int = 0
    native: frozenset[str] = frozenset()
    texts: list[str] = field(default_factory=list)  # columns of a Parquet file that hold text


def receive(source: Path, target: Path, table: Table, bounds: Bounds) -> Arrival:
    """Read the file's outside. Where `findings` is not empty the file is not to be read any further."""
    with source.open("rb") as file:
        head = file.read(16)
    if not head:
        return _refused(source, table, "empty_file", "the file has no bytes")
    if table.format == "parquet":
        return _receive_parquet(source, head, table, bounds)
    if (refused := no_text(source, head, table)) is not None:
        return refused
    arrival = Arrival(target, "csv")
    arrival.findings += transcode(source, target, table)
    if not arrival.findings:
        try:
            first = header(target, table)
        except csv.Error:  # a quote that is opened and never closed
            return _refused(
                source, table, "no_header", "the first line does not name the columns of the table"
            )
        match(arrival, table, first)
    return arrival


def no_text(source: Path, head: bytes, table: Table) -> Arrival | None:
    """The refusal of a file that is no text by its first bytes; None where it may be one."""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            detail = f"the file is not CSV but {name}; packed files are not opened"
            return _refused(
                source, table, "not_csv", detail, hint="upload the plain CSV file, or say format parquet"
            )
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _refused(source, table, "wrong_encoding", "the file is UTF-16; save it as UTF-8")
    return None


def _refused(path: Path, table: Table, code: str, detail: str, hint: str | None = None) -> Arrival:
    return Arrival(path, table.format, findings=[Finding(code, detail, table.name, hint=hint)])


def match(arrival: Arrival, table: Table, first: list[str]) -> None:
    """Find every column: by its exact name first, else ignoring case (OMOP files come in both)."""
    names = [unicodedata.normalize("NFC", name.strip()) for name in first]
    arrival.names = names
    exact = {name: i for i, name in enumerate(names)}
    loose = {name.casefold(): i for i, name in enumerate(names)}
    for column in table.fields:
        wanted = unicodedata.normalize("NFC", column.name)
        place = exact.get(wanted, loose.get(wanted.casefold()))
        if place is not None:
            arrival.position[column.name] = place
            arrival.renamed += wanted not in exact
    used = set(arrival.position.values())
    strangers = [i for i in range(len(names)) if i not in used]
    if len(names) > len(table.fields) + MOST_STRANGERS:
        detail = f"the file has more than {MOST_STRANGERS} columns that are not in the dictionary"
        arrival.findings.append(Finding("too_many_columns", detail, table.name, count=len(names), lines=(1,)))
        return
    if 2 * len(used) < min(len(names), len(table.fields)):
        # Without a header the first line is data, so not even the names may be told.
        detail = "the first line does not name the columns of the table"
        arrival.findings.append(Finding("no_header", detail, table.name, count=len(strangers), lines=(1,)))
        return
    for column in table.fields:
        if column.name not in arrival.position:
            guesses = near(column.name, [names[i] for i in strangers if _is_name(names[i])])
            detail = "the file lacks this column"
            arrival.findings.append(Finding("missing_column", detail, table.name, column.name, near=guesses))
    for i in strangers:
        arrival.findings.append(_stranger(table, names, i, exact, loose))


def _stranger(
    table: Table, names: list[str], i: int, exact: dict[str, int], loose: dict[str, int]
) -> Finding:
    if exact[names[i]] != i or loose[names[i].casefold()] != i:
        return Finding(
            "duplicate_column",
            f"column {i + 1} of the file has the name of another one",
            table.name,
            lines=(1,),
        )
    told = names[i] if _is_name(names[i]) else None
    guesses = near(names[i], (c.name for c in table.fields))
    return Finding(
        "unexpected_column", f"column {i + 1} of the file is not in the dictionary", table.name, told, near=guesses,
        hint="describe it in the dictionary or leave it out of the file",
    )  # fmt: skip


def _is_name(text: str) -> bool:
    """Whether the text of a first line may be told: it could be a value where a file has no header."""
    return 0 < len(text) <= 64 and not any(c.isdigit() for c in text[:1]) and looks_like(text) is None


def _receive_parquet(source: Path, head: bytes, table: Table, bounds: Bounds) -> Arrival:
    size = source.stat().st_size
    with source.open("rb") as file:
        file.seek(max(size - 8, 0))
        tail = file.read()
    if head[:4] != b"PAR1":
        return _refused(source, table, "not_parquet", "the file does not begin as Parquet does")
    footer = int.from_bytes(tail[:4], "little")
    if size < 12 or tail[4:] != b"PAR1" or footer > size - 12:
        return _refused(
            source, table, "truncated", "the file ends before its footer: it is cut off or damaged"
        )
    try:
        with pq.ParquetFile(source) as file:
            meta, schema = file.metadata, file.schema_arrow
    except (pa.ArrowException, OSError, ValueError):
        return _refused(
            source, table, "truncated", "the footer of the file cannot be read: it is cut off or damaged"
        )
    arrival = Arrival(source, "parquet")
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    expanded = sum(group.total_byte_size for group in groups)
    # Repeated values cost next to nothing, so rows are held against bytes too: a row has a key of its own.
    many = max(expanded, meta.num_rows) > bounds.expanded_bytes
    if many or expanded > bounds.ratio * size or meta.num_rows * _ROW_WEIGHT > bounds.ratio * size:
        detail = f"the file would grow to more than {bounds.ratio} times its size, or beyond what may be read"
        arrival.findings.append(Finding("bomb", detail, table.name))
        return arrival
    match(arrival, table, list(schema.names))
    arrival.native = frozenset(
        column.name for column in table.fields
        if column.name in arrival.position and _is_native(column, schema.field(arrival.position[column.name]).type)
    )  # fmt: skip
    for name, place in arrival.position.items():
        if any(test(schema.field(place).type) for test in _TEXTS):
            arrival.texts.append(arrival.names[place])
        if any(test(schema.field(place).type) for test in _NESTED):
            detail = "the file holds lists, records or bytes here, not single values"
            arrival.findings.append(Finding("wrong_type", detail, table.name, name))
    if meta.num_rows == 0 and not arrival.findings:
        arrival.findings.append(Finding("empty_file", "the file has no rows", table.name))
    return arrival


def _is_native(column: Column, found: pa.DataType) -> bool:
    """Whether a column's values are of the dictionary's type as they are; a format is one of texts."""
    if column.format is not None:
        return False
    if column.type == "integer":
        return bool(pa.types.is_integer(found)) and found != pa.uint64()
    same = {
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us"),
    }
    return bool(found == same.get(column.type))
