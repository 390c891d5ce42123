"""ORCID iDs of people: written down in one way, their check character computed (ISO 7064 MOD 11-2); pure.

Source: ORCID, "Structure of the ORCID Identifier". Whether an iD is anybody's only ORCID knows.
"""

from __future__ import annotations

import re

SCHEME, URI = "ORCID", "https://orcid.org"
_SHAPE = re.compile(r"(?:https?://orcid\.org/)?(\d{4})-?(\d{4})-?(\d{4})-?(\d{3}[\dXx])")


def normal(text: str) -> str | None:
    """Such as `0000-0002-1825-0097`, from that, from its digits or its URL; None where it is no ORCID iD."""
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        return None
    digits = "".join(found.groups()).upper()
    return "-".join(found.groups()).upper() if check_character(digits[:15]) == digits[15] else None


def check_character(digits: str) -> str:
    """The last character of an iD with these 15 digits (ISO 7064 MOD 11-2): 0-9, or X for ten."""
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2
    result = (12 - total % 11) % 11
    return "X" if result == 10 else str(result)
