"""Integrations: an institution maps, the rows are checked, each holder's steward approves, a steward publishes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Response

from app.auth.policy import Actor, Scope
from app.jobs.answers import Once
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.etags import Seen, tag
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_integrations import (
    IntegrationBrief,
    IntegrationCreated,
    IntegrationView,
    NewApproval,
    NewIntegration,
)
from app.schemas.api_parts import PageOf

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1/integrations",
    tags=["integrations"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
writes, reads = requires(Scope.COHORTS_WRITE), requires(Scope.COHORTS_READ)
Writer = Annotated[Actor, Depends(writes)]
Reader = Annotated[Actor, Depends(reads)]
Publisher = Annotated[Actor, Depends(requires(Scope.DATASETS_PUBLISH))]


@router.post("", status_code=201, response_model=IntegrationCreated)
def create(
    body: NewIntegration,
    response: Response,
    rooms: Rooms,
    actor: Writer,
    once: Annotated[Once | None, Depends(repeatable(writes))],
) -> dict[str, Any]:
    """Begin a draft of a united dataset, or of the next version of one."""
    view = rooms.integrations.create(actor, body.model_dump(), once)
    response.headers["Location"] = f"/v1/integrations/{view['id']}"
    tag(response, view["revision"])
    return view


@router.get("", response_model=PageOf[IntegrationBrief])
def list_seen(rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """The integrations that you draft, or whose data you hold or steward; newest first."""
    return page.of(rooms.integrations.integrations(actor, page.after, page.take))


@router.get("/{integration_id}", response_model=IntegrationView)
def read(integration_id: Id, response: Response, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One integration: its mapping, what its check found, who has approved it."""
    view = rooms.integrations.get(actor, integration_id)
    tag(response, view["revision"])
    return view


@router.put("/{integration_id}/mapping", response_model=IntegrationView)
def set_mapping(
    integration_id: Id,
    document: Annotated[
        dict[str, Any], Body(description="The united dictionary, and how each source fills it.")
    ],
    seen: Seen,
    response: Response,
    rooms: Rooms,
    actor: Writer,
) -> dict[str, Any]:
    """Replace the mapping of a draft."""
    view = rooms.integrations.set_mapping(actor, integration_id, document, seen)
    tag(response, view["revision"])
    return view


@router.post("/{integration_id}/submit", status_code=202, response_model=IntegrationView)
def submit(integration_id: Id, response: Response, rooms: Rooms, actor: Writer) -> dict[str, Any]:
    """Hand in. The check is a job: it goes to review, or is a draft again with everything that is unmapped."""
    view = rooms.integrations.submit(actor, integration_id)
    response.headers["Location"], response.headers["Retry-After"] = f"/v1/integrations/{integration_id}", "1"
    return view


@router.post("/{integration_id}/approvals", response_model=IntegrationView)
def review(integration_id: Id, body: NewApproval, rooms: Rooms, actor: Publisher) -> dict[str, Any]:
    """Approve or return the mapping of your institution's data; the public board speaks for all."""
    return rooms.integrations.review(actor, integration_id, body.state, body.mapping_digest, body.note)


@router.post("/{integration_id}/reopen", response_model=IntegrationView)
def reopen(integration_id: Id, rooms: Rooms, actor: Writer) -> dict[str, Any]:
    """Make one that is in review, or whose check was given up, a draft again, to change it."""
    return rooms.integrations.reopen(actor, integration_id)


@router.post("/{integration_id}/publish", response_model=IntegrationView)
def publish(integration_id: Id, rooms: Rooms, actor: Publisher) -> dict[str, Any]:
    """Publish a united version, once every institution has approved; the one published before is superseded."""
    return rooms.integrations.publish(actor, integration_id)


@router.post("/{integration_id}/withdraw", response_model=IntegrationView)
def withdraw(integration_id: Id, rooms: Rooms, actor: Writer) -> dict[str, Any]:
    """Take the united version out of use; any institution whose data it unites may."""
    return rooms.integrations.withdraw(actor, integration_id)
