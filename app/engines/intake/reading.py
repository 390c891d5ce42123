"""The SQL that turns text into the types of the dictionary: missing codes split off first, then one strict reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.deid.dictionary_links import DROPPED
from app.deid.identifiers import Source
from app.engines.intake.arrival import Arrival
from app.schemas.dictionary import Column, Table

Files = tuple[Path, ...]
"""The vault files of one table."""
VAULT_TYPES = {
    "string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE",
    "datetime": "TIMESTAMP",
}  # fmt: skip
_ISO_TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)


@dataclass(frozen=True, slots=True)
class Staged:
    """A column on its way: its place in the table, and the columns of the stage that hold what was read of it."""

    index: int
    column: Column

    @property
    def value(self) -> str:
        """The typed value; null where there is none, or a missing code."""
        return f"v{self.index}"

    @property
    def reason(self) -> str:
        """Why it is missing."""
        return f"m{self.index}"

    @property
    def bad(self) -> str:
        """Whether something stood there that is not of the type; every text is a text."""
        return "false" if self.column.type == "string" else f"({self.stray} IS NOT NULL)"

    @property
    def stray(self) -> str:
        """The text of what is not of the type: it is looked at for identifiers, and never told."""
        return f"x{self.index}"


def staged_columns(table: Table) -> list[Staged]:
    """The columns that are read: all but those left behind; a participant id is read to find the key."""
    return [Staged(i, column) for i, column in enumerate(table.fields) if column.role.kind not in DROPPED]


def scanned_columns(table: Table) -> list[Staged]:
    """The columns looked at for identifiers: all that are not declared to hold them, linkage tokens too."""
    harmful = ("direct_identifier", "free_text")
    return [Staged(i, column) for i, column in enumerate(table.fields) if column.role.kind not in harmful]


def source_of(staged: Staged) -> Source:
    """Where the stage holds what is looked at; texts are always of their type."""
    return Source(staged.column, staged.value, None if staged.column.type == "string" else staged.stray)


STRAY = "__stray"
"""Whether anything of a row is not of its type, where the texts of what is not are left out."""


def stage_query(
    table: Table,
    raw: str,
    native: frozenset[str] = frozenset(),
    *,
    numbered: bool = True,
    strays: bool = True,
) -> str:
    """Everything that is needed of a file, in one pass: `raw` has `__row` and texts `c<index>`, or what is of the
    column's own type already where `native` names it. Without `strays` a row only tells that it has one (`STRAY`);
    `numbered` keeps `__row`.

    What is written as the engine writes it is read at once, all else by the strict patterns; they read that alike.
    """
    reasons, values, picked, stray = [], [], ["__row"] if numbered else [], []
    for staged in scanned_columns(table):
        column, cell = staged.column, f"c{staged.index}"
        text = f"CAST({cell} AS VARCHAR)" if column.name in native else stripped(cell)
        value = _native(column, cell) if column.name in native else _read(column, cell, text)
        gone = ""
        if reason := _reason(column, text):
            reasons.append(f"{reason} AS {staged.reason}")
            value = f"CASE WHEN {staged.reason} IS NULL THEN {value} END"
            gone = f" AND {staged.reason} IS NULL"
            picked.append(staged.reason)
        values.append(f"{value} AS {staged.value}")
        picked.append(staged.value)
        if column.type != "string" and strays:
            picked.append(f"CASE WHEN {staged.value} IS NULL{gone} THEN {text} END AS {staged.stray}")
        elif column.type != "string":
            stray.append(f" WHEN {staged.value} IS NULL{gone} AND {text} IS NOT NULL THEN true")
    if not strays:
        picked.append(f"CASE{''.join(stray)} ELSE false END AS {STRAY}" if stray else f"false AS {STRAY}")
    source = f"(SELECT *, {', '.join(reasons)} FROM {raw})" if reasons else raw
    return f"SELECT {', '.join(picked)} FROM (SELECT *, {', '.join(values)} FROM {source})"


def stage_view(table: Table, cells: str, *, numbered: bool, strays: bool) -> str:
    """The rows of a table made by `stage_query`, all numbered, with a column for every stray text."""
    none = [
        f"CAST(NULL AS VARCHAR) AS {staged.stray}"
        for staged in scanned_columns(table) if staged.column.type != "string"
    ]  # fmt: skip
    picked = ["*"] if strays else [f"* EXCLUDE ({STRAY})", *none]
    if not numbered:
        picked.append("rowid + 1 AS __row")
    return f"SELECT {', '.join(picked)} FROM {cells}"


def stripped(cell: str) -> str:
    """A cell without white space around it, null where nothing is left. Most have none at their ends, and are only
    looked at there: what begins (or ends) at or after `!` begins with no white space of ASCII."""
    bare = f"{cell} >= '!' AND right({cell}, 1) >= '!'"
    return f"CASE WHEN {bare} THEN {cell} ELSE nullif(trim({cell}, ' \t\n\r\f\v'), '') END"


def _reason(column: Column, text: str) -> str | None:
    """The reason behind a missing code; a code that is a number also matches 888.0 in a column of numbers."""
    if not column.missing:
        return None
    cases = []
    for code, reason in column.missing.items():
        same = f"{text} = {literal(code.strip())}"
        if column.type in ("integer", "number") and _is_number(code):
            same += f" OR TRY_CAST({text} AS DOUBLE) = {float(code)!r}"
        cases.append(f"WHEN {same} THEN {literal(reason)}")
    return f"CASE {' '.join(cases)} END"


def _read(column: Column, cell: str, text: str) -> str:
    """The value of a cell: what is plain costs a cast, and the patterns are asked of the rest alone."""
    strict, type_ = _value(column, text), VAULT_TYPES[column.type]
    cast = f"TRY_CAST({cell} AS {type_})"
    same = f"CAST({cast} AS VARCHAR) = {cell}"
    if column.type == "integer":
        plain = same
    elif column.type == "number":
        plain = rf"regexp_full_match({cell}, '-?[0-9]+\.?[0-9]*') AND isfinite({cast})"
    elif column.type in ("date", "datetime") and column.format is None:
        plain = f"strlen({cell}) = {10 if column.type == 'date' else 19} AND {same}"
    else:
        return strict
    return f"CASE WHEN {plain} THEN {cast} ELSE {strict} END"


def _native(column: Column, cell: str) -> str:
    """The value of a cell that is of the type already; what its text would not be read as is none here either."""
    if column.type == "integer":
        return f"CAST({cell} AS BIGINT)"
    if column.type == "number":
        return f"CASE WHEN isfinite({cell}) THEN {cell} END"
    if column.type == "date":
        return f"CASE WHEN {cell} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN {cell} END"
    if column.type == "datetime":
        last = "TIMESTAMP '9999-12-31 23:59:59.999999'"
        return f"CASE WHEN {cell} BETWEEN TIMESTAMP '0001-01-01' AND {last} THEN {cell} END"
    return cell


def _value(column: Column, text: str) -> str:
    if column.type == "string":
        return f"nfc_normalize({text})"
    if column.type == "integer":
        whole = rf"regexp_full_match({text}, '[+-]?[0-9]{{1,19}}(\.0*)?')"
        return rf"CASE WHEN {whole} THEN TRY_CAST(regexp_replace({text}, '\.0*$', '') AS BIGINT) END"
    if column.type == "number":
        number = rf"regexp_full_match({text}, '[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?')"
        cast = f"TRY_CAST({text} AS DOUBLE)"
        return f"CASE WHEN {number} AND isfinite({cast}) THEN {cast} END"
    if column.type == "boolean":
        yes, no = "('true', 't', 'yes', 'y', '1')", "('false', 'f', 'no', 'n', '0')"
        return f"CASE WHEN lower({text}) IN {yes} THEN true WHEN lower({text}) IN {no} THEN false END"
    moment = f"TRY_CAST({text} AS TIMESTAMP)"
    if column.format is not None:
        moment = f"try_strptime({text}, {literal(column.format)})"
    else:
        moment = f"CASE WHEN regexp_full_match({text}, '{_ISO_TIME}') THEN {moment} END"
    if column.type == "datetime":
        return moment
    # A date may come with a time of midnight (exports do that); any other time would be lost, so it is no date.
    return f"CASE WHEN {moment} = date_trunc('day', {moment}) THEN CAST({moment} AS DATE) END"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower().lstrip("+-") not in ("nan", "inf", "infinity")


MOST_REJECTS = 10_000  # rows that cannot be read and are remembered, each with up to ten kilobytes of it


def csv_source(arrival: Arrival, table: Table) -> str:
    """The rows of a transcoded CSV as texts `c<index>`; what cannot be read goes to `reject_errors`."""
    columns = ", ".join(f"'f{i}': 'VARCHAR'" for i in range(len(arrival.names)))
    options = (
        f"columns = {{{columns}}}, auto_detect = false, header = true, delim = {literal(table.delimiter)},"
        " quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = true, new_line = '\\n', compression = 'none',"
        f" strict_mode = true, store_rejects = true, rejects_limit = {MOST_REJECTS}"
    )
    source = f"read_csv({literal(str(arrival.path))}, {options})"
    picked = ", ".join(f"f{arrival.position[c.name]} AS c{i}" for i, c in enumerate(table.fields))
    return f"(SELECT row_number() OVER () AS __row, {picked} FROM {source})"


def parquet_source(arrival: Arrival, table: Table) -> str:
    """The rows of a Parquet file as texts, so that one strict reading holds for both formats; columns that are of
    their own type already (`arrival.native`) stay as they are."""
    source = f"read_parquet({literal(str(arrival.path))}, file_row_number = true)"
    picked = []
    for i, column in enumerate(table.fields):
        name = quoted(arrival.names[arrival.position[column.name]])
        picked.append(f"{name if column.name in arrival.native else f'CAST({name} AS VARCHAR)'} AS c{i}")
    return f"(SELECT file_row_number + 1 AS __row, {', '.join(picked)} FROM {source})"


def scan(files: Sequence[Path]) -> str:
    """The rows of a table's vault files. A column that came later is null in the files before it."""
    paths = ", ".join(literal(str(path)) for path in files)
    return f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
