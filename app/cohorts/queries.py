"""The SQL of institutions, cohorts, datasets and versions, and how they look to those who may see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select
from sqlalchemy.orm import Session

from app.auth.policy import Actor, CohortFacts, VersionFacts
from app.errors import not_found
from app.jobs import parking
from app.models import Cohort, Consent, Dataset, DatasetVersion, Institution, Job, Upload, VaultTable
from app.questions import Question

_DATASET = (
    Dataset.id, Dataset.cohort_id, Dataset.name, Dataset.name_ko, Dataset.description, Dataset.keywords,
    Dataset.created_at,
)  # fmt: skip
_SHOWN = (
    DatasetVersion.id, DatasetVersion.dataset_id, DatasetVersion.number, DatasetVersion.state,
    DatasetVersion.made_from, DatasetVersion.dictionary_digest, DatasetVersion.people, DatasetVersion.revision,
    DatasetVersion.created_at, DatasetVersion.published_at,
)  # fmt: skip
_JOB = (Job.id, Job.kind, Job.state, Job.progress, Job.failure, Job.finished_at)
# What is asked at every look at a version or a list.
_VERSION = Question(
    select(*_SHOWN, Cohort.id.label("cohort_id"), Cohort.institution_id)
    .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
    .join(Cohort, Cohort.id == Dataset.cohort_id)
    .where(DatasetVersion.id == bindparam("version"))
)
_TABLES = Question(
    select(VaultTable.table_name, VaultTable.rows, VaultTable.people)
    .where(VaultTable.version_id == bindparam("version"))
    .order_by(VaultTable.generation)
)
_PROGRESS = Question(
    select(*_JOB)
    .where(Job.subject == bindparam("version"))
    .order_by(Job.created_at.desc(), Job.id.desc())
    .limit(1)
)
_HOLDER = Question(select(Cohort.institution_id).where(Cohort.id == bindparam("cohort")))
_NEWEST = (
    select(*_DATASET)
    .where(Dataset.cohort_id == bindparam("cohort"))
    .order_by(Dataset.id.desc())
    .limit(bindparam("most"))
)
_DATASETS, _LATER_DATASETS = Question(_NEWEST), Question(_NEWEST.where(Dataset.id < bindparam("after")))


def institution(session: Session, institution_id: str, *, lock: bool = False) -> Institution:
    """The institution; a Problem where there is none."""
    if (
        found := session.get(Institution, institution_id, with_for_update=lock, populate_existing=True)
    ) is None:
        raise not_found("institution")
    return found


def cohort(session: Session, cohort_id: str) -> Cohort:
    """The cohort; a Problem where there is none."""
    if (found := session.get(Cohort, cohort_id)) is None:
        raise not_found("cohort")
    return found


def dataset(session: Session, dataset_id: str, *, lock: bool = False) -> tuple[Dataset, Cohort]:
    """The dataset (locked until the transaction ends, where asked) and its cohort; a Problem where there is none.

    A united dataset has no cohort: it is none that an institution fills, and is read as an integration."""
    found = session.get(Dataset, dataset_id, with_for_update=lock, populate_existing=True)
    if found is None or found.cohort_id is None:
        raise not_found("dataset")
    return found, session.get_one(Cohort, found.cohort_id)


def version(
    session: Session, version_id: str, *, lock: bool = False
) -> tuple[DatasetVersion, Dataset, Cohort]:
    """The version (locked where asked), its dataset and cohort; a Problem where there is none."""
    found = session.get(DatasetVersion, version_id, with_for_update=lock, populate_existing=True)
    if found is None:
        raise not_found("dataset version")
    held, of = dataset(session, found.dataset_id)
    return found, held, of


def held_by(connection: Connection, cohort_id: str) -> CohortFacts:
    """What the policy needs to know of a cohort, without the cohort; a Problem where there is none."""
    if (row := _HOLDER.first(connection, cohort=cohort_id)) is None:
        raise not_found("cohort")
    return CohortFacts(institution_id=row.institution_id)


def shown_version(connection: Connection, version_id: str) -> tuple[VersionFacts, Any]:
    """What the policy needs to know of a version, and the version as `version_view` takes it: without dictionary and
    report, which weigh more than all the rest. A Problem where there is none."""
    if (row := _VERSION.first(connection, version=version_id)) is None:
        raise not_found("dataset version")
    return VersionFacts(institution_id=row.institution_id, state=row.state), row


def version_facts(row: DatasetVersion, of: Cohort) -> VersionFacts:
    """What the policy needs to know of a version."""
    return VersionFacts(institution_id=of.institution_id, state=row.state)


def cohort_facts(of: Cohort) -> CohortFacts:
    """What the policy needs to know of a cohort."""
    return CohortFacts(institution_id=of.institution_id)


def institutions_seen_by(
    session: Session, actor: Actor, after: str | None, limit: int
) -> Sequence[Institution]:
    """The platform and stewards of all see every institution, others their own; newest first."""
    query = select(Institution).where(_served(actor, Institution.id, also=("platform",)))
    return session.scalars(_page(query, Institution.id, after, limit)).all()


def cohorts_seen_by(session: Session, actor: Actor, after: str | None, limit: int) -> Sequence[Cohort]:
    """The cohorts an institution holds or a steward serves, newest first."""
    return session.scalars(
        _page(select(Cohort).where(_served(actor, Cohort.institution_id)), Cohort.id, after, limit)
    ).all()


def datasets_of(
    connection: Connection, cohort_id: str, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """The datasets of a cohort as they are shown, newest first."""
    rows = (
        _LATER_DATASETS.all(connection, cohort=cohort_id, most=limit, after=after)
        if after
        else _DATASETS.all(connection, cohort=cohort_id, most=limit)
    )
    return [row._asdict() for row in rows]


def versions_of(session: Session, dataset_id: str, after: str | None, limit: int) -> Sequence[DatasetVersion]:
    """The versions of a dataset, newest first."""
    query = select(DatasetVersion).where(DatasetVersion.dataset_id == dataset_id)
    return session.scalars(_page(query, DatasetVersion.id, after, limit)).all()


def versions_in_review(
    session: Session, actor: Actor, after: str | None, limit: int
) -> Sequence[DatasetVersion]:
    """The versions that wait for a steward who serves their institution, newest first."""
    query = (
        select(DatasetVersion)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .join(Cohort, Cohort.id == Dataset.cohort_id)
        .where(DatasetVersion.state == "in_review", _served(actor, Cohort.institution_id))
    )
    return session.scalars(_page(query, DatasetVersion.id, after, limit)).all()


def uploads_of(session: Session, cohort_id: str, after: str | None, limit: int) -> Sequence[Upload]:
    """The uploads of a cohort, newest first."""
    return session.scalars(
        _page(select(Upload).where(Upload.cohort_id == cohort_id), Upload.id, after, limit)
    ).all()


def next_number(session: Session, dataset_id: str) -> int:
    """The number of the dataset's next version; the dataset must be locked."""
    query = select(func.max(DatasetVersion.number)).where(DatasetVersion.dataset_id == dataset_id)
    return (session.scalar(query) or 0) + 1


