"""Bodies of extracts and withdrawals."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PERMIT = r"^prm_[0-9a-z]{26}$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ExtractOrder(_Body):
    """Order the extract of a permit."""

    permit_id: str = Field(pattern=PERMIT)


class Attestation(_Body):
    """What became of the recalled rows. `ground`: the legal ground of retaining, or the date of the freeze's end."""

    answer: Literal["destroyed", "retained", "frozen"]
    ground: str = Field(default="", max_length=500)


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
    created_at: datetime
    ready_at: datetime | None
    expires_at: datetime | None
    parts: list[dict[str, Any]] | None = None
    recalls: list[dict[str, Any]] | None = None


class ExtractPage(BaseModel):
    """Extracts, newest first."""

    items: list[ExtractView]
    next_cursor: str | None


class AttestationAnswer(BaseModel):
    """How many recalls were answered, and all of them as they stand."""

    attested: int
    recalls: list[dict[str, Any]]


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


class WithdrawalPage(BaseModel):
    """Withdrawals, newest first."""

    items: list[WithdrawalView]
    next_cursor: str | None
