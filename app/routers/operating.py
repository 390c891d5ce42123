"""Jobs for the operator of the platform: see what waits, runs and was given up; release and cancel."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from app.alarms.desk import SHOWN
from app.auth.policy import Actor, Scope
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_operating import JobState, JobView, Overview
from app.schemas.api_parts import PageOf

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1/jobs",
    tags=["operations"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
Operator = Annotated[Actor, Depends(requires(Scope.PLATFORM_ADMIN))]


@router.get("", response_model=PageOf[JobView])
def jobs(
    rooms: Rooms,
    actor: Operator,
    page: Paged,
    state: Annotated[
        list[JobState] | None, Query(max_length=8, description="Default: those not ended.")
    ] = None,
) -> dict[str, Any]:
    """Jobs in these states, newest first."""
    return page.of(rooms.operating.jobs(actor, state or SHOWN, page.after, page.take))


@router.get("/overview", response_model=Overview)
def overview(rooms: Rooms, actor: Operator) -> dict[str, Any]:
    """What waits, runs, was given up, failed or rings now, who works, and what is behind."""
    return rooms.operating.overview(actor)


@router.post("/{job_id}/release", response_model=JobView)
def release(job_id: Id, rooms: Rooms, actor: Operator) -> dict[str, Any]:
    """Begin a job that was given up anew, once its cause is mended; the job that does it."""
    return rooms.operating.release(actor, job_id)


@router.post("/{job_id}/cancel", response_model=JobView)
def cancel(job_id: Id, rooms: Rooms, actor: Operator) -> dict[str, Any]:
    """End a job at its next step; one that serves a withdrawal never."""
    return rooms.operating.cancel(actor, job_id)
