"""May I? Asked before trying: which conditions are met, which are not, and who can mend the rest."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from app.auth.policy import Actor, Scope
from app.routers.guards import requires_any
from app.routers.house import House, house
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_requests import WhyView

Verb = Literal["request.create", "request.submit", "request.approve", "extract.order"]

router = APIRouter(route_class=InOneThread, tags=["why"], responses=PROBLEMS)
Asker = Annotated[
    Actor,
    Depends(
        requires_any(Scope.REQUESTS_WRITE, Scope.REQUESTS_REVIEW, Scope.EXTRACTS_READ, Scope.EXTRACTS_WRITE)
    ),
]


@router.get("/v1/why", response_model=WhyView)
def why(
    rooms: Annotated[House, Depends(house)],
    actor: Asker,
    verb: Annotated[Verb, Query(description="What you would do.")],
    object_id: Annotated[str, Query(alias="object", pattern=r"^[a-z0-9_]{1,40}$", description="Its id.")],
) -> dict[str, Any]:
    """May I do this with that?"""
    return rooms.oversight.why(actor, verb, object_id)
