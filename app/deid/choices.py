"""Which transform a column may leave by: the default of its role, what else is allowed, and what would be too weak."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.deid.presets import presets
from app.deid.transforms import MISSING_SUFFIX, Params, Transform, transforms
from app.deid.transforms.band import BandParams
from app.deid.transforms.clamp import ClampParams
from app.deid.transforms.contract import exact
from app.deid.transforms.keyed_id import KeyedIdParams
from app.deid.transforms.roll_up import RollUpParams
from app.deid.transforms.round_number import RoundNumberParams
from app.deid.transforms.truncate_date import TruncateDateParams
from app.schemas.dictionary import (
    Code,
    Column,
    Date,
    Dictionary,
    Number,
    QuasiIdentifier,
    RecordId,
    Site,
    Table,
)
from app.schemas.plan import PlannedColumn, PlannedTable, Privacy

NEVER = frozenset({"direct_identifier", "free_text", "linkage_token"})
_LABELLED = frozenset({"quasi_identifier", "site"})
# A reference table holds no person; its ids must still meet those of the tables that point at it.
_REFERENCE = {
    **dict.fromkeys(("attribute", "code", "date", "number"), frozenset({"keep", "drop"})),
    **dict.fromkeys(("record_id", "provider_id", "handle"), frozenset({"keyed_id", "drop"})),
}
# How a date may leave instead: coarser, or less of it. A relative day never, for it shows no calendar at all.
_DATE_MODES = {
    "year": {"year"},
    "month": {"month", "year"},
    "shift": {"shift", "relative_day", "year"},
    "relative_day": {"relative_day"},
}


@dataclass(frozen=True)
class Chosen:
    """One planned column, resolved: its dictionary column, and the transform with its parameters.

    `is_reason`: the planned name is the reason column `<column>__missing`.
    """

    planned: PlannedColumn
    column: Column
    transform: Transform[Any]
    params: Params
    is_reason: bool


def find(table: Table, name: str) -> tuple[Column, bool]:
    """The dictionary's column of a planned name, and whether the name is its reason column. KeyError where absent."""
    try:
        return table.column(name), False
    except KeyError:
        if not name.endswith(MISSING_SUFFIX):
            raise
        return table.column(name.removesuffix(MISSING_SUFFIX)), True


def chosen(planned: PlannedTable, table: Table) -> list[Chosen]:
    """The columns of a checked plan's table that leave, in their order; dropped ones are left out."""
    found = []
    for one in planned.columns:
        column, is_reason = find(table, one.name)
        transform = transforms()[one.transform]
        if transform.name != "drop":
            found.append(
                Chosen(one, column, transform, transform.Params.model_validate(one.params), is_reason)
            )
    return found


def allowed(table: Table, column: Column, is_reason: bool = False) -> frozenset[str]:
    """The names of the transforms a column may leave by; only `drop` (or nothing): it never leaves."""
    role = column.role
    if is_reason:
        served = role.kind in transforms()["label_missing"].roles and column.missing
        return frozenset({"label_missing"}) if served else frozenset()
    if role.kind in NEVER or (isinstance(role, RecordId) and role.drop):
        return frozenset({"drop"})
    if table.kind == "reference":
        return _REFERENCE.get(role.kind, frozenset({"drop"}))
    if role.kind in _LABELLED:
        # Classes are those of the participant table; elsewhere a label must be common enough by itself.
        return frozenset({"generalise" if table.kind == "participant" else "roll_up", "drop"})
    names = {n for n, t in transforms().items() if role.kind in t.roles and column.type in t.types}
    names.discard("label_missing")
    # A true date tells the shift of every other date, whatever its role says.
    return frozenset(names - {"keep"} if column.type in ("date", "datetime") else names)


def default(dictionary: Dictionary, table: Table, column: Column, privacy: Privacy) -> PlannedColumn | None:
    """The column by the default transform of its role; None where it never leaves."""
    options = allowed(table, column) - {"drop"}
    if not options:
        return None
    role, params = column.role, dict[str, Any]()
    if "keyed_id" in options:
        name, params = "keyed_id", {"space": space(dictionary, table, column)}
    elif "roll_up" in options:
        name, params = "roll_up", _roll_up(column, privacy)
    elif isinstance(role, Date) and table.kind != "reference":
        name, params = _date(role, privacy)
    elif isinstance(role, Number) and table.kind != "reference":
        name, params = _number(role)
    else:
        name = next(n for n in ("pseudonymise", "generalise", "keep", *sorted(options)) if n in options)
    return PlannedColumn(name=column.name, transform=name, params=params)


def reason_of(table: Table, column: Column) -> PlannedColumn | None:
    """The planned reason column beside a column; None where it has no missing codes or may not have one."""
    if not allowed(table, column, is_reason=True):
        return None
    return PlannedColumn(name=column.name + MISSING_SUFFIX, transform="label_missing")


