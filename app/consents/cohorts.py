"""The cohorts whose people a dataset version holds: its own one, or those of every source of a united version."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from app.errors import not_found
from app.models import Cohort, DataReturn, Dataset, DatasetVersion, VersionSource


@dataclass(frozen=True, slots=True)
class Behind:
    """At least one cohort, by id: everything that is asked of a version's consent is asked of all of them."""

    cohorts: tuple[Cohort, ...]
    # Of returned data: the domains that they were made of. Who withdraws from one of them is in none of their tables.
    inherits: tuple[str, ...] = ()

    def needs(self, domain: str) -> list[str]:
        """The domains that a person has to consent to for rows of this one."""
        return sorted({domain, *self.inherits})

    @property
    def ids(self) -> list[str]:
        """The ids of the cohorts, sorted."""
        return [cohort.id for cohort in self.cohorts]

    @property
    def only(self) -> str | None:
        """The cohort's id where there is one; None for a united version."""
        return self.cohorts[0].id if len(self.cohorts) == 1 else None

    @property
    def institutions(self) -> list[str]:
        """Who holds them, each once, sorted: the order in which their audit chains are locked."""
        return sorted({cohort.institution_id for cohort in self.cohorts})

    @property
    def answering(self) -> list[str]:
        """Those of them that are still there to answer for their people, each once, sorted."""
        return sorted({cohort.institution_id for cohort in self.cohorts if cohort.ended_at is None})

    @property
    def epoch(self) -> int:
        """One number that moves whenever the register of any of them does, for none of them ever moves back."""
        return sum(cohort.epoch for cohort in self.cohorts)


def behind(session: Session, version_id: str) -> Behind:
    """The cohorts behind a version; a Problem where there is no such version."""
    found = tuple(session.scalars(_query(version_id)))
    if not found:
        raise not_found("dataset version")
    return Behind(found, _inherited(session, version_id))


def lock(session: Session, version_id: str) -> Behind:
    """The same, read again and locked until the transaction ends, always in the order of their ids: nobody changes
    any of these registers meanwhile, and two that lock the same ones never wait for each other."""
    ids = sorted(cohort.id for cohort in session.scalars(_query(version_id)))
    if not ids:
        raise not_found("dataset version")
    return Behind(
        tuple(session.get_one(Cohort, one, with_for_update=True, populate_existing=True) for one in ids),
        _inherited(session, version_id),
    )


def sources_of(session: Session, version_id: str) -> list[VersionSource]:
    """The source versions of a united version by the name of each; empty for any other."""
    query = select(VersionSource).where(VersionSource.version_id == version_id)
    return list(session.scalars(query.order_by(VersionSource.name)))


def unusable(session: Session, version_id: str) -> list[str]:
    """Those of this version and its sources that were taken out of use: nothing leaves while there is one. A source
    whose institution left counts only where all are such: of it nobody has a way out, and the others stay."""
    sources = [one.source_version_id for one in sources_of(session, version_id)]
    staying = _with_an_institution(session, sources)
    ids = [version_id, *(staying or sources)]
    query = select(DatasetVersion.id).where(
        DatasetVersion.id.in_(ids), DatasetVersion.state.not_in(("published", "superseded"))
    )
    return sorted(session.scalars(query))


def _with_an_institution(session: Session, version_ids: list[str]) -> list[str]:
    """Those of the versions whose cohort has not ended."""
    query = (
        select(DatasetVersion.id)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .join(Cohort, Cohort.id == Dataset.cohort_id)
        .where(DatasetVersion.id.in_(version_ids), Cohort.ended_at.is_(None))
    )
    return sorted(session.scalars(query))


def related(session: Session, version_id: str) -> list[str]:
    """The versions that speak of the same people: this one, its sources, and the united versions that it is a source of
    with theirs. Two answers about any of them are held against each other."""
    united = select(VersionSource.version_id).where(
        or_(VersionSource.version_id == version_id, VersionSource.source_version_id == version_id)
    )
    rows = session.execute(
        select(VersionSource.version_id, VersionSource.source_version_id).where(
            VersionSource.version_id.in_(united)
        )
    )
    return sorted({version_id, *(one for row in rows for one in row)})


def _inherited(session: Session, version_id: str) -> tuple[str, ...]:
    """The domains that returned data were made of, and those of every source that was returned."""
    sources = select(VersionSource.source_version_id).where(VersionSource.version_id == version_id)
    query = (
        select(DataReturn.domains)
        .join(DatasetVersion, DatasetVersion.dataset_id == DataReturn.dataset_id)
        .where(or_(DatasetVersion.id == version_id, DatasetVersion.id.in_(sources)))
    )
    return tuple(sorted({str(domain) for domains in session.scalars(query) for domain in domains}))


def _query(version_id: str) -> Select[Cohort]:
    sources = select(VersionSource.source_version_id).where(VersionSource.version_id == version_id)
    return (
        select(Cohort)
        .where(
            Cohort.id.in_(
                select(Dataset.cohort_id)
                .join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
                .where(or_(DatasetVersion.id == version_id, DatasetVersion.id.in_(sources)))
            )
        )
        .order_by(Cohort.id)
    )
