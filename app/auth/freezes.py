"""The freezes that stand at this moment, read from the database each time; what they stop is decided in the policy."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Exists, bindparam, exists, or_, select
from sqlalchemy.orm import Session

from app.auth.policy import Release, Target, data, must_not_be_frozen
from app.models import Cohort, Dataset, DatasetVersion, Freeze, Permit, Project, VersionSource

_STANDING = select(Freeze.kind, Freeze.subject).where(
    Freeze.lifted_at.is_(None),
    Freeze.kind.in_(bindparam("kinds", expanding=True)),
    Freeze.subject.in_(bindparam("subjects", expanding=True)),
)


def standing(session: Session, reach: Iterable[Target]) -> frozenset[Target]:
    """Those of the targets that are frozen now."""
    wanted = frozenset(reach)
    asked = {
        "kinds": sorted({one.kind for one in wanted}),
        "subjects": sorted({one.subject for one in wanted}),
    }
    return wanted & {Target(kind, subject) for kind, subject in session.execute(_STANDING, asked)}


def anything_frozen() -> Exists:
    """Whether there is a freeze at all: for one more column of a query that is asked often."""
    return exists().where(Freeze.lifted_at.is_(None))


def must_not_stop_release(session: Session, permit_id: str, *readers: str) -> None:
    """Refuse where anything that a release under this permit hangs on is frozen. `readers`: subjects of who reads."""
    permit = session.get_one(Permit, permit_id)
    project = session.get_one(Project, permit.project_id)
    reach = Release(
        permit.id, project.id, *_behind(session, permit.version_id), askers=(project.holder, *readers)
    ).targets()
    must_not_be_frozen(reach, standing(session, reach))


def must_not_stop_data(session: Session, version_id: str) -> None:
    """Refuse where the data of a version is frozen: its cohorts, who holds them, or everything."""
    reach = data(*_behind(session, version_id))
    must_not_be_frozen(reach, standing(session, reach))


def _behind(session: Session, version_id: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The cohorts and institutions of a version and of its sources, by a query of its own: this room lies below that
    of consents, so that nothing can be read past it."""
    sources = select(VersionSource.source_version_id).where(VersionSource.version_id == version_id)
    query = (
        select(Cohort.id, Cohort.institution_id)
        .join(Dataset, Dataset.cohort_id == Cohort.id)
        .join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
        .where(or_(DatasetVersion.id == version_id, DatasetVersion.id.in_(sources)))
    )
    rows = session.execute(query).all()
    return tuple(sorted({row[0] for row in rows})), tuple(sorted({row[1] for row in rows}))