def space(dictionary: Dictionary, table: Table, column: Column) -> str:
    """The id space of a column: a foreign key takes the space of the column it leads to, through every table.

    A record id's own space is `of`, by default its column's name; names compare without case, as OMOP's do.
    """
    seen = {(table.name, column.name)}
    while (parent := _parent(dictionary, table, column)) is not None:
        table, column = parent
        if (table.name, column.name) in seen:
            break
        seen.add((table.name, column.name))
    role = column.role
    if isinstance(role, RecordId):
        return f"record:{(role.of or column.name).casefold()}"
    if role.kind in ("family_id", "provider_id"):
        return role.kind.removesuffix("_id")
    return f"{role.kind}:{column.name.casefold()}"


def _parent(dictionary: Dictionary, table: Table, column: Column) -> tuple[Table, Column] | None:
    places = [(key.table, key.references) for key in table.foreign_keys if key.column == column.name]
    if table.participant_via is not None:
        name, _, key = table.participant_via.partition(".")
        if column.name == (table.via_column or key):
            places.append((name, key))
    if not places:
        return None
    try:
        parent = dictionary.table(places[0][0])
        return parent, parent.column(places[0][1])
    except KeyError:
        return None


def date_mode(transform: str, params: Params) -> str | None:
    """The mode by which a date leaves; None: the transform is none of dates."""
    if isinstance(params, TruncateDateParams):
        return params.to
    return {"shift_date": "shift", "relative_day": "relative_day"}.get(transform)


def _date(role: Date, privacy: Privacy) -> tuple[str, dict[str, Any]]:
    preset = presets().rows.get(privacy.preset or "")
    lawful = preset.date_modes if preset else None
    mode = role.mode
    if lawful is not None and mode not in lawful and "year" in _DATE_MODES[mode]:
        mode = "year"
    if mode in ("year", "month"):
        return "truncate_date", {"to": mode}
    return ("shift_date" if mode == "shift" else "relative_day"), {}


def _number(role: Number) -> tuple[str, dict[str, Any]]:
    bounds = {name: bound for name in ("bottom", "top") if (bound := getattr(role, name)) is not None}
    if role.round is not None:
        return "round_number", {"to": role.round, **bounds}
    return ("clamp", bounds) if bounds else ("keep", {})


def _roll_up(column: Column, privacy: Privacy) -> dict[str, Any]:
    role = column.role
    if isinstance(role, Code):
        least = role.min_participants or privacy.k
        return {"min_participants": least, "hierarchy": role.roll_up}
    params: dict[str, Any] = {"min_participants": privacy.k}
    if isinstance(role, QuasiIdentifier | Site):
        params["hierarchy"] = role.hierarchy
    if isinstance(role, QuasiIdentifier):
        params["min_level"] = role.min_level
    return params


def weaknesses(
    dictionary: Dictionary, table: Table, column: Column, params: Params, transform: str, privacy: Privacy
) -> Iterator[tuple[str, str]]:
    """(code, detail) of everything in which allowed parameters protect less than the dictionary asks."""
    role = column.role
    if isinstance(params, KeyedIdParams) and params.space != space(dictionary, table, column):
        yield "wrong_space", "the id space is given by the dictionary and its foreign keys"
    if isinstance(params, RollUpParams):
        yield from _weak_roll_up(column, params, privacy)
    if isinstance(role, Number) and table.kind != "reference" and transform != "label_missing":
        yield from _weak_number(role, params)
    if isinstance(role, Date) and (mode := date_mode(transform, params)) is not None:
        if mode not in _DATE_MODES[role.mode]:
            yield "finer_than_dictionary", f"the dictionary releases this date by {role.mode}, not by {mode}"
        preset = presets().rows.get(privacy.preset or "")
        if preset is not None and preset.date_modes is not None and mode not in preset.date_modes:
            yield "against_preset", f"the preset releases dates by {' or '.join(preset.date_modes)} only"


def _weak_roll_up(column: Column, params: RollUpParams, privacy: Privacy) -> Iterator[tuple[str, str]]:
    wanted = _roll_up(column, privacy)
    if params.min_participants < wanted["min_participants"]:
        yield "finer_than_dictionary", f"min_participants must be at least {wanted['min_participants']}"
    if params.min_level < wanted.get("min_level", 0):
        yield "finer_than_dictionary", f"min_level must be at least {wanted['min_level']}"
    # A code may also do without climbing: its rare values are then left out.
    if params.hierarchy != wanted["hierarchy"] and not (
        params.hierarchy is None and isinstance(column.role, Code)
    ):
        yield "wrong_hierarchy", "the hierarchy is given by the dictionary"


def _weak_number(role: Number, params: Params) -> Iterator[tuple[str, str]]:
    bottom = top = step = None
    if isinstance(params, ClampParams | RoundNumberParams):
        bottom, top = params.bottom, params.top
    if isinstance(params, RoundNumberParams):
        step = params.to
    if isinstance(params, BandParams):
        bottom, top, step = params.low, params.high, params.width
    if role.round is not None and (step is None or (exact(step) / exact(role.round)).denominator != 1):
        yield "finer_than_dictionary", "must be rounded to a multiple of the dictionary's step"
    if role.bottom is not None and (bottom is None or bottom < role.bottom):
        yield "finer_than_dictionary", "must be bottom coded at the dictionary's bottom or above"
    if role.top is not None and (top is None or top > role.top):
        yield "finer_than_dictionary", "must be top coded at the dictionary's top or below"
