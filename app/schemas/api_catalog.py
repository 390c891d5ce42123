"""Answers of the catalogue and of the way to the million."""

from __future__ import annotations

from datetime import datetime

from app.schemas.api_parts import Free, View


class CatalogEntry(View):
    """A published dataset; `people` is null where there are few, else rounded. A united one has several in `held_by`
    (each a cohort and its institution), and then no `cohort` and `institution` of its own."""

    id: str
    version_id: str
    number: int
    name: str
    name_ko: str
    description: str
    keywords: list[str]
    cohort: Free | None
    institution: Free | None
    held_by: list[Free]
    table_names: list[str]
    people: int | None
    published_at: datetime | None


class CatalogColumn(View):
    """A column: never an example value, a minimum or a maximum. `leaves`: whether it can be asked for."""

    name: str
    type: str
    title: dict[str, str]
    description: str
    role: str
    leaves: bool
    key: bool
    unit: str | None
    vocabulary: str | None
    labels: dict[str, dict[str, str]]


class CatalogTable(View):
    """A table with the masked number of its people."""

    name: str
    kind: str
    title: dict[str, str]
    domain: str
    people: int | None
    columns: list[CatalogColumn]


class CatalogDetail(CatalogEntry):
    """A published dataset with its structure."""

    tables: list[CatalogTable]


class InstitutionProgress(View):
    """One institution's consenting people; null: too few to be told, or it would follow from the others."""

    id: str
    name: str
    name_ko: str
    people: int | None


class ProgressView(View):
    """Distinct consenting people in published cohorts. Numbers move in batches of at least `fewer_than` people."""

    goal: int
    people: int | None
    institutions: list[InstitutionProgress]
    fewer_than: int
    rounded_to: int
    as_of: datetime
