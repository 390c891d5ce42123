"""The data use agreement of a permit, in Korean and English: what the holder binds themselves to, by its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

# What the DUO terms of a cohort lay on a permit (Data Use Ontology, release 2021-02-23), in Korean and English.
_TERMS = {
    "collaboration": (
        "데이터 보유 기관과 공동연구를 한다 (COL).",
        "The study is done together with the data holder (COL).",
    ),
    "ethics_approval": (
        "기관생명윤리위원회의 승인을 유지한다 (IRB).",
        "Ethics approval is held throughout (IRB).",
    ),
    "publication": ("연구 결과를 공개한다 (PUB).", "The results are made public (PUB)."),
    "return_of_results": (
        "도출된 자료를 보유 기관에 돌려준다 (RTN).",
        "Derived data are returned to the data holder (RTN).",
    ),
    "use_until": ("{}까지만 이용한다 (TS).", "The data are used until {} (TS)."),
    "use_months": (
        "허가일부터 {}개월 동안만 이용한다 (TS).",
        "The data are used for {} months from the permit's first day (TS).",
    ),
    "publish_from": ("{} 전에는 결과를 공표하지 않는다 (MOR).", "Nothing is published before {} (MOR)."),
    "publish_after_months": (
        "허가일부터 {}개월 안에는 결과를 공표하지 않는다 (MOR).",
        "Nothing is published within {} months of the permit's first day (MOR).",
    ),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What stands in one agreement."""

    permit_id: str
    holder: str
    title: str
    cohorts: Sequence[tuple[str, str]]  # the name of each, and of the institution that holds it
    plan_hash: str
    valid_until: date
    conditions: Sequence[str]


def text_of(terms: Terms) -> str:
    """The whole agreement; the same terms give the same text."""
    return f"{_korean(terms)}\n\n{_english(terms)}\n"


def digest_of(text: str) -> str:
    """SHA-256 of the text in UTF-8, 64 lower-case hex characters: what the holder accepts."""
    return hashlib.sha256(text.encode()).hexdigest()


def _korean(terms: Terms) -> str:
    return "\n".join(
        [
            "데이터 이용 약정",
            "",
            f"허가: {terms.permit_id}",
            f"이용자: {terms.holder}",
            f"과제: {terms.title}",
            *(f"코호트: {cohort} ({institution})" for cohort, institution in terms.cohorts),
            f"승인된 추출 계획: {terms.plan_hash}",
            f"이용 기간: {terms.valid_until.isoformat()}까지",
            "",
            "1. 승인된 과제의 목적으로만 데이터를 이용하며 제3자에게 제공하지 않는다.",
            "2. 개인을 식별하려 하지 않으며, 개인이 식별될 수 있게 된 경우 즉시 이용을 멈추고 알린 뒤 파기한다.",
            "3. 참여자가 동의를 철회하여 회수 통지를 받으면 해당 가명의 자료를 파기하고 그 결과를 확인한다.",
            "4. 이용 기간이 끝나면 데이터를 파기하고 그 결과를 확인한다.",
            "5. 추출물은 가명정보로서 여전히 개인정보이며, 그에 맞는 안전조치를 한다.",
            *_conditions("추가 조건", terms.conditions, 0),
        ]
    )


def _english(terms: Terms) -> str:
    return "\n".join(
        [
            "Data use agreement",
            "",
            f"Permit: {terms.permit_id}",
            f"Holder: {terms.holder}",
            f"Project: {terms.title}",
            *(f"Cohort: {cohort} ({institution})" for cohort, institution in terms.cohorts),
            f"Approved plan: {terms.plan_hash}",
            f"Valid until: {terms.valid_until.isoformat()}",
            "",
            "1. The data are used for the approved project only and are given to nobody else.",
            "2. No attempt is made to identify anyone. Should a person become identifiable, use stops at once, the"
            " steward is told, and the data concerned are destroyed.",
            "3. On a recall, because a participant withdrew, the rows of the named pseudonyms are destroyed and this is"
            " attested.",
            "4. At the end of the period the data are destroyed and this is attested.",
            "5. An extract is pseudonymised: it stays personal data and is protected as such.",
            *_conditions("Further conditions", terms.conditions, 1),
        ]
    )


def _conditions(heading: str, conditions: Sequence[str], language: int) -> list[str]:
    """The conditions in words: those of the data use terms by their names, a steward's own as they were written."""
    return ["", f"{heading}:", *(f"- {_words(one, language)}" for one in conditions)] if conditions else []


def _words(condition: str, language: int) -> str:
    name, _, value = condition.partition(":")
    return _TERMS[name][language].format(value) if name in _TERMS else condition
