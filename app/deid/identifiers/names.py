"""Names of people by their shape: Korean surname and one or two syllables, Latin names with Synthea's digits.

A cell alone proves little, for many words have the shape of a name; how much of a column has it decides, on distinct
values where there are few. Only a word that says "name" or an address (환자, 님, 씨) makes a name inside text likely.
"""

from __future__ import annotations

from app.deid.identifiers.words import any_of, words

_LIST = words("korean_names")
SURNAME = f"[{''.join(_LIST['surnames'])}]"
COMPOUND = any_of(_LIST["compound_surnames"])
_GIVEN = f"[{''.join(_LIST['given_syllables'])}]"
_CALLED = r"(?: ?(?:님|씨|군|양)| ?[(][남여MF0-9/, 세]{1,8}[)])?"
_REGIONS = words("korean_regions")
# Words and places that have the shape of a name: 공무원, 강남구.
WORD = f"^(?:{any_of([*_LIST['words'], *(one['short'] for one in _REGIONS['sido'])])}|{any_of([*_REGIONS['si'], *_REGIONS['gun'], *_REGIONS['gu']])}[시군구])$"

# Whole cells: a surname and two syllables that given names are made of; one syllable; any syllables, or masked ones.
# In Chinese characters: the commonest surnames and one or two more.
_HANJA = "[金李朴崔鄭姜趙尹張林韓吳徐申權黃安宋柳洪高文梁孫裵裴白曺許南沈盧河][一-龥]{1,2}"
FULL = rf"^(?:{SURNAME} ?{_GIVEN}{{2}}|{COMPOUND} ?{_GIVEN}{{1,2}}|{_HANJA}){_CALLED}$"
SHORT = rf"^{SURNAME} ?{_GIVEN}{_CALLED}$"
WIDE = rf"^(?:{SURNAME} ?[가-힣*○●〇◯]{{1,2}}|{COMPOUND} ?[가-힣*○●〇◯]{{1,2}}){_CALLED}$"
MASKED = rf"^{SURNAME}(?:[*○●〇◯OX]{{1,2}}{_GIVEN}?|{_GIVEN}[*○●〇◯]){_CALLED}$"
IN_TEXT = (
    rf"(?:(?:성명|이름|환자명|보호자명|수진자명|성함)(?:은|는)? ?[:：]? ?{SURNAME}{_GIVEN}{{2}}(?:[^가-힣]|$|님|씨)"
    rf"|(?:환자|보호자|배우자|주치의|담당의) {SURNAME}{_GIVEN}{{2}} ?(?:님|씨|교수|[(][남여])"
    rf"|(?:^|[^가-힣]){SURNAME}{_GIVEN}{{2}} ?(?:님|씨)(?:[^가-힣]|$|[은는이가을의께]))"
)

_UPPER, _LETTER = "[A-ZÀ-ÖØ-Þ]", "[A-Za-zÀ-ÖØ-öø-ÿ'’.-]"
WITH_DIGITS = (
    rf"^{_UPPER}{_LETTER}{{1,24}}[0-9]{{0,3}}(?: {_UPPER}{_LETTER}{{0,24}}[0-9]{{0,3}}){{0,3}}[0-9]$"
)
LATIN = rf"^{_UPPER}{_LETTER}{{0,24}}(?:,? {_UPPER}{_LETTER}{{0,24}}){{0,3}}$"
# Korean names in Latin letters, either way round: Kim, Min-jun; Seoyeon Park; LEE JI WOO.
_ROMAN_SURNAME = any_of([w for name in _LIST["romanised_surnames"] for w in (name, name.upper())])
_ROMAN_GIVEN = r"[A-Z][A-Za-z]{1,9}(?:[- ][A-Za-z]{2,9})?"
ROMANISED = rf"^(?:{_ROMAN_SURNAME},? {_ROMAN_GIVEN}|{_ROMAN_GIVEN},? {_ROMAN_SURNAME})$"
COMMON = ("김", "이", "박", "최", "정")
