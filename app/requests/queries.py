"""The SQL of access requests, reviews, dry runs and permits, and how they look to those who may see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select
from sqlalchemy.orm import Session

from app.auth.policy import Actor, PermitFacts, RequestFacts, VersionFacts
from app.consents.cohorts import Behind, behind
from app.consents.purposes import purpose_digest
from app.errors import not_found
from app.jobs import parking
from app.models import (
    AccessRequest,
    Cohort,
    Dataset,
    DatasetVersion,
    DryRun,
    Extract,
    Institution,
    Job,
    Part,
    Permit,
    Project,
    Review,
    VersionSource,
)
from app.requests.states import REVIEWABLE


def version(session: Session, version_id: str) -> tuple[DatasetVersion, Behind]:
    """The version and the cohorts behind it; a Problem where there is none."""
    of = behind(session, version_id)
    return session.get_one(DatasetVersion, version_id), of


def version_facts(row: DatasetVersion, of: Behind) -> VersionFacts:
    """What the policy needs to know of a version."""
    first, *others = of.institutions
    return VersionFacts(institution_id=first, state=row.state, also=tuple(others))


def request(session: Session, request_id: str, *, lock: bool = False) -> tuple[AccessRequest, Behind]:
    """The request (locked until the transaction ends, where asked) and the cohorts it asks for; a Problem if none."""
    row = session.get(AccessRequest, request_id, with_for_update=lock, populate_existing=True)
    if row is None:
        raise not_found("access request")
    return row, behind(session, row.version_id)


def request_facts(row: AccessRequest, of: Behind) -> RequestFacts:
    """What the policy needs to know of a request."""
    first, *others = of.institutions
    return RequestFacts(applicant=row.applicant, institution_id=first, state=row.state, also=tuple(others))


def listed(
    session: Session, actor: Actor, *, mine: bool, after: str | None, limit: int
) -> Sequence[AccessRequest]:
    """Own requests, or those of the cohorts that a steward serves; newest first. `mine`: only what waits for them."""
    query = select(AccessRequest)
    if actor.role == "steward":
        query = query.where(_served(actor), AccessRequest.applicant != actor.subject)
        if mine:
            query = query.where(_waits_for(actor))
    else:
        query = query.where(AccessRequest.applicant == actor.subject)
    if after:
        query = query.where(AccessRequest.id < after)
    return session.scalars(query.order_by(AccessRequest.id.desc()).limit(limit)).all()


def reviews(session: Session, request_id: str) -> dict[tuple[str, str], Review]:
    """The sub-reviews by board and institution (see `reviewing`)."""
    query = select(Review).where(Review.request_id == request_id)
    rows = session.scalars(query.order_by(Review.board, Review.institution_id))
    return {(row.board, row.institution_id): row for row in rows}


def reviewing(of: Behind) -> list[str]:
    """Whose boards answer: one pair of boards for one cohort (the empty name), each institution's for several, but for
    institutions that have left."""
    return [""] if of.only else of.answering


def dry_run(session: Session, request_id: str) -> DryRun | None:
    """The newest dry run of a request."""
    return session.scalar(_newest_runs().where(DryRun.request_id == request_id).limit(1))


def present_dry_run(session: Session, row: AccessRequest, state: str) -> DryRun | None:
    """The newest dry run in this state of what the request asks for now: this plan, for people who consent to this
    purpose."""
    query = _newest_runs().where(
        DryRun.request_id == row.id,
        DryRun.plan_hash == row.plan_hash,
        DryRun.purpose_digest == purpose_digest(row.purpose),
        DryRun.state == state,
    )
    return session.scalar(query.limit(1))


def told_dry_runs(session: Session, plan_hash: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """What dry runs of this plan told and over whom, of whatever request and purpose; the newest first, and read one
    after the other."""
    told = DryRun.plan_hash == plan_hash, DryRun.state == "ready"
    query = select(DryRun.id).where(*told).order_by(DryRun.finished_at.desc(), DryRun.id.desc())
    for run_id in session.scalars(query).all():
        run = session.get_one(DryRun, run_id)
        if run.result is not None and run.basis is not None:
            yield run.result, run.basis


def _newest_runs() -> Select[DryRun]:
    return select(DryRun).order_by(DryRun.created_at.desc(), DryRun.id.desc())


def permit(session: Session, permit_id: str, *, lock: bool = False) -> tuple[Permit, Project, Behind]:
    """The permit (locked where asked), its project and cohorts; a Problem where there is none."""
    row = session.get(Permit, permit_id, with_for_update=lock, populate_existing=True)
    if row is None:
        raise not_found("permit")
    return row, session.get_one(Project, row.project_id), behind(session, row.version_id)


def permit_facts(project: Project, of: Behind) -> PermitFacts:
    """What the policy needs to know of a permit."""
    first, *others = of.institutions
    return PermitFacts(holder=project.holder, institution_id=first, also=tuple(others))


def permits_of_holder(session: Session, holder: str, after: str | None, limit: int) -> Sequence[Permit]:
    """The permits of a holder, newest first."""
    query = select(Permit).join(Project, Project.id == Permit.project_id).where(Project.holder == holder)
    if after:
        query = query.where(Permit.id < after)
    return session.scalars(query.order_by(Permit.id.desc()).limit(limit)).all()


def permit_of_request(session: Session, request_id: str) -> Permit | None:
    """The permit that a request came to."""
    query = (
        select(Permit).join(Project, Project.id == Permit.project_id).where(Project.request_id == request_id)
    )
    return session.scalar(query.limit(1))


def facts_of_asker(session: Session, applicant: str, institution_id: str | None) -> dict[str, Any]:
    """What is known of who asks, whatever they say themselves; None where it is not known, which never helps them."""
    home = session.get(Institution, institution_id) if institution_id else None
    return {
        "user": applicant,
        "institution": institution_id,
        "project": None,
        "for_profit_organisation": home.for_profit if home else None,
        "country": home.country if home else None,
    }


def institution_name(session: Session, institution_id: str) -> str:
    """The name of an institution that exists."""
    return session.get_one(Institution, institution_id).name


def request_brief(row: AccessRequest, now: datetime) -> dict[str, Any]:
    """A request as a line of a list. Days run from the first submission to the decision, or to now."""
    until = row.decided_at or now
    days = None if row.submitted_at is None else round((until - row.submitted_at).total_seconds() / 86400, 1)
    names = (
        "id", "version_id", "cohort_id", "applicant", "title", "state", "plan_hash", "end_date", "claimed_by",
        "revision", "created_at", "submitted_at", "decided_at",
    )  # fmt: skip
    return {**{name: getattr(row, name) for name in names}, "days": days}


def request_view(session: Session, row: AccessRequest, now: datetime) -> dict[str, Any]:
    """A request with its plan, reviews and what came of it."""
    names = ("institution_id", "summary", "purpose", "plan", "irb_reference", "duo_match", "notes")
    run, permit_row = dry_run(session, row.id), permit_of_request(session, row.id)
    return {
        **request_brief(row, now),
        **{name: getattr(row, name) for name in names},
        "reviews": [
            {
                "board": r.board,
                "institution_id": r.institution_id or None,
                "state": r.state,
                "note": r.note,
                "at": r.at,
            }
            for r in reviews(session, row.id).values()
        ],
        "dry_run": {"id": run.id, "state": run.state, "plan_hash": run.plan_hash} if run else None,
        "permit_id": permit_row.id if permit_row else None,
    }


def dry_run_view(session: Session, row: DryRun) -> dict[str, Any]:
    """A dry run with how far its job is. `result` holds counts only; a failed one says why in it."""
    query = select(Job).where(Job.subject == row.id).order_by(Job.created_at.desc(), Job.id.desc()).limit(1)
    job = session.scalar(query)
    names = ("id", "request_id", "plan_hash", "state", "result", "created_at", "finished_at")
    view = {name: getattr(row, name) for name in names}
    view["result"] = {k: v for k, v in row.result.items() if k != "page"} if row.result else row.result
    stopped = parking.told(job) if job and job.state == "parked" else None
    return {**view, "progress": job.progress if job else {}, "held_up": stopped}


def permit_view(row: Permit, project: Project) -> dict[str, Any]:
    """A permit; never the project's key."""
    names = (
        "id", "project_id", "version_id", "cohort_id", "state", "plan_hash", "purpose", "conditions", "delivery",
        "valid_until", "agreement_digest", "agreed_at", "created_at", "follow", "asked_version",
    )  # fmt: skip
    return {
        **{name: getattr(row, name) for name in names},
        "request_id": project.request_id,
        "holder": project.holder,
    }


