"""What becomes of requests, permits and projects when an institution leaves or goes over into another."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, literal, or_, select, update
from sqlalchemy.orm import Session

from app.audit import institution_stream, project_stream, record
from app.consents.cohorts import behind
from app.consents.custody import Leaving, Merging, reaching
from app.models import AccessRequest, Account, Client, CountAnswer, Permit, Project, Review
from app.requests.states import PERMIT_TRANSITIONS, TRANSITIONS, step, step_permit

REASON = "institution_left"
TEXT = "The institution that holds the data has left. / 자료를 보유한 기관이 참여를 종료했습니다."
HOLDER = "holder_institution_left"
_OPEN = tuple(state for state, verbs in TRANSITIONS.items() if "end" in verbs)
_LIVE = tuple(state for state, verbs in PERMIT_TRANSITIONS.items() if "revoke" in verbs)


def end(session: Session, leaving: Leaving) -> dict[str, int]:
    """Permits over nothing but the cohorts that end are revoked, open requests for them end with the reason; what
    people of the institution hold elsewhere is suspended, for whoever stewards it to decide on."""
    permits = _stop(session, leaving, Permit.version_id.in_(reaching(leaving.cohorts)), "revoke")
    elsewhere = _stop(session, leaving, Permit.project_id.in_(_of_its_people(leaving)), "suspend")
    return {"permits": permits, "permits_suspended": elsewhere, "requests": _end_requests(session, leaving)}


def _stop(session: Session, leaving: Leaving, which: ColumnElement[bool], verb: str) -> int:
    rows = session.scalars(select(Permit).where(which, Permit.state.in_(_LIVE)).order_by(Permit.id)).all()
    stopped = 0
    for row in rows:
        if verb == "revoke" and behind(session, row.version_id).answering:
            continue  # others hold people of it too: only this cohort's rows leave
        if verb not in PERMIT_TRANSITIONS[row.state]:
            continue
        row.state = step_permit(row.state, verb)
        reason = REASON if verb == "revoke" else HOLDER
        record(
            session, stream=project_stream(row.project_id),
            event="permit.revoked" if verb == "revoke" else "permit.suspended", actor="platform", object_id=row.id,
            at=leaving.at, data={"state": row.state, "reason": reason, "departure": leaving.departure_id},
        )  # fmt: skip
        stopped += 1
    session.flush()
    return stopped


def _of_its_people(leaving: Leaving) -> Select[str]:
    accounts = select(literal("account:") + Account.id).where(
        Account.institution_id == leaving.institution_id
    )
    clients = select(literal("client:") + Client.id).where(Client.institution_id == leaving.institution_id)
    held = or_(
        Project.institution_id == leaving.institution_id,
        Project.holder.in_(accounts),
        Project.holder.in_(clients),
    )
    return select(Project.id).where(held)


def _end_requests(session: Session, leaving: Leaving) -> int:
    """Open requests for nothing but its data, and those that its people have asked."""
    query = select(AccessRequest).where(
        AccessRequest.state.in_(_OPEN),
        or_(
            AccessRequest.version_id.in_(reaching(leaving.cohorts)),
            AccessRequest.institution_id == leaving.institution_id,
        ),
    )
    ended = 0
    for row in session.scalars(query.order_by(AccessRequest.id).with_for_update()).all():
        of = behind(session, row.version_id)
        if of.answering and row.institution_id != leaving.institution_id:
            continue
        row.state, row.decided_at = step(row.state, "end"), leaving.at
        row.revision += 1
        said = {"at": leaving.at.isoformat(), "by": "platform", "on": "end", "text": TEXT}
        row.notes = [*row.notes, said]
        for institution in of.institutions:
            record(
                session, stream=institution_stream(institution), event="request.ended", actor="platform",
                object_id=row.id, at=leaving.at, data={"reason": REASON, "departure": leaving.departure_id},
            )  # fmt: skip
        ended += 1
    return ended


def move(session: Session, merging: Merging) -> dict[str, int]:
    """Boards, requests, projects and what was counted go over. Nothing that a permit rests on changes: version, plan,
    key of the project and the text that was agreed to stay."""
    old, new = merging.institution_id, merging.successor_id
    open_ = select(AccessRequest.id).where(AccessRequest.state.in_(_OPEN))
    mine = select(Review).where(Review.institution_id == old, Review.request_id.in_(open_))
    boards = 0
    for review in session.scalars(mine.order_by(Review.id).with_for_update()).all():
        twin = session.scalar(
            select(Review).where(
                Review.request_id == review.request_id, Review.board == review.board, Review.institution_id == new
            )
        )  # fmt: skip
        if twin is None:
            review.institution_id = new
        else:
            session.delete(review)  # the successor's own boards answer for both
        boards += 1
    session.flush()
    moved = {"boards": boards}
    asked = update(AccessRequest).where(AccessRequest.institution_id == old, AccessRequest.state.in_(_OPEN))
    held = update(Project).where(Project.institution_id == old)
    counted = update(CountAnswer).where(
        CountAnswer.institution_id == old
    )  # its people could pool what they were told
    for name, change in (("requests", asked), ("projects", held), ("counts", counted)):
        done = session.execute(
            change.values(institution_id=new).execution_options(synchronize_session="fetch")
        )
        moved[name] = int(getattr(done, "rowcount", 0))
    return moved
