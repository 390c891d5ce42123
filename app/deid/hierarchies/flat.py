"""Values that go straight to "*", or by way of named groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.deid.hierarchies.fitted import Climb, HierarchyError

KIND = "flat"
DEFAULTS: tuple[str, ...] = ()


def climb(spec: Mapping[str, Any], values: Sequence[object]) -> Climb:
    """Value to "*"; with spec["groups"] {label: [values]} the groups are a level between.

    The domain is the grouped values, without groups the distinct values fitted. Raises HierarchyError.
    """
    raw = [str(value) for value in values]
    groups = spec.get("groups")
    if groups is None:
        size = max(1, len(set(raw)))
        return Climb([raw], [np.full(len(raw), 1 / size)], float(size))
    home = {str(member): str(label) for label, members in groups.items() for member in members}
    size = sum(len(members) for members in groups.values())
    if not home or len(home) < size:
        raise HierarchyError(
            [("bad_groups", f"{size - len(home)} values are in two groups, or there are none")]
        )
    lost = [i for i, text in enumerate(raw) if text not in home]
    if lost:
        detail = f"{len(lost)} of {len(raw)} values are in no group, the first at {lost[0]}"
        raise HierarchyError([("not_covered", detail)])
    sizes = {str(label): len(members) / size for label, members in groups.items()}
    texts = [raw, [home[text] for text in raw]]
    return Climb(
        texts, [np.full(len(raw), 1 / size), np.array([sizes[text] for text in texts[1]])], float(size)
    )
