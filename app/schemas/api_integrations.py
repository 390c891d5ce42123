"""Bodies and answers about integrations: several cohorts under one dictionary."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from app.schemas.api_parts import Body, Free, Line, NamedLine, Paragraph, Sha256, View

IntegrationState = Literal["draft", "checking", "in_review", "published", "superseded", "withdrawn"]


class NewIntegration(Body):
    """A united dataset of this name, or the next version of one (`next_of` an integration, with its mapping)."""

    name: NamedLine | None = None
    name_ko: Line = ""
    description: Paragraph = ""
    keywords: list[NamedLine] = Field(default_factory=list, max_length=50)
    next_of: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")] | None = None


class IntegrationCreated(View):
    """What creating answers, also when repeated. `revision` is the ETag."""

    id: str
    dataset_id: str
    number: int
    state: IntegrationState
    revision: int


class ApprovalView(View):
    """What the steward of an institution says of the mapping of its data."""

    institution_id: str
    state: Literal["pending", "approved", "returned"]
    note: str
    at: datetime | None


class IntegrationBrief(View):
    """An integration in a list. `version_id`: the united version, once it is published."""

    id: str
    institution_id: str
    dataset_id: str
    name: str
    name_ko: str
    number: int
    state: IntegrationState
    mapping_digest: str | None
    version_id: str | None
    revision: int
    approvals: list[ApprovalView]
    created_at: datetime
    published_at: datetime | None


class UnmappedValue(View):
    """A value, unit or code that the mapping does not name (null: no unit at all), and how many have it."""

    value: str | None
    rows: int | None
    people: int | None


class UnmappedView(View):
    """What a source holds in one column that the mapping does not name. Of a source that is not yours only values that
    many people have are listed, and `distinct` is null where there are others."""

    source: str | None
    institution_id: str | None
    table: str
    column: str
    what: Literal["value", "unit", "code", "hierarchy"]
    code: str
    distinct: int | None
    detail: str
    values: list[UnmappedValue]


class CheckView(View):
    """What the check of the mapping with this digest found. `participants`: as far as is known each person once."""

    outcome: Literal["complete", "unmapped"]
    mapping_digest: str
    problems: list[Free]
    unmapped: list[UnmappedView]
    participants: int


class IntegrationView(IntegrationBrief):
    """An integration with its mapping, and what its check found."""

    mapping: Free | None
    report: CheckView | None
    progress: Free


class NewApproval(Body):
    """What a steward says of the mapping with this digest, for the data of their institution."""

    state: Literal["approved", "returned"]
    mapping_digest: Sha256
    note: Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")] = ""
