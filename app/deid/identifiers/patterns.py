"""Shapes of identifiers, as patterns that RE2 and Python's re both read: certain ones, and ones that a column judges.

Rules for the resident registration number: YYMMDD, then a digit G for century and sex, then six more. Since October
2020 the last six are random, so a wrong check digit proves nothing: a date that exists decides. Sources: docs on the
Korean setting; Enforcement Rule of the Resident Registration Act, article 2; Passport Act enforcement rules (new
numbers since 2021: letter, three digits, letter, four digits); Road Traffic Act (licence: region, year, serial, check).
"""

from __future__ import annotations

from app.deid.identifiers import addresses, cards, coordinates, mails, names

# Month and day of a date that exists (29 February always counts: the century is not known for sure).
DAY = (
    "(?:(?:0[13578]|1[02])(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)(?:0[1-9]|[12][0-9]|30)|02(?:0[1-9]|[12][0-9]))"
)
# Neither look-behind nor \d (which is more than 0-9 in Python) is used.
_LEFT, _RIGHT = "(?:^|[^0-9A-Za-z])", "(?:[^0-9A-Za-z]|$)"
_DASH = " ?[-‐-―−－~_/.] ?"
_MASK = "[*xX●○•◯#]"
_BEFORE = "(?:^|[^0-9.+-]|[^0-9][.-])"  # a number may follow "T." or "- ", but not a number and a point
_GAP = "[- .)/‐-―−－·]"

# One cell of these is enough: kind -> pattern, tried in this order.
PATTERNS: dict[str, str] = {
    "e_mail_address": mails.ADDRESS,
    "resident_number": (
        rf"(?:^|[^0-9])(?:[0-9]{{2}}{DAY}{_DASH}[0-9*xX●○](?:[0-9]{{6}}|[0-9]{{0,5}}{_MASK}{{1,6}})"
        rf"|[0-9]{{2}}{DAY} [1-8][0-9]{{6}}|[0-9]{{2}}{DAY}[0-9]?[*●○•◯]{{6,7}})(?:[^0-9]|$)"
    ),
    "phone_number": (
        rf"(?:^|[^0-9])(?:(?:\+|00)82{_GAP}{{0,2}}(?:\(?0\)?)?{_GAP}?|\(?0)1[016789]{_GAP}{{1,2}}[0-9]{{3,4}}{_GAP}?[0-9]{{4}}(?:[^0-9]|$)"
        rf"|(?:^|[^0-9])(?:\+|00)82{_GAP}{{0,2}}(?:\(?0\)?)?1[016789][0-9]{{7,8}}(?:[^0-9]|$)"
        rf"|{_BEFORE}(?:\+82{_GAP}{{1,2}}(?:\(0\))?|\(?0)(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70|50[2-9]?|80){_GAP}{{1,2}}[0-9]{{3,4}}[- .‐-―−－·][0-9]{{4}}(?:[^-0-9]|-[^0-9]|$)"
        rf"|{_BEFORE}01[016789][0-9]{{3,4}}-[0-9]{{4}}(?:[^-0-9]|$)"
        rf"|(?:^|[^0-9A-Za-z.-])(?:\+?1[-. ])?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}[-.])[2-9][0-9]{{2}}[-. ][0-9]{{4}}(?:[^-0-9A-Za-z]|$)"
        rf"|(?:^|[^0-9])01[016789]{_GAP}?(?:{_MASK}{{3,4}}{_GAP}?[0-9]{{4}}|[0-9]{{3,4}}{_GAP}?{_MASK}{{4}})(?:[^0-9]|$)"
        rf"|(?:^|[^0-9A-Za-z+])\+[1-9][0-9]{{0,2}}[- .][0-9]{{1,4}}[- .][0-9]{{3,4}}[- .][0-9]{{3,4}}(?:[^0-9]|$)"
    ),
    "social_security_number": r"(?:^|[^0-9-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?:[^0-9-]|$)",
    "passport_number": rf"{_LEFT}[MSRODGmsrodg][0-9]{{3}}[A-Za-z][0-9]{{4}}{_RIGHT}",
    "driver_licence": (
        r"(?:^|[^0-9-])(?:1[1-9]|2[0-8]|서울|부산|경기|경기남부|경기북부|강원|충북|충남|전북|전남|경북|경남|제주|대구|인천|광주|대전|울산)"
        r" ?[-–—−. ] ?[0-9]{2}[-–—−. ][0-9]{6}[-–—−. ][0-9]{2}(?:[^0-9-]|$)"
    ),
    "insurance_number": (
        r"(?:건강보험|보험증|증번호|보험번호|NHIS|nhis)[^0-9]{0,12}[1-9][- ]?[0-9]{10}(?:[^0-9]|$)"
        r"|(?:^|[^0-9A-Za-z.-])[1-9]-[0-9]{10}(?:[^-0-9]|$)"
    ),
    "payment_card": cards.MASKED,
    "coordinates": f"{coordinates.IN_KOREA}|{coordinates.IN_DEGREES}",
    "address": f"{addresses.KOREAN}|{addresses.APARTMENT}|{addresses.ROMANISED}|{addresses.STREET_WITH_TOWN}",
}
# Text of 88 characters made from the resident number (CI), or of 64 (DI): tried on long cells only.
CONNECTING = {
    "connecting_information": r"(?:^|[^0-9A-Za-z+/])[A-Za-z0-9+/]{86}==(?:[^=]|$)",
    "duplication_information": r"(?:^|[^0-9A-Za-z+/=])MC0GCCqGSIb3DQIJAyEA[A-Za-z0-9+/]{42,44}=?",
}
LONGEST_PLAIN = 60  # characters; a shorter cell holds none of the two

