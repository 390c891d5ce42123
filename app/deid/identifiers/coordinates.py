"""Places on the earth, as devices write them: four decimals of a degree are eleven metres, which is a home.

A pair inside Korea (33 to 39 north, 124 to 132 east) is certain. Elsewhere pairs look like intervals of a measurement, and a
single number like any other: there the column's name or most of its cells decide.
"""

from __future__ import annotations

_FINE = r"\.[0-9]{4,}"
_BETWEEN = r"[°º]? ?[NSEW]?(?:, ?| ?[,;/|] ?| )(?:(?:lon|lng|longitude|경도)[:=]? ?)?"
_LEFT, _RIGHT = "(?:^|[^0-9.+-])", "(?:[^0-9.]|[.]?$|[.][^0-9])"
_NORTH, _EAST = rf"3[3-8]{_FINE}", rf"1(?:2[4-9]|3[01]){_FINE}"
IN_KOREA = rf"{_LEFT}(?:{_NORTH}{_BETWEEN}{_EAST}|{_EAST}{_BETWEEN}{_NORTH}){_RIGHT}"
_DEGREES = r"[0-9]{1,3}[°º] ?[0-9]{1,2}['′’] ?[0-9]{1,2}(?:\.[0-9]+)?[\"″”]"
IN_DEGREES = rf"{_DEGREES} ?[NS북남]?[ ,]{{0,2}}{_DEGREES}"
# Anywhere: tens of degrees both, and a metre; bounds of an interval have fewer decimals, and are often small.
_METRE = r"\.[0-9]{5,}"
PAIR = rf"{_LEFT}[-+]?[1-8][0-9]{_METRE}{_BETWEEN}[-+]?(?:1[0-7][0-9]|[1-9][0-9]){_METRE}{_RIGHT}"
# A number with a point whose column's name speaks of a coordinate.
ALONE = r"^[-+]?(?:1[0-7][0-9]|[0-9]{1,2})\.[0-9]{3,}$"
