"""Quotas: how much there may be and how much there is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from app.auth.policy import Actor, Scope
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_institutions import QuotaName, QuotaOrder, QuotaView

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1",
    tags=["institutions"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
Reader = Annotated[Actor, Depends(requires_any(Scope.PLATFORM_ADMIN, Scope.COHORTS_READ))]


@router.get("/institutions/{institution_id}/quotas", response_model=list[QuotaView])
def of_institution(institution_id: Id, rooms: Rooms, actor: Reader) -> list[dict[str, Any]]:
    """Bytes of an institution in the inbox and in the vault."""
    return rooms.quotas.of_institution(actor, institution_id)


@router.get("/quotas", response_model=list[QuotaView])
def own(
    rooms: Rooms, actor: Annotated[Actor, Depends(requires(Scope.EXTRACTS_READ))]
) -> list[dict[str, Any]]:
    """Your own extracts on the way or to fetch."""
    return rooms.quotas.own(actor)


@router.put("/quotas/{name}", response_model=QuotaView)
def allow(
    name: QuotaName,
    body: QuotaOrder,
    rooms: Rooms,
    actor: Annotated[Actor, Depends(requires(Scope.PLATFORM_ADMIN))],
) -> dict[str, Any]:
    """Allow an institution or a holder more or less than the settings do."""
    return rooms.quotas.set(actor, body.subject, name, body.most)
