"""Answers of the catalogue and of the way to the million."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

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
    doi: str | None
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


class VariableVersionView(View):
    """A version that has a variable. `people` of its table and `filled`, the share of them with a value in any row, are
    null where there are few, where few have or lack a value, or where nothing was counted (a table without people, a
    united version)."""

    id: str
    number: int
    state: str
    published_at: datetime | None
    people: int | None
    filled: float | None


class VariableView(View):
    """One column of one dataset, as the versions listed describe it. `key` is the same where cohorts share a
    concept, or else the name; `labels` are at most 50 of `label_count`."""

    id: str
    key: str
    name: str
    table: str
    table_title: dict[str, str]
    title: dict[str, str]
    description: str
    domain: str
    type: str
    role: str
    unit: str | None
    vocabulary: str | None
    concepts: list[str]
    labels: dict[str, dict[str, str]]
    label_count: int
    dataset_id: str
    dataset: dict[str, str]
    held_by: list[Free]
    versions: list[VariableVersionView]


class InstitutionProgress(View):
    """One institution's consenting people; null: too few to be told, or it would follow from the others."""

    id: str
    name: str
    name_ko: str
    people: int | None


class DayShown(View):
    """The total shown on a day."""

    day: date
    people: int


class ProjectionView(View):
    """The usual pace of the last year (people a day) with its interval, the people expected on the goal's day, and when
    the goal is reached at the usual, the high and the low pace; null: at that pace never."""

    per_day: float
    per_day_low: float
    per_day_high: float
    people: int
    people_low: int
    people_high: int
    reached: date | None
    earliest: date | None
    latest: date | None
    sure: float


class ProgressView(View):
    """Distinct consenting people in published cohorts. Figures change once a day, in batches of at least `fewer_than`.

    Of a cohort no more people count than its largest published version holds: who is in several of its datasets is not
    known here. Of people known twice so many are taken off that no figure can be too large.

    `participations` counts people once in each cohort, `counted_twice` is the difference, known by linkage tokens
    alone. `projection` is null as long as there are fewer than eight weeks of figures.
    """

    goal: int
    goal_date: date
    people: int | None
    participations: int | None
    counted_twice: int | None
    institutions: list[InstitutionProgress]
    history: list[DayShown]
    projection: ProjectionView | None
    fewer_than: int
    rounded_to: int
    as_of: datetime


class CountView(View):
    """A masked count: `value` is rounded, and null where it is `hidden`."""

    value: int | None
    hidden: bool
    min_cell: int
    round_to: int


class CountOrdered(View):
    """A question that a worker is at; `Location` says where its answer will be."""

    id: str
    state: Literal["waiting"]
