"""Who holds a cohort, who held it before, and when: its history stands in the audit stream of whoever held it then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from app.audit import institution_stream
from app.models import (
    Cohort,
    Custody,
    Dataset,
    DatasetVersion,
    Extract,
    Institution,
    Permit,
    Upload,
    VersionSource,
)

UNDECIDED = ("open", "receiving", "complete", "checking")  # states of an upload without an outcome


@dataclass(frozen=True, slots=True)
class Leaving:
    """An institution that leaves: each room ends what is its own. `withdrawals`: of each of its cohorts, the id of the
    withdrawal of everybody in it."""

    institution_id: str
    departure_id: str
    withdrawals: Mapping[str, str]
    actor: str
    at: datetime

    @property
    def cohorts(self) -> list[str]:
        """Its cohorts, by id."""
        return sorted(self.withdrawals)


@dataclass(frozen=True, slots=True)
class Merging:
    """An institution that goes over into another: each room hands over what is its own."""

    institution_id: str
    successor_id: str
    departure_id: str
    cohorts: tuple[str, ...]
    actor: str
    at: datetime


def held_by(session: Session, institution_id: str) -> list[Cohort]:
    """The cohorts of an institution, by id."""
    query = select(Cohort).where(Cohort.institution_id == institution_id).order_by(Cohort.id)
    return list(session.scalars(query))


def lock_all(session: Session, institution_id: str) -> list[Cohort]:
    """Everything that hangs on the cohorts of an institution, locked before anything is recorded and in the order in
    which everybody else locks it: versions, cohorts, uploads, permits, extracts. Answers the cohorts, read again."""
    ids = [cohort.id for cohort in held_by(session, institution_id)]
    versions = select(DatasetVersion.id).where(DatasetVersion.id.in_(versions_of(ids)))
    session.execute(versions.order_by(DatasetVersion.id).with_for_update())
    cohorts = [session.get_one(Cohort, one, with_for_update=True, populate_existing=True) for one in ids]
    undecided = select(Upload.id).where(Upload.cohort_id.in_(ids), Upload.state.in_(UNDECIDED))
    session.execute(undecided.order_by(Upload.id).with_for_update())
    for of, version in ((Permit, Permit.version_id), (Extract, Extract.version_id)):
        session.execute(select(of.id).where(version.in_(reaching(ids))).order_by(of.id).with_for_update())
    return [cohort for cohort in cohorts if cohort.institution_id == institution_id]


def versions_of(cohorts: Sequence[str]) -> Select[str]:
    """A query for the ids of the versions of these cohorts."""
    query = select(DatasetVersion.id).join(Dataset, Dataset.id == DatasetVersion.dataset_id)
    return query.where(Dataset.cohort_id.in_(cohorts))


def reaching(cohorts: Sequence[str]) -> Select[str]:
    """A query for the ids of the versions that hold people of these cohorts: their own, and those united of them."""
    united = select(VersionSource.version_id).where(VersionSource.source_version_id.in_(versions_of(cohorts)))
    return select(DatasetVersion.id).where(
        or_(DatasetVersion.id.in_(versions_of(cohorts)), DatasetVersion.id.in_(united))
    )


def holders(session: Session, cohort_id: str) -> list[str]:
    """Who holds a cohort, then who held it before, the last one first."""
    earlier = select(Custody.institution_id).where(Custody.cohort_id == cohort_id)
    now = session.get_one(Cohort, cohort_id).institution_id
    found = [now, *session.scalars(earlier.order_by(Custody.until.desc()))]
    return list(dict.fromkeys(found))


def streams(session: Session, cohort_id: str) -> list[str]:
    """The audit streams that tell of a cohort: of whoever holds it, and of those who held it before."""
    return [institution_stream(one) for one in holders(session, cohort_id)]


def heirs(session: Session, institution_id: str) -> tuple[str, ...]:
    """The institutions into which this one went over, one into the other; none where it is there or has left."""
    found: list[str] = []
    row = session.get(Institution, institution_id)
    while row is not None and row.successor_id is not None:
        found.append(row.successor_id)
        row = session.get(Institution, row.successor_id)
    return tuple(found)


def named_at(session: Session, cohort: Cohort, at: datetime) -> str:
    """The institution that held a cohort at a moment."""
    later = select(Custody.institution_id).where(Custody.cohort_id == cohort.id, Custody.until > at)
    return session.scalar(later.order_by(Custody.until).limit(1)) or cohort.institution_id
