"""The terms of DUO as data, their parameters, and what is wrong with terms at registration.

Release 2021-02-23 (`duo_terms.json`, CC BY 4.0, with attribution). A term travels as `{"term": "DS", ...parameters}`;
the parameters are ours, DUO leaves them open.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from app.errors import Finding, refuse_all

# What may be said with a term, and of which at least one must be said; lists hold texts.
_PARAMETERS: dict[str, tuple[tuple[str, ...], bool]] = {
    "DS": (("diseases",), True),
    "GS": (("places",), True),
    "IS": (("institutions",), False),
    "MOR": (("until", "months"), True),
    "PS": (("projects",), False),
    "RS": (("research_types",), False),
    "TS": (("until", "months"), True),
    "US": (("users",), False),
}
_SHAPES = {"diseases": re.compile(r"MONDO:[0-9]{7}"), "places": re.compile(r"[A-Z]{2}")}


@cache
def terms_of_duo() -> dict[str, dict[str, Any]]:
    """The terms by shorthand: id, kind (permission, modifier), labels in English and Korean, description."""
    document = json.loads(Path(__file__).with_name("duo_terms.json").read_text(encoding="utf-8"))
    return {term["shorthand"]: term for term in document["terms"] if term["kind"] != "grouping"}


def shorthand(code: object) -> str | None:
    """The shorthand of a shorthand or `DUO:nnnnnnn`; None for anything else."""
    known = terms_of_duo()
    by_id = {term["id"]: short for short, term in known.items()}
    return (
        code
        if isinstance(code, str) and code in known
        else by_id.get(code)
        if isinstance(code, str)
        else None
    )


def check_terms(terms: Sequence[Mapping[str, Any]]) -> None:
    """Refuse (`invalid_request`) terms that no matcher could judge; every problem at once, never what was given."""
    refuse_all("invalid_request", "The data use terms cannot be accepted.", _problems(terms))


def _problems(terms: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    shorts: list[str] = []
    for place, term in enumerate(terms):
        short = shorthand(term.get("term"))
        if short is None:
            yield Finding("unknown_term", "is no term of DUO", pointer=f"/duo/{place}/term")
            continue
        shorts.append(short)
        yield from faults(term, f"/duo/{place}", short)
    permissions = [s for s in shorts if terms_of_duo()[s]["kind"] == "permission"]
    if len(permissions) != 1:
        detail = "exactly one of NRES, GRU, HMB, DS and POA is needed"
        yield Finding("permission_ambiguous", detail, pointer="/duo", count=len(permissions))
    for short in sorted({s for s in shorts if shorts.count(s) > 1}):
        yield Finding(
            "repeated_term", f"{short} is there more than once", pointer="/duo", count=shorts.count(short)
        )


def faults(term: Mapping[str, Any], pointer: str, short: str) -> Iterator[Finding]:
    """What is wrong with the parameters of one term."""
    names, needed = _PARAMETERS.get(short, ((), False))
    if strange := len(set(term) - {"term", *names}):
        yield Finding(
            "unknown_parameter", f"{short} has parameters it does not know", pointer=pointer, count=strange
        )
    given = [name for name in names if term.get(name) is not None]
    if needed and not given:
        yield Finding("missing_parameter", f"{short} needs {' or '.join(names)}", pointer=pointer)
    for name in given:
        if not _well_formed(name, term[name]):
            yield Finding(
                "bad_parameter", f"{name} of {short} is not well formed", pointer=f"{pointer}/{name}"
            )


def _well_formed(name: str, value: Any) -> bool:
    if name == "months":
        return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1200
    if name == "until":
        return day(value) is not None
    if not isinstance(value, list) or not value:
        return False
    shape = _SHAPES.get(name)
    return all(isinstance(v, str) and v.strip() and (shape is None or shape.fullmatch(v)) for v in value)


def day(value: Any) -> date | None:
    """The day of a text `YYYY-MM-DD`; None for anything else."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None
