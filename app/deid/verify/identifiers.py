"""Shapes of identifiers that must not leave in any cell: our own reading of the rules, shared with nobody.

A failed check digit proves nothing for resident numbers issued since October 2020, so a plausible date and century
digit decide. The patterns are RE2 (no look-around) and run alike in DuckDB and in Python.
"""

from __future__ import annotations

import re

_DAY = r"(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
_DASH = "[-‐-―−~_ ]"
_BEGIN = r"(^|[^0-9A-Za-z.])"
_END = r"($|[^0-9A-Za-z])"

# Bare forms have no separator.
RESIDENT = rf"{_BEGIN}[0-9]{{2}}{_DAY} ?{_DASH} ?[0-9]([0-9]{{6}}|[*xX●]{{6}}){_END}"
RESIDENT_BARE = rf"{_BEGIN}[0-9]{{2}}{_DAY}[0-9]([0-9]{{6}}|[*●]{{6}}){_END}"
RESIDENT_IN_CODES = (
    rf"{_BEGIN}(([0-79][0-9]|8[0-79])(0[1-9]|1[0-2])|881[0-2])(0[1-9]|[12][0-9]|3[01])"
    rf"[0-9]([0-9]{{6}}|[*●]{{6}}){_END}"
)
RESIDENT_FIRST_SEVEN = rf"^\s*[0-9]{{2}}{_DAY}{_DASH}[1-8]\s*$"
MOBILE = r"(^|[^0-9A-Za-z.+])(\+?82[-. )]*0?|\(?0)1[016789][-. )]+[0-9]{3,4}[-. ]?[0-9]{4}" + _END
MOBILE_BARE = r"(^|[^0-9A-Za-z.])(\+820?1[016789]|01[016789])[0-9]{7,8}" + _END
LANDLINE = (
    r"(^|[^0-9A-Za-z.+-])(\+82[-. )]*|\(?0)(2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70)[-. )]+[0-9]{3,4}[-. ][0-9]{4}"
    + r"($|[^-0-9A-Za-z])"
)
EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
SSN = r"^\s*[0-9]{3}-[0-9]{2}-[0-9]{4}\s*$"
CI = r"^[A-Za-z0-9+/]{86}==$"

PATTERNS: dict[str, tuple[str, ...]] = {
    "identifier_resident": (RESIDENT, RESIDENT_BARE, RESIDENT_FIRST_SEVEN),
    "identifier_phone": (MOBILE, MOBILE_BARE, LANDLINE),
    "identifier_email": (EMAIL,),
    "identifier_ssn": (SSN,),
    "identifier_ci": (CI,),
}
# Cheap first look: every text that matches a pattern above matches this one.
SUSPECT = r"@|[0-9]{6}|[0-9]{3}[-. ][0-9]{2,4}|[0-9][ )]+[0-9]|=="

# A vocabulary's codes are digits of many lengths: without separators they prove nothing about phones, and product
# numbers (GTIN of Korea, 880...) look like people born in 1988.
IN_CODES: dict[str, tuple[str, ...]] = {
    "identifier_resident": (RESIDENT, RESIDENT_IN_CODES),
    "identifier_phone": (MOBILE,),
    "identifier_email": (EMAIL,),
    "identifier_ssn": (SSN,),
    "identifier_ci": (CI,),
}


def is_identifier_like(value: str) -> str | None:
    """The refusal code of the first identifier that the text looks like, None where it looks like none."""
    for code, patterns in PATTERNS.items():
        if any(re.search(pattern, value) for pattern in patterns):
            return code
    return None


def resident_number(digits: str) -> str:
    """SQL: whether the whole number in this expression is a plausible resident number once its zeros are back."""
    padded = f"lpad(({digits})::BIGINT::VARCHAR, 13, '0')"
    return f"regexp_full_match({padded}, '[0-9]{{2}}{_DAY}[0-9]{{7}}')"


def residents(numbers: str) -> str:
    """SQL: how many of the numbers `v` of a relation, of whatever type, are taken for resident numbers.

    Thirteen digits count one by one; shorter whole numbers, that may have lost leading zeros, only where most of the
    column's long numbers look so (a random number does in 4 of 100 cases).
    """
    return (
        "SELECT CASE WHEN looking * 2 > n THEN looking ELSE sure END FROM "
        "(SELECT count(*) FILTER (WHERE v >= 1e12 AND looks) AS sure, count(*) FILTER (WHERE looks) AS looking, "
        f"count(*) AS n FROM (SELECT v, {resident_number('v')} AS looks FROM {numbers} "
        "WHERE v >= 1e9 AND v < 1e13 AND v = floor(v)))"
    )
