"""The SQL of the catalogue: what is published, and who consents now in cohorts that have something published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.consents.cohorts import Behind, behind
from app.models import Cohort, Dataset, DatasetVersion, Institution, ShownFigures, VaultTable

# A dataset with its published version, and the cohorts behind it with the institutions that hold them.
Entry = tuple[Dataset, DatasetVersion, list[tuple[Cohort, Institution]]]


def published(session: Session, after: str | None) -> Iterator[Entry]:
    """Every published version with its dataset and the cohorts behind it, by dataset id, read in batches."""
    query = _entries().where(DatasetVersion.state == "published").order_by(Dataset.id)
    if after:
        query = query.where(Dataset.id > after)
    for dataset, version in session.execute(query.execution_options(yield_per=50)):
        yield dataset, version, held_by(session, version.id)


def published_of(session: Session, dataset_id: str) -> Entry | None:
    """The published version of one dataset."""
    query = _entries().where(DatasetVersion.state == "published", Dataset.id == dataset_id)
    row = session.execute(query).first()
    return (row[0], row[1], held_by(session, row[1].id)) if row else None


def version_and_cohorts(session: Session, version_id: str) -> tuple[DatasetVersion, Behind] | None:
    """A version and the cohorts behind it; None where there is no such version."""
    row = session.get(DatasetVersion, version_id)
    return (row, behind(session, version_id)) if row else None


def people_by_table(session: Session, version_id: str) -> dict[str, int]:
    """How many people each table of a version holds, as others may be told of it: in batches."""
    query = select(VaultTable).where(VaultTable.version_id == version_id).order_by(VaultTable.generation)
    return {
        row.table_name: row.people if row.people_shown is None else row.people_shown
        for row in session.scalars(query)
    }


def shown_figures(session: Session, name: str, *, lock: bool = False) -> ShownFigures | None:
    """What was last shown under this name, locked where asked."""
    return session.get(ShownFigures, name, with_for_update=lock, populate_existing=True)


def institution_names(session: Session, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """English and Korean names by id."""
    query = select(Institution.id, Institution.name, Institution.name_ko).where(Institution.id.in_(ids))
    return {row[0]: (row[1], row[2]) for row in session.execute(query)}


def _entries() -> Select[Dataset, DatasetVersion]:
    return select(Dataset, DatasetVersion).join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)


def held_by(session: Session, version_id: str) -> list[tuple[Cohort, Institution]]:
    """The cohorts behind a version, each with the institution that holds it."""
    return [
        (cohort, session.get_one(Institution, cohort.institution_id))
        for cohort in behind(session, version_id).cohorts
    ]