# A decimal number is no number of a person, however its digits fall.
DECIMAL = r"^[-+]?[0-9]+\.[0-9]{2,}$"

# Thirteen digits in a row, or twelve where a whole number lost the leading zero of a birth year 2000-2009 (or 1900-09).
_ALONE, _END = r"(?:^|[^0-9A-Za-z.,]|[^0-9][.,])", r"(?:[^0-9A-Za-z.]|\.[^1-9]|\.?$)"
BARE = rf"{_ALONE}[0-9]{{2}}{DAY}[0-9]{{7}}{_END}"
# Product numbers of Korea (GTIN 880...) look like people born in 1988.
BARE_IN_CODES = (
    rf"{_ALONE}(?:[0-79][0-9]{DAY}|8[0-79]{DAY}|881[0-2](?:0[1-9]|[12][0-9]|3[01]))[0-9]{{7}}{_END}"
)
# A table program has made a number of it: 8.501011234567E+12, and 5.01013234567E+11 where the leading zero is lost. Digits at
# the end are zeros where they are missing.
BARE_FLOAT = rf"^\+?[0-9]\.(?:[0-9]{DAY}[0-9]{{2,7}}0*[eE]\+?12|{DAY}[0-9]{{2,7}}0*[eE]\+?11)$"
LONG_FLOAT = r"^\+?[0-9]\.[0-9]{6,20}[eE]\+?1[12]$"
# 501013234567.0: a number with a point that is none has lost its zero too.
BARE_POINT_ZERO = rf"^[0-9]{DAY}[0-9]{{7}}\.0+$"
BARE_NUMBER = rf"^(?:[0-9]{{2}}|[0-9]){DAY}[0-9]{{7}}(?:\.0*)?$"
LONG = rf"{_ALONE}[0-9]{{13}}{_END}"
LONG_NUMBER = r"^[0-9]{12,13}(?:\.0*)?$"
# The year 2000 loses two zeros and, before October, the month's too.
LOST_ZEROS = r"^(?:1[0-2]|[1-9])(?:0[1-9]|[12][0-9]|3[01])[3478][0-9]{6}$"
BARE_MOBILE = rf"{_ALONE}0(?:10[0-9]{{8}}|1[16789][0-9]{{7,8}}){_END}"
BARE_LANDLINE = rf"{_ALONE}0(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70)[2-9][0-9]{{6,7}}{_END}"
MOBILE_NUMBER = r"^(?:10[0-9]{8}|82(?:10[0-9]{8}|1[16789][0-9]{7}))$"
# 011 and 016 to 019, given up by 2021; seconds since 1970 look the same.
OLD_MOBILE_NUMBER = r"^1[16789][0-9]{7,8}$"
FIRST_SEVEN = rf"^[0-9]{{2}}{DAY}[-–]?[1-8]$"

