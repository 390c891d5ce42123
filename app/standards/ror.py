"""ROR ids of institutions: written down in one way, their check digits computed (ISO 7064 MOD 97-10); pure.

Source: ROR, "ROR identifier pattern": a leading 0, six characters of Crockford's base 32, two check digits.
"""

from __future__ import annotations

import re

SCHEME, URI = "ROR", "https://ror.org"
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_SHAPE = re.compile(r"(?:https?://)?(?:ror\.org/)?(0[0-9a-hj-km-np-tv-z]{6})([0-9]{2})")


def normal(text: str) -> str | None:
    """Such as `02mhbdp94`, from that or its URL; None where it is no ROR id."""
    found = _SHAPE.fullmatch(text.strip().lower())
    if found is None:
        return None
    return found[1] + found[2] if check_digits(found[1]) == found[2] else None


def check_digits(letters: str) -> str:
    """The last two digits of an id that begins with these letters: they bring the whole number to 1 modulo 97."""
    number = 0
    for letter in letters:
        number = number * 32 + _LETTERS.index(letter)
    return f"{98 - number * 100 % 97:02d}"
