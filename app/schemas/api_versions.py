"""Bodies and answers about versions: what a draft begins with, what it changes, how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.schemas.api_cohorts import VersionState
from app.schemas.api_parts import Body, Free, Line, NamedLine, Note, View


class NewVersion(Body):
    """What a draft begins with; without it, with nothing."""

    made_from: str | None = Field(
        default=None, alias="from", max_length=40, description="The dataset's last published version."
    )


class VersionCreated(View):
    """A new draft."""

    id: str
    dataset_id: str
    number: int
    state: VersionState
    revision: int
    made_from: str | None = None


class TableCount(View):
    """A checked table."""

    table: str
    rows: int
    people: int


class VersionView(View):
    """A version; `progress` is that of its newest job. `revision` is the ETag."""

    id: str
    dataset_id: str
    cohort_id: str
    number: int
    state: VersionState
    made_from: str | None
    dictionary_digest: str | None
    people: int
    revision: int
    tables: list[TableCount]
    progress: Free
    created_at: datetime
    published_at: datetime | None


class StatedChange(Body):
    """A breaking change that the institution knows of, as `changes` names it, and why it is made."""

    table: Line
    column: Line
    change: NamedLine
    reason: NamedLine


class StatedChanges(Body):
    """All of them; what was named before and is not here is named no more."""

    breaking: list[StatedChange] = Field(max_length=2000)


class DictionaryChange(View):
    """A change of a column, of a table (no column), or of a hierarchy (no table)."""

    table: str
    column: str
    change: str
    kind: Literal["compatible", "breaking"]


class ChangesView(View):
    """What a dictionary changes against that of the version before; `permits` counts the live ones of the dataset."""

    version_id: str
    state: VersionState
    from_version: str | None = Field(alias="from")
    number: int | None
    dictionary: list[DictionaryChange]
    stated: list[Free]
    permits: dict[str, int]


class ChangesStated(ChangesView):
    """The same, after an edit."""

    revision: int


class WrongColumns(Body):
    """Where wrong values were; without columns, anywhere in the table."""

    table: NamedLine
    columns: list[NamedLine] = Field(default_factory=list, max_length=2000)


class NewErratum(Body):
    """What a version corrects in the one it was made from. Every holder is told the reason; no value stands in it."""

    tables: list[WrongColumns] = Field(min_length=1, max_length=500)
    reason: Note


class ErratumHolder(View):
    """An extract that held wrong values, for stewards."""

    extract_id: str
    project_id: str
    holder: str
    generation: int
    state: Literal["open", "destroyed", "retained", "frozen"]
    due_at: datetime | None
    attested_at: datetime | None


class ErratumView(View):
    """An erratum; `recalls` counts what holders say by state, `holders` is null for those who are no steward."""

    id: str
    version_id: str
    corrects: str
    tables: list[Free]
    reason: str
    at: datetime
    recalls: dict[str, int]
    holders: list[ErratumHolder] | None
