"""Extracts: order, watch, read the manifest, fetch the parts, attest."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from app.auth.policy import Actor, Scope
from app.extracts.mending import close_where_damaged
from app.extracts.recalls import Answer
from app.extracts.service import Delivery
from app.jobs.answers import Once
from app.routers.files import deliver
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS, problems_and
from app.routers.threads import InOneThread
from app.schemas.api_extracts import (
    Attestation,
    AttestationAnswer,
    ExtractOrder,
    ExtractPage,
    ExtractView,
    Recalls,
)

router = APIRouter(route_class=InOneThread, prefix="/v1/extracts", tags=["extracts"], responses=PROBLEMS)
Rooms = Annotated[House, Depends(house)]
writes, reads = requires(Scope.EXTRACTS_WRITE), requires(Scope.EXTRACTS_READ)
Canceller = Annotated[Actor, Depends(requires_any(Scope.EXTRACTS_WRITE, Scope.PERMITS_MANAGE))]
Orderer = Annotated[Actor, Depends(writes)]
Reader = Annotated[Actor, Depends(reads)]
Cursor = Annotated[
    str | None, Query(pattern=r"^[A-Za-z0-9_]{1,60}$", description="`cursor` of an earlier answer.")
]
PartName = Annotated[str, Path(pattern=r"^[0-9a-f]{64}\.parquet$")]


@router.post("", status_code=202, response_model=ExtractView)
def order(
    body: ExtractOrder,
    response: Response,
    rooms: Rooms,
    actor: Orderer,
    once: Annotated[Once | None, Depends(repeatable(writes))],
) -> dict[str, Any]:
    """Order the extract of a permit. There is one, however often it is ordered; building it is a job: watch it."""
    view = rooms.extracts.order(actor, body.permit_id, once)
    response.headers["Location"], response.headers["Retry-After"] = f"/v1/extracts/{view['id']}", "1"
    return view


@router.post("/{extract_id}/cancel", response_model=ExtractView)
def cancel(extract_id: str, rooms: Rooms, actor: Canceller) -> dict[str, Any]:
    """End the first build of an extract before its end; it can be ordered anew. Nothing of it is handed out."""
    return rooms.extracts.cancel(actor, extract_id)


@router.get("", response_model=ExtractPage)
def list_own(rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """Your extracts, newest first."""
    return page.of(rooms.extracts.list_own(actor, page.after, page.take))


@router.get("/{extract_id}", response_model=ExtractView)
def read(extract_id: str, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One extract: its state, how far its job is, its parts, what is recalled."""
    return rooms.extracts.get(actor, extract_id)


@router.get("/{extract_id}/manifest")
def manifest(extract_id: str, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """The newest generation: sha-256, rows and schema per part, codebook, attrition, certificate."""
    return rooms.extracts.manifest(actor, extract_id)


@router.get("/{extract_id}/files/{name}", response_class=Response, responses=problems_and(416, 503))
@router.head("/{extract_id}/files/{name}", response_class=Response, include_in_schema=False)
def fetch(extract_id: str, name: PartName, request: Request, rooms: Rooms, actor: Reader) -> Response:
    """One part (Range, If-Range, ETag). Consent, permit and part are read again before every MiB."""
    return served(rooms, actor, extract_id, rooms.extracts.open_part(actor, extract_id, name), request)


def served(rooms: House, actor: Actor, extract_id: str, part: Delivery, request: Request) -> Response:
    """The bytes of an opened part, each MiB asked for before: by token or by link."""
    return deliver(
        rooms.extracts.outbox,
        f"{extract_id}/{part.name}",
        part.bytes,
        part.sha256,
        part.sha256,
        request,
        filename=part.name,
        check=lambda: rooms.extracts.check_part(extract_id, part.name, actor),
        damaged=lambda: close_where_damaged(rooms.extracts, extract_id, part.name),
        proxy=rooms.proxy,
    )


@router.post("/{extract_id}/attestation", response_model=AttestationAnswer)
def attest(extract_id: str, body: Attestation, rooms: Rooms, actor: Orderer) -> dict[str, Any]:
    """Say what became of the rows that were recalled: destroyed, retained on a named legal ground, or frozen until a
    day. What is not answered in time is told to the stewards; later the permit is suspended."""
    return rooms.recalls.attest(
        actor, extract_id, Answer(body.answer, body.ground, body.until, tuple(body.recalls))
    )


@router.get("/{extract_id}/recalls", response_model=Recalls)
def recalls(extract_id: str, rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """The pseudonyms to delete since a cursor, the columns that hold them, the parts of now and those they replace."""
    return rooms.recalls.since(actor, extract_id, page.after, page.limit)


@router.get("/{extract_id}/recalls.csv", response_class=Response)
def pseudonyms(extract_id: str, rooms: Rooms, actor: Reader, cursor: Cursor = None) -> Response:
    """The same pseudonyms as a file of one column, `pseudonym`, to anti-join with."""
    lines = ["pseudonym", *rooms.recalls.pseudonyms(actor, extract_id, cursor)]
    headers = {"Cache-Control": "private, no-store"}
    return Response("\n".join(lines) + "\n", media_type="text/csv; charset=utf-8", headers=headers)
