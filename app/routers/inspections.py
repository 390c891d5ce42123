"""What an inspector reads, as pages of JSON or as one CSV; and nothing that changes anything."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from app.auth.policy import Actor, Scope
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_institutions import ReleaseView
from app.schemas.api_parts import PageOf

router = APIRouter(
    route_class=InOneThread, prefix="/v1/inspections", tags=["inspections"], responses=PROBLEMS
)
Rooms = Annotated[House, Depends(house)]
Inspector = Annotated[Actor, Depends(requires(Scope.INSPECTIONS_READ))]
Whose = Annotated[
    str | None, Query(pattern=r"^[a-z0-9_]{1,40}$", description="Whose data; left out: all that you may see.")
]
Since = Annotated[date | None, Query(description="Ordered on this day or later.")]


@router.get("/releases", response_model=PageOf[ReleaseView])
def releases(
    rooms: Rooms, actor: Inspector, page: Paged, institution_id: Whose = None, since: Since = None
) -> dict[str, Any]:
    """Who got what, on which ground, until when, destroyed when; newest first. The look is recorded."""
    return page.of(
        rooms.inspections.releases(actor, institution_id, since, page.after, page.take), "extract_id"
    )


@router.get("/releases.csv", response_class=StreamingResponse)
def as_csv(
    rooms: Rooms, actor: Inspector, institution_id: Whose = None, since: Since = None
) -> StreamingResponse:
    """The same as one file; no cell of it is a formula."""
    lines = rooms.inspections.as_csv(actor, institution_id, since)
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": 'attachment; filename="releases.csv"',
    }
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)
