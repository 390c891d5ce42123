"""Bodies of extracts and withdrawals."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.api_parts import Day, Free, View

PERMIT = r"^prm_[0-9a-z]{26}$"
PART = r"^[0-9a-f]{64}\.parquet$"
RECALL = r"^rcl_[0-9a-z]{26}$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ExtractOrder(_Body):
    """Order the extract of a permit."""

    permit_id: str = Field(pattern=PERMIT)


class LinkOrder(_Body):
    """Links to the parts of an extract; without a body, to all of them for as long as they may live."""

    parts: list[Annotated[str, Field(pattern=PART)]] | None = Field(
        default=None, max_length=10_000, description="Names of parts, as the manifest has them."
    )
    seconds: int | None = Field(default=None, ge=1, description="A shorter life.")


class LinkedPart(BaseModel):
    """A part and its link. `url` is null while the part is closed."""

    table: str
    position: int
    name: str
    sha256: str
    rows: int
    bytes: int
    generation: int
    state: str
    url: str | None


class Links(BaseModel):
    """Links of one call; its id stands in the audit lines of their uses."""

    id: str
    until: datetime
    files: list[LinkedPart]


class Attestation(_Body):
    """What became of the recalled rows. `ground` names the legal ground of retaining; a freeze needs `until`."""

    answer: Literal["destroyed", "retained", "frozen"]
    ground: str = Field(default="", max_length=500, pattern=r"^[^\x00]*$")
    until: Day | None = Field(
        default=None, description="Last day of a freeze; after it the recall is due again."
    )
    recalls: list[Annotated[str, Field(pattern=RECALL)]] = Field(
        default_factory=list,
        max_length=10_000,
        description="Ids of the recalls this is about; empty: all open ones.",
    )


class WithdrawalOrder(_Body):
    """A participant withdraws; `participant` is the institution's own identifier, which is not stored."""

    participant: str = Field(min_length=1, max_length=200)
    domains: list[Literal["clinical", "genomic", "lifelog", "public", "recontact"]] = Field(
        default_factory=list, max_length=5, description="Empty: all."
    )
    kind: Literal["no_further_use", "no_further_contact", "destroy"] = "no_further_use"
    opening: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="Of `destroy`: 32 random bytes that the participant keeps, the key of the commitment to who it "
        "was. It is not stored; without one the commitment can never be opened.",
    )


class ExtractView(BaseModel):
    """An extract as its holder sees it."""

    id: str
    permit_id: str
    project_id: str
    version_id: str
    state: str
    failure: dict[str, Any] | None
    generation: int
    progress: dict[str, Any]
    held_up: dict[str, Any] | None = Field(
        default=None,
        description="Of work that was stopped until the operator has looked: a problem document.",
    )
    created_at: datetime
    ready_at: datetime | None
    expires_at: datetime | None
    parts: list[dict[str, Any]] | None = None
    recalls: list[RecallView] | None = None


class ExtractPage(BaseModel):
    """Extracts, newest first."""

    items: list[ExtractView]
    next_cursor: str | None


class RecallView(View):
    """One recall. `pseudonym` is empty once the rows of a destroyed person are attested destroyed."""

    id: str
    pseudonym: str
    source: str | None = None
    state: Literal["open", "destroyed", "retained", "frozen"]
    ground: str
    until: date | None
    at: datetime
    due_at: datetime | None
    overdue: bool
    attested_at: datetime | None
    receipt: str
    why: Literal["withdrawal", "erratum", "cohort_ended"] = "withdrawal"
    erratum: Free | None = Field(
        default=None,
        description="Where values were wrong: which columns, why, and the version that corrects them.",
    )


class PseudonymColumn(View):
    """A column that holds pseudonyms of the project."""

    table: str
    column: str


class ThroughParent(View):
    """A table that reaches its person through another one: its rows go with their parent's."""

    table: str
    column: str
    parent: str
    parent_column: str


class PartBrief(View):
    """A part of the newest generation."""

    table: str
    name: str
    sha256: str
    rows: int
    bytes: int


class PartGone(View):
    """A part that is closed or replaced; `receipt` is the withdrawal that closed it."""

    table: str
    name: str
    state: str
    successor: str | None
    receipt: str | None


class Recalls(View):
    """What a holder has to delete, and the parts that take the old ones' places. `cursor` asks for later news."""

    extract_id: str
    generation: int
    state: str
    columns: list[PseudonymColumn]
    through: list[ThroughParent]
    parts: list[PartBrief]
    gone: list[PartGone]
    items: list[RecallView]
    next_cursor: str | None
    cursor: str | None


class OpenRecalls(View):
    """An extract whose holder has recalls to answer, for the stewards of its cohorts."""

    id: str
    project_id: str
    permit_id: str
    holder: str
    permit_state: str
    open: int
    overdue: int
    due_at: datetime | None


class AttestationAnswer(BaseModel):
    """How many recalls were answered, and all of them as they stand."""

    attested: int
    recalls: list[RecallView]


class WithdrawalView(BaseModel):
    """A withdrawal and its receipt: counts and times, and no one's name."""

    id: str
    cohort_id: str
    kind: str
    domains: list[str]
    state: str
    receipt: dict[str, Any]
    commitment: str | None = None
    taken_at: datetime
    closed_at: datetime | None
    held_up: dict[str, Any] | None = Field(
        default=None,
        description="Where what carries it was stopped until the operator has looked: a problem document. What was "
        "closed stays closed.",
    )


class UnsettledView(View):
    """A withdrawal on its way. `tries` above 1: something failed and is tried again; `failure` is the code of why."""

    id: str
    cohort_id: str
    kind: str
    state: str
    taken_at: datetime
    tries: int
    failure: str | None
    held_up: dict[str, Any] | None


class WithdrawalPage(BaseModel):
    """Withdrawals, newest first."""

    items: list[WithdrawalView]
    next_cursor: str | None
