"""Payment cards: digits in the groups that cards are printed in, a network's first digits, and the check digit of Luhn.

Source: ISO/IEC 7812-1 (lengths, check digit); the networks' published ranges: Visa 4, Mastercard 51-55 and 2221-2720,
American Express 34 and 37, Discover 6011, 644-649 and 65, JCB 3528-3589, UnionPay 62, Diners 300-305, 36 and 38, cards for
use in Korea only 9. One number in ten passes the check digit by chance, so a column is judged by how many of its numbers do.
"""

from __future__ import annotations

_LEFT, _RIGHT = "(?:^|[^0-9A-Za-z.,_-]|[^0-9A-Za-z][.,])", "(?:[^0-9A-Za-z._-]|[._-][^0-9A-Za-z]|[._-]?$)"
LIKE = (
    rf"{_LEFT}(?:[2-69][0-9]{{3}}(?:[- ][0-9]{{4}}){{3}}(?:[- ][0-9]{{3}})?|3[0-9]{{3}}[- ][0-9]{{6}}[- ][0-9]{{4,5}}"
    rf"|[2-69][0-9]{{15}}|3[0-9]{{13,14}}|62[0-9]{{17}}){_RIGHT}"
)
_MASK = "[*xX●○•#]"
# The first and the last digits are as good as all of them, with a date and a shop.
MASKED = rf"{_LEFT}[2-69][0-9]{{3}}[- ]?(?:[0-9]{{2}}{_MASK}{{2}}|{_MASK}{{4}})[- ]?{_MASK}{{4,5}}[- ]?[0-9]{{3,4}}{_RIGHT}"
SUSPECT = rf"{_MASK}{{2}}[- ]?{_MASK}{{4}}"
_NETWORK = "^(?:4|5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|3[47]|6011|64[4-9]|65|35(?:2[89]|[3-8])|62|30[0-5]|3[68]|9)"
_LONGEST = 19
_TWICE = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def check_digit_holds(digits: str) -> bool:
    """Whether the digits, read from the right, pass Luhn: every second one counts twice, its digits added."""
    doubled = [_TWICE[int(d)] if place % 2 else int(d) for place, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def sql_is_card(text: str) -> str:
    """SQL of whether a text that `LIKE` matches holds a card's number: a network's first digits, and the check digit."""
    found = f"regexp_replace(regexp_extract({text}, '{LIKE}'), '[^0-9]', '', 'g')"
    digit = "(ascii(substr(d, {0}, 1)) - 48)"
    # Zeros before the number change nothing.
    sums = [
        digit.format(i)
        if (_LONGEST - i) % 2 == 0
        else f"(2 * {digit.format(i)} - 9 * ({digit.format(i)} > 4)::INTEGER)"
        for i in range(1, _LONGEST + 1)
    ]
    told = (
        f"length(n) BETWEEN 14 AND {_LONGEST} AND regexp_matches(n, '{_NETWORK}')"
        f" AND list_transform([lpad(n, {_LONGEST}, '0')], lambda d: ({' + '.join(sums)}) % 10 = 0)[1]"
    )
    return f"list_transform([{found}], lambda n: {told})[1]"
