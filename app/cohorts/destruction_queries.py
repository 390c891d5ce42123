"""The SQL of destruction: who waits for it, which tables of a cohort are held, what may not be left behind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from app.cohorts.upload_queries import stopped
from app.db import batches
from app.models import (
    BlockMark,
    Dataset,
    DatasetVersion,
    Destruction,
    IdempotentAnswer,
    Job,
    Participant,
    Upload,
    VaultSegment,
    VaultTable,
    Withdrawal,
)
from app.schemas.register import ENDED

READERS = (
    "build_extract",
    "check_integration",
    "check_upload",
    "dry_run",
    "index_variables",
    "reissue_extract",
    "submit_version",
)
"""Kinds of jobs that read the vault for longer than a moment."""
_TOLD: ColumnElement[bool] = and_(Upload.state == "complete", Upload.purpose == "consents")


def unfinished(session: Session, cohort_id: str) -> Destruction | None:
    """The destruction of a cohort that was begun and has not ended, locked."""
    query = select(Destruction).where(Destruction.cohort_id == cohort_id, Destruction.state != "destroyed")
    return session.scalar(query.order_by(Destruction.id).limit(1).with_for_update())


def waiting(session: Session, cohort_id: str) -> list[Withdrawal]:
    """The withdrawals of a cohort whose people's rows are to be destroyed, oldest first, locked."""
    query = select(Withdrawal).where(
        Withdrawal.cohort_id == cohort_id,
        Withdrawal.state == "destroying",
        or_(Withdrawal.participant_key.is_not(None), Withdrawal.kind == ENDED),
    )
    rows = session.scalars(query.order_by(Withdrawal.id).with_for_update())
    return [row for row in rows if row.kind != ENDED or "destroyed_at" not in row.receipt]


def is_settled(session: Session, cohort_id: str) -> bool:
    """Whether every extract is told of everybody who withdrew from a cohort."""
    open_ = (
        select(BlockMark.extract_id)
        .join(Withdrawal, Withdrawal.id == BlockMark.withdrawal_id)
        .where(Withdrawal.cohort_id == cohort_id, BlockMark.narrowed.is_(False))
    )
    return session.scalar(open_.limit(1)) is None


def of_everybody(session: Session, withdrawals: Sequence[str]) -> bool:
    """Whether one of the withdrawals is of the whole cohort."""
    ended = select(Withdrawal.id).where(Withdrawal.kind == ENDED).limit(1)
    return any(session.scalar(ended.where(Withdrawal.id.in_(some))) for some in batches(withdrawals))


def not_forgotten(session: Session, cohort_id: str, most: int) -> list[int]:
    """The keys of up to `most` people of a cohort who have not been forgotten yet."""
    query = select(Participant.key).where(
        Participant.cohort_id == cohort_id, Participant.destroyed_at.is_(None)
    )
    return list(session.scalars(query.order_by(Participant.key).limit(most)))


def unsettled(session: Session, keys: Collection[int]) -> set[int]:
    """Those of the people of whom some extract is not yet told: it takes their rows and pseudonym to find out where."""
    found: set[int] = set()
    for some in batches(keys):
        query = (
            select(Withdrawal.participant_key)
            .join(BlockMark, BlockMark.withdrawal_id == Withdrawal.id)
            .where(Withdrawal.participant_key.in_(some), BlockMark.narrowed.is_(False))
        )
        found |= {key for key in session.scalars(query) if key is not None}
    return found


def not_carried(session: Session, cohort_id: str) -> set[int]:
    """The people of a cohort who left by a word whose job has not ended well, wherever that stands: until it has, no
    withdrawal of theirs says what it is that their extracts have to be told."""
    query = select(Job.arguments).where(
        Job.kind == "take_withdrawals", Job.subject == cohort_id, Job.state.not_in(("done", "retried"))
    )
    return {int(entry[0]) for said in session.scalars(query) for entry in said.get("withdrawn", [])}


