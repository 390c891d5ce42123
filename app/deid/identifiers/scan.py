"""The SQL that marks every cell of a column with the one shape it has: cheap looks first, each distinct text once.

A cell costs a length check and at most two pattern runs; only what matches one of these is told apart by kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.deid.identifiers import addresses, cards
from app.deid.identifiers import patterns as p
from app.deid.identifiers.headings import said_by
from app.deid.identifiers.numbers import sql_corporate
from app.schemas.dictionary import Column

Ask = Callable[[str], list[tuple[Any, ...]]]

CORPORATE = ("corporate_number", "corporate_or_resident")
NUMBERS = ("lost_zeros", "mobile_number", "old_mobile_number", "long_number")
CARD = "card"
MARKS = ("", *p.CONNECTING, *p.PATTERNS, *CORPORATE, *p.SHAPES, *NUMBERS, CARD)
"""A mark is a place in this tuple; 0 is no identifier."""

_SHORTEST = 4  # bytes
_EXACT = 2**53  # up to here a number with a point holds every whole number
_RARELY = 0.05  # the share of cells from which on it is asked how many different ones there are
_WIDE = "０１２３４５６７８９＠－"
_PLAIN = "0123456789@-"
_WIDE_DIGITS = "[０-９]{2}|＠"
_MANY = 4  # rows per distinct text from which on texts are counted before they are looked at
_FIRST = 20_000  # rows that tell whether texts repeat; it decides the cost, never the answer
_SEVENTHS = 9  # of ten numbers of a column: from so many first seven digits on it is looked at more closely
_SOME = 6  # a sixth of the rows is looked at first, where a tenth of others is enough
_BATCH = 50  # columns looked at in one query


@dataclass(frozen=True, slots=True)
class Source:
    """A column as a relation holds it: SQL of its value (null where missing), and of texts not of its type."""

    column: Column
    value: str
    stray: str | None = None


@dataclass
class Seen:
    """What a column was seen to hold: cells and distinct values by mark, of `filled` cells and about `values` values."""

    filled: int = 0
    values: int = 0
    cells: dict[str, int] = field(default_factory=dict)
    distinct: dict[str, int] = field(default_factory=dict)
    strays: dict[str, int] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)

    def share(self, *marks: str) -> float:
        """The share of the filled cells that have one of these marks."""
        return sum(self.cells.get(mark, 0) for mark in marks) / max(1, self.filled)

    def variety(self, *marks: str) -> float:
        """The share of the distinct values that have one of these marks."""
        return sum(self.distinct.get(mark, 0) for mark in marks) / max(1, self.values)

    def count(self, *marks: str) -> int:
        """How many cells have one of these marks."""
        return sum(self.cells.get(mark, 0) for mark in marks)


def is_text(column: Column) -> bool:
    """Whether a column is scanned as texts."""
    return column.type == "string"


def is_whole(column: Column) -> bool:
    """Whether a column is scanned as numbers."""
    return column.type in ("integer", "number")


def mark_of(source: Source) -> str:
    """SQL of the mark of the typed value; null-safe."""
    if is_text(source.column):
        return text_mark(source.value)
    return _whole_mark(source.value, *_judged_alike(source.column))


def text_mark(text: str) -> str:
    """SQL of the mark of a text: a text that has no shape at all is done with after two runs of small patterns."""
    plain = {kind: pattern for kind, pattern in p.PATTERNS.items() if kind != "address"}
    long = " ".join(
        f"WHEN strlen({text}) >= {p.LONGEST_PLAIN} AND {_holds(text, pattern)} THEN {_mark(kind)}"
        for kind, pattern in p.CONNECTING.items()
    )
    start = "^(?:" + "|".join(f"(?:{pattern})" for pattern in p.WHOLE.values()).replace("^", "") + ")"
    whole = f"CASE WHEN strlen({text}) <= {p.LONGEST_WHOLE} AND {_holds(text, start)} THEN {_first(text, p.WHOLE)} ELSE 0 END"
    wide = f"translate({text}, '{_WIDE}', '{_PLAIN}')"
    # Each pattern stands here as rarely as can be: to compile them takes longer than to look at a small table.
    return (
        f"CAST(CASE WHEN {text} IS NULL OR strlen({text}) < {_SHORTEST} THEN 0"
        f" WHEN strlen({text}) = 36 AND {_holds(text, p.WHOLE_UUID)} THEN {_mark('uuid')} {long}"
        f" ELSE coalesce(CASE WHEN {_holds(text, p.SUSPECT)} THEN CASE"
        f" WHEN {_holds(text, _either(plain))} THEN {_certain(text, plain)}"
        f" WHEN {_holds(text, addresses.SUSPECT)} AND {_holds(text, p.PATTERNS['address'])} THEN {_mark('address')}"
        f" WHEN strlen({text}) <> length({text}) AND {_holds(text, _WIDE_DIGITS)}"
        f" THEN {_certain(wide, plain | {'bare': p.BARE, 'bare_mobile': p.BARE_MOBILE})}"
        f" WHEN {_holds(text, _either(p.INSIDE))} THEN {_first(text, p.INSIDE)} END END, {whole}) END AS UTINYINT)"
    )


def _first(text: str, kinds: dict[str, str]) -> str:
    told = " ".join(
        f"WHEN {_holds(text, pattern)} THEN {_told(text, kind)}" for kind, pattern in kinds.items()
    )
    return f"CASE {told} ELSE 0 END"


def _certain(text: str, kinds: dict[str, str]) -> str:
    cases = []
    for kind, pattern in kinds.items():
        cases.append(f"WHEN {_holds(text, pattern)} THEN {_told(text, kind)}")
        if kind == "resident_number":
            cases.append(f"WHEN {_holds(text, p.DECIMAL)} THEN 0")
    return f"CASE {' '.join(cases)} ELSE 0 END"


def _told(text: str, kind: str) -> str:
    """The mark of a kind; what looks like a resident number may be a company's."""
    if kind == "card_like":
        return f"CASE WHEN {cards.sql_is_card(text)} THEN {_mark(CARD)} ELSE {_mark(kind)} END"
    if kind not in ("resident_number", "bare", "product"):
        return str(_mark(kind))
    company = " ".join(f"WHEN {i} THEN {_mark(name)}" for i, name in enumerate(CORPORATE, 1))
    return f"CASE {sql_corporate(text)} {company} ELSE {_mark(kind)} END"


