"""The agreement says in both languages what it binds to; one letter changed is another digest."""

from dataclasses import replace
from datetime import date

from app.requests.agreement import Terms, digest_of, text_of

TERMS = Terms(
    "prm_1", "client:r", "Title", [("Cohort", "Hospital")], "a" * 64, date(2027, 1, 31), ["PUB: cite us"]
)


def test_everything_that_was_approved_stands_in_both_languages():
    korean, english = text_of(TERMS).split("Data use agreement")
    for text in (korean, english):
        for said in (
            "prm_1",
            "client:r",
            "Title",
            "Cohort",
            "Hospital",
            "a" * 64,
            "2027-01-31",
            "PUB: cite us",
        ):
            assert said in text


def test_any_change_changes_the_digest():
    first = digest_of(text_of(TERMS))
    assert first == digest_of(text_of(TERMS))
    assert first != digest_of(text_of(replace(TERMS, valid_until=date(2027, 2, 1))))
    assert first != digest_of(text_of(replace(TERMS, conditions=[])))
