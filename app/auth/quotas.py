"""How much of everything an institution or a holder may have: bytes that arrived, bytes kept, live extracts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, exists, func, select, text, union_all
from sqlalchemy.orm import Session, aliased

from app.errors import Problem
from app.models import (
    Cohort,
    Dataset,
    DatasetVersion,
    Extract,
    Project,
    Quota,
    Upload,
    VaultSegment,
    VaultTable,
)
from app.settings import Settings

INSTITUTION = ("inbox_bytes", "vault_bytes")
HOLDER = ("live_extracts",)
_LIVE = ("requested", "queued", "building", "ready")


@dataclass(frozen=True, slots=True)
class Usage:
    """`most` 0: without limit."""

    name: str
    used: int
    most: int


def usage(session: Session, settings: Settings, subject: str, names: tuple[str, ...]) -> list[Usage]:
    """What there is and how much there may be, read now."""
    held = select(Quota.name, Quota.most).where(Quota.subject == subject)
    own = {row[0]: row[1] for row in session.execute(held)}
    return [
        Usage(one, session.scalar(_USED[one](subject)) or 0, own.get(one, settings.quotas[one]))
        for one in names
    ]


def must_fit(session: Session, settings: Settings, subject: str, names: tuple[str, ...], more: int) -> None:
    """Refuse what would exceed a quota of the subject: which, how much there may be, is, and was asked for. Who asks of
    the same subject meanwhile waits until this transaction ends: two who would both fit alone do not both pass."""
    _one_at_a_time(session, subject)
    for one in usage(session, settings, subject, names):
        if one.most and one.used + more > one.most:
            told = {"quota": one.name, "most": one.most, "used": one.used, "asked": more}
            raise Problem(
                "quota_exceeded", f"There may be {one.most} {one.name} and are {one.used}.", extra=told
            )


def _one_at_a_time(session: Session, subject: str) -> None:
    # SQLite has one writer at a time anyway. What follows on PostgreSQL reads what the one before has committed.
    if session.get_bind().dialect.name == "postgresql":
        session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"quota {subject}"}
        )


def _inbox(institution_id: str) -> Select[int]:
    """Announced bytes of every upload whose original is still kept."""
    return (
        select(func.coalesce(func.sum(Upload.length), 0))
        .join(Cohort, Cohort.id == Upload.cohort_id)
        .where(Cohort.institution_id == institution_id, Upload.original == "kept")
    )


def _vault(institution_id: str) -> Select[int]:
    """Bytes of the objects of the newest generation of every table; what versions share counts once."""
    versions = (
        select(DatasetVersion.id)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .join(Cohort, Cohort.id == Dataset.cohort_id)
        .where(Cohort.institution_id == institution_id)
    )
    objects = union_all(*(_objects(model, versions) for model in (VaultTable, VaultSegment))).subquery()
    each = select(func.max(objects.c.bytes).label("bytes")).group_by(objects.c.name).subquery()
    return select(func.coalesce(func.sum(each.c.bytes), 0))


def _objects(model: type[VaultTable] | type[VaultSegment], versions: Select[Any]) -> Any:
    """(name, bytes) of the objects that the newest generation of each table is made of."""
    newer = aliased(VaultTable)
    return select(model.object_name.label("name"), model.bytes.label("bytes")).where(
        model.object_name.is_not(None),
        model.version_id.in_(versions),
        ~exists().where(
            newer.version_id == model.version_id, newer.table_name == model.table_name,
            newer.generation > model.generation,
        ),
    )  # fmt: skip


def _live(holder: str) -> Select[int]:
    """Extracts on their way or to be fetched, in all projects of a holder."""
    query = select(func.count()).select_from(Extract).join(Project, Project.id == Extract.project_id)
    return query.where(Project.holder == holder, Extract.state.in_(_LIVE))


_USED = {"inbox_bytes": _inbox, "vault_bytes": _vault, "live_extracts": _live}
