"""Permits: the holder reads and accepts the agreement; stewards suspend, resume and revoke."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from app.auth.policy import Actor, Scope
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_extracts import OpenRecalls
from app.schemas.api_parts import PageOf
from app.schemas.api_requests import (
    Acceptance,
    AgreementView,
    Amendment,
    AskedPermit,
    PermitView,
    QuoteView,
    Returned,
)

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1/permits",
    tags=["permits"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
Holder = Annotated[Actor, Depends(requires(Scope.REQUESTS_WRITE))]
Steward = Annotated[Actor, Depends(requires(Scope.PERMITS_MANAGE))]
Reader = Annotated[
    Actor, Depends(requires_any(Scope.REQUESTS_WRITE, Scope.REQUESTS_REVIEW, Scope.PERMITS_MANAGE))
]


@router.get("", response_model=PageOf[PermitView])
def list_held(rooms: Rooms, actor: Holder, page: Paged) -> dict[str, Any]:
    """Your permits, newest first."""
    return page.of(rooms.permits.held(actor, page.after, page.take))


@router.get("/recalls", response_model=PageOf[OpenRecalls])
def open_recalls(rooms: Rooms, actor: Steward, page: Paged) -> dict[str, Any]:
    """For stewards: whose holders have not said what became of recalled rows, and by when they should have."""
    return page.of(rooms.recalls.open_of(actor, page.after, page.take))


@router.get("/asked", response_model=PageOf[AskedPermit])
def asked(rooms: Rooms, actor: Steward, page: Paged) -> dict[str, Any]:
    """For stewards: permits that follow, whose next version breaks what their plan uses."""
    return page.of(rooms.permits.asked(actor, page.after, page.take))


@router.get("/{permit_id}", response_model=PermitView)
def read(permit_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One permit."""
    return rooms.permits.get(actor, permit_id)


@router.get("/{permit_id}/quote", response_model=QuoteView)
def quote(permit_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """What the extract will cost: rows, bytes and minutes, each with how sure that is."""
    return rooms.permits.quote(actor, permit_id)


@router.get("/{permit_id}/agreement", response_model=AgreementView)
def agreement(permit_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """The data use agreement, in Korean and English, and its digest."""
    return rooms.permits.agreement(actor, permit_id)


@router.post("/{permit_id}/agreement", response_model=PermitView)
def accept(permit_id: Id, body: Acceptance, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """Accept the agreement of this digest; the permit is active from now on."""
    return rooms.permits.accept(actor, permit_id, body.digest)


@router.post("/{permit_id}/amend", response_model=PermitView)
def amend(permit_id: Id, body: Amendment, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """Let a permit go on to a version of its dataset, or say that it stays: a following one may not decide itself."""
    return rooms.permits.amend(actor, permit_id, body.version_id, body.note)


@router.post("/{permit_id}/suspend", response_model=PermitView)
def suspend(permit_id: Id, body: Returned, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """Stop everything under a permit for now."""
    return rooms.permits.manage(actor, permit_id, "suspend", body.note)


@router.post("/{permit_id}/resume", response_model=PermitView)
def resume(permit_id: Id, body: Returned, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """Let a suspended permit live again."""
    return rooms.permits.manage(actor, permit_id, "resume", body.note)


@router.post("/{permit_id}/revoke", response_model=PermitView)
def revoke(permit_id: Id, body: Returned, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """End a permit for good."""
    return rooms.permits.manage(actor, permit_id, "revoke", body.note)
