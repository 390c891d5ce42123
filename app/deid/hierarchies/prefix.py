"""Codes cut to shorter and shorter prefixes: KCD and ICD, ATC, postcodes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.deid.hierarchies.fitted import Climb, HierarchyError

KIND = "prefix"
DEFAULTS = ("string",)


def climb(spec: Mapping[str, Any], values: Sequence[object]) -> Climb:
    """The first n characters for each n of spec["lengths"] (descending), after taking out the characters of
    spec["strip"]; level 0 is the raw code.

    No list of all codes is at hand, so shares are of the distinct codes fitted. Raises HierarchyError.
    """
    lengths = _lengths(spec)
    strip = str.maketrans("", "", str(spec.get("strip", "")))
    codes = [str(value).translate(strip) for value in values]
    empty = [i for i, code in enumerate(codes) if not code]
    if empty:
        detail = f"{len(empty)} of {len(codes)} values are empty, the first at {empty[0]}"
        raise HierarchyError([("not_covered", detail)])
    texts = [[str(value) for value in values], *([code[:length] for code in codes] for length in lengths)]
    domain = max(1, len(set(texts[0])))
    return Climb(texts, [_shares(level, texts[0], domain) for level in texts], float(domain))


def default(column_type: str, values: Sequence[object]) -> dict[str, Any]:
    """Prefixes of 4, 2 and 1 characters."""
    return {"kind": KIND, "lengths": [4, 2, 1]}


def _shares(level: list[str], raw: list[str], domain: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    under = Counter(text for text, _ in set(zip(level, raw, strict=True)))
    return np.array([under[text] for text in level], dtype=np.float64) / domain


def _lengths(spec: Mapping[str, Any]) -> list[int]:
    lengths = list(spec.get("lengths") or [])
    whole = all(isinstance(length, int) and not isinstance(length, bool) and length > 0 for length in lengths)
    if not lengths or not whole or lengths != sorted(set(lengths), reverse=True):
        raise HierarchyError(
            [("bad_lengths", "lengths must be whole numbers above 0, each below the one before")]
        )
    return lengths
