"""The SQL of uploads: a target is locked before its uploads, always in this order."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, not_, or_, select, tuple_, update
from sqlalchemy.orm import Session

from app.cohorts.upload_states import RECEIVES, UNDECIDED
from app.jobs.cancelling import ALIVE
from app.models import Cohort, Dataset, DatasetVersion, Job, Upload

BATCH = 500


def version_and_cohort(session: Session, version_id: str) -> tuple[DatasetVersion, Cohort] | None:
    """A dataset version with the cohort it belongs to."""
    query = (
        select(DatasetVersion, Cohort)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .join(Cohort, Cohort.id == Dataset.cohort_id)
        .where(DatasetVersion.id == version_id)
    )
    row = session.execute(query).one_or_none()
    return (row[0], row[1]) if row else None


def upload_and_holder(session: Session, upload_id: str) -> tuple[Upload, str] | None:
    """An upload with the id of the institution that holds its cohort."""
    query = (
        select(Upload, Cohort.institution_id)
        .join(Cohort, Cohort.id == Upload.cohort_id)
        .where(Upload.id == upload_id)
    )
    row = session.execute(query).one_or_none()
    return (row[0], row[1]) if row else None


def lock_with_target(session: Session, upload_id: str) -> tuple[Upload, DatasetVersion | None, str]:
    """The upload, its version (None for consents) and the holder, the target and then the upload locked.

    The lock on the target puts completions of the same table one after the other.
    """
    upload = session.get_one(Upload, upload_id)
    version = None
    if upload.version_id is not None:
        by_id = select(DatasetVersion).where(DatasetVersion.id == upload.version_id)
        version = session.scalars(by_id.with_for_update()).one()
        holder = session.get_one(Cohort, upload.cohort_id).institution_id
    else:
        cohort = select(Cohort).where(Cohort.id == upload.cohort_id)
        holder = session.scalars(cohort.with_for_update()).one().institution_id
    session.refresh(upload, with_for_update=True)
    return upload, version, holder


def older_undecided(session: Session, upload: Upload) -> list[Upload]:
    """Uploads to the same target that were begun before this one and have no outcome yet, locked."""
    query = select(Upload).where(
        Upload.cohort_id == upload.cohort_id,
        Upload.purpose == upload.purpose,
        Upload.version_id.is_not_distinct_from(upload.version_id),
        Upload.table_name.is_not_distinct_from(upload.table_name),
        Upload.state.in_(UNDECIDED),
        tuple_(Upload.created_at, Upload.id) < (upload.created_at, upload.id),
    )
    return list(session.scalars(query.order_by(Upload.id).with_for_update()))


def acknowledge(session: Session, upload_id: str, was: int, received: int) -> bool:
    """Move the offset from `was` to `received`; False where the upload has ended or another moved it."""
    change = (
        update(Upload)
        .where(Upload.id == upload_id, Upload.received == was, Upload.state.in_(RECEIVES))
        .values(received=received, state="receiving")
    )
    return session.connection().execute(change).rowcount == 1


def stopped() -> ColumnElement[bool]:
    """Whether the check of a table was given up: nothing reads it, and a new check looks everybody up anew."""
    parked = exists().where(Job.subject == Upload.id, Job.kind == "check_upload", Job.state == "parked")
    return and_(Upload.purpose == "table", parked)


def due(session: Session, now: datetime) -> list[str]:
    """Ids of uploads whose time is over and whose bytes are still here."""
    return list(session.scalars(select(Upload.id).where(_is_over(now)).order_by(Upload.id).limit(BATCH)))


def is_due(session: Session, upload: Upload, now: datetime) -> bool:
    """Whether `due` names this upload."""
    return session.scalar(select(Upload.id).where(Upload.id == upload.id, _is_over(now))) is not None


def _is_over(now: datetime) -> ColumnElement[bool]:
    """What is being checked is left alone, and so is what a job is about to check: a complete table without one waits
    for others. A register waits for none, and its withdrawals must not be lost."""
    at_hand = exists().where(Job.subject == Upload.id, Job.kind == "check_upload", Job.state.in_(ALIVE))
    waits = and_(Upload.state == "complete", Upload.purpose == "table", not_(at_hand))
    return and_(
        Upload.expires_at <= now,
        Upload.original == "kept",
        or_(Upload.state.not_in(("complete", "checking")), waits),
    )


def waiting_behind(session: Session, upload: Upload) -> list[Upload]:
    """Complete uploads that came after this one and are laid onto the rows of the same table: they wait for it."""
    query = select(Upload).where(
        Upload.version_id == upload.version_id,
        Upload.table_name == upload.table_name,
        Upload.purpose == "table",
        Upload.mode != "replace",
        Upload.state == "complete",
        tuple_(Upload.created_at, Upload.id) > (upload.created_at, upload.id),
    )
    return list(session.scalars(query.order_by(Upload.created_at, Upload.id)))


def stranded(session: Session, now: datetime) -> list[str]:
    """Ids of uploads that have every byte but were not completed: the process died in between."""
    query = select(Upload.id).where(
        Upload.state.in_(RECEIVES), Upload.received == Upload.length, Upload.expires_at > now
    )
    return list(session.scalars(query.order_by(Upload.id).limit(BATCH)))


def arrived(session: Session, cohort_id: str, before: datetime) -> list[str]:
    """Ids of uploads of a cohort whose bytes are here: all that were decided, and those begun until `before` that have
    no outcome yet. What is being checked is left out, and so are complete registers, which are about to be."""
    told = and_(Upload.state == "complete", Upload.purpose == "consents")
    undecided = Upload.state.in_(("open", "receiving", "complete"))
    query = select(Upload.id).where(
        Upload.cohort_id == cohort_id,
        Upload.original == "kept",
        or_(Upload.state != "checking", stopped()),
        not_(told),
        or_(not_(undecided), Upload.created_at <= before),
    )
    return list(session.scalars(query.order_by(Upload.id)))


def originals(session: Session, names: list[str]) -> dict[str, str]:
    """For those of the names that are uploads: whether the original is `kept` or `removed`."""
    found: dict[str, str] = {}
    for start in range(0, len(names), BATCH):
        query = select(Upload.id, Upload.original).where(Upload.id.in_(names[start : start + BATCH]))
        found.update((row.id, row.original) for row in session.execute(query))
    return found


def to_be_checked(session: Session) -> list[str]:
    """Uploads that have all their bytes and no outcome."""
    return list(session.scalars(select(Upload.id).where(Upload.state.in_(("complete", "checking")))))
