"""Signed links to parts: asked for by token, read by whoever can send none, through the same gate."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from app.auth.links import Linked
from app.auth.policy import Actor, Scope
from app.errors import Problem
from app.routers.extracts import served
from app.routers.guards import linked, requires
from app.routers.house import House, house
from app.routers.problems import PROBLEMS, problems_and
from app.routers.threads import InOneThread
from app.schemas.api_extracts import LinkOrder, Links

# A link is as good as its bytes while it lives: nobody keeps it, and no page that is opened from it is told of it.
_UNTOLD = {"Cache-Control": "private, no-store", "Referrer-Policy": "no-referrer"}


class _Untold(InOneThread):
    """A route whose answers and refusals alike are kept by nobody."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def untold(request: Request) -> Response:
            try:
                answer = await handler(request)
            except Problem as problem:
                problem.headers.update(_UNTOLD)
                raise
            answer.headers.update(_UNTOLD)
            return answer

        return untold


router = APIRouter(prefix="/v1", tags=["extracts"], responses=PROBLEMS, route_class=_Untold)
Rooms = Annotated[House, Depends(house)]
Reader = Annotated[Actor, Depends(requires(Scope.EXTRACTS_READ))]


@router.post("/extracts/{extract_id}/links", response_model=Links)
def give(extract_id: str, rooms: Rooms, actor: Reader, body: LinkOrder | None = None) -> dict[str, Any]:
    """A URL for each part that needs no token, to be used as often as wanted until `until`. Consent, permit and part
    are read at each use, as with a token: a URL says who may ask, not that they are answered."""
    asked = body or LinkOrder()
    return rooms.links.give(actor, extract_id, asked.parts, asked.seconds)


@router.get("/links/{extract_id}/{name}", response_class=Response, responses=problems_and(416, 503))
@router.head("/links/{extract_id}/{name}", response_class=Response, include_in_schema=False)
def fetch(
    extract_id: str, name: str, request: Request, rooms: Rooms, asker: Annotated[Linked, Depends(linked)]
) -> Response:
    """One part by its link (Range, If-Range, ETag), as by its holder's token."""
    part = rooms.links.open(asker, extract_id, name)
    return served(rooms, asker.actor, extract_id, part, request)
