"""Withdrawals: an institution takes one, and reads how far it has been carried."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import HTMLResponse

from app.auth.policy import Actor, Scope
from app.jobs.answers import Once
from app.routers.bodies import MOST_BYTES, Storable
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_extracts import UnsettledView, WithdrawalOrder, WithdrawalPage, WithdrawalView
from app.schemas.api_parts import PageOf
from app.schemas.api_receipts import ReceiptGiven, ReceiptVerdict, ReceiptView

router = APIRouter(route_class=InOneThread, tags=["withdrawals"], responses=PROBLEMS)
Rooms = Annotated[House, Depends(house)]
guard = requires(Scope.CONSENTS_WRITE)
Holder = Annotated[Actor, Depends(guard)]
Watcher = Annotated[Actor, Depends(requires_any(Scope.CONSENTS_WRITE, Scope.REQUESTS_REVIEW))]
Reader = Annotated[
    Actor, Depends(requires_any(Scope.CONSENTS_WRITE, Scope.REQUESTS_REVIEW, Scope.EXTRACTS_READ))
]


@router.post(
    "/v1/cohorts/{cohort_id}/withdrawals",
    status_code=202,
    response_model=WithdrawalView,
)
def take(
    cohort_id: str,
    body: WithdrawalOrder,
    response: Response,
    rooms: Rooms,
    actor: Holder,
    once: Annotated[Once | None, Depends(repeatable(guard))],
) -> dict[str, Any]:
    """Withdraw a participant. From this answer on, every part that holds them is closed. `destroy` also removes their
    rows from every version of the cohort, once every extract is told."""
    view = rooms.withdrawals.take(
        actor, cohort_id, body.participant, body.domains, body.kind, once, body.opening
    )
    response.headers["Location"] = f"/v1/withdrawals/{view['id']}"
    return view


@router.get("/v1/cohorts/{cohort_id}/withdrawals", response_model=WithdrawalPage)
def list_of(cohort_id: str, rooms: Rooms, actor: Holder, page: Paged) -> dict[str, Any]:
    """The withdrawals of a cohort, newest first."""
    return page.of(rooms.withdrawals.list_of(actor, cohort_id, page.after, page.take))


@router.get("/v1/withdrawals", response_model=PageOf[UnsettledView])
def unsettled(rooms: Rooms, actor: Watcher, page: Paged) -> dict[str, Any]:
    """Withdrawals that are not closed yet, of the cohorts you hold or serve: how far, since when, how often tried."""
    return page.of(rooms.watch.unsettled(actor, page.after, page.take))


@router.get("/v1/withdrawals/{withdrawal_id}", response_model=WithdrawalView)
def read(withdrawal_id: str, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """The receipt as it stands."""
    return rooms.withdrawals.get(actor, withdrawal_id)


@router.get(
    "/v1/withdrawals/{withdrawal_id}/receipt", response_model=ReceiptView, response_model_exclude_unset=True
)
def receipt(withdrawal_id: str, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """What was done, when, with the lines of the audit chain that say so. The holder of an extract that was told reads
    the part that is about their project. It names no one."""
    return rooms.receipts.receipt(actor, withdrawal_id)


@router.get("/v1/withdrawals/{withdrawal_id}/receipt/page", response_class=HTMLResponse)
def receipt_page(withdrawal_id: str, rooms: Rooms, actor: Reader) -> HTMLResponse:
    """The same as a page with a picture of the way that it took, in Korean and English."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(rooms.receipts.page(actor, withdrawal_id), headers=headers)


@router.post(
    "/v1/withdrawals/{withdrawal_id}/receipt/verify",
    response_model=ReceiptVerdict,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
def verify(withdrawal_id: str, body: ReceiptGiven, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """Whether a receipt holds against itself and against the chain, and every place where it does not."""
    return rooms.receipts.verify(actor, withdrawal_id, body.root)
