"""Access requests: written by a researcher, reviewed and decided by a steward."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import HTMLResponse

from app.auth.policy import Actor, Scope
from app.jobs.answers import Once
from app.requests.decisions import Decided
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.etags import Seen, tag
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_parts import PageOf
from app.schemas.api_requests import (
    Claim,
    Decision,
    DryRunBrief,
    DryRunView,
    EditedRequest,
    NewRequest,
    NewReview,
    RequestBrief,
    RequestReceipt,
    RequestView,
    Returned,
)

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1/requests",
    tags=["requests"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
writes, reviews = requires(Scope.REQUESTS_WRITE), requires(Scope.REQUESTS_REVIEW)
Applicant = Annotated[Actor, Depends(writes)]
Steward = Annotated[Actor, Depends(reviews)]
Reader = Annotated[Actor, Depends(requires_any(Scope.REQUESTS_WRITE, Scope.REQUESTS_REVIEW))]


@router.post("", status_code=201, response_model=RequestReceipt, response_model_exclude_none=True)
def create(
    body: NewRequest,
    response: Response,
    rooms: Rooms,
    actor: Applicant,
    once: Annotated[Once | None, Depends(repeatable(writes))],
) -> dict[str, Any]:
    """Draft a request; columns that do not exist or never leave are told all at once."""
    view = rooms.requests.create(actor, body.model_dump(), once)
    response.headers["Location"] = f"/v1/requests/{view['id']}"
    tag(response, view["revision"])
    return view


@router.get("", response_model=PageOf[RequestBrief])
def list_seen(
    rooms: Rooms,
    actor: Reader,
    page: Paged,
    queue: Annotated[
        Literal["mine", "all"], Query(description="For stewards: what waits for you, or all.")
    ] = "all",
) -> dict[str, Any]:
    """Your requests, or those you may review; newest first."""
    return page.of(rooms.requests.requests(actor, mine=queue == "mine", after=page.after, limit=page.take))


@router.get("/{request_id}", response_model=RequestView)
def read(request_id: Id, response: Response, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One request with its plan, reviews and days to decision."""
    view = rooms.requests.get(actor, request_id)
    tag(response, view["revision"])
    return view


@router.put("/{request_id}", response_model=RequestView)
def edit(
    request_id: Id, body: EditedRequest, seen: Seen, response: Response, rooms: Rooms, actor: Applicant
) -> dict[str, Any]:
    """Replace what a draft or returned request asks for."""
    view = rooms.requests.edit(actor, request_id, body.model_dump(), seen)
    tag(response, view["revision"])
    return view


@router.get("/{request_id}/dummy", response_class=Response)
def dummy(request_id: Id, rooms: Rooms, actor: Reader) -> Response:
    """Made-up Parquet of the plan, zipped: the right columns and no real row, to write code before approval."""
    headers = {"Content-Disposition": f'attachment; filename="{request_id}-dummy.zip"'}
    return Response(rooms.requests.dummy(actor, request_id), media_type="application/zip", headers=headers)


@router.post("/{request_id}/submit", response_model=RequestView)
def submit(request_id: Id, rooms: Rooms, actor: Applicant) -> dict[str, Any]:
    """Hand in; the data use terms answer the purpose first."""
    return rooms.requests.submit(actor, request_id)


@router.post("/{request_id}/withdraw", response_model=RequestView)
def withdraw(request_id: Id, rooms: Rooms, actor: Applicant) -> dict[str, Any]:
    """Take an undecided request back."""
    return rooms.requests.withdraw(actor, request_id)


@router.post("/{request_id}/claim", response_model=RequestView)
def claim(request_id: Id, rooms: Rooms, actor: Steward, body: Claim | None = None) -> dict[str, Any]:
    """Take a request on."""
    return rooms.requests.claim(actor, request_id, take_over=body is not None and body.take_over)


@router.post("/{request_id}/return", response_model=RequestView)
def send_back(request_id: Id, body: Returned, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """Return a request to its applicant."""
    return rooms.requests.send_back(actor, request_id, body.note)


@router.post("/{request_id}/reviews", response_model=RequestView)
def review(request_id: Id, body: NewReview, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """Enter the outcome of a board."""
    return rooms.requests.review(actor, request_id, body.board, body.state, body.note)


@router.post("/{request_id}/dry-run", status_code=202, response_model=DryRunBrief)
def order_dry_run(
    request_id: Id,
    response: Response,
    rooms: Rooms,
    actor: Steward,
    once: Annotated[Once | None, Depends(repeatable(reviews))],
) -> dict[str, Any]:
    """Ask what the present plan would release; a job: watch the dry run."""
    view = rooms.requests.order_dry_run(actor, request_id, once)
    response.headers["Location"], response.headers["Retry-After"] = f"/v1/requests/{request_id}/dry-run", "1"
    return view


@router.get("/{request_id}/dry-run", response_model=DryRunView)
def dry_run(request_id: Id, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """The newest dry run: rows, people, suppressed, classes, smallest k."""
    return rooms.requests.dry_run(actor, request_id)


@router.get("/{request_id}/dry-run/page", response_class=HTMLResponse)
def dry_run_page(request_id: Id, rooms: Rooms, actor: Steward) -> HTMLResponse:
    """The same as a page with pictures, for those who decide."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(rooms.requests.dry_run_page(actor, request_id), headers=headers)


@router.post("/{request_id}/decision", response_model=RequestReceipt, response_model_exclude_none=True)
def decide(
    request_id: Id,
    body: Decision,
    response: Response,
    rooms: Rooms,
    actor: Steward,
    once: Annotated[Once | None, Depends(repeatable(reviews))],
) -> dict[str, Any]:
    """Decide on the plan of this hash. Approval needs both reviews and a dry run of it, and makes the permit."""
    decided = Decided(**{**body.model_dump(), "conditions": tuple(body.conditions)})
    view = rooms.requests.decide(actor, request_id, decided, once)
    tag(response, view["revision"])
    return view