def _whole_mark(number: str, kind: str, said: str | None) -> str:
    """`said`: what the column's name speaks of; where it is an identifier, shorter numbers may be one too."""
    named = said is not None
    if kind == "number":
        if said == "coordinates":
            fine = f"abs({number}) <= 180 AND {number} <> round({number}, 2)"
            return f"CAST(CASE WHEN {fine} THEN {_mark('coordinate')} ELSE 0 END AS UTINYINT)"
        number = f"CASE WHEN {number} = floor({number}) AND {number} BETWEEN 1000 AND {_EXACT} THEN CAST({number} AS BIGINT) END"
        number = f"({number})"
    text = f"CAST({number} AS VARCHAR)"
    seven = _first_seven(number)
    other = (
        f"CASE WHEN {number} BETWEEN 10000 AND 9999999999999999 THEN {_mark('serial')} ELSE 0 END"
        if named
        else "0"
    )
    return (
        f"CAST(CASE WHEN {number} IS NULL OR {number} < 1000 THEN 0"
        f" WHEN {number} < 10000000 THEN CASE WHEN {seven} THEN {_mark('first_seven')} ELSE {other} END"
        f" WHEN {number} > 9999999999999 AND {_holds(text, cards.LIKE)} THEN {_told(text, 'card_like')}"
        f" WHEN {number} NOT BETWEEN 1000000000 AND 9999999999999 THEN {other}"
        f" WHEN {_holds(text, p.BARE_NUMBER)} THEN {_told(text, 'bare')}"
        f" WHEN {number} >= 100000000000 THEN {_mark('long')}"
        f" WHEN {_holds(text, p.MOBILE_NUMBER)} THEN {_mark('mobile_number')}"
        f" WHEN {_holds(text, p.OLD_MOBILE_NUMBER)} THEN {_mark('old_mobile_number')}"
        f" WHEN {_holds(text, p.LOST_ZEROS)} THEN {_mark('lost_zeros')}"
        f" ELSE {_mark('long_number')} END AS UTINYINT)"
    )


def _first_seven(number: str) -> str:
    """SQL of whether a whole number ends as the first seven digits of a resident number do: month, day, century."""
    month, day, last = f"{number} // 1000 % 100", f"{number} // 10 % 100", f"{number} % 10"
    return f"{last} BETWEEN 1 AND 8 AND {month} BETWEEN 1 AND 12 AND {day} BETWEEN 1 AND 31"


def _either(kinds: dict[str, str]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in kinds.values())


