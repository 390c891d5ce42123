"""Bodies and answers about institutions, cohorts, datasets and versions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from app.schemas.api_parts import Body, Free, Line, NamedLine, Note, Paragraph, Sha256, View

Domain = Literal["clinical", "genomic", "lifelog", "public", "recontact"]
VersionState = Literal[
    "draft", "validating", "quarantined", "ready", "in_review", "published", "superseded", "withdrawn"
]


class NewInstitution(Body):
    """A hospital, biobank, public body, university or company."""

    name: NamedLine
    name_ko: Line = ""
    for_profit: bool = False
    country: str = Field("KR", pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")


class InstitutionView(View):
    """An institution."""

    id: str
    name: str
    name_ko: str
    for_profit: bool
    country: str
    ror: str | None
    created_at: datetime
    closed_at: datetime | None
    successor_id: str | None


class ConsentForm(Body):
    """The form that the people of a cohort signed: which text (by digest), and which domains it asks about."""

    version: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f]*$")]
    language: str = Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")
    sha256: Sha256
    domains: list[Domain] = Field(min_length=1, max_length=5)


class NewCohort(Body):
    """People recruited under one consent form, and the DUO terms that hold for all of them."""

    name: NamedLine
    name_ko: Line = ""
    description: Paragraph = ""
    consent_form: ConsentForm
    duo: list[Free] = Field(
        min_length=1, max_length=20, description="DUO terms with their parameters, each {term, ...}."
    )


class CohortView(View):
    """A cohort; `epoch` moves with every change of its consents."""

    id: str
    institution_id: str
    name: str
    name_ko: str
    description: str
    consent_form: Free
    duo: list[Free]
    epoch: int
    created_at: datetime
    ended_at: datetime | None


class NewDataset(Body):
    """Tables registered from a cohort."""

    name: NamedLine
    name_ko: Line = ""
    description: Paragraph = ""
    keywords: list[Line] = Field(default_factory=list, max_length=50)


class DatasetView(View):
    """A dataset."""

    id: str
    cohort_id: str
    name: str
    name_ko: str
    description: str
    keywords: list[str]
    created_at: datetime


class Created(View):
    """What a creation answers, the first time and every time it is repeated with its Idempotency-Key."""

    id: str
    institution_id: str | None = None
    cohort_id: str | None = None
    created_at: datetime


class DictionarySet(View):
    """The dictionary was accepted; its digest is that of its normal form."""

    version_id: str
    state: VersionState
    dictionary_digest: str
    revision: int


class ReportView(View):
    """What checking found: tables, columns, line numbers, counts, reasons; never a value."""

    version_id: str
    state: VersionState
    report: Free


class Returned(Body):
    """What has to be mended before it can be submitted again."""

    note: Note


class CohortUpload(View):
    """An upload of a cohort with its report."""

    id: str
    version_id: str | None
    purpose: str
    table_name: str | None
    state: str
    length: int
    received: int
    sha256: str | None
    original: str
    report: Free | None
    created_at: datetime
    expires_at: datetime


class ConsentsSummary(View):
    """People by domain and state as of a moment; null where there are fewer than `fewer_than`, else rounded."""

    cohort_id: str
    epoch: int
    as_of: datetime
    domains: dict[str, dict[str, int | None]]
    fewer_than: int
    rounded_to: int
