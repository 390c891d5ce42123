"""Whether the purposes a person agreed to hold for a purpose of use: DS within HMB within GRU; it fails closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# What a person agreed to -> the purposes of use that lie within it (Data Use Ontology, release 2021-02-23).
_HOLDS: dict[str, frozenset[str]] = {
    "NRES": frozenset({"NRES", "GRU", "HMB", "DS", "POA"}),
    "GRU": frozenset({"GRU", "HMB", "DS", "POA"}),
    "HMB": frozenset({"HMB", "DS"}),
    "DS": frozenset({"DS"}),
    "POA": frozenset({"POA"}),
}
_BY_ID = {
    "DUO:0000004": "NRES", "DUO:0000042": "GRU", "DUO:0000006": "HMB", "DUO:0000007": "DS", "DUO:0000011": "POA",
}  # fmt: skip


def holds(agreed: Iterable[str], purpose: Mapping[str, Any] | None) -> bool:
    """Whether one of the codes agreed to covers `purpose["term"]` (a DUO shorthand or id).

    Nothing agreed to in particular: the cohort's own terms decide, so it holds. No purpose: any purpose of research
    is meant, so it holds. A code or a term that is not known covers nothing.
    """
    codes = [_BY_ID.get(code, code) for code in agreed]
    if not codes or purpose is None:
        return True
    term = str(purpose.get("term", ""))
    return any(_BY_ID.get(term, term) in _HOLDS.get(code, ()) for code in codes)