def published_before(session: Session, row: DatasetVersion) -> Sequence[DatasetVersion]:
    """The published versions of the same dataset, locked."""
    query = select(DatasetVersion).where(
        DatasetVersion.dataset_id == row.dataset_id,
        DatasetVersion.state == "published",
        DatasetVersion.id != row.id,
    )
    return session.scalars(query.order_by(DatasetVersion.id).with_for_update()).all()


def tables_of(session: Session, version_id: str) -> dict[str, VaultTable]:
    """The newest checked generation of every table of a version, by name."""
    query = select(VaultTable).where(VaultTable.version_id == version_id).order_by(VaultTable.generation)
    return {row.table_name: row for row in session.scalars(query)}


def consents_by_domain(session: Session, cohort_id: str) -> list[tuple[str, str, int]]:
    """How many people of the cohort have which state in which domain."""
    query = (
        select(Consent.domain, Consent.state, func.count())
        .where(Consent.cohort_id == cohort_id)
        .group_by(Consent.domain, Consent.state)
        .order_by(Consent.domain, Consent.state)
    )
    return [(domain, state, count) for domain, state, count in session.execute(query)]


def institution_view(row: Institution) -> dict[str, Any]:
    """An institution."""
    names = (
        "id",
        "name",
        "name_ko",
        "for_profit",
        "country",
        "ror",
        "created_at",
        "closed_at",
        "successor_id",
    )
    return {name: getattr(row, name) for name in names}


def cohort_view(row: Cohort) -> dict[str, Any]:
    """A cohort as its institution and stewards see it; never its keys."""
    names = (
        "id",
        "institution_id",
        "name",
        "name_ko",
        "description",
        "consent_form",
        "duo",
        "epoch",
        "created_at",
        "ended_at",
    )
    return {name: getattr(row, name) for name in names}


def dataset_view(row: Dataset) -> dict[str, Any]:
    """A dataset."""
    return {column.key: getattr(row, column.key) for column in _DATASET}


def version_view(connection: Connection, row: Any, cohort_id: str) -> dict[str, Any]:
    """A version with its checked tables; rows and people are shown to the holder and its stewards only. `row`: of
    DatasetVersion, or of `shown_version`."""
    tables = {one[0]: one for one in _TABLES.all(connection, version=row.id)}
    return {
        "id": row.id,
        "dataset_id": row.dataset_id,
        "cohort_id": cohort_id,
        "number": row.number,
        "state": row.state,
        "made_from": row.made_from,
        "dictionary_digest": row.dictionary_digest,
        "people": row.people,
        "revision": row.revision,
        "tables": [{"table": name, "rows": rows, "people": people} for name, rows, people in tables.values()],
        "progress": _progress(connection, row.id),
        "created_at": row.created_at,
        "published_at": row.published_at,
    }


def upload_view(row: Upload) -> dict[str, Any]:
    """An upload: how far it is, and what was found in it. Never a value."""
    names = (
        "id", "version_id", "purpose", "table_name", "state", "length", "received", "sha256", "original",
        "report", "created_at", "expires_at",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names}


def _progress(connection: Connection, version_id: str) -> dict[str, Any]:
    job = _PROGRESS.first(connection, version=version_id)
    return {"job": job.kind, "state": job.state, "failure": parking.why(job), **job.progress} if job else {}


def _served(actor: Actor, institution_id: Any, also: tuple[str, ...] = ()) -> ColumnElement[bool]:
    """The list's twin of `policy.may_read_cohort`: a row is listed where reading it would be allowed."""
    if actor.role in also or (actor.role == "steward" and actor.institution_id is None):
        return institution_id.is_not(None)  # type: ignore[no-any-return]
    mine = actor.institution_id if actor.role in ("institution", "steward") else None
    return institution_id == mine if mine else institution_id.is_(None)  # type: ignore[no-any-return]


def _page(query: Select[Any], key: Any, after: str | None, limit: int) -> Select[Any]:
    if after:
        query = query.where(key < after)
    return query.order_by(key.desc()).limit(limit)
