"""A united column protects no less than the source's dictionary asks: its role is the same or stricter; pure."""

from __future__ import annotations

from collections.abc import Iterator

from app.schemas.dictionary import Code, Column, Date, Number, QuasiIdentifier, Sensitive

# What a role may become: never one that lets more out.
_STRICTER = {
    "attribute": {"quasi_identifier", "site", "sensitive", "number", "code"},
    "number": {"quasi_identifier"},
    "code": {"quasi_identifier"},
    "site": {"quasi_identifier"},
}
_COARSENESS = {"shift": 0, "relative_day": 0, "month": 1, "year": 2}


def weaker(source: Column, target: Column) -> Iterator[tuple[str, str]]:
    """(code, detail) of everything in which the united column would protect less than the source's own dictionary."""
    ours, theirs = source.role, target.role
    if theirs.kind != ours.kind and theirs.kind not in _STRICTER.get(ours.kind, set()):
        yield "role_weaker", f"the source's role is {ours.kind}: it cannot become {theirs.kind}"
        return
    if (
        isinstance(ours, QuasiIdentifier)
        and isinstance(theirs, QuasiIdentifier)
        and theirs.min_level < ours.min_level
    ):
        yield "role_weaker", f"the source releases it at level {ours.min_level} or above"
    if isinstance(ours, Sensitive) and isinstance(theirs, Sensitive):
        if (ours.l or 0) > (theirs.l or 0) or (
            ours.t is not None and (theirs.t is None or theirs.t > ours.t)
        ):
            yield "role_weaker", "the source asks for more different values in a class"
        if len(ours.closed) > len(theirs.closed) and theirs.closed:
            yield "role_weaker", "the source closes more values"
    if (
        isinstance(ours, Code)
        and isinstance(theirs, Code)
        and (theirs.min_participants or 0) < (ours.min_participants or 0)
    ):
        yield "role_weaker", f"the source asks for {ours.min_participants} participants of a code"
    if (
        isinstance(ours, Date)
        and isinstance(theirs, Date)
        and _COARSENESS[theirs.mode] < _COARSENESS[ours.mode]
    ):
        yield "role_weaker", f"the source releases the date by {ours.mode}"
    if isinstance(ours, Number) and isinstance(theirs, Number):
        lost = [
            name
            for name in ("round", "bottom", "top")
            if getattr(ours, name) is not None and getattr(theirs, name) is None
        ]
        if lost:
            yield "role_weaker", f"the source bounds or rounds the number: {', '.join(lost)}"
