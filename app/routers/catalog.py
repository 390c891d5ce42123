"""The catalogue: search, look, ask for masked counts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from app.auth.policy import Actor, Scope
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_catalog import CatalogDetail, CatalogEntry, CountOrdered, CountView, VariableView
from app.schemas.api_parts import PageOf
from app.schemas.counts import CountQuestion

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1/catalog",
    tags=["catalog"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
STORABLE = r"^[^\x00-\x1f\x7f]*$"
Field = Literal["name", "label", "code", "concept"]
Reader = Annotated[Actor, Depends(requires(Scope.CATALOG_READ))]


@router.get("", response_model=PageOf[CatalogEntry])
def search(
    rooms: Rooms,
    _actor: Reader,
    page: Paged,
    q: Annotated[
        str, Query(max_length=200, description="Words; all must occur in names, columns or labels.")
    ] = "",
) -> dict[str, Any]:
    """Published datasets, in Korean and English."""
    return page.of(rooms.catalog.search(q, page.after, page.take))


@router.get("/variables", response_model=PageOf[VariableView])
def variables(
    rooms: Rooms,
    _actor: Reader,
    page: Paged,
    q: Annotated[str, Query(max_length=200, pattern=STORABLE, description="Words; all must occur.")] = "",
    field: Annotated[
        list[Field], Query(max_length=4, description="Where they occur: the column's name, its titles and labels, its "
        "codes, its concepts and vocabulary; default anywhere.")
    ] = [],  # noqa: B006 - FastAPI copies it
    match: Annotated[
        Literal["contains", "begins"], Query(description="Whether a word is held, or is how a word begins.")
    ] = "contains",
    key: Annotated[
        str | None, Query(max_length=400, pattern=STORABLE, description="A variable in every cohort: concept or name.")
    ] = None,
) -> dict[str, Any]:  # fmt: skip
    """Variables of every cohort that has something published, in Korean and English, with the versions that have them
    and the masked share of people with a value."""
    found = rooms.catalog.variables.search(q, page.after, page.take, field, begins=match == "begins", key=key)
    return page.of(found)


@router.get("/{dataset_id}", response_model=CatalogDetail)
def read(dataset_id: Id, rooms: Rooms, _actor: Reader) -> dict[str, Any]:
    """One published dataset with its tables and columns; no example value, no minimum, no maximum."""
    return rooms.catalog.detail(dataset_id)


@router.post("/counts", response_model=CountView, responses={202: {"model": CountOrdered}})
def count(body: CountQuestion, rooms: Rooms, actor: Reader) -> Any:
    """How many consenting people meet all conditions: masked, and the same answer to the same question. Where a worker
    answers and takes longer than a few seconds: 202, and where to fetch it."""
    answer = rooms.catalog.count(actor, body)
    return _later(answer["order"]) if "order" in answer else answer


@router.get("/counts/{order_id}", response_model=CountView, responses={202: {"model": CountOrdered}})
def counted(order_id: Id, rooms: Rooms, actor: Reader) -> Any:
    """The answer to a question of yours that was not answered in time, for some minutes; 202 while it is worked on."""
    answer = rooms.catalog.counted(actor, order_id)
    return _later(order_id) if answer is None else answer


def _later(order_id: str) -> JSONResponse:
    headers = {"Location": f"/v1/catalog/counts/{order_id}", "Retry-After": "2"}
    return JSONResponse({"id": order_id, "state": "waiting"}, status_code=202, headers=headers)
