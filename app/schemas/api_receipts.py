"""Bodies of receipts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, RootModel


class ReceiptLine(BaseModel):
    """A line of an audit chain, with all that its digest covers."""

    stream: str
    number: int
    at: str
    event: str
    actor: str
    object_id: str
    data: dict[str, Any]
    previous: str
    digest: str


class ReceiptStep(BaseModel):
    """One thing that was done; `answer` is what a holder attested."""

    at: str
    event: str
    counts: dict[str, int]
    answer: str | None


class ReceiptView(BaseModel):
    """A receipt. Keep it as it is: its digest is over these very texts."""

    id: str
    kind: str
    state: str
    of_project: bool
    commitment: str | None
    cohort_id: str | None = None
    domains: list[str] | None = None
    figures: dict[str, Any] | None = None
    recalls: dict[str, int] | None = None
    steps: list[ReceiptStep]
    lines: list[ReceiptLine]
    digest: str


class ReceiptGiven(RootModel[dict[str, Any]]):
    """A receipt as it was given out."""


class ReceiptVerdict(BaseModel):
    """Whether the receipt holds; where not, every place."""

    holds: bool
    problems: list[dict[str, Any]]
