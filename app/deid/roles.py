"""A dictionary is accepted whole, or refused with everything that is wrong: roles, tables, keys, ways to people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from app.deid.dictionary_links import DROPPED, link_findings, no_column, own_participants
from app.deid.dictionary_shape import near, pointer, shape_findings
from app.deid.hierarchies import HierarchyError, default_spec, fit, references
from app.errors import Finding, refuse_all
from app.schemas.dictionary import Column, Dictionary, QuasiIdentifier, Table

# Per hierarchy the level of its root, or what is wrong with it.
Heights = Mapping[str, int | list[tuple[str, str]]]

_OF_PEOPLE = frozenset(
    {"participant_id", "direct_identifier", "quasi_identifier", "site", "sensitive", "family_id"}
)
_TYPES: dict[str, tuple[str, ...]] = {
    "participant_id": ("string", "integer"),
    "date": ("date", "datetime"),
    "number": ("integer", "number"),
    "code": ("string", "integer"),
}
_DIRECTIVES = re.compile(r"(?:[^%]|%[YymdHMSfjbBp%])*")
_TYPED = {
    "integer": re.compile(r"[+-]?\d+"),
    "number": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    "boolean": re.compile(r"true|false|t|f|yes|no|y|n|1|0", re.IGNORECASE),
}


def check_dictionary(document: Mapping[str, Any]) -> Dictionary:
    """The dictionary in its normal form: `participant`, `via_column` and the people's primary key written out.

    Raises `Problem("dictionary_invalid")` holding every finding at once: of the shape first, since the rest cannot
    be read without it, then of what the parts say together.
    """
    try:
        dictionary = Dictionary.model_validate(document)
    except ValidationError as error:
        refuse_all(
            "dictionary_invalid",
            "The dictionary does not have the shape it must have.",
            shape_findings(document, error),
        )
        raise AssertionError("a validation error without findings") from None
    refuse_all(
        "dictionary_invalid",
        "The dictionary contradicts itself or names what is not there.",
        _findings(dictionary),
    )
    return _normal(dictionary)


def stored(table: Table) -> list[Column]:
    """The columns of a table that are kept, in order: neither dropped nor a participant's own id."""
    return [c for c in table.fields if c.role.kind not in DROPPED and c.role.kind != "participant_id"]


def person_columns(table: Table) -> tuple[str, ...]:
    """The names under which a checked table holds its people's keys."""
    if table.kind == "reference":
        return ()
    if table.kind == "link":
        return tuple(f"__participant_{i}" for i in range(1, len(own_participants(table)) + 1))
    return ("__participant",)


def _findings(dictionary: Dictionary) -> Iterator[Finding]:
    people = [t for t in dictionary.tables if t.kind == "participant"]
    if len(people) != 1:
        yield Finding(
            "participant_tables",
            "exactly one table must be of kind `participant`",
            count=len(people),
            pointer="/tables",
        )
    yield from _twins(
        (t.name for t in dictionary.tables), "duplicate_table", "tables share a name", "/tables"
    )
    heights = {name: _height(spec, [None]) for name, spec in dictionary.hierarchies.items()}
    yield from _hierarchies(dictionary, heights)
    for i, table in enumerate(dictionary.tables):
        here = pointer("tables", i)
        yield from _twins(
            (c.name for c in table.fields),
            "duplicate_column",
            "columns share a name",
            here + "/fields",
            table.name,
        )
        yield from _table(table, here)
        for j, column in enumerate(table.fields):
            yield from _column(dictionary, heights, table, column, pointer("tables", i, "fields", j))
    yield from link_findings(dictionary)


def _twins(
    names: Iterable[str], code: str, detail: str, where: str, table: str | None = None
) -> Iterator[Finding]:
    """Names that are equal, or differ in case only: OMOP files come in both cases, so both mean the same."""
    for _, count in Counter(name.casefold() for name in names).items():
        if count > 1:
            yield Finding(
                code,
                f"{count} {detail} (names that differ only in case count as one)",
                table,
                count=count,
                pointer=where,
            )


def _table(table: Table, here: str) -> Iterator[Finding]:
    if table.kind == "reference":
        for column in (c for c in table.fields if c.role.kind in _OF_PEOPLE):
            yield Finding(
                "person_in_reference", f"a reference table holds no person, so no {column.role.kind}",
                table.name, column.name, pointer=here + "/fields",
            )  # fmt: skip
    if table.max_unmatched is not None and table.kind not in ("event", "link"):
        yield Finding(
            "contradiction",
            "only event and link tables have rows of unknown people",
            table.name,
            pointer=here + "/max_unmatched",
        )
    for i, name in enumerate(table.primary_key):
        holder = next((c for c in table.fields if c.name == name), None)
        if holder is None:
            yield no_column(table, name, f"{here}/primary_key/{i}")
        elif holder.role.kind in DROPPED:
            yield Finding(
                "contradiction", f"a {holder.role.kind} is not stored and cannot be part of the primary key",
                table.name, name, pointer=f"{here}/primary_key/{i}",
            )  # fmt: skip
    if (
        table.kind == "participant"
        and table.primary_key
        and set(table.primary_key) != set(own_participants(table))
    ):
        yield Finding(
            "contradiction",
            "the primary key of the participant table is its participant_id",
            table.name,
            pointer=here + "/primary_key",
        )


