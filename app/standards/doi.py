"""DOIs: written down in one way; pure. Source: ISO 26324 and the DOI Handbook: a prefix 10.nnnn, a slash, a suffix."""

from __future__ import annotations

import re

RESOLVER = "https://doi.org"
_SHAPE = re.compile(
    r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/[^\s\"<>\x00-\x1f\x7f]{1,180})", re.IGNORECASE
)


def normal(text: str) -> str | None:
    """Such as `10.1234/abc` in lower case (a DOI has no case), from that or its URL; None where it is no DOI."""
    found = _SHAPE.fullmatch(text.strip())
    return found[1].lower() if found else None
