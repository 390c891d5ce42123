"""Bodies and answers about findings and about the uses of a participant's data."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from app.schemas.api_parts import Body, Free, Note, View

FindingState = Literal["reported", "accepted", "declined", "forwarded", "ended", "delivered", "informed"]
ReturnToken = Annotated[str, Field(max_length=60, pattern=r"^[\x21-\x7e]+$")]


class NewFinding(Body):
    """What was found about one person, whom only the pseudonym names."""

    extract_id: str = Field(pattern=r"^[a-z0-9_]{1,40}$")
    pseudonym: str = Field(pattern=r"^[0-9a-f]{16}$", description="As it stands in the extract.")
    code: str = Field(
        "", max_length=60, pattern=r"^[^\x00-\x1f\x7f]*$", description="Of a vocabulary of your own."
    )
    text: Note = Field(description="For the institution; it is shown to nobody else but the steward.")


class FindingReported(View):
    """A finding as whoever reported it is told of it: that it was received, and whether a steward took it on."""

    id: str
    project_id: str
    extract_id: str
    code: str
    state: Literal["reported", "accepted", "declined"]
    reason: str
    reported_at: datetime
    decided_at: datetime | None


class FindingReviewed(View):
    """A finding as a steward judges it; it names nobody."""

    id: str
    project_id: str
    title: str
    code: str
    text: str
    state: FindingState
    reason: str
    reported_at: datetime
    decided_by: str | None
    decided_at: datetime | None


class FindingReturned(View):
    """A finding as it comes back to the institution: by the return token of its participant, while they are known."""

    id: str
    cohort_id: str
    project_id: str
    title: str
    return_token: str | None
    code: str
    text: str
    state: Literal["forwarded", "delivered", "informed"]
    forwarded_at: datetime
    settled_at: datetime | None


FindingView = FindingReported | FindingReviewed | FindingReturned


class Declined(Body):
    """Why the finding is not taken on; whoever reported it reads this."""

    reason: Note


class UsesAsked(Body):
    """Whose uses are asked for."""

    return_token: ReturnToken


class Use(View):
    """One extract of one project that holds or held the participant's data."""

    project_id: str
    title: str
    purpose: Free
    holder: str | None
    holder_ko: str | None
    begins: datetime
    ends: date
    permit_state: str
    extract_id: str
    extract_state: str
    recalled: bool
    generations: list[int] = Field(
        description="Those with rows of the participant: none after all was taken back, until they consent again."
    )


class UsesView(View):
    """Every use, by extract."""

    return_token: str
    uses: list[Use]
