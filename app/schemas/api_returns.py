"""Bodies and answers of returned data."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.schemas.api_parts import Body, Free, Line, NamedLine, Paragraph, View


class NewReturn(Body):
    """Data that were made of an extract: a name, and the dictionary of its tables. The participant id of every table is
    the pseudonym of the extract."""

    name: NamedLine
    name_ko: Line = ""
    description: Paragraph = ""
    keywords: list[Line] = Field(default_factory=list, max_length=50)
    made_of: list[Literal["clinical", "genomic", "lifelog", "public"]] = Field(
        default_factory=list,
        max_length=4,
        description="Domains of the extract that they were made of; default all.",
    )
    dictionary: Free


class LineageView(View):
    """Where returned data come from; `purpose` is that of the permit, `domains` those of the extract."""

    extract_id: str
    generation: int
    permit_id: str
    project_id: str
    source_version_id: str
    purpose: Free
    domains: list[str]


class ReturnedFile(View):
    """The newest upload of a table; problems tell places and counts, never a value."""

    table: str
    upload_id: str
    state: str
    problems: list[Free]


class ReturnView(View):
    """Returned data; `state` is that of the version that they fill."""

    id: str
    dataset_id: str
    version_id: str
    state: str
    name: str
    name_ko: str
    cohort_id: str
    lineage: LineageView
    files: list[ReturnedFile]
    returned_at: datetime
