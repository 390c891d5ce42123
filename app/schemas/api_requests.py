"""Bodies and answers about access requests, their reviews, permits, `why` and the audit."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from app.schemas.api_parts import Body, Day, Free, NamedLine, Note, Paragraph, Sha256, View
from app.schemas.plan import Condition

RequestState = Literal[
    "draft", "submitted", "in_review", "returned", "conditionally_approved", "approved", "rejected",
    "withdrawn_by_applicant", "expired",
]  # fmt: skip
ColumnName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]*$")]


class StricterPrivacy(Body):
    """Limits that the applicant makes stricter than the platform's; a looser one is refused."""

    k: int | None = Field(default=None, ge=2, le=1_000_000)
    reserve: int | None = Field(default=None, ge=0, le=1_000_000)
    max_suppression: float | None = Field(default=None, ge=0, le=1)
    min_cell: int | None = Field(default=None, ge=2, le=1_000_000)
    round_to: int | None = Field(default=None, ge=1, le=1_000_000)
    tolerance: float | None = Field(default=None, ge=0, le=1)
    shift_weeks: int | None = Field(
        default=None,
        ge=4,
        le=520,
        description="Fewer weeks lose fewer rows at both ends of a table and hide less; the dry run shows it.",
    )
    method: Literal["local", "global"] | None = None
    preset: Annotated[str, Field(max_length=60, pattern=r"^[a-z0-9_]*$")] | None = None


class EditedRequest(Body):
    """What is asked: the purpose (DUO), columns by table, row filter, limits, board, last day.

    A table with an empty list asks for all columns that may leave; no `tables` at all for every table of people.
    """

    title: NamedLine
    summary: Paragraph = ""
    purpose: Free
    tables: dict[ColumnName, list[ColumnName]] | None = Field(default=None, max_length=200)
    filter: list[Condition] = Field(default_factory=list, max_length=50)
    max_rows_per_person: dict[ColumnName, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(
        default_factory=dict,
        max_length=200,
        description="By event table: at most so many rows of a person leave; never more than the dictionary allows.",
    )
    linkage: bool = Field(
        default=False,
        description="Of a united version: people known to be the same in several cohorts get one pseudonym.",
    )
    privacy: StricterPrivacy = Field(default_factory=StricterPrivacy)
    irb_reference: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")] = ""
    end_date: Day


class NewRequest(EditedRequest):
    """An access request for a published dataset version."""

    version_id: str = Field(pattern=r"^[a-z0-9_]{1,40}$")


class RequestReceipt(View):
    """What creating and deciding answer, also when repeated. `revision` is the ETag."""

    id: str
    state: RequestState
    plan_hash: str
    revision: int
    permit_id: str | None = None
    project_id: str | None = None


class RequestBrief(View):
    """A request in a list. `days` run from the first submission to the decision, or to now."""

    id: str
    version_id: str
    cohort_id: str | None = Field(description="Null: a united version, whose data several cohorts hold.")
    applicant: str
    title: str
    state: RequestState
    plan_hash: str
    end_date: date
    claimed_by: str | None
    revision: int
    created_at: datetime
    submitted_at: datetime | None
    decided_at: datetime | None
    days: float | None


class ReviewView(View):
    """The outcome of a board. Of a united version each institution's boards answer, and it is named."""

    board: Literal["DRB", "IRB"]
    institution_id: str | None = None
    state: Literal["pending", "approved", "exempt", "returned", "rejected"]
    note: str
    at: datetime


class DryRunBrief(View):
    """The newest dry run of a request."""

    id: str
    state: Literal["queued", "ready", "failed"]
    plan_hash: str


class RequestView(RequestBrief):
    """A request with its plan, its reviews and what came of it."""

    institution_id: str | None
    summary: str
    purpose: Free
    plan: Free
    irb_reference: str
    duo_match: Free | None
    notes: list[Free]
    reviews: list[ReviewView]
    dry_run: DryRunBrief | None
    permit_id: str | None


class Claim(Body):
    """Take a request on; `take_over` it from the colleague who holds it."""

    take_over: bool = False


class Returned(Body):
    """What has to be mended."""

    note: Note


class NewReview(Body):
    """The outcome of a board. DRB: is pseudonymisation adequate? IRB: science and ethics, or why it is exempt."""

    board: Literal["DRB", "IRB"]
    state: Literal["approved", "exempt", "returned", "rejected"]
    note: Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")] = ""


class DryRunView(DryRunBrief):
    """A dry run; `result` holds rows, people, suppressed, classes, smallest k. `progress` is that of its job."""

    request_id: str
    result: Free | None
    progress: Free
    held_up: Free | None = Field(
        default=None, description="Where it was stopped until the operator has looked: a problem document."
    )
    created_at: datetime
    finished_at: datetime | None


class Decision(Body):
    """A decision on the plan of this hash. `valid_until` is at most the end date that was asked for."""

    decision: Literal["approve", "conditional", "reject"]
    plan_hash: Sha256
    note: Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")] = ""
    conditions: list[NamedLine] = Field(default_factory=list, max_length=20)
    accept_intersections: bool = False
    follow: bool = Field(default=False, description="The permit goes on to compatible versions by itself.")
    valid_until: Day | None = None


class PermitView(View):
    """A permit."""

    id: str
    project_id: str
    request_id: str
    holder: str
    version_id: str
    cohort_id: str | None = Field(description="Null: a united version, whose data several cohorts hold.")
    state: Literal["pending_agreement", "active", "suspended", "expired", "revoked"]
    plan_hash: str
    purpose: Free
    conditions: list[Any]
    delivery: str
    valid_until: date
    agreement_digest: str
    agreed_at: datetime | None
    created_at: datetime
    follow: bool = Field(description="Goes on to compatible versions by itself; else it stays on its own.")
    asked_version: str | None = Field(description="A version that breaks its plan: a steward is to decide.")


class Amendment(Body):
    """A steward's answer: the version that a permit goes on to; null: it stays on its own."""

    version_id: str | None = Field(max_length=40)
    note: Note


class AskedPermit(View):
    """A permit that follows, and what breaks in the version that is next."""

    id: str
    permit: PermitView
    breaking: list[Free]


class AgreementView(View):
    """The data use agreement: its text in Korean and English, and the digest by which it is accepted."""

    permit_id: str
    text: str
    languages: list[str]
    digest: str
    agreed_by: str | None
    agreed_at: datetime | None


class Acceptance(Body):
    """Accept the agreement whose text has this digest."""

    digest: Sha256


class WhyCondition(View):
    """One condition; `who` can mend it where it is not met."""

    condition: str
    met: bool
    detail: str
    who: str | None


class WhyView(View):
    """May I?"""

    verb: str
    object: str
    allowed: bool
    conditions: list[WhyCondition]


class AuditLineView(View):
    """One event: ids, digests and counts only."""

    number: int
    at: datetime
    event: str
    actor: str
    object_id: str
    data: Free
    digest: str


class BreakView(View):
    """Where a chain breaks first, and how."""

    number: int
    what: str


class AuditVerdict(View):
    """Whether a chain holds."""

    stream: str
    lines: int
    holds: bool
    head: str | None
    first_break: BreakView | None


class Between(View):
    """An estimate, and between which values nine of ten came true so far."""

    low: float
    expected: float
    high: float


class QuoteView(View):
    """What an extract will cost; `builds`: from how many earlier ones that is known."""

    permit_id: str
    builds: int
    rows: Between
    bytes: Between
    minutes: Between
