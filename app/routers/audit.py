"""The audit: read a stream line by line, and have its chain recomputed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from app.auth.policy import Actor, Scope
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_parts import PageOf
from app.schemas.api_requests import AuditLineView, AuditVerdict

router = APIRouter(route_class=InOneThread, prefix="/v1/audit", tags=["audit"], responses=PROBLEMS)
Rooms = Annotated[House, Depends(house)]
Inspector = Annotated[Actor, Depends(requires(Scope.AUDIT_READ))]
Stream = Annotated[
    str,
    Query(
        pattern=r"^(platform|(institution|project):[a-z0-9_]{1,40})$",
        description="platform, institution:<id> or project:<id>.",
    ),
]


@router.get("", response_model=PageOf[AuditLineView])
def lines(
    rooms: Rooms,
    actor: Inspector,
    stream: Stream,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[int, Query(ge=0, le=2**53, description="`next_cursor` of the page before.")] = 0,
) -> dict[str, Any]:
    """The lines of one stream, oldest first."""
    found = rooms.oversight.audit(actor, stream, cursor, limit + 1)
    shown = found[:limit]
    return {"items": shown, "next_cursor": str(shown[-1]["number"]) if len(found) > limit else None}


@router.get("/verify", response_model=AuditVerdict)
def verify(rooms: Rooms, actor: Inspector, stream: Stream) -> dict[str, Any]:
    """Whether the chain of a stream holds, and where it breaks first."""
    return rooms.oversight.verify_audit(actor, stream)
