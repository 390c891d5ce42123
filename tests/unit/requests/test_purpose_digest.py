"""The digest of a purpose is of what consent is judged by: nobody who asks is in it, and nothing is in two orders."""

from typing import Any

import pytest

from app.consents.purposes import purpose_digest

DIABETES, ASTHMA = "MONDO:0005015", "MONDO:0004979"
STUDY: dict[str, Any] = {"term": "DS", "diseases": [DIABETES, ASTHMA]}


@pytest.mark.parametrize(
    "other",
    [
        {"diseases": [ASTHMA, DIABETES, ASTHMA]},
        {"population_origins": False},
        {"user": "client:b", "institution": "ins_b", "country": "KR", "commercial": True},
    ],
)
def test_it_is_the_same_for_the_same_people(other: dict[str, Any]) -> None:
    assert purpose_digest({**STUDY, **other}) == purpose_digest(STUDY)


@pytest.mark.parametrize(
    "other", [{"term": "HMB"}, {"diseases": [DIABETES]}, {"population_origins": True}, {"term": "unreadable"}]
)
def test_it_is_another_where_others_may_consent(other: dict[str, Any]) -> None:
    assert purpose_digest({**STUDY, **other}) != purpose_digest(STUDY)
