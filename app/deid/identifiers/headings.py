"""What the name of a column says it holds: numbers, addresses, names of people; words in Korean and English."""

from __future__ import annotations

import re

# What the name of a column says it holds. Words are those of the name: split at capitals, digits and signs.
_SAYS = {
    "resident_number": r"주민|외국인등록|\bjumin|\brrn\b|\bssn\b|social security|\bresident (no|num|number|reg)",
    "phone_number": r"전화|휴대|핸드폰|연락처|\bphone|\bmobile\b|\btel\b|\bhp\b|\bfax\b",
    "e_mail_address": r"이메일|메일주소|\bmail\b|\bemail\b",
    "address": r"주소|\baddr\b|\baddress\b",
    "passport_number": r"여권|\bpassport",
    "driver_licence": r"면허|\bdrivers?\b|\blicen[cs]e\b",
    "insurance_number": r"보험증|건강보험.*번호|\bnhis\b|\binsur\w* (no|num|number|id)\b",
    "coordinates": r"위도|경도|좌표|\blat\b|\blon\b|\blng\b|\blatitude\b|\blongitude\b|\bgps\b",
    "payment_card": r"카드번호|\bcard (no|num|number)\b|\bpan\b",
    "account_number": r"계좌|\baccount (no|num|number)\b",
    "record_number": r"차트|등록번호|환자번호|병록|수진자번호|\bmrn\b|\bchart\b|\b(pt|pat|patient|hosp|hospital) ?(no|num|number|id)\b|^patient$",
}
_PERSON = r"성명|성함|(환자|보호자|수진자|피험자|대상자|담당자|의사|간호사)명|^이름|이름$|^\W*name\W*$"
_PERSON_WORDS = r"^(pt|pat|patient|person|first|last|full|given|family|maiden|middle|sur|kor|eng|guardian|mother|father|spouse|doctor|physician|nurse|provider|staff|contact) ?(name|nm)$|^(fname|lname|firstname|lastname|surname|first|last|maiden)$"


def said_by(name: str) -> str | None:
    """The kind of identifier that a column's name speaks of, or None."""
    plain = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    plain = (
        re.sub(r"[^0-9A-Za-z가-힣]+|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])", " ", plain)
        .strip()
        .lower()
    )
    for kind, pattern in _SAYS.items():
        if re.search(pattern, plain):
            return kind
    without = re.sub(r"\s*[0-9]+$", "", plain)
    if re.search(_PERSON, without) or re.search(_PERSON_WORDS, without):
        return "personal_name"
    return None
