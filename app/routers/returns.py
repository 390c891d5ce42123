"""Returned data: a project gives back what it made of an extract, as a dataset of the cohort it came from."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.auth.policy import Actor, Scope
from app.cohorts.upload_targets import Wanted
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.routers.uploads import ANSWERS, Uploads, body_length, put_whole
from app.schemas.api_parts import PageOf
from app.schemas.api_returns import NewReturn, ReturnView
from app.schemas.api_uploads import UploadView

router = APIRouter(tags=["returns"])
said = APIRouter(
    route_class=InOneThread, responses=PROBLEMS, dependencies=[Storable], max_body_size=MOST_BYTES
)
sent = APIRouter(route_class=InOneThread, responses=ANSWERS)
Rooms = Annotated[House, Depends(house)]
Holder = Annotated[Actor, Depends(requires(Scope.EXTRACTS_WRITE))]
Reader = Annotated[
    Actor, Depends(requires_any(Scope.EXTRACTS_READ, Scope.COHORTS_READ, Scope.PERMITS_MANAGE))
]


@said.post("/v1/extracts/{extract_id}/returns", status_code=201, response_model=ReturnView)
def offer(extract_id: Id, body: NewReturn, response: Response, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """Begin to give back data: a dataset with a draft that you fill, with its lineage."""
    view = rooms.returns.offer(actor, extract_id, body.model_dump())
    response.headers["Location"] = f"/v1/returns/{view['id']}"
    return view


@said.get("/v1/returns", response_model=PageOf[ReturnView])
def listed(rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """What you gave back, or what came back to your institution, newest first."""
    return page.of(rooms.returns.listed(actor, page.after, page.take))


@said.get("/v1/returns/{return_id}", response_model=ReturnView)
def read(return_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """Returned data, their lineage and what became of their files."""
    return rooms.returns.get(actor, return_id)


@sent.put("/v1/returns/{return_id}/tables/{table}", status_code=202, response_model=UploadView)
async def put_table(
    return_id: Id,
    table: str,
    request: Request,
    response: Response,
    rooms: Rooms,
    uploads: Uploads,
    actor: Holder,
) -> dict[str, Any]:
    """Upload a returned table in one piece. People are found by their pseudonyms; unknown ones are refused."""
    version_id = await run_in_threadpool(rooms.returns.version_of, actor, return_id)
    wanted = Wanted("table", body_length(request, uploads), version_id=version_id, table=table)
    return await put_whole(request, response, uploads, actor, wanted)


router.include_router(said)
router.include_router(sent)