def _holds(text: str, pattern: str) -> str:
    return f"regexp_matches({text}, '{pattern.replace(chr(39), chr(39) * 2)}')"


def _mark(kind: str) -> int:
    return MARKS.index(kind)


def look(ask: Ask, relation: str, sources: list[Source]) -> list[Seen]:
    """Mark every cell of the columns, and count. Reads the whole relation; answers in the order of the sources."""
    found = [Seen() for _ in sources]
    for start in range(0, len(sources), _BATCH):
        _look(ask, relation, sources[start : start + _BATCH], found[start : start + _BATCH])
    return found


def _look(ask: Ask, relation: str, sources: list[Source], found: list[Seen]) -> None:
    row = ask(f"SELECT {', '.join(_counts(source) for source in sources)} FROM {relation}")[0]
    texts: dict[int, str] = {}
    strays: dict[int, str] = {}
    wholes: dict[tuple[str, str | None], dict[int, str]] = {}
    for i, (source, seen) in enumerate(zip(sources, found, strict=True)):
        seen.filled, stray, largest = row[3 * i : 3 * i + 3]
        if is_text(source.column) and largest >= _SHORTEST:
            texts[i] = source.value
        elif is_whole(source.column) and not largest < _SMALLEST:  # NaN is the largest of numbers
            wholes.setdefault(_judged_alike(source.column), {})[i] = source.value
        if source.stray is not None and stray:
            strays[i] = source.stray
    largest_of = {i: row[3 * i + 2] for values in wholes.values() for i in values}
    wholes = _worth_marking(ask, relation, wholes, largest_of, [one.filled for one in found])
    for alike, values in wholes.items():
        for column, mark, cells, distinct in ask(_whole_query(relation, values, *alike)):
            _add(found[column], [(mark, cells, distinct)])
    for column, mark, cells, distinct in ask(_text_query(ask, relation, texts)) if texts else []:
        _add(found[column], [(mark, cells, distinct)])
    for column, mark, cells, _ in ask(_text_query(ask, relation, strays)) if strays else []:
        if mark:
            found[column].strays[MARKS[mark]] = int(cells)
    for i in texts:
        _note(ask, relation, sources[i], found[i])


_SMALLEST, _SEVEN = 1000, 10_000_000  # what is smaller has no mark, or seven digits at most


def _worth_marking(
    ask: Ask,
    relation: str,
    wholes: dict[tuple[str, str | None], dict[int, str]],
    largest: dict[int, float],
    filled: Sequence[int],
) -> dict[tuple[str, str | None], dict[int, str]]:
    """The columns of numbers without those that cannot hold an identifier: small numbers are only ever the first seven
    digits of one, which a column is that holds hardly anything else (`columns.judge`). The first rows tell it of most
    columns: they alone hold more of other numbers than such a column has. The rest take one plain pass."""
    small = {
        i: value
        for (_, said), values in wholes.items() if said is None
        for i, value in values.items() if largest[i] < _SEVEN
    }  # fmt: skip
    done = set[int]()
    first = max((filled[i] for i in small), default=0) // _SOME
    for rows in (f"(FROM {relation} LIMIT {first})", relation):
        asked = {i: _others(value) for i, value in small.items() if i not in done}
        row = ask(f"SELECT {', '.join(asked.values())} FROM {rows}")[0] if asked else ()
        done |= {i for i, n in zip(asked, row, strict=True) if 10 * (filled[i] - n) < _SEVENTHS * filled[i]}
    left = {alike: {i: v for i, v in values.items() if i not in done} for alike, values in wholes.items()}
    return {alike: values for alike, values in left.items() if values}


def _others(value: str) -> str:
    """How many numbers are not the first seven digits of a resident number."""
    whole = f"(CASE WHEN {value} >= {_SMALLEST} THEN CAST(floor({value}) AS INTEGER) END)"
    return f"count({value}) - count(*) FILTER ({_first_seven(whole)})"


def _counts(source: Source) -> str:
    """Cells with a value, texts that are none; and bytes of the longest text, or the largest number: what is smaller
    has no shape at all."""
    stray = f"count({source.stray})" if source.stray else "0"
    largest = "0"
    if is_text(source.column):
        largest = f"coalesce(max(strlen({source.value})), 0)"
    elif is_whole(source.column):
        # Of a coordinate any number counts, of all else what has four digits.
        any_counts = _judged_alike(source.column) == ("number", "coordinates")
        largest = (
            f"coalesce(max({source.value}), 0)" if not any_counts else f"count({source.value}) * {_SMALLEST}"
        )
    return f"count({source.value}), {stray}, {largest}"