def tables(session: Session, cohort_id: str) -> list[tuple[str, str]]:
    """(version, table) of every table that any version of the cohort holds in the vault."""
    query = (
        select(VaultTable.version_id, VaultTable.table_name)
        .where(VaultTable.version_id.in_(versions(cohort_id)), VaultTable.removed_by.is_(None))
        .distinct()
        .order_by(VaultTable.version_id, VaultTable.table_name)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def held(session: Session, version_id: str, table: str) -> list[VaultTable]:
    """The generations of a table whose objects are in the vault, oldest first."""
    query = select(VaultTable).where(
        VaultTable.version_id == version_id, VaultTable.table_name == table, VaultTable.removed_by.is_(None)
    )
    return list(session.scalars(query.order_by(VaultTable.generation)))


def removed(session: Session, destruction_id: str) -> list[str]:
    """Objects that a destruction has replaced and that no table of any version names any more."""
    names: set[str] = set()
    for of in (VaultTable, VaultSegment):
        for column in (of.object_name, of.left_out_name):
            query = select(column).where(VaultTable.removed_by == destruction_id)
            names |= {name for name in session.scalars(_joined(query, of)) if name}
    return sorted(names - named(session, names))


def named(session: Session, names: Collection[str]) -> set[str]:
    """Those of the objects that a held table names."""
    found: set[str] = set()
    for batch in batches(names):
        for of in (VaultTable, VaultSegment):
            for column in (of.object_name, of.left_out_name):
                query = select(column).where(column.in_(batch), VaultTable.removed_by.is_(None))
                found |= {name for name in session.scalars(_joined(query, of)) if name}
    return found


def _joined(query: Select[Any], of: type[VaultTable | VaultSegment]) -> Select[Any]:
    """Segments with the generation of the table that they belong to."""
    if of is VaultTable:
        return query
    return query.join(
        VaultTable,
        and_(
            VaultTable.version_id == VaultSegment.version_id,
            VaultTable.table_name == VaultSegment.table_name,
            VaultTable.generation == VaultSegment.generation,
        ),
    )


def known_versions(session: Session, ids: Collection[str]) -> set[str]:
    """Those of the ids that are dataset versions."""
    found = set[str]()
    for some in batches(ids):
        query = select(DatasetVersion.id).where(DatasetVersion.id.in_(some))
        found |= set(session.scalars(query))
    return found


def uploads_being_checked(session: Session, cohort_id: str) -> list[str]:
    """Uploads that a job reads at this moment, for it may have looked people up already; and complete registers, whose
    withdrawals must not be lost."""
    here = and_(or_(Upload.state == "checking", _TOLD), ~stopped())
    return list(
        session.scalars(select(Upload.id).where(Upload.cohort_id == cohort_id, here).order_by(Upload.id))
    )


def still_checked(session: Session, ids: Sequence[str]) -> list[str]:
    """Those of the uploads that are still being checked."""
    here = and_(or_(Upload.state == "checking", _TOLD), ~stopped())
    return list(session.scalars(select(Upload.id).where(Upload.id.in_(ids), here)))


def newest_taken(session: Session, withdrawals: Sequence[str]) -> datetime:
    """When the last of the withdrawals was taken."""
    newest = select(func.max(Withdrawal.taken_at))
    return max(session.scalars(newest.where(Withdrawal.id.in_(some))).one() for some in batches(withdrawals))


def readers(session: Session) -> list[str]:
    """Jobs that run now and may have a file of the vault open."""
    query = select(Job.id).where(Job.state == "running", Job.kind.in_(READERS))
    return list(session.scalars(query.order_by(Job.id)))


def still_running(session: Session, ids: Sequence[str]) -> list[str]:
    """Those of the jobs that have not ended."""
    return list(session.scalars(select(Job.id).where(Job.id.in_(ids), Job.state == "running")))


def others_at_work(session: Session, cohort_id: str, job_id: str) -> bool:
    """Whether another job destroys rows of the cohort at this moment."""
    other = exists().where(
        Job.subject == cohort_id, Job.kind == "destroy_rows", Job.state == "running", Job.id != job_id
    )
    return bool(session.scalar(select(other)))


def withdrawals_of(session: Session, cohort_id: str, keys: Collection[int] | None) -> list[Withdrawal]:
    """Every withdrawal of these people, or of everybody in the cohort, of whatever kind, locked."""
    query = select(Withdrawal).order_by(Withdrawal.id).with_for_update()
    if keys is None:
        return list(session.scalars(query.where(Withdrawal.cohort_id == cohort_id)))
    theirs = [
        row
        for some in batches(keys)
        for row in session.scalars(query.where(Withdrawal.participant_key.in_(some)))
    ]
    return sorted(theirs, key=lambda row: row.id)


def forget_arguments(
    session: Session, cohort_id: str, withdrawals: Collection[str], keys: Collection[int] | None
) -> None:
    """Jobs that named the people by key name them no more: of what has ended, that it ran is kept. Without keys it is
    everybody in the cohort."""
    named = Job.arguments["withdrawal_id"].as_string()
    for some in batches(withdrawals):
        for job in session.scalars(select(Job).where(Job.kind == "narrow_block", named.in_(some))):
            job.arguments = {"withdrawal_id": job.arguments["withdrawal_id"]}
    taking = select(Job).where(Job.kind == "take_withdrawals", Job.subject == cohort_id)
    for job in session.scalars(taking):
        said = job.arguments.get("withdrawn", [])
        kept = [entry for entry in said if int(entry[0]) not in keys] if keys is not None else []
        if len(kept) != len(job.arguments.get("withdrawn", [])):
            job.arguments = {**job.arguments, "withdrawn": kept}
    session.flush()


def forget_answers(session: Session, withdrawals: Collection[str]) -> None:
    """Answers kept for a repeated order of these withdrawals hold the digest of a body that named somebody."""
    told = IdempotentAnswer.answer["id"].as_string()
    for some in batches(withdrawals):
        gone = delete(IdempotentAnswer).where(told.in_(some))
        session.execute(gone.execution_options(synchronize_session=False))


def versions(cohort_id: str) -> Select[str]:
    """The ids of the versions of a cohort."""
    query = select(DatasetVersion.id).join(Dataset, Dataset.id == DatasetVersion.dataset_id)
    return query.where(Dataset.cohort_id == cohort_id)


def waits_already(session: Session, cohort_id: str) -> bool:
    """Whether a job that will destroy rows of the cohort has yet to begin."""
    other = exists().where(
        Job.subject == cohort_id, Job.kind == "destroy_rows", Job.state.in_(("waiting", "queued"))
    )
    return bool(session.scalar(select(other)))
