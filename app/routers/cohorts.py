"""Cohorts: registered by their institution, with what hangs on them: consents in numbers, uploads, datasets."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.auth.policy import Actor, Scope
from app.jobs.answers import Once
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_cohorts import (
    CohortUpload,
    CohortView,
    ConsentsSummary,
    Created,
    DatasetView,
    NewCohort,
    NewDataset,
)
from app.schemas.api_parts import Moment, PageOf

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1/cohorts",
    tags=["cohorts"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
writes, reads = requires(Scope.COHORTS_WRITE), requires(Scope.COHORTS_READ)
Writer = Annotated[Actor, Depends(writes)]
Reader = Annotated[Actor, Depends(reads)]
Repeatable = Annotated[Once | None, Depends(repeatable(writes))]


@router.post("", status_code=201, response_model=Created, response_model_exclude_none=True)
def register(
    body: NewCohort, response: Response, rooms: Rooms, actor: Writer, once: Repeatable
) -> dict[str, Any]:
    """Register a cohort of your institution with its consent form and data use terms."""
    view = rooms.cohorts.register_cohort(actor, body.model_dump(), once)
    response.headers["Location"] = f"/v1/cohorts/{view['id']}"
    return view


@router.get("", response_model=PageOf[CohortView])
def list_seen(rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """The cohorts you hold or serve, newest first."""
    return page.of(rooms.cohorts.cohorts(actor, page.after, page.take))


@router.get("/{cohort_id}", response_model=CohortView)
def read(cohort_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One cohort."""
    return rooms.cohorts.cohort(actor, cohort_id)


@router.get("/{cohort_id}/consents/summary", response_model=ConsentsSummary)
def consents(cohort_id: Id, rooms: Rooms, actor: Reader, as_of: Moment | None = None) -> dict[str, Any]:
    """How many people granted and withdrew each domain, now or as of a moment; small numbers hidden, others rounded."""
    return rooms.cohorts.consents.summary(actor, cohort_id, as_of)


@router.get("/{cohort_id}/uploads", response_model=PageOf[CohortUpload])
def uploads(cohort_id: Id, rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """The uploads of a cohort with their reports, newest first."""
    return page.of(rooms.cohorts.uploads(actor, cohort_id, page.after, page.take))


@router.post(
    "/{cohort_id}/datasets", status_code=201, response_model=Created, response_model_exclude_none=True
)
def register_dataset(
    cohort_id: Id, body: NewDataset, response: Response, rooms: Rooms, actor: Writer, once: Repeatable
) -> dict[str, Any]:
    """Register a dataset of a cohort."""
    view = rooms.cohorts.register_dataset(actor, cohort_id, body.model_dump(), once)
    response.headers["Location"] = f"/v1/datasets/{view['id']}"
    return view


@router.get("/{cohort_id}/datasets", response_model=PageOf[DatasetView])
def datasets(cohort_id: Id, rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """The datasets of a cohort, newest first."""
    return page.of(rooms.cohorts.datasets(actor, cohort_id, page.after, page.take))
