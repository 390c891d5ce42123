"""The catalogue: search, look, ask for masked counts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from app.auth.policy import Actor, Scope
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.schemas.api_catalog import CatalogDetail, CatalogEntry, VariableView
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


@router.post("/counts")
def count(body: CountQuestion, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """How many consenting people meet all conditions: masked, and the same answer to the same question."""
    return rooms.catalog.count(actor, body)
