"""Whether the purposes a person agreed to hold for a purpose of use; what cannot be judged covers nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError

from app.standards import duo

_DISEASE = re.compile(r"DS:MONDO:[0-9]{7}")


@cache
def may_be_agreed(code: str) -> bool:
    """Whether a register may hold the code: a DUO permission, disease-specific ones with their disease."""
    if code.startswith("DS"):
        return _DISEASE.fullmatch(code) is not None
    short = duo.shorthand(code)
    return short is not None and short != "DS" and duo.terms_of_duo()[short]["kind"] == "permission"


def holds(agreed: Sequence[str], purpose: Mapping[str, Any] | None) -> bool:
    """Whether one of the codes agreed to covers the purpose, by the matcher's own rules (`duo.consent_covers`).

    Nothing agreed to in particular: the cohort's own terms decide, so it holds. No purpose: any purpose of research
    is meant, so it holds. A purpose that the matcher cannot read holds for nobody who narrowed theirs.
    """
    if not agreed or purpose is None:
        return True
    try:
        return duo.consent_covers(agreed, duo.Purpose.model_validate(purpose))
    except ValidationError:
        return False
