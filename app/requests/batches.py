"""The numbers of a dry run move in batches: whoever orders one before and after a withdrawal cannot subtract the two.

A dry run tells what an earlier one of the same plan told, whoever asked and for whatever purpose, unless at least
`least` people differ in what may leave of them, or the earlier one was measured otherwise. Only then do its numbers
become ones that later runs are held against.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from pyroaring import BitMap

Result = dict[str, Any]


def packed(basis: Mapping[str, str]) -> bytes:
    """What a dry run was over, as it is stored: domain -> bitmap of participant keys, base64."""
    return json.dumps(dict(basis), sort_keys=True).encode()


def differing(one: bytes, other: bytes) -> int:
    """How many people may leave with rows of a domain in the one and not in the other."""
    first, second = _unpacked(one), _unpacked(other)
    changed = BitMap()
    for domain in first.keys() | second.keys():
        changed |= first.get(domain, BitMap()) ^ second.get(domain, BitMap())
    return len(changed)


def may_repeat(before: Result, now: Result) -> bool:
    """Whether the earlier numbers still say all that a decision rests on: they were measured alike, know of the same
    releases of others, and were laid on all that these could be laid on. One that is being built anew is known from
    before."""
    alike = measured_by(before) == measured_by(now) and laid_against(before) == laid_against(now)
    return alike and _compared(before) >= _compared(now)


def measured_by(result: Result | None) -> str | None:
    """The profile by which the numbers were measured (`risk.PROFILE`)."""
    profile: str | None = (result or {}).get("risk", {}).get("profile")
    return profile


def laid_against(result: Result | None) -> set[str]:
    """The projects whose releases the numbers know of: laid on them, or named as those that could not be."""
    risk = (result or {}).get("risk", {})
    return _compared(result or {}) | set(risk.get("not_compared", ()))


def _compared(result: Result) -> set[str]:
    return {one["other"] for one in result.get("risk", {}).get("intersections", [])}


def _unpacked(basis: bytes) -> dict[str, BitMap]:
    return {domain: BitMap.deserialize(base64.b64decode(text)) for domain, text in json.loads(basis).items()}
