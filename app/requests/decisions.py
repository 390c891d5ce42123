"""What an approval needs, all told at once, and what it makes: a project with its own key, a permit, an agreement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.consents.cohorts import Behind, unusable
from app.db import new_id
from app.deid.risk import PROFILE
from app.errors import Finding, Problem
from app.models import AccessRequest, DryRun, Permit, Project
from app.permits.others import in_hands
from app.requests import batches, queries
from app.requests.agreement import Terms, digest_of, text_of
from app.requests.asking import judged, latest_day, must_not_be_denied
from app.requests.states import BOARDS, SETTLED

FOLLOWS = "The permit goes on to compatible versions of the dataset; new generations replace the old ones."
VERBS = {"approve": "approve", "conditional": "approve_conditionally", "reject": "reject"}
EVENTS = {
    "approve": "request.approved", "conditional": "request.approved_conditionally", "reject": "request.rejected",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decided:
    """A steward's decision on one plan. `valid_until` is the permit's last day, at most the request's end date."""

    decision: Literal["approve", "conditional", "reject"]
    plan_hash: str
    note: str = ""
    conditions: tuple[str, ...] = ()
    valid_until: date | None = None
    follow: bool = False  # the permit goes on to compatible versions by itself
    accept_intersections: bool = (
        False  # signed: others hold releases that together with this one fall below k
    )


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing an approval needs: whether it holds, the Problem code where it does not, and who can mend it."""

    name: str
    met: bool
    code: str
    detail: str
    who: str


def conditions(session: Session, row: AccessRequest, of: Behind, on: date) -> Iterator[Condition]:
    """Everything that an approval of the request's present plan needs, now."""
    version, _of = queries.version(session, row.version_id)
    yield Condition(
        "version_published", version.state == "published", "version_not_ready",
        f"the dataset version is {version.state}", "institution",
    )  # fmt: skip
    withdrawn = [one for one in unusable(session, row.version_id) if one != row.version_id]
    if withdrawn:
        yield Condition(
            "sources_usable", False, "version_not_ready",
            f"{len(withdrawn)} sources of the united version have been withdrawn", "institution",
        )  # fmt: skip
    reviews = queries.reviews(session, row.id)
    for institution in queries.reviewing(of):
        whose = f" of {queries.institution_name(session, institution)}" if institution else ""
        for board in BOARDS:
            held = reviews.get((board, institution))
            state = held.state if held else "pending"
            yield Condition(
                f"review_{board.lower()}",
                state in SETTLED,
                "reviews_required",
                f"the {board} review{whose} is {state}",
                "steward",
            )
    run = queries.present_dry_run(session, row, "ready")
    yield Condition(
        "dry_run",
        run is not None
        and batches.measured_by(run.result) == PROFILE
        and batches.laid_against(run.result) >= _holding(session, row),
        "dry_run_required",
        "a dry run of this very plan and purpose has come to a result, measured as it is today, and knows of all that "
        "other projects hold",
        "steward",
    )
    answer = judged(session, row, of, on)["answer"]
    yield Condition(
        "data_use_terms", answer != "deny", "duo_denied", f"the data use terms answer {answer}", "researcher"
    )


def must_be_approvable(
    session: Session, row: AccessRequest, of: Behind, decided: Decided, on: date
) -> tuple[DryRun, date, list[str]]:
    """The dry run that the approval rests on, the permit's last day, and the conditions that the terms lay on it.

    A Problem with everything that is missing.
    """
    match = judged(session, row, of, on)
    if missing := [c for c in conditions(session, row, of, on) if not c.met]:
        must_not_be_denied(match)
        findings = [Finding(c.code, c.detail, hint=f"{c.who} can mend it") for c in missing]
        raise Problem(missing[0].code, "The approval lacks what `problems` tells.", findings)
    latest = latest_day(row, match, on)
    until = decided.valid_until or latest
    if not on <= until <= latest:
        detail = (
            f"lies between today and {latest.isoformat()}, the end that was asked for or that the terms set"
        )
        raise Problem(
            "invalid_request",
            "The permit cannot end on that day.",
            [Finding("out_of_range", detail, pointer="/valid_until")],
        )
    if match["answer"] == "abstain" and not decided.note.strip():
        finding = Finding(
            "missing", "say why the terms allow this purpose: they leave it to you", pointer="/note"
        )
        raise Problem("invalid_request", "The data use terms do not decide by themselves.", [finding])
    run = queries.present_dry_run(session, row, "ready")
    if run is None:
        raise Problem("dry_run_required", "Order a dry run of this plan.")
    if not decided.accept_intersections:
        must_not_intersect(run)
    return run, until, match["conditions"]


def must_not_intersect(run: DryRun) -> None:
    """k does not compose: refuse where, laid on another project's release, 0.1 % of the people or more fall below k, or
    where the run could not be laid on it."""
    risk = (run.result or {}).get("risk", {})
    found = [
        Finding(
            "intersection_below_k",
            f"laid on the release of {one['other']}, people fall below k",
            pointer="/accept_intersections",
        )
        for one in risk.get("intersections", [])
        if one["needs_signature"]
    ]
    found += [
        Finding(
            "intersection_unknown",
            f"the dry run could not be laid on the release of {other}",
            pointer="/accept_intersections",
        )
        for other in risk.get("not_compared", [])
    ]
    if found:
        detail = (
            "Together with what other projects hold, classes fall below k, or it is not known. "
            "Sign for it, or ask for coarser labels."
        )
        raise Problem("intersection_unsigned", detail, found)


def _holding(session: Session, row: AccessRequest) -> set[str]:
    """The projects that hold a release of the version now."""
    return {held.project_id for held in in_hands(session, row.version_id)}


def issue(
    session: Session,
    row: AccessRequest,
    of: Behind,
    decided: Decided,
    actor: str,
    now: datetime,
) -> Permit:
    """The project and its permit, in the transaction of the approval. A worker makes the project's key when it builds
    for it: whoever decides holds none."""
    run, until, laid_on = must_be_approvable(session, row, of, decided, now.date())
    project = Project(
        id=new_id("prj"), request_id=row.id, holder=row.applicant, institution_id=row.institution_id,
        key_wrapped=None, created_at=now,
    )  # fmt: skip
    session.add(project)
    session.flush()
    stated = [*laid_on, *decided.conditions, *([FOLLOWS] if decided.follow else [])]
    permit_id = new_id("prm")
    text = text_of(
        Terms(
            permit_id=permit_id, holder=row.applicant, title=row.title,
            cohorts=[
                (cohort.name, queries.institution_name(session, cohort.institution_id)) for cohort in of.cohorts
            ],
            plan_hash=row.plan_hash, valid_until=until, conditions=stated,
        )
    )  # fmt: skip
    permit = Permit(
        id=permit_id, project_id=project.id, version_id=row.version_id, cohort_id=row.cohort_id,
        state="pending_agreement", plan=row.plan, plan_hash=row.plan_hash, dry_run_id=run.id, purpose=row.purpose,
        conditions=stated, delivery="download", follow=decided.follow, valid_until=until, agreement_text=text,
        agreement_digest=digest_of(text), agreed_by=None, agreed_at=None, created_at=now,
    )  # fmt: skip
    session.add(permit)
    session.flush()
    data = {
        "project": project.id,
        "request": row.id,
        "plan": row.plan_hash,
        "agreement": permit.agreement_digest,
    }
    stream = project_stream(project.id)
    record(session, stream=stream, event="permit.issued", actor=actor, object_id=permit.id, at=now, data=data)
    return permit
