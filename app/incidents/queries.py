"""The SQL of incidents and freezes, and how an incident looks to whoever handles it and to whoever only reported it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.auth import policy
from app.auth.policy import Actor, IncidentFacts, Target
from app.errors import not_found
from app.incidents.clocks import answered, clocks
from app.models import Cohort, Extract, Freeze, Incident, IncidentParty, Part

View = dict[str, Any]


def incident(session: Session, incident_id: str, *, lock: bool = False) -> tuple[Incident, IncidentFacts]:
    """The incident (locked where asked) and whom it concerns; a Problem where there is none."""
    row = session.get(Incident, incident_id, with_for_update=lock, populate_existing=True)
    if row is None:
        raise not_found("incident")
    return row, IncidentFacts(row.reported_by, tuple(parties(session, incident_id)))


def parties(session: Session, incident_id: str) -> list[str]:
    """The institutions whose data it touches."""
    query = select(IncidentParty.institution_id).where(IncidentParty.incident_id == incident_id)
    return list(session.scalars(query.order_by(IncidentParty.institution_id)))


def touched(row: Incident) -> list[Target]:
    """What the incident is about."""
    return [Target(one["kind"], one["subject"]) for one in row.touches]


def freezes(session: Session, incident_id: str, *, standing: bool = False) -> list[Freeze]:
    """What was frozen for an incident, in order; `standing`: what still is, locked."""
    query = select(Freeze).where(Freeze.incident_id == incident_id).order_by(Freeze.id)
    if standing:
        query = query.where(Freeze.lifted_at.is_(None)).with_for_update()
    return list(session.scalars(query))


def listed(
    session: Session, actor: Actor, state: str | None, after: str | None, limit: int
) -> Sequence[Incident]:
    """The incidents that the actor may see, newest first."""
    query = select(Incident)
    if actor.role != "platform" and not (actor.role == "steward" and actor.institution_id is None):
        mine = Incident.reported_by == actor.subject
        if actor.role in ("institution", "steward"):
            theirs = select(IncidentParty.incident_id).where(
                IncidentParty.institution_id == actor.institution_id
            )
            mine = or_(mine, Incident.id.in_(theirs))
        query = query.where(mine)
    if state is not None:
        query = query.where(Incident.state == state)
    if after:
        query = query.where(Incident.id < after)
    return session.scalars(query.order_by(Incident.id.desc()).limit(limit)).all()


def in_states(session: Session, states: Sequence[str]) -> Sequence[Incident]:
    """All incidents in these states, oldest first."""
    return session.scalars(select(Incident).where(Incident.state.in_(states)).order_by(Incident.id)).all()


def left_behind(session: Session) -> list[str]:
    """Extracts with parts that a withdrawal closed and nothing has replaced yet: a freeze may have kept it."""
    query = (
        select(Part.extract_id)
        .join(Extract, Extract.id == Part.extract_id)
        .where(Part.state == "blocked", Extract.state == "ready")
    )
    return sorted(set(session.scalars(query)))


def clocks_of(row: Incident, hours: Mapping[str, int], now: datetime) -> list[View]:
    """The clocks of an incident; they stand where it has ended."""
    told = answered(row.contained_at, row.assessed_at, row.notices)
    return clocks(row.known_at, told, hours, row.closed_at or now)


def view(session: Session, actor: Actor, row: Incident, hours: Mapping[str, int], now: datetime) -> View:
    """An incident as this reader sees it: whoever only reported it sees how far it is, and nothing of others."""
    brief = {
        "id": row.id, "kind": row.kind, "state": row.state, "known_at": row.known_at, "reported_at": row.reported_at,
        "closed_at": row.closed_at,
    }  # fmt: skip
    facts = IncidentFacts(row.reported_by, tuple(parties(session, row.id)))
    if not policy.may_contain_incident(actor, facts).allowed:
        return brief
    return {
        **brief, "text": row.text, "note": row.note, "touches": row.touches, "institutions": list(facts.institutions),
        "reported_by": row.reported_by, "contained_at": row.contained_at, "assessed_at": row.assessed_at,
        "notified_at": row.notified_at, "recovered_at": row.recovered_at, "assessment": _own_part(session, actor, row),
        "notices": row.notices, "clocks": clocks_of(row, hours, now),
        "freezes": [freeze_view(one) for one in freezes(session, row.id)],
    }  # fmt: skip


def _own_part(session: Session, actor: Actor, row: Incident) -> View | None:
    """The assessment; of the counts by cohort those of the actor's own institution, where they have one."""
    found = row.assessment
    if found is None or actor.institution_id is None:
        return found
    own = set(session.scalars(select(Cohort.id).where(Cohort.institution_id == actor.institution_id)))
    return {**found, "by_cohort": {one: n for one, n in found["by_cohort"].items() if one in own}}


def freeze_view(row: Freeze) -> View:
    """What is or was frozen, when and by whom."""
    return {
        "id": row.id, "kind": row.kind, "subject": row.subject, "set_at": row.set_at, "set_by": row.set_by,
        "lifted_at": row.lifted_at, "lifted_by": row.lifted_by,
    }  # fmt: skip
