"""Codes under their ancestors, as a reference table of the upload has them: OMOP's, or plain child and parent.

A code with several parents is counted under one: the nearest, of these the lowest (numbers by size, then texts). The
resolved spec says how many there were. Labels depend on the table alone, never on which codes occur.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from app.deid.hierarchies.fitted import Climb, HierarchyError

KIND = "ancestors"
DEFAULTS: tuple[str, ...] = ()
NONE = "(none)"
_STEPS = 4
Links = dict[str, dict[str, int]]  # child -> ancestor -> steps between them


def climb(spec: Mapping[str, Any], values: Sequence[object]) -> Climb:
    """Each of spec["steps"] levels (default 4) is one parent further up; the top of a line stays what it is.

    A code that the table does not hold goes to "(none)". The spec must have been resolved where there are values.
    Shares are of the codes of the table. Raises HierarchyError.
    """
    steps = _steps(spec)
    parents = spec.get("parents")
    if parents is None and values:
        raise HierarchyError([("unresolved", "the reference table that holds the ancestors was not read")])
    parents = {str(code): str(above) for code, above in (parents or {}).items()}
    if circling := _circling({code: {above: 1} for code, above in parents.items()}):
        raise HierarchyError([("cycle", f"{circling} codes are, by way of others, their own ancestor")])
    under = _under(parents)
    total = max(1, len(under))
    texts = [[str(value) for value in values]]
    shares = [np.full(len(values), 1 / total)]
    here = texts[0]
    for _ in range(steps):
        here = [parents.get(code, code) if code in under else NONE for code in here]
        texts.append(here)
        shares.append(np.array([under.get(code, total) / total for code in here], dtype=np.float64))
    return Climb(texts, shares, float(total))


def columns_of(spec: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """The columns of the reference table that a spec reads: child, parent, and steps between them where it names one.

    Raises HierarchyError where the spec does not name them.
    """
    names = [spec.get(key) for key in ("table", "child", "parent")]
    if not all(isinstance(name, str) and name for name in names):
        raise HierarchyError([("bad_table", "table, child and parent must be names")])
    distance = spec.get("distance")
    return str(names[1]), str(names[2]), None if distance is None else str(distance)


def resolve(spec: Mapping[str, Any], links: pa.Table) -> dict[str, Any]:
    """The spec with every code's one parent written into it; `links` holds the columns that it names.

    Raises HierarchyError with every problem: no rows, cycles, and where spec["several"] is "refuse", several parents.
    """
    child, parent, distance = columns_of(spec)
    _steps(spec)
    known = _read(links, child, parent, distance)
    problems = []
    if not known:
        problems.append(("empty", "the reference table holds no ancestor of any code"))
    parents, several = _nearest(known, inferred=distance is not None)
    circling = _circling(known if distance is None else {c: {p: 1} for c, p in parents.items()})
    if circling:
        problems.append(("cycle", f"{circling} codes are, by way of others, their own ancestor"))
    if several and spec.get("several", "lowest") == "refuse":
        problems.append(("not_nested", f"{several} codes have several parents that are as near"))
    if problems:
        raise HierarchyError(problems)
    return {**spec, "parents": parents, "several_parents": several}


def _steps(spec: Mapping[str, Any]) -> int:
    columns_of(spec)
    steps = spec.get("steps", _STEPS)
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= 20:
        raise HierarchyError([("bad_steps", "steps must be a whole number from 1 to 20")])
    if spec.get("several", "lowest") not in ("lowest", "refuse"):
        raise HierarchyError([("bad_several", "several must be lowest or refuse")])
    return steps


def _read(links: pa.Table, child: str, parent: str, distance: str | None) -> Links:
    known: Links = defaultdict(dict)
    far = links[distance].to_pylist() if distance else [1] * links.num_rows
    for low, high, steps in zip(links[child].to_pylist(), links[parent].to_pylist(), far, strict=True):
        if low is None or high is None or steps is None or (distance and steps < 1):
            continue  # OMOP tells that each concept is its own ancestor, at no distance
        one = known[_text(low)]
        one[_text(high)] = min(int(steps), one.get(_text(high), int(steps)))
    return dict(known)


def _text(code: object) -> str:
    return str(int(code)) if isinstance(code, float) and code.is_integer() else str(code)


def _order(code: str) -> tuple[int, int, str]:
    return (0, int(code), code) if code.isdigit() else (1, 0, code)


def _nearest(known: Links, *, inferred: bool) -> tuple[dict[str, str], int]:
    parents, several = {}, 0
    for code, above in known.items():
        nearest = [other for other, steps in above.items() if steps == min(above.values())]
        several += len(nearest) > 1
        parents[code] = min(nearest, key=_order)
    for code, above in _inferred(known) if inferred else ():
        parents[code] = min(above, key=lambda other: (above[other], _order(other)))
    return {code: parents[code] for code in sorted(parents, key=_order)}, several


def _inferred(known: Links) -> Iterator[tuple[str, dict[str, int]]]:
    """Ancestors of codes that occur as ancestors only: those of all codes under them, further away from each."""
    below: dict[str, list[str]] = defaultdict(list)
    for code, above in known.items():
        for other in above:
            below[other].append(code)
    for code in sorted(below.keys() - known.keys(), key=_order):
        shared: dict[str, int] | None = None
        for child in below[code]:
            own = known[child]
            further = {other: steps - own[code] for other, steps in own.items() if steps > own[code]}
            shared = further if shared is None else {
                other: max(steps, further[other]) for other, steps in shared.items() if other in further
            }  # fmt: skip
            if not shared:
                break
        if shared:
            yield code, shared


def _circling(above: Mapping[str, Mapping[str, int]]) -> int:
    """How many codes cannot be put below all of their ancestors (Kahn's algorithm, from the top down)."""
    waiting = {code: len(others) for code, others in above.items()}
    below: dict[str, list[str]] = defaultdict(list)
    for code, others in above.items():
        for other in others:
            below[other].append(code)
    free = [code for code in below if code not in waiting]
    while free:
        for code in below.get(free.pop(), ()):
            waiting[code] -= 1
            if not waiting[code]:
                free.append(code)
    return sum(count > 0 for count in waiting.values())


def _under(parents: Mapping[str, str]) -> dict[str, int]:
    """Of every code how many codes lie under it, itself counted."""
    under = dict.fromkeys([*parents, *parents.values()], 1)
    for code in parents:
        above: str | None = parents[code]
        while above is not None:
            under[above] += 1
            above = parents.get(above)
    return under
