"""The codebook of an extract: what each released column is, in words a person can read; of dictionary and plan only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.deid.choices import Chosen, chosen
from app.deid.window import Window, Windows
from app.schemas.dictionary import Code, Column, Dictionary, Title
from app.schemas.plan import Plan, PlannedTable

# Transforms after which a value is still one that the dictionary's labels and unit speak of.
_SAME_VALUES = frozenset({"keep", "clamp", "round_number", "roll_up", "generalise"})
_SAME_UNIT = frozenset({"keep", "clamp", "round_number", "band", "generalise"})
_REASONS: dict[str, Title] = {
    "not_asked": Title(ko="조사하지 않음", en="not asked"),
    "refused": Title(ko="응답 거부", en="refused"),
    "below_detection": Title(ko="검출 한계 미만", en="below detection"),
    "unknown": Title(ko="알 수 없음", en="unknown"),
}


def codebook(
    plan: Plan,
    dictionary: Dictionary,
    levels: Mapping[tuple[str, str], Sequence[int]] | None = None,
    windows: Windows | None = None,
) -> dict[str, Any]:
    """The codebook of a checked plan, JSON-ready.

    `levels`: of each generalised (table, column) the hierarchy levels on which labels were found; it holds no label,
    for labels of the outcome stand in the parts themselves. `windows`: the days by which moved dates leave.
    """
    found = levels or {}
    return {
        "profile": "baekman-codebook/1",
        "version_id": plan.version_id,
        "title": dictionary.title.model_dump(),
        "tables": [
            {
                "name": table.name,
                "kind": table.kind,
                "title": table.title.model_dump(),
                **_cap(planned),
                "columns": [
                    {
                        **_column(choice, found.get((table.name, choice.planned.name))),
                        **_window((windows or {}).get((table.name, choice.planned.name))),
                    }
                    for choice in chosen(planned, table)
                ],
            }
            for planned in plan.tables
            for table in [dictionary.table(planned.name)]
        ],
    }


def _column(choice: Chosen, levels: Sequence[int] | None) -> dict[str, Any]:
    column, name = choice.column, choice.transform.name
    released = choice.transform.released(column, choice.params)
    entry: dict[str, Any] = {
        "name": choice.planned.name,
        "type": released.arrow,
        "title": column.title.model_dump(),
        "description": column.description,
        "role": column.role.kind,
        "transform": name,
        "params": choice.params.model_dump(mode="json"),
        "released_as": {"ko": released.ko, "en": released.en},
        "differs_between_projects": released.sensitive_to_identity,
    }
    if choice.is_reason:
        reasons = sorted(set(column.missing.values()))
        return {**entry, "labels": {reason: _REASONS[reason].model_dump() for reason in reasons}}
    if column.labels and name in _SAME_VALUES:
        entry["labels"] = {v: t.model_dump() for v, t in column.labels.items() if v not in column.missing}
    if column.missing:
        entry["missing"] = sorted(set(column.missing.values()))
    if levels is not None:
        entry["levels"] = sorted(set(levels))
    return {**entry, **_unit(column, name), **_vocabulary(column)}


def _cap(planned: PlannedTable) -> dict[str, Any]:
    """A table that holds a choice of a person's rows says so: what is not there may have been."""
    if planned.max_rows_per_person is None:
        return {}
    most = planned.max_rows_per_person
    words = {
        "ko": f"참여자마다 최대 {most}행만, 시기와 무관한 비밀 순서로 골라 제공합니다.",
        "en": f"At most {most} rows of a person, chosen by a secret order that does not depend on when they were.",
    }
    return {"max_rows_per_person": most, "chosen_rows": words}


def _window(window: Window | None) -> dict[str, Any]:
    return {} if window is None else {"window": window.to_json()}


def _unit(column: Column, transform: str) -> dict[str, Any]:
    if transform not in _SAME_UNIT:
        return {}
    said = {"unit": column.unit, "unit_column": column.unit_column}
    return {key: value for key, value in said.items() if value is not None}


def _vocabulary(column: Column) -> dict[str, Any]:
    role = column.role
    return (
        {"vocabulary": {"name": role.vocabulary, "version": role.version}} if isinstance(role, Code) else {}
    )
