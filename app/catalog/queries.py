"""The SQL of the catalogue: what is published, and who consents now in cohorts that have something published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.consents.cohorts import Behind, behind
from app.consents.queries import in_force
from app.models import Cohort, Consent, Dataset, DatasetVersion, Institution, ShownFigures, VaultTable
from app.schemas.plan import digest

# A dataset with its published version, and the cohorts behind it with the institutions that hold them.
Entry = tuple[Dataset, DatasetVersion, list[tuple[Cohort, Institution]]]


def published(session: Session, after: str | None) -> Iterator[Entry]:
    """Every published version with its dataset and the cohorts behind it, by dataset id, read in batches."""
    query = _entries().where(DatasetVersion.state == "published").order_by(Dataset.id)
    if after:
        query = query.where(Dataset.id > after)
    for dataset, version in session.execute(query.execution_options(yield_per=50)):
        yield dataset, version, _held_by(session, version.id)


def published_of(session: Session, dataset_id: str) -> Entry | None:
    """The published version of one dataset."""
    query = _entries().where(DatasetVersion.state == "published", Dataset.id == dataset_id)
    row = session.execute(query).first()
    return (row[0], row[1], _held_by(session, row[1].id)) if row else None


def version_and_cohorts(session: Session, version_id: str) -> tuple[DatasetVersion, Behind] | None:
    """A version and the cohorts behind it; None where there is no such version."""
    row = session.get(DatasetVersion, version_id)
    return (row, behind(session, version_id)) if row else None


def people_by_table(session: Session, version_id: str) -> dict[str, int]:
    """How many people each table of a version holds."""
    query = select(VaultTable).where(VaultTable.version_id == version_id).order_by(VaultTable.generation)
    return {row.table_name: row.people for row in session.scalars(query)}


def progress_basis(session: Session, on: date) -> str:
    """A digest that moves whenever the number of consenting people may have: consents, publications, the day."""
    epochs = session.execute(select(Cohort.id, Cohort.epoch).order_by(Cohort.id)).all()
    versions = session.scalars(
        select(DatasetVersion.id).where(DatasetVersion.state == "published").order_by(DatasetVersion.id)
    ).all()
    return digest([on.isoformat(), [list(row) for row in epochs], list(versions)])


def consenting_people(session: Session, on: date) -> dict[str, int]:
    """By institution: people with at least one domain of data granted on this day, in cohorts that have a published
    version, and never more than those versions hold.

    A participant key is one person in one cohort; cohorts are never joined on people, so who is in two counts twice.
    """
    held = (
        select(Dataset.cohort_id, func.sum(DatasetVersion.people).label("people"))
        .join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
        .where(DatasetVersion.state == "published")
        .group_by(Dataset.cohort_id)
        .subquery()
    )
    granted = (
        select(Consent.cohort_id, func.count(Consent.participant_key.distinct()).label("people"))
        .where(
            in_force(on),
            Consent.domain != "recontact",  # being reachable again is no use of data
        )
        .group_by(Consent.cohort_id)
        .subquery()
    )
    query = (
        select(Cohort.institution_id, held.c.people, granted.c.people)
        .join(held, held.c.cohort_id == Cohort.id)
        .join(granted, granted.c.cohort_id == Cohort.id)
    )
    found: dict[str, int] = {}
    for institution_id, most, people in session.execute(query):
        found[institution_id] = found.get(institution_id, 0) + min(int(most), int(people))
    return found


def shown_figures(session: Session, name: str, *, lock: bool = False) -> ShownFigures | None:
    """What was last shown under this name, locked where asked."""
    return session.get(ShownFigures, name, with_for_update=lock, populate_existing=True)


def institution_names(session: Session, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """English and Korean names by id."""
    query = select(Institution.id, Institution.name, Institution.name_ko).where(Institution.id.in_(ids))
    return {row[0]: (row[1], row[2]) for row in session.execute(query)}


def _entries() -> Select[Dataset, DatasetVersion]:
    return select(Dataset, DatasetVersion).join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)


def _held_by(session: Session, version_id: str) -> list[tuple[Cohort, Institution]]:
    return [
        (cohort, session.get_one(Institution, cohort.institution_id))
        for cohort in behind(session, version_id).cohorts
    ]
