"""Numbers given to people, as SQL and as rules: resident numbers against corporate ones, whole numbers that lost zeros.

Check digits: resident number (11 - (sum of digits 1-12 weighted 2 3 4 5 6 7 8 9 2 3 4 5) mod 11) mod 10, only until
October 2020; corporate registration number 10 - (sum of digits 1-12 weighted 1 2 1 2 ...) mod 10, mod 10 (Commercial
Registration Rules, the registry's six digits and a serial of seven).
"""

from __future__ import annotations

RESIDENT_WEIGHTS = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
CORPORATE_WEIGHTS = (1, 2) * 6
# A registry's six digits: court 11-28, office, kind of company (11 stock company .. 15, associations 21 22, others 31).
_COMPANY = "^(?:1[1-9]|2[0-8])[0-9]{2}(?:1[1-5]|2[12]|31)[0-9]"


def resident_digit_holds(digits: str) -> bool:
    """Whether thirteen digits pass the resident number's check digit; failing proves nothing."""
    return (11 - _sum(digits, RESIDENT_WEIGHTS) % 11) % 10 == int(digits[12])


def corporate_digit_holds(digits: str) -> bool:
    """Whether thirteen digits pass the corporate registration number's check digit."""
    return (10 - _sum(digits, CORPORATE_WEIGHTS) % 10) % 10 == int(digits[12])


def _sum(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def sql_corporate(text: str) -> str:
    """SQL over a text with thirteen digits: 0 no corporate number, 1 one that is no resident number, 2 both hold."""
    digits = f"regexp_extract(regexp_replace({text}, '[^0-9]', '', 'g'), '[0-9]{{13}}')"
    corporate = f"(10 - {_sql_sum('d', CORPORATE_WEIGHTS)} % 10) % 10 = {_sql_digit('d', 13)}"
    resident = f"(11 - {_sql_sum('d', RESIDENT_WEIGHTS)} % 11) % 10 = {_sql_digit('d', 13)}"
    told = (
        f"CASE WHEN length(d) < 13 OR NOT regexp_matches(d, '{_COMPANY}') OR NOT {corporate} THEN 0"
        f" WHEN {resident} THEN 2 ELSE 1 END"
    )
    return f"list_transform([{digits}], lambda d: {told})[1]"


def _sql_digit(text: str, place: int) -> str:
    return f"(ascii(substr({text}, {place}, 1)) - 48)"


def _sql_sum(text: str, weights: tuple[int, ...]) -> str:
    return "(" + " + ".join(f"{w} * {_sql_digit(text, i)}" for i, w in enumerate(weights, 1)) + ")"
