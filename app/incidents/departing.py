"""What becomes of incidents and freezes when an institution goes over into another: nothing is let go, nothing more is
stopped."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.consents.custody import Merging
from app.db import new_id
from app.models import Freeze, Incident, IncidentParty

_OVER = ("closed", "dismissed")


def move(session: Session, merging: Merging) -> dict[str, int]:
    """The successor sees what its predecessor saw. What named the institution as a whole names each of its cohorts: the
    successor's own stay as they are."""
    parties = select(IncidentParty.incident_id).where(IncidentParty.institution_id == merging.institution_id)
    ids = session.scalars(parties.order_by(IncidentParty.incident_id)).all()
    for incident_id in ids:
        if session.get(IncidentParty, (incident_id, merging.successor_id)) is None:
            session.add(IncidentParty(incident_id=incident_id, institution_id=merging.successor_id))
    session.flush()
    whole = {"kind": "institution", "subject": merging.institution_id}
    each = [{"kind": "cohort", "subject": one} for one in merging.cohorts]
    open_ = select(Incident).where(Incident.id.in_(ids), Incident.state.not_in(_OVER)).order_by(Incident.id)
    for row in session.scalars(open_.with_for_update()).all():
        if whole in row.touches:
            row.touches = [one for one in row.touches if one != whole] + [
                one for one in each if one not in row.touches
            ]
    standing = select(Freeze).where(
        Freeze.kind == "institution", Freeze.subject == merging.institution_id, Freeze.lifted_at.is_(None)
    )
    for freeze in session.scalars(standing.order_by(Freeze.id).with_for_update()).all():
        for cohort_id in merging.cohorts:
            session.add(
                Freeze(
                    id=new_id("frz"), incident_id=freeze.incident_id, kind="cohort", subject=cohort_id,
                    set_at=freeze.set_at, set_by=freeze.set_by, lifted_at=None, lifted_by=None,
                )
            )  # fmt: skip
    session.flush()
    return {"incidents": len(ids)}
