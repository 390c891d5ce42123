"""Institutions: registered by the platform, read by whom they concern."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.auth.policy import Actor, Scope
from app.jobs.answers import Once
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_cohorts import Created, InstitutionView, NewInstitution
from app.schemas.api_parts import PageOf

router = APIRouter(route_class=InOneThread,
    prefix="/v1/institutions", tags=["institutions"], responses=PROBLEMS, dependencies=[Storable],
    max_body_size=MOST_BYTES,
)  # fmt: skip
Rooms = Annotated[House, Depends(house)]
administers, reads = requires(Scope.PLATFORM_ADMIN), requires_any(Scope.PLATFORM_ADMIN, Scope.COHORTS_READ)
Reader = Annotated[Actor, Depends(reads)]


@router.post("", status_code=201, response_model=Created, response_model_exclude_none=True)
def register(
    body: NewInstitution,
    response: Response,
    rooms: Rooms,
    actor: Annotated[Actor, Depends(administers)],
    once: Annotated[Once | None, Depends(repeatable(administers))],
) -> dict[str, Any]:
    """Register an institution."""
    view = rooms.cohorts.register_institution(actor, body.model_dump(), once)
    response.headers["Location"] = f"/v1/institutions/{view['id']}"
    return view


@router.get("", response_model=PageOf[InstitutionView])
def list_seen(rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """The institutions that concern you, newest first."""
    return page.of(rooms.cohorts.institutions(actor, page.after, page.take))


@router.get("/{institution_id}", response_model=InstitutionView)
def read(institution_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One institution."""
    return rooms.cohorts.institution(actor, institution_id)