def _judged_alike(column: Column) -> tuple[str, str | None]:
    """What the mark of a number hangs on beside the number."""
    said = said_by(column.name)
    return column.type, said if said in (None, "coordinates") else "an identifier"


def _whole_query(relation: str, values: dict[int, str], kind: str, said: str | None) -> str:
    """All columns whose numbers are judged alike in one query, as texts are."""
    return (
        "SELECT c, mark, count(*), approx_count_distinct(v) FILTER (mark > 0)"
        f" FROM (SELECT c, v, {_whole_mark('v', kind, said)} AS mark {stream(relation, values)}) GROUP BY c, mark"
    )


def _text_query(ask: Ask, relation: str, texts: dict[int, str]) -> str:
    """All text columns in one query; texts that repeat are looked at once.

    The columns become rows of one stream, and not a union of one query each: the engine compiles the patterns for every
    such query anew, which takes longer than to look at a million texts.
    """
    sampled = ", ".join(f"count({text}), count(DISTINCT {text})" for text in texts.values())
    row = ask(f"SELECT {sampled} FROM (FROM {relation} LIMIT {_FIRST})")[0]
    often: dict[int, str] = {}
    rarely: dict[int, str] = {}
    for place, (i, text) in enumerate(texts.items()):
        filled, distinct = row[2 * place : 2 * place + 2]
        (often if distinct * _MANY <= filled else rarely)[i] = text
    parts = []
    if often:
        parts.append(f"SELECT c, v, count(*) AS n {stream(relation, often)} GROUP BY ALL")
    if rarely:
        parts.append(f"SELECT c, v, 1 AS n {stream(relation, rarely)}")
    marked = f"SELECT c, v, n, {text_mark('v')} AS mark FROM ({' UNION ALL '.join(parts)})"
    return (
        "SELECT c, mark, CAST(sum(n) AS BIGINT), CASE WHEN mark > 0 THEN approx_count_distinct(v) FILTER (mark > 0)"
        f" END FROM ({marked}) GROUP BY c, mark"
    )


def stream(relation: str, columns: dict[int, str], *also: str) -> str:
    """SQL from `FROM` on: `c` and `v`, the number of a column and each of its values that is not missing; `also` beside."""
    values = ", ".join(columns.values())
    beside = "".join(f", {name}" for name in also)
    return (
        f"FROM (SELECT unnest([{', '.join(map(str, columns))}]) AS c, unnest([{values}]) AS v{beside} FROM {relation})"
        " WHERE v IS NOT NULL"
    )


def _add(seen: Seen, rows: list[tuple[Any, ...]]) -> None:
    for mark, cells, distinct in rows:
        if mark:
            seen.cells[MARKS[mark]], seen.distinct[MARKS[mark]] = int(cells), min(int(distinct), int(cells))


_JUDGED_BY_VARIETY = (
    "full_name",
    "short_name",
    "masked_name",
    "wide_name",
    "name_with_digits",
    "roman_name",
    "record",
)


def _note(ask: Ask, relation: str, source: Source, seen: Seen) -> None:
    """What shapes alone do not tell: how many values, surnames, stems, templates. Asked only where it can matter."""
    rows = f"FROM (SELECT {source.value} AS v FROM {relation} WHERE {source.value} IS NOT NULL)"
    if seen.share(*_JUDGED_BY_VARIETY) < _RARELY:
        return
    seen.values = max(int(ask(f"SELECT approx_count_distinct(v) {rows}")[0][0]), sum(seen.distinct.values()))
    asked = {}
    if seen.variety("full_name", "short_name", "masked_name", "wide_name") >= 0.2:
        asked["surnames"] = "count(DISTINCT left(v, 1))"
    if seen.variety("name_with_digits") >= 0.5:
        asked["stems"] = "approx_count_distinct(regexp_replace(v, '[0-9]', '', 'g'))"
    if seen.share("record") >= 0.8 and seen.distinct["record"] >= 0.8 * seen.filled:
        asked["templates"] = "count(DISTINCT regexp_replace(v, '[0-9]', '9', 'g'))"
        asked["letters"] = "count(*) FILTER (regexp_matches(v, '[A-Za-z_-]|^0'))"
    if asked:
        row = ask(f"SELECT {', '.join(asked.values())} {rows}")[0]
        seen.notes.update(zip(asked, map(float, row), strict=True))
