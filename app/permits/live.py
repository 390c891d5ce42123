"""A permit at one moment: live, or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy.orm import Session

from app.auth.freezes import must_not_stop_release
from app.errors import Problem, not_found
from app.models import Permit, Project
from app.schemas.plan import Plan

ENDED = frozenset({"expired", "revoked"})
"""States that no permit comes back from: nothing is handed out under it any more."""


@dataclass(frozen=True, slots=True)
class LivePermit:
    """What the gate needs to know of a permit that is live."""

    id: str
    project_id: str
    holder: str
    version_id: str
    plan: Plan
    plan_hash: str
    dry_run_id: str
    purpose: dict[str, Any]
    valid_until: date


def refusal(state: str, valid_until: date, on: date) -> str | None:
    """Why a permit in this state is not live on this day; None where it is. `valid_until` is its last day."""
    if state == "pending_agreement":
        return "The data use agreement has not been accepted."
    if state != "active":
        return f"The permit is {state}."
    if on > valid_until:
        return "The permit has expired."
    return None


def must_be_live(session: Session, permit_id: str, on: date, *, lock: bool = False) -> LivePermit:
    """The permit, read now (and locked until the transaction ends, where asked); a Problem where it is not live
    or something that it hangs on is frozen."""
    permit = session.get(Permit, permit_id, with_for_update=lock, populate_existing=True)
    if permit is None:
        raise not_found("permit")
    if why := refusal(permit.state, permit.valid_until, on):
        raise Problem("agreement_required" if permit.state == "pending_agreement" else "permit_not_live", why)
    must_not_stop_release(session, permit.id)
    project = session.get_one(Project, permit.project_id)
    return LivePermit(
        id=permit.id,
        project_id=project.id,
        holder=project.holder,
        version_id=permit.version_id,
        plan=Plan.model_validate(permit.plan),
        plan_hash=permit.plan_hash,
        dry_run_id=permit.dry_run_id,
        purpose=permit.purpose,
        valid_until=permit.valid_until,
    )
