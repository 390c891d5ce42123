"""Incidents: report, stop, measure, tell, mend, close; and the evidence of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from app.auth.policy import Actor, Scope, Target
from app.incidents.evidence import export
from app.jobs.answers import Once
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_incidents import (
    Assessment,
    Containment,
    IncidentReport,
    IncidentState,
    IncidentView,
    Notice,
    Remarks,
    TargetBody,
    Thaw,
)
from app.schemas.api_parts import PageOf

router = APIRouter(route_class=InOneThread,
    prefix="/v1/incidents", tags=["incidents"], responses=PROBLEMS, dependencies=[Storable],
    max_body_size=MOST_BYTES,
)  # fmt: skip
Rooms = Annotated[House, Depends(house)]
reports = requires(Scope.INCIDENTS_REPORT)
Reporter = Annotated[Actor, Depends(reports)]
Handler = Annotated[Actor, Depends(requires(Scope.INCIDENTS_MANAGE))]


@router.post("", status_code=201, response_model=IncidentView)
def report(
    body: IncidentReport,
    rooms: Rooms,
    actor: Reporter,
    once: Annotated[Once | None, Depends(repeatable(reports))],
) -> dict[str, Any]:
    """Say that something went wrong with what you hold, steward or were given. The legal clocks run from `known_at`."""
    return rooms.incidents.report(actor, body.model_dump(), once)


@router.get("", response_model=PageOf[IncidentView])
def incidents(
    rooms: Rooms, actor: Reporter, page: Paged, state: IncidentState | None = None
) -> dict[str, Any]:
    """The incidents that you reported, or that touch what you hold or steward, newest first."""
    return page.of(rooms.incidents.listed(actor, state, page.after, page.take))


@router.get("/{incident_id}", response_model=IncidentView)
def read(incident_id: Id, rooms: Rooms, actor: Reporter) -> dict[str, Any]:
    """One incident: its clocks, what is frozen, whom it concerns."""
    return rooms.incidents.get(actor, incident_id)


@router.post("/{incident_id}/contain", response_model=IncidentView)
def contain(incident_id: Id, body: Containment, rooms: Rooms, actor: Handler) -> dict[str, Any]:
    """Freeze: from the next byte, token, build and count on it stands still. May be said again for more."""
    return rooms.incidents.contain(actor, incident_id, _targets(body.targets), holders=body.holders)


@router.post("/{incident_id}/thaw", response_model=IncidentView)
def thaw(incident_id: Id, body: Thaw, rooms: Rooms, actor: Handler) -> dict[str, Any]:
    """Lift the freeze of what turned out to have no part in it."""
    return rooms.incidents.thaw(actor, incident_id, _targets(body.targets))


@router.post("/{incident_id}/assess", response_model=IncidentView)
def assess(incident_id: Id, body: Assessment, rooms: Rooms, actor: Handler) -> dict[str, Any]:
    """Say how grave it is. Whom it concerns is counted from the ledger of everyone whom an extract ever held."""
    return rooms.incidents.assess(actor, incident_id, body.risk, body.text)


@router.post("/{incident_id}/notify", response_model=IncidentView)
def notify(incident_id: Id, body: Notice, rooms: Rooms, actor: Handler) -> dict[str, Any]:
    """Write down who was told when, or on which ground not. With people and authority answered it is notified."""
    return rooms.incidents.notify(actor, incident_id, body.whom, body.at, body.ground)


@router.post("/{incident_id}/recover", response_model=IncidentView)
def recover(incident_id: Id, body: Remarks, rooms: Rooms, actor: Handler) -> dict[str, Any]:
    """Lift every freeze; what withdrawals closed meanwhile is built anew."""
    return rooms.incidents.recover(actor, incident_id, body.text)


@router.post("/{incident_id}/close", response_model=IncidentView)
def close(incident_id: Id, body: Remarks, rooms: Rooms, actor: Handler) -> dict[str, Any]:
    """The end; write down what was learned."""
    return rooms.incidents.close(actor, incident_id, body.text)


@router.post("/{incident_id}/dismiss", response_model=IncidentView)
def dismiss(incident_id: Id, body: Remarks, rooms: Rooms, actor: Handler) -> dict[str, Any]:
    """It was none: every freeze is lifted."""
    return rooms.incidents.dismiss(actor, incident_id, body.text)


@router.post("/{incident_id}/evidence", response_class=StreamingResponse)
def evidence(incident_id: Id, rooms: Rooms, actor: Handler) -> StreamingResponse:
    """What is known of it, and the audit chains of all whom it touches, as sealed lines of JSON; the export has its own
    line in the chains."""
    lines = export(rooms.incidents, actor, incident_id)
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": f'attachment; filename="{incident_id}.ndjson"',
    }
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


def _targets(asked: Sequence[TargetBody]) -> list[Target]:
    return [Target(one.kind, one.subject) for one in asked]
