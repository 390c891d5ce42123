"""Staff who leave."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.auth.policy import Actor, Scope
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_institutions import Leaving, Left

router = APIRouter(route_class=InOneThread,
    prefix="/v1/accounts", tags=["administration"], responses=PROBLEMS, dependencies=[Storable],
    max_body_size=MOST_BYTES,
)  # fmt: skip


@router.post("/{account_id}/leave", response_model=Left, response_model_exclude_none=True)
def leave(
    account_id: Id,
    body: Leaving,
    response: Response,
    rooms: Annotated[House, Depends(house)],
    actor: Annotated[Actor, Depends(requires(Scope.PLATFORM_ADMIN))],
) -> dict[str, Any]:
    """Somebody leaves: their sessions and tokens end at once; clients, requests, reviews, projects and alarms go to the
    successor. New secrets are in this answer and nowhere else."""
    response.headers["Cache-Control"] = "no-store"
    return rooms.staff.leave(actor, account_id, body.successor_id)