# Asked before all others: among a million random ones some hold a phone number between their letters.
WHOLE_UUID = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
# A cheap look that every pattern which may stand inside a text passes. Small on purpose: RE2 forgets large automata on
# texts that differ, and then takes a hundred times as long.
SUSPECT = (
    rf"{mails.SUSPECT}|{cards.SUSPECT}|"
    r"[0-9](?:[^0-9]{0,3}[0-9]){5}|[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|://|www\."
    r"|-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-|:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:|[0-9][A-Z]? [A-Z0-9À-Þ]|[０-９]{2}"
    r"|01[016789][^0-9]?[*xX○●•◯#]{3}|님|씨|성명|이름|성함|자명|교수|[(][남여]|"
) + addresses.SUSPECT

# One cell of these proves little; how much of the column has the shape decides. In this order; first inside a text.
INSIDE: dict[str, str] = {
    "uuid": r"(?:^|[^0-9A-Za-z])[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}(?:[^0-9A-Za-z]|$)",
    "bare": f"{BARE_IN_CODES}|{BARE_POINT_ZERO}",
    "product": BARE,
    "long": LONG,
    "bare_mobile": BARE_MOBILE,
    "bare_landline": BARE_LANDLINE,
    "card_like": cards.LIKE,
    "pair": coordinates.PAIR,
    "old_passport": rf"{_LEFT}[MSRODGmsrodg][0-9]{{8}}{_RIGHT}",
    "url": r"(?:https?|ftp)://[0-9A-Za-z]|(?:^|[^0-9A-Za-z])www\.[0-9A-Za-z-]+\.",
    "ip_address": (
        r"(?:^|[^0-9A-Za-z.])(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:[^0-9A-Za-z.]|\.$|$)"
        r"|(?:^|[^0-9A-Fa-f:])(?:[0-9A-Fa-f]{1,4}:){5,7}:?[0-9A-Fa-f]{1,4}(?:[^0-9A-Fa-f:]|$)"
    ),
    "street": addresses.STREET,
    "name_in_text": names.IN_TEXT,
}
# The whole cell; every alternative begins with ^.
WHOLE: dict[str, str] = {
    "first_seven": FIRST_SEVEN,
    "bare_float": BARE_FLOAT,
    "long_float": LONG_FLOAT,
    "date": r"^[12][0-9]{3}(?:[-/.]?[01]?[0-9][-/.]?[0-3]?[0-9])(?:[T ][0-9:.]+)?(?:Z|[+-][0-9:]+)?$",
    "public_number": r"^(?:rs|ss|COS[MV]|ENS[A-Z]*|N[CGMPRTW]_|X[MPR]_|OMIM:?|HGNC:?|MONDO:?|HP:?|ORPHA:?|GO:?|OMOP|LP|LA|CHEBI:?)[0-9][0-9.]*$",
    "record": (
        r"^[A-Za-z]{1,5}[-_ ]?[0-9]{5,14}[A-Za-z]?$|^[0-9]{6,12}$|^[0-9]{2,4}[-_][0-9]{4,10}$"
        r"|^[0-9]{2,4}[-_][0-9]{4,10}[-_][0-9A-Za-z]{1,2}$"
        r"|^[A-Za-z]{1,6}[-_ ]?[0-9A-Za-z]{1,8}[-_][0-9]{3,12}$|^[0-9]{2,4}[A-Za-z]{1,3}[-_]?[0-9]{4,8}$"
    ),
    "street_like": addresses.STREET_LIKE,
    "short_address": addresses.KOREAN_SHORT,
    "word": names.WORD,
    "full_name": names.FULL,
    "short_name": names.SHORT,
    "masked_name": names.MASKED,
    "wide_name": names.WIDE,
    "name_with_digits": names.WITH_DIGITS,
    "roman_name": names.ROMANISED,
    "serial": r"^[0-9]{1,6}(?:[- ][0-9]{1,8}){2,4}$",
    "coordinate": coordinates.ALONE,
}
LONGEST_WHOLE = 150  # bytes
SHAPES = INSIDE | WHOLE