def _column(
    dictionary: Dictionary, heights: Heights, table: Table, column: Column, here: str
) -> Iterator[Finding]:
    def found(code: str, detail: str, at: str = "", **more: Any) -> Finding:
        return Finding(code, detail, table.name, column.name, pointer=here + at, **more)

    if column.name.startswith("__") or column.name.endswith("__missing"):
        yield found("reserved_name", "names that start with __ or end with __missing are ours", "/name")
    allowed = _TYPES.get(column.role.kind)
    if allowed and column.type not in allowed:
        yield found("contradiction", f"a {column.role.kind} is of type {' or '.join(allowed)}", "/type")
    if column.format is not None and column.type not in ("date", "datetime"):
        yield found("contradiction", "only dates have a format", "/format")
    elif column.format is not None and not ("%" in column.format and _DIRECTIVES.fullmatch(column.format)):
        yield found("bad_format", "is not a pattern of strptime directives such as %Y%m%d", "/format")
    if column.unit_column is not None:
        if column.unit is not None:
            yield found("contradiction", "the unit is either one code or a column, not both", "/unit_column")
        if any(c.name == column.unit_column and c.role.kind in DROPPED for c in table.fields):
            yield found("contradiction", "the unit column is not stored", "/unit_column")
        if all(c.name != column.unit_column for c in table.fields):
            yield no_column(table, column.unit_column, here + "/unit_column")
    pattern = _TYPED.get(column.type)
    strange = [i for i, value in enumerate(column.labels) if pattern and not pattern.fullmatch(value.strip())]
    if strange:
        yield found(
            "bad_label", f"a label belongs to a value that is no {column.type}", "/labels", count=len(strange)
        )
    if column.required and column.missing:
        yield found("contradiction", "a required column has no missing codes", "/required")
    if column.role.kind == "participant_id" and column.missing:
        yield found("contradiction", "a participant id cannot be missing", "/missing")
    yield from _hierarchy_of(dictionary, heights, column, found)


def _hierarchy_of(dictionary: Dictionary, heights: Heights, column: Column, found: Any) -> Iterator[Finding]:
    role = column.role
    name, at = getattr(role, "hierarchy", None), "/role/hierarchy"
    if role.kind == "code":
        name, at = role.roll_up, "/role/roll_up"
    if name is not None and name not in dictionary.hierarchies:
        yield found(
            "unknown_hierarchy",
            "the dictionary has no such hierarchy",
            at,
            near=near(name, dictionary.hierarchies),
        )
        return
    if role.kind not in ("quasi_identifier", "site"):
        return
    if name is None:
        try:
            spec = default_spec(column.type)
        except HierarchyError:
            yield found(
                "hierarchy_needed",
                f"there is no default hierarchy for the type {column.type}: name one",
                "/role",
            )
            return
    else:
        spec = dictionary.hierarchies[name]
    # What the labels say the values are, the hierarchy must cover; without labels only its parameters can be tried.
    values = [value for value in column.labels if value not in column.missing]
    if references({"": spec}):
        values = []  # what it covers stands in a table that is not there yet
    bare = heights[name] if name is not None else _height(spec, [None])
    height = _height(spec, values) if values else bare
    if isinstance(height, list):
        if values and isinstance(bare, int):
            yield from (found(f"hierarchy_{code}", detail, at) for code, detail in height)
        return
    if isinstance(role, QuasiIdentifier):
        if role.max_level is not None and role.max_level < role.min_level:
            yield found("contradiction", "max_level lies below min_level", "/role/max_level")
        for field in ("min_level", "max_level"):
            if (getattr(role, field) or 0) > height:
                yield found("out_of_range", f"the hierarchy has levels 0 to {height}", f"/role/{field}")


def _hierarchies(dictionary: Dictionary, heights: Heights) -> Iterator[Finding]:
    for name, spec in dictionary.hierarchies.items():
        problems = heights[name]
        if isinstance(problems, list):
            yield from (
                Finding(f"hierarchy_{code}", detail, pointer=pointer("hierarchies", name))
                for code, detail in problems
            )
            continue
        for table, columns in references({name: spec}).items():
            yield from _reference(dictionary, name, table, columns)


def _reference(dictionary: Dictionary, name: str, table: str, columns: tuple[str, ...]) -> Iterator[Finding]:
    """The table that a hierarchy is read from is a reference table of this dictionary, with these columns."""
    at = pointer("hierarchies", name)
    known = {t.name: t for t in dictionary.tables}
    if table not in known:
        yield Finding(
            "unknown_table", "the dictionary has no such table", pointer=at, near=near(table, known)
        )
    elif known[table].kind != "reference":
        yield Finding("contradiction", "a hierarchy is read from a reference table only", table, pointer=at)
    else:
        held = [column.name for column in stored(known[table])]
        for column in columns:
            if column not in held:
                detail = "the reference table does not keep this column"
                yield Finding("unknown_column", detail, table, pointer=at, near=near(column, held))


def _height(spec: Mapping[str, Any], values: list[Any]) -> int | list[tuple[str, str]]:
    """The level of the root, or what is wrong with the hierarchy."""
    try:
        return fit(spec, values).height
    except HierarchyError as error:
        return error.problems
    except (TypeError, ValueError, AttributeError, LookupError):
        return [("shape", "its parameters do not have the shape that its kind needs")]


def _normal(dictionary: Dictionary) -> Dictionary:
    tables = []
    for table in dictionary.tables:
        own = own_participants(table)
        said: dict[str, Any] = {"participant": own}
        if table.participant_via is not None:
            said["via_column"] = table.via_column or table.participant_via.partition(".")[2]
        if table.kind == "participant":
            said["primary_key"] = own
        tables.append(table.model_copy(update=said))
    return dictionary.model_copy(update={"tables": tuple(tables)})
