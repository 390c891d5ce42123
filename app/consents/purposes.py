"""Whether the purposes a person agreed to hold for a purpose of use; what cannot be judged covers nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError

from app.schemas.plan import digest
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
    judged = _judged_by(purpose)
    return judged is not None and duo.consent_covers(agreed, judged)


def purpose_digest(purpose: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of all that `holds` reads of a purpose: two of one digest are covered by the same
    consents, whoever asks."""
    judged = _judged_by(purpose)
    return digest(judged and judged.model_dump(mode="json", exclude_defaults=True))


def _judged_by(purpose: Mapping[str, Any]) -> duo.Purpose | None:
    """What consent is judged by, and nothing else, so that the digest cannot leave out what the judgement reads; None
    where it cannot be read."""
    try:
        said = duo.Purpose.model_validate(purpose)
    except ValidationError:
        return None
    return duo.Purpose(
        term=said.term, diseases=sorted(set(said.diseases)), population_origins=bool(said.population_origins)
    )