def _served(actor: Actor) -> ColumnElement[bool]:
    """The list's twin of `policy.may_read_request`."""
    seen = AccessRequest.state != "draft"
    if actor.institution_id is None:
        return seen
    # Written as a walk from the version, as `consents.cohorts.behind` goes it.
    sources = select(VersionSource.source_version_id).where(
        VersionSource.version_id == AccessRequest.version_id
    )
    held = (
        exists()
        .where(
            Cohort.institution_id == actor.institution_id,
            Dataset.cohort_id == Cohort.id,
            DatasetVersion.dataset_id == Dataset.id,
            or_(DatasetVersion.id == AccessRequest.version_id, DatasetVersion.id.in_(sources)),
        )
        .correlate(AccessRequest)
    )
    return and_(seen, held)


def closed_extracts(session: Session, permit_id: str) -> list[str]:
    """The extracts of a permit that are handed out with parts closed in them, for withdrawals."""
    query = select(Extract.id).join(Part, Part.extract_id == Extract.id).where(Part.state == "blocked")
    query = query.where(Extract.permit_id == permit_id, Extract.state == "ready")
    return sorted(set(session.scalars(query)))


def _waits_for(actor: Actor) -> ColumnElement[bool]:
    free_or_own = or_(AccessRequest.claimed_by.is_(None), AccessRequest.claimed_by == actor.subject)
    return and_(AccessRequest.state.in_(REVIEWABLE), free_or_own)
