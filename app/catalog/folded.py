"""Words as they are compared: without regard to case, width, and how a syllable of Hangul is written down; pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_BETWEEN = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """NFKC (so also NFC: letters of Hangul that were sent apart become syllables), case folded, then NFKC again."""
    once = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", once)


def words_of(query: str) -> list[str]:
    """The folded words of a query, each once."""
    return list(dict.fromkeys(fold(query).split()))


def searchable(texts: Iterable[str]) -> str:
    """Folded texts in one line, a space before every word: `% word%` finds what begins with it, `%word%` what holds it.

    A word that is held together by signs is there twice: as it is, and taken apart (`year_of_birth`, `year of birth`).
    """
    seen: dict[str, None] = {}
    for text in texts:
        for word in fold(text).split():
            seen[word] = None
            seen.update(dict.fromkeys(part for part in _BETWEEN.split(word) if part))
    return "".join(f" {word}" for word in seen)
