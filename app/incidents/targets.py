"""What an incident touches and a freeze names: whether it exists, who holds it, whose data it is, which extracts."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, false, or_, select, true
from sqlalchemy.orm import Session

from app.auth.policy import Target, TargetFacts
from app.consents.cohorts import behind
from app.consents.custody import heirs
from app.models import (
    Account,
    Client,
    Cohort,
    Dataset,
    DatasetVersion,
    Extract,
    Institution,
    Permit,
    Project,
    VersionSource,
)


def facts_of(session: Session, target: Target) -> TargetFacts | None:
    """What the policy needs to know of a target; None where there is no such thing."""
    name = target.subject
    if target.kind == "platform":
        return TargetFacts("platform") if not name else None
    if target.kind == "institution":
        there = session.get(Institution, name) is not None
        return TargetFacts("institution", None, (name, *heirs(session, name))) if there else None
    if target.kind == "cohort":
        cohort = session.get(Cohort, name)
        return TargetFacts("cohort", None, (cohort.institution_id,)) if cohort else None
    if target.kind == "permit":
        permit = session.get(Permit, name)
        return _project(session, "permit", permit.project_id) if permit else None
    if target.kind == "project":
        return _project(session, "project", name) if session.get(Project, name) else None
    who = session.get(Client, name) if target.kind == "client" else session.get(Account, name)
    if who is None:
        return None
    holder = f"{target.kind}:{name}"
    own = {who.institution_id} if who.institution_id else set()
    held = session.scalars(select(Project.id).where(Project.holder == holder))
    return TargetFacts(
        target.kind, holder, tuple(sorted(own.union(*(_data_of(session, one) for one in held))))
    )


def holders(session: Session, targets: Iterable[Target]) -> list[Target]:
    """The clients and people who hold the projects and permits among the targets."""
    facts = [facts_of(session, one) for one in targets if one.kind in ("project", "permit")]
    return sorted({Target.of_subject(one.holder) for one in facts if one is not None and one.holder})


def extracts(session: Session, targets: Iterable[Target]) -> list[str]:
    """The ids of every extract that ever gave out something that a target covers."""
    query = (
        select(Extract.id)
        .join(Project, Project.id == Extract.project_id)
        .where(Extract.generation > 0, or_(false(), *(_covers(one) for one in targets)))
    )
    return sorted(set(session.scalars(query)))


def cohorts_named(session: Session, targets: Iterable[Target]) -> set[str] | None:
    """The cohorts whose people alone are meant, where all targets are cohorts or institutions; else None: everyone in
    the extracts."""
    found: set[str] = set()
    for target in targets:
        if target.kind == "cohort":
            found.add(target.subject)
        elif target.kind == "institution":
            found |= set(session.scalars(select(Cohort.id).where(Cohort.institution_id == target.subject)))
        else:
            return None
    return found


def _covers(target: Target) -> ColumnElement[bool]:
    if target.kind == "platform":
        return true()
    if target.kind == "project":
        return Extract.project_id == target.subject
    if target.kind == "permit":
        return Extract.permit_id == target.subject
    if target.kind in ("client", "account"):
        return Project.holder == f"{target.kind}:{target.subject}"
    own = Cohort.id if target.kind == "cohort" else Cohort.institution_id
    versions = (
        select(DatasetVersion.id)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .join(Cohort, Cohort.id == Dataset.cohort_id)
        .where(own == target.subject)
    )
    united = select(VersionSource.version_id).where(VersionSource.source_version_id.in_(versions))
    return or_(Extract.version_id.in_(versions), Extract.version_id.in_(united))


def _project(session: Session, kind: str, project_id: str) -> TargetFacts:
    holder = session.get_one(Project, project_id).holder
    return TargetFacts(kind, holder, tuple(sorted(_data_of(session, project_id))))


def _data_of(session: Session, project_id: str) -> set[str]:
    versions = session.scalars(select(Permit.version_id).where(Permit.project_id == project_id).distinct())
    return {one for version_id in versions for one in behind(session, version_id).institutions}
