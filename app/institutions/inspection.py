"""What an inspector reads: who got what, on which ground, until when, destroyed when; read only, each look recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from app.audit import PLATFORM, institution_stream, project_stream, record
from app.auth import policy
from app.auth.policy import Actor, InstitutionFacts
from app.clock import Clock
from app.consents.cohorts import behind
from app.consents.custody import named_at
from app.db import Database
from app.institutions.tables import csv_lines
from app.models import (
    AccessRequest,
    AuditLine,
    Cohort,
    Custody,
    Dataset,
    DatasetVersion,
    Extract,
    Institution,
    Part,
    Permit,
    Project,
    RecallNotice,
    Review,
    VersionSource,
)

View = dict[str, Any]
COLUMNS = (
    "extract_id", "project_id", "permit_id", "holder", "holder_institution", "held_by", "taken_over", "cohorts",
    "dataset", "version", "title", "tables", "rows", "bytes", "people_ever", "generation", "purpose",
    "irb_reference", "reviews", "decided_at", "plan_hash", "agreement_digest", "agreed_at", "permit_state",
    "valid_until", "extract_state", "ready_at", "expires_at", "first_delivered_at", "last_delivered_at",
    "deliveries", "recalls_open", "recalls_destroyed", "recalls_retained", "recalls_frozen", "destroyed_at",
)  # fmt: skip
BATCH = 200


@dataclass(frozen=True)
class InspectionService:
    """`institution_id`: whose data; an inspector who is sent to one institution sees that one."""

    db: Database
    clock: Clock

    def releases(
        self, actor: Actor, institution_id: str | None, since: date | None, after: str | None, limit: int
    ) -> list[View]:
        """Every extract that was ever ordered of the data, newest first; `since`: ordered on that day or later."""
        of = self._admitted(actor, institution_id, "json")
        with self.db.read() as session:
            return _page(session, of, since, after, limit)

    def as_csv(self, actor: Actor, institution_id: str | None, since: date | None) -> Iterator[str]:
        """The same as lines of CSV, page by page; no cell of it is a formula."""
        of = self._admitted(actor, institution_id, "csv")
        return csv_lines(COLUMNS, self._all(of, since))

    def every(self, actor: Actor, institution_id: str | None, since: date | None) -> Iterator[View]:
        """The same one by one, however many they are."""
        return self._all(self._admitted(actor, institution_id, "json"), since)

    def _all(self, of: str | None, since: date | None) -> Iterator[View]:
        after: str | None = None
        while True:
            with self.db.read() as session:
                rows = _page(session, of, since, after, BATCH)
            yield from rows
            if len(rows) < BATCH:
                return
            after = rows[-1]["extract_id"]

    def _admitted(self, actor: Actor, institution_id: str | None, form: str) -> str | None:
        """Whose data it is about; that somebody looked is written down."""
        of = institution_id or actor.institution_id
        policy.must_inspect(actor, InstitutionFacts(of or ""))
        with self.db.unit_of_work() as session:
            if of is not None and session.get(Institution, of) is None:
                policy.must_read_institution(
                    actor, InstitutionFacts(of)
                )  # an inspector may not: there is none
            stream = institution_stream(of) if of else PLATFORM
            record(session, stream=stream, event="inspection.read", actor=actor.subject, object_id=of or "platform",
                   at=self.clock(), data={"form": form})  # fmt: skip
        return of


def _page(session: Session, of: str | None, since: date | None, after: str | None, limit: int) -> list[View]:
    query = select(Extract)
    if of is not None:
        versions = (
            select(DatasetVersion.id)
            .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
            .join(Cohort, Cohort.id == Dataset.cohort_id)
            .where(Cohort.institution_id == of)
        )
        # What it held before it went over to another, as long as it did.
        before = (
            exists()
            .where(
                Custody.institution_id == of, Custody.until > Extract.created_at,
                Dataset.cohort_id == Custody.cohort_id,
                DatasetVersion.dataset_id == Dataset.id,
                or_(
                    DatasetVersion.id == Extract.version_id,
                    DatasetVersion.id.in_(
                        select(VersionSource.source_version_id).where(VersionSource.version_id == Extract.version_id)
                    ),
                ),
            )
            .correlate(Extract)
        )  # fmt: skip
        united = select(VersionSource.version_id).where(VersionSource.source_version_id.in_(versions))
        query = query.where(Extract.version_id.in_(versions) | Extract.version_id.in_(united) | before)
    if since is not None:
        query = query.where(Extract.created_at >= datetime.fromisoformat(f"{since}T00:00:00+00:00"))
    if after:
        query = query.where(Extract.id < after)
    return [_release(session, row) for row in session.scalars(query.order_by(Extract.id.desc()).limit(limit))]


def _release(session: Session, row: Extract) -> View:
    permit, project = session.get_one(Permit, row.permit_id), session.get_one(Project, row.project_id)
    asked = session.get_one(AccessRequest, project.request_id)
    version = session.get_one(DatasetVersion, row.version_id)
    of = behind(session, row.version_id)
    home = session.get(Institution, asked.institution_id) if asked.institution_id else None
    held = sorted({named_at(session, cohort, row.created_at) for cohort in of.cohorts})
    found = {
        "extract_id": row.id, "project_id": project.id, "permit_id": permit.id, "holder": project.holder,
        "holder_institution": home.name if home else None,
        "held_by": [session.get_one(Institution, one).name for one in held],
        "taken_over": list(_taken_over(session, [*held, *([home.id] if home else [])])), "cohorts": of.ids,
        "dataset": session.get_one(Dataset, version.dataset_id).name, "version": version.number, "title": asked.title,
        "tables": sorted(table["name"] for table in permit.plan["tables"]), "generation": row.generation,
        "purpose": str(permit.purpose.get("term") or permit.purpose.get("use") or ""),
        "irb_reference": asked.irb_reference, "reviews": _reviews(session, asked.id), "decided_at": asked.decided_at,
        "plan_hash": permit.plan_hash, "agreement_digest": permit.agreement_digest, "agreed_at": permit.agreed_at,
        "permit_state": permit.state, "valid_until": permit.valid_until, "extract_state": row.state,
        "ready_at": row.ready_at, "expires_at": row.expires_at,
        **_size(session, row.id), **_recalls(session, row.id), **_told(session, row),
    }  # fmt: skip
    return {name: found[name] for name in COLUMNS}


def _taken_over(session: Session, institutions: list[str]) -> Iterator[str]:
    """What has become of them since: who went over into whom and who left, and when."""
    for one in sorted(set(institutions)):
        row = session.get_one(Institution, one)
        while row.closed_at is not None:
            day = row.closed_at.date().isoformat()
            if row.successor_id is None:
                yield f"{row.name} left on {day}"
                break
            heir = session.get_one(Institution, row.successor_id)
            yield f"{row.name} is {heir.name} since {day}"
            row = heir


def _reviews(session: Session, request_id: str) -> list[str]:
    query = select(Review.board, Review.state).where(Review.request_id == request_id)
    return [
        f"{board} {state}"
        for board, state in session.execute(query.order_by(Review.board, Review.institution_id))
    ]


def _size(session: Session, extract_id: str) -> View:
    """Rows and bytes of the parts that are, or at the end were, handed out."""
    query = select(func.sum(Part.rows), func.sum(Part.bytes)).where(
        Part.extract_id == extract_id, Part.state.in_(("ready", "blocked"))
    )
    rows, size = session.execute(query).one()
    return {"rows": int(rows or 0), "bytes": int(size or 0)}


def _recalls(session: Session, extract_id: str) -> View:
    query = select(RecallNotice.state, func.count()).where(RecallNotice.extract_id == extract_id)
    counts = {row[0]: row[1] for row in session.execute(query.group_by(RecallNotice.state))}
    return {f"recalls_{one}": counts.get(one, 0) for one in ("open", "destroyed", "retained", "frozen")}


def _told(session: Session, row: Extract) -> View:
    """What the project's chain tells: how many people there ever were, when it was read, when it was destroyed."""
    stream = project_stream(row.project_id)
    mine = (AuditLine.stream == stream, AuditLine.object_id == row.id)
    people = session.scalar(
        select(AuditLine.data)
        .where(*mine, AuditLine.event == "extract.recorded")
        .order_by(AuditLine.number.desc())
        .limit(1)
    )
    read = select(func.min(AuditLine.at), func.max(AuditLine.at), func.count()).where(
        AuditLine.stream == stream,
        AuditLine.event == "part.delivered",
        AuditLine.object_id.startswith(f"{row.id}/"),
    )
    first, last, deliveries = session.execute(read).one()
    gone = session.scalar(select(func.min(AuditLine.at)).where(*mine, AuditLine.event == "extract.destroyed"))
    return {
        "people_ever": int(people["people_ever"]) if people else 0, "first_delivered_at": first,
        "last_delivered_at": last, "deliveries": deliveries, "destroyed_at": gone,
    }  # fmt: skip
