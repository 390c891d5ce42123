"""Finds what looks like an identifier of a person in values that are declared harmless; tells where, never what.

Rules for the resident registration number: YYMMDD, then a digit G for century and sex, then six more. Since October
2020 the last six are random, so a wrong check digit proves nothing: a date that exists decides. Sources: docs on the
Korean setting; Enforcement Rule of the Resident Registration Act, article 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.schemas.dictionary import Column

# Month and day of a date that exists (29 February always counts: the century is not known for sure).
_DAY = (
    "(?:(?:0[13578]|1[02])(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)(?:0[1-9]|[12][0-9]|30)|02(?:0[1-9]|[12][0-9]))"
)
# RE2 and Python's re both read these patterns; neither look-behind nor \d (which is more than 0-9 in Python) is used.
_LEFT, _RIGHT = "(?:^|[^0-9A-Za-z])", "(?:[^0-9A-Za-z]|$)"
PATTERNS: dict[str, str] = {
    "resident_number": rf"(?:^|[^0-9])[0-9]{{2}}{_DAY} ?[-–—−] ?[0-9*xX●](?:[0-9]{{6}}|[*xX●]{{4,6}})(?:[^0-9]|$)",
    "connecting_information": r"(?:^|[^0-9A-Za-z+/])[A-Za-z0-9+/]{86}==(?:[^=]|$)",
    "phone_number": r"(?:^|[^0-9])(?:\+82[- .]?1[016789]|01[016789])[- .][0-9]{3,4}[- .][0-9]{4}(?:[^0-9]|$)",
    "social_security_number": r"(?:^|[^0-9-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?:[^0-9-]|$)",
    "e_mail_address": r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}",
}
# Thirteen digits in a row, or twelve where a whole number lost the leading zero of a birth year 2000-2009 (or 1900-09).
BARE = rf"{_LEFT}[0-9]{{2}}{_DAY}[0-9]{{7}}{_RIGHT}"
BARE_NUMBER = rf"^(?:[0-9]{{2}}|[0-9]){_DAY}[0-9]{{7}}(?:\.0*)?$"
LONG = rf"{_LEFT}[0-9]{{13}}{_RIGHT}"
LONG_NUMBER = r"^[0-9]{12,13}(?:\.0*)?$"
# No pattern but that of e-mail addresses, which hold an @, matches fewer characters.
SHORTEST = 11

_OWN_NUMBERING = frozenset({"participant_id", "record_id", "family_id", "provider_id", "handle"})
# One random number of thirteen digits in 27 begins with a date that exists; real resident numbers all do.
_CHANCE = 0.2


@dataclass(frozen=True, slots=True)
class Scan:
    """What a column is scanned with, by kind of identifier; `long` counts what `bare` is a share of."""

    marked: dict[str, str]
    bare: str
    long: str


def scan_of(column: Column) -> Scan | None:
    """How to scan a column; None where it is declared to hold identifiers or cannot hold one."""
    if column.role.kind in ("direct_identifier", "free_text") or column.type in (
        "boolean",
        "date",
        "datetime",
    ):
        return None
    if column.type in ("integer", "number"):
        return Scan({}, BARE_NUMBER, LONG_NUMBER)
    return Scan(PATTERNS, BARE, LONG)


def bare_is_hit(column: Column, bare: int, long: int) -> bool:
    """Whether digits without a mark are resident numbers.

    In a column of values any one is. In one of ids, which never leave as they are and are often long numbers of
    the institution's own, they are when more of them begin with a date than chance gives.
    """
    if column.role.kind in _OWN_NUMBERING:
        return bare > 0 and bare >= _CHANCE * long
    return bare > 0


def looks_like(text: str) -> str | None:
    """The kind of identifier that a text holds, or None; the same rules as the scan of a column of texts."""
    for kind, pattern in {**PATTERNS, "resident_number ": BARE}.items():
        if re.search(pattern, text):
            return kind.strip()
    return None
