"""What a check of a mapping found: exact when written, shown to each reader as far as it is theirs; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.auth.policy import Actor
from app.deid.counts import mask_plain
from app.engines import Unmapped
from app.errors import Finding

_CODES = {
    "value": "value_unmapped",
    "unit": "unit_unmapped",
    "code": "code_unmapped",
    "hierarchy": "not_covered",
}


def written(
    digest: str,
    problems: Iterable[Finding],
    unmapped: Iterable[Unmapped],
    holders: Mapping[str, str],
    people: int,
) -> dict[str, Any]:
    """The report of a check of the mapping with this digest; `holders` has the institution of each source."""
    found = [one.to_dict() for one in problems]
    listed = [
        {
            "source": one.source or None,
            "institution_id": holders.get(one.source),
            "table": one.table,
            "column": one.column,
            "what": one.what,
            "code": _CODES[one.what],
            "distinct": one.distinct,
            "detail": one.detail,
            "values": [{"value": v, "rows": rows, "people": n} for v, rows, n in one.entries],
        }
        for one in unmapped
    ]
    outcome = "unmapped" if found or listed else "complete"
    return {
        "outcome": outcome,
        "mapping_digest": digest,
        "problems": found,
        "unmapped": listed,
        "participants": people,
    }


def shown(report: Mapping[str, Any] | None, actor: Actor, least: int, unit: int) -> dict[str, Any] | None:
    """The report as this reader may see it: exact for who holds or stewards a source; of other sources only values that
    at least `least` people have, with rounded numbers."""
    if report is None:
        return None
    unmapped = [
        one if _theirs(one, actor) else _masked(one, least, unit) for one in report.get("unmapped", [])
    ]
    return {**report, "unmapped": unmapped}


def as_findings(report: Mapping[str, Any]) -> list[Finding]:
    """What is left unmapped as places and numbers, without a value."""
    said = [
        Finding(**{**one, "lines": (), "near": tuple(one.get("near", ()))})
        for one in report.get("problems", [])
    ]
    return said + [
        Finding(one["code"], f"of {one['source']}" if one["source"] else one["detail"], one["table"], one["column"],
                count=one["distinct"])
        for one in report.get("unmapped", [])
    ]  # fmt: skip


def _theirs(one: Mapping[str, Any], actor: Actor) -> bool:
    if actor.role == "steward" and actor.institution_id is None:
        return True
    return one["institution_id"] is not None and actor.institution_id == one["institution_id"]


def _masked(one: Mapping[str, Any], least: int, unit: int) -> dict[str, Any]:
    common = [value for value in one["values"] if value["people"] >= least]
    rounded = [
        {"value": value["value"], "rows": None, "people": mask_plain(value["people"], least, unit).value}
        for value in common
    ]
    return {**one, "values": rounded, "distinct": None if len(common) < one["distinct"] else one["distinct"]}
