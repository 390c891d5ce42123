"""The evidence of an incident: what is known of it, and the chains of all whom it touches, as lines that are sealed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pydantic_core import to_jsonable_python
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import PLATFORM, institution_stream, project_stream
from app.audit.slices import first_about, sealed, slice_of
from app.auth import policy
from app.auth.policy import Actor, Target
from app.incidents import queries, targets
from app.incidents.noting import note
from app.incidents.service import IncidentService
from app.models import Extract, Permit

View = dict[str, Any]


def export(service: IncidentService, actor: Actor, incident_id: str) -> Iterator[str]:
    """Lines of JSON: the incident; of each project it touches the whole chain, of each institution's and the platform's
    the part from the report on; last the seal. The platform's chain goes to the platform alone. The export has its own
    line in them. Refusals come before the first line."""
    now = service.clock()
    with service.db.unit_of_work() as session:
        row, facts = queries.incident(session, incident_id, lock=True)
        policy.must_handle_incident(actor, facts)
        note(session, row, "incident.exported", actor, now, {})
    return sealed(_records(service, actor, incident_id))


def _records(service: IncidentService, actor: Actor, incident_id: str) -> Iterator[View]:
    with service.db.read() as session:
        row, facts = queries.incident(session, incident_id)
        now = service.clock()
        told = queries.view(session, actor, row, service.settings.incident_hours, now)
        yield {"type": "incident", "made_at": now.isoformat(), "made_by": actor.subject,
               "incident": cast("View", to_jsonable_python(told))}  # fmt: skip
        for project_id in _projects(session, actor, incident_id):
            yield from slice_of(session, project_stream(project_id), 1)
        streams = [
            institution_stream(one) for one in facts.institutions if actor.institution_id in (None, one)
        ]
        for stream in [*streams, *([PLATFORM] if actor.role == "platform" else [])]:
            yield from slice_of(session, stream, first_about(session, stream, incident_id))


def _projects(session: Session, actor: Actor, incident_id: str) -> list[str]:
    """The projects that are touched by name, through a permit or their holder, and that the actor has a say in; not
    everything that a whole cohort went into."""
    row, _facts = queries.incident(session, incident_id)
    named = [one for one in queries.touched(row) if one.kind in ("project", "permit", "client", "account")]
    ids = {one.subject for one in named if one.kind == "project"}
    permits = [one.subject for one in named if one.kind == "permit"]
    ids |= set(session.scalars(select(Permit.project_id).where(Permit.id.in_(permits))))
    found = targets.extracts(session, named)
    ids |= set(session.scalars(select(Extract.project_id).where(Extract.id.in_(found))))
    facts = {one: targets.facts_of(session, Target("project", one)) for one in sorted(ids)}
    return [one for one, of in facts.items() if of and policy.may_name_target(actor, of).allowed]
