"""Institutions that leave or go over into another."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.auth.policy import Actor, Scope
from app.jobs.answers import Once
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires_any
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_institutions import DepartureOrder, DepartureView
from app.schemas.api_parts import PageOf

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1",
    tags=["institutions"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
concerned = requires_any(Scope.PLATFORM_ADMIN, Scope.COHORTS_WRITE)
Concerned = Annotated[Actor, Depends(concerned)]
Reader = Annotated[Actor, Depends(requires_any(Scope.PLATFORM_ADMIN, Scope.COHORTS_READ))]


@router.post("/institutions/{institution_id}/departures", status_code=201, response_model=DepartureView)
def declare(
    institution_id: Id,
    body: DepartureOrder,
    response: Response,
    rooms: Rooms,
    actor: Concerned,
    once: Annotated[Once | None, Depends(repeatable(concerned))],
) -> dict[str, Any]:
    """Declare that an institution leaves or goes over into another. Another has to confirm it."""
    made = rooms.departures.declare(actor, institution_id, body.reason, body.on, body.successor_id, once)
    response.headers["Location"] = f"/v1/departures/{made['id']}"
    return made


@router.get("/departures", response_model=PageOf[DepartureView])
def list_concerning(rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """Departures that concern you, newest first."""
    return page.of(rooms.departures.listed(actor, page.after, page.take))


@router.get("/departures/{departure_id}", response_model=DepartureView)
def read(departure_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One departure: what it is, who confirmed it, what ended or went over."""
    return rooms.departures.get(actor, departure_id)


@router.post("/departures/{departure_id}/confirm", response_model=DepartureView)
def confirm(departure_id: Id, rooms: Rooms, actor: Concerned) -> dict[str, Any]:
    """Confirm what another has declared. It cannot be undone: once its day has come it is carried out."""
    return rooms.departures.confirm(actor, departure_id)


@router.post("/departures/{departure_id}/call-off", response_model=DepartureView)
def call_off(departure_id: Id, rooms: Rooms, actor: Concerned) -> dict[str, Any]:
    """Call a departure off before it is carried out."""
    return rooms.departures.call_off(actor, departure_id)
