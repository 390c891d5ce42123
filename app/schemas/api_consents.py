"""Bodies and answers about one person's consent. The institution's own identifier stands in bodies alone."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from app.schemas.api_cohorts import Domain
from app.schemas.api_parts import Body, Day, Moment, View

Identifier = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
MOST_TOKENS = 20_000


class ConsentWord(Body):
    """What a person says now of some domains, as the consent form has it. Withdrawals are taken elsewhere."""

    participant: Identifier = Field(description="Your own identifier; only a keyed hash of it is kept.")
    domains: list[Domain] = Field(min_length=1, max_length=5)
    purposes: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field(
        default_factory=list,
        max_length=40,
        description="DUO permissions; empty: as the cohort's own terms say.",
    )
    form_version: str = Field("", max_length=40, pattern=r"^[^\x00-\x1f]*$")
    language: str = Field("", max_length=10, pattern=r"^([a-z]{2}(-[A-Z]{2})?)?$")
    given_at: Day
    valid_until: Day | None = Field(None, description="The last day on which it is in force.")
    by_proxy: bool = False
    assent: Literal["", "given", "refused"] = Field("", description="What a child said, where one was asked.")
    birth_month: str | None = Field(
        None, max_length=7, description="YYYY-MM, where others consent for someone; it is not stored."
    )
    linkage_token: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="Issued outside, never made from a resident number, CI or DI."
    )
    may_link: bool | None = Field(
        None, description="Whether their data may be linked to theirs in other cohorts."
    )
    deceased: bool | None = None


class ConsentEntered(View):
    """The register holds it; `changed` is false where it said so before."""

    cohort_id: str
    return_token: str
    epoch: int
    changed: bool


class ConsentQuestion(Body):
    """Whose consent, and as of when."""

    participant: Identifier
    as_of: Moment | None = None


class DomainConsent(View):
    """What was said of one domain, since when, and how it stood on that day."""

    domain: Domain
    state: Literal["granted", "reconsent_due", "ended", "withdrawn"]
    purposes: list[str]
    form_version: str
    language: str
    given_at: date | None
    valid_until: date | None
    by_proxy: bool
    assent: str
    adult_due: date | None
    withdrawal: str
    since: datetime


class PersonConsent(View):
    """One person's consent as of a moment."""

    cohort_id: str
    return_token: str
    as_of: datetime
    domains: list[DomainConsent]
    may_link: bool
    deceased: bool


class TokenQuestion(Body):
    """Your own identifiers, as many as you like up to the limit."""

    participants: list[Identifier] = Field(min_length=1, max_length=MOST_TOKENS)


class TokensTold(View):
    """Return tokens in the order of the question; null where the cohort does not know the participant."""

    tokens: list[str | None]
