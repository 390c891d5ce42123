"""The catalogue: search, look, ask for masked counts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from app.auth.policy import Actor, Scope
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.schemas.api_catalog import CatalogDetail, CatalogEntry
from app.schemas.api_parts import PageOf
from app.schemas.counts import CountQuestion

router = APIRouter(
    prefix="/v1/catalog",
    tags=["catalog"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
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


@router.get("/{dataset_id}", response_model=CatalogDetail)
def read(dataset_id: Id, rooms: Rooms, _actor: Reader) -> dict[str, Any]:
    """One published dataset with its tables and columns; no example value, no minimum, no maximum."""
    return rooms.catalog.detail(dataset_id)


@router.post("/counts")
def count(body: CountQuestion, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """How many consenting people meet all conditions: masked, and the same answer to the same question."""
    return rooms.catalog.count(actor, body)
