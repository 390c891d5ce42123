"""Addresses: Korean ones by region and building number, American ones as `427 Balistreri Way Unit 19`.

A Korean address that names a known si, gun or gu and ends in a number is certain; a road and a number alone, and an
American street, are judged by how much of the column looks so.
"""

from __future__ import annotations

from app.deid.identifiers.words import any_of, words

_REGIONS = words("korean_regions")
_PROVINCE = (
    any_of(
        [
            *(one["short"] for one in _REGIONS["sido"]),
            "강원",
            "충청북",
            "충청남",
            "전라북",
            "전라남",
            "경상북",
            "경상남",
        ]
    )
    + "(?:특별자치시|특별자치도|특별시|광역시|시|도)?"
)
_TOWN = f"(?:{any_of(_REGIONS['si'])}시|{any_of(_REGIONS['gun'])}군|{any_of(_REGIONS['gu'])}구)"
_H = "[가-힣]"
# "으로" is a particle ("병원으로 3"), so a road's name does not end in it.
_ROAD = f"(?:{_H}|[0-9.·])*(?:[가-윽윾-힣0-9]로|길|번길)"
_PLACE = f"(?:{_H}{{1,6}}[0-9]{{0,2}}(?:읍|면|동|가|리)|{_ROAD})"
# A number, and after it nothing that would make it a count of something (분, 회, mg, %).
_NUMBER = "(?:산 ?|지하 ?)?[0-9]{1,5}(?:[-–][0-9]{1,4})?(?:번지|번길|호|층|[^-0-9A-Za-z가-힣%.]|[.,-]?$|[,.] |[가-힣]{2,12}(?:아파트|빌딩|타워|빌라))"
KOREAN = (
    rf"(?:(?:{_PROVINCE}[ ,]{{0,2}})?{_TOWN}[ ,]{{0,2}}(?:{_H}{{1,4}}구[ ,]{{0,2}})?"
    rf"|세종(?:특별자치시|시)?[ ,]{{1,2}}|{_PROVINCE}[ ,]{{0,2}}{_H}{{1,4}}(?:시|군|구)[ ,]{{1,2}})"
    rf"(?:{_PLACE}[ ,]{{0,2}}){{1,4}}{_NUMBER}"
)
_ROMAN = r"[A-Z][A-Za-z]{1,14}(?:[0-9]{1,3})?"
ROMANISED = (
    rf"[0-9]{{1,5}}(?:-[0-9]{{1,4}})?,? (?:{_ROMAN}(?:-daero|-ro|-gil|-dong|-ga)(?: ?[0-9]{{1,3}}(?:beon)?-gil)?,? ){{1,3}}"
    rf"(?:{_ROMAN}-(?:gu|si|gun|eup|myeon|do)|{any_of([one['en'] for one in _REGIONS['sido']])})"
)
# A whole cell of a road or village and a number, without a region: 테헤란로 152, 역삼동 736-1.
KOREAN_SHORT = rf"^\(?(?:{_H}{{1,6}}(?:읍|면) ?)?(?:{_H}{{1,8}}(?:대로|로|길|동|리)|{_H}{{1,6}}[0-9]가) ?(?:[0-9]{{1,4}}(?:번길|길|가) ?)?[0-9]{{1,4}}(?:-[0-9]{{1,4}})?(?:번지|[ ,(].{{0,40}})?$"
_SUFFIX = any_of(words("us_street_suffixes")["suffixes"])
STREET = (
    rf"(?:^|[^0-9A-Za-z.-])[0-9]{{1,6}}[A-Z]? (?:[NSEW]{{1,2}}\.? )?(?:[A-ZÀ-Þ0-9][A-Za-zÀ-ÿ0-9'.-]* ){{1,4}}{_SUFFIX}"
    r"(?:\.? (?:Unit|Apt|Suite|Ste|Apartment|#)\.? ?[0-9A-Za-z]+|[.,]|$| *$)"
)
STREET_WITH_TOWN = rf"{STREET}.{{0,40}}[A-Z]{{2}} [0-9]{{5}}"
# A number and capitalised words: counted only in a column of streets, for no list of their kinds is complete.
STREET_LIKE = r"^[0-9]{1,6}[A-Z]? (?:[A-ZÀ-Þ][A-Za-zÀ-ÿ'.-]* ){1,4}[A-Za-z]{3,15}(?: (?:Unit|Apt|Suite|Ste|#)\.? ?[0-9A-Za-z]+)?$"
APARTMENT = (
    rf"{_H}(?:{_H}|[0-9])*(?:아파트|빌라|맨션|오피스텔|타워|연립|주공) ?[0-9]{{1,4}}동 ?[0-9]{{2,4}}호"
)
# A cheap look that every address above passes; the patterns themselves are too large to run on every cell.
SUSPECT = (
    r"[시군구읍면종도][가-힣0-9·., -]*[읍면동가리로길][ ,]*(?:산 ?|지하 ?)?[0-9]|-(?:daero|ro|gil|dong|ga)[ ,0-9]"
    r"|[0-9]{1,6}[A-Z]? [^\n]* [A-Z]{2} [0-9]{5}|[0-9]동 ?[0-9]{2,4}호"
)
