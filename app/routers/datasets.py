"""Datasets and their versions: a dictionary is set, the checks run, a steward publishes or returns."""

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
from app.schemas.api_cohorts import DatasetView, DictionarySet, ReportView, Returned
from app.schemas.api_parts import PageOf
from app.schemas.api_versions import (
    ChangesStated,
    ChangesView,
    ErratumView,
    NewErratum,
    NewVersion,
    StatedChanges,
    VersionCreated,
    VersionView,
)

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1",
    tags=["datasets"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
writes, reads = requires(Scope.COHORTS_WRITE), requires(Scope.COHORTS_READ)
publishes = requires(Scope.DATASETS_PUBLISH)
Writer = Annotated[Actor, Depends(writes)]
Reader = Annotated[Actor, Depends(reads)]
Publisher = Annotated[Actor, Depends(publishes)]
Repeatable = Annotated[Once | None, Depends(repeatable(writes))]


@router.get("/datasets/{dataset_id}", response_model=DatasetView)
def read_dataset(dataset_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One dataset."""
    return rooms.cohorts.dataset(actor, dataset_id)


@router.post("/datasets/{dataset_id}/versions", status_code=201, response_model=VersionCreated)
def new_version(
    dataset_id: Id,
    response: Response,
    rooms: Rooms,
    actor: Writer,
    once: Repeatable,
    body: NewVersion | None = None,
) -> dict[str, Any]:
    """Begin a draft: empty, or with the dictionary and the tables of the dataset's last version."""
    view = rooms.cohorts.new_version(actor, dataset_id, once, body.made_from if body else None)
    response.headers["Location"] = f"/v1/versions/{view['id']}"
    tag(response, view["revision"])
    return view


@router.get("/datasets/{dataset_id}/versions", response_model=PageOf[VersionView])
def versions(dataset_id: Id, rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """The versions of a dataset, newest first."""
    return page.of(rooms.cohorts.versions(actor, dataset_id, page.after, page.take))


@router.get("/versions", response_model=PageOf[VersionView])
def in_review(rooms: Rooms, actor: Publisher, page: Paged) -> dict[str, Any]:
    """The versions that wait for a steward, newest first."""
    return page.of(rooms.cohorts.versions_in_review(actor, page.after, page.take))


@router.get("/versions/{version_id}", response_model=VersionView)
def read(version_id: Id, response: Response, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One version: its state, its tables and how far its checks are."""
    view = rooms.cohorts.version(actor, version_id)
    tag(response, view["revision"])
    return view


@router.get("/versions/{version_id}/dictionary")
def dictionary(version_id: Id, response: Response, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """The dictionary in its normal form."""
    document, revision = rooms.cohorts.dictionary(actor, version_id)
    tag(response, revision)
    return document


@router.put("/versions/{version_id}/dictionary", response_model=DictionarySet)
def set_dictionary(
    version_id: Id,
    document: Annotated[dict[str, Any], Body(description="Table Schema JSON with Baekman's properties.")],
    seen: Seen,
    response: Response,
    rooms: Rooms,
    actor: Writer,
) -> dict[str, Any]:
    """Replace the dictionary of a draft; everything that is wrong with it is told at once."""
    view = rooms.cohorts.set_dictionary(actor, version_id, document, seen)
    tag(response, view["revision"])
    return view


@router.get("/versions/{version_id}/changes", response_model=ChangesView)
def changes(version_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """What its dictionary changes against the version before, classed, and what that does to live permits."""
    return rooms.cohorts.changes(actor, version_id)


@router.put("/versions/{version_id}/changes", response_model=ChangesStated)
def state_changes(
    version_id: Id, body: StatedChanges, seen: Seen, response: Response, rooms: Rooms, actor: Writer
) -> dict[str, Any]:
    """Name the breaking changes of a draft, each with its reason; one that is not named is refused at the checks."""
    breaking = [one.model_dump() for one in body.breaking]
    view = rooms.cohorts.state_changes(actor, version_id, breaking, seen)
    tag(response, view["revision"])
    return view


@router.post("/versions/{version_id}/errata", status_code=201, response_model=ErratumView)
def declare_erratum(
    version_id: Id, body: NewErratum, rooms: Rooms, actor: Writer, once: Repeatable
) -> dict[str, Any]:
    """Say that this version corrects wrong values of the one it was made from: they are recalled from their holders."""
    return rooms.cohorts.errata.declare(actor, version_id, body.model_dump(), once)


@router.get("/versions/{version_id}/errata", response_model=list[ErratumView])
def errata(version_id: Id, rooms: Rooms, actor: Reader) -> list[dict[str, Any]]:
    """The errata that speak of a version, with what holders say of them."""
    return rooms.cohorts.errata.of_version(actor, version_id)


@router.get("/versions/{version_id}/report", response_model=ReportView)
def report(version_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """What the checks found: places and counts, never a value."""
    return rooms.cohorts.report(actor, version_id)


@router.post("/versions/{version_id}/submit", status_code=202, response_model=VersionView)
def submit(version_id: Id, response: Response, rooms: Rooms, actor: Writer) -> dict[str, Any]:
    """Hand a draft to the checks, which are a job: watch the version. Hand a ready version to the steward."""
    view = rooms.cohorts.submit(actor, version_id)
    response.headers["Location"], response.headers["Retry-After"] = f"/v1/versions/{version_id}", "1"
    return view


@router.post("/versions/{version_id}/publish", response_model=VersionView)
def publish(version_id: Id, rooms: Rooms, actor: Publisher) -> dict[str, Any]:
    """Publish a version that is in review; the one published before is superseded."""
    return rooms.cohorts.publish(actor, version_id)


@router.post("/versions/{version_id}/return", response_model=VersionView)
def send_back(version_id: Id, body: Returned, rooms: Rooms, actor: Publisher) -> dict[str, Any]:
    """Return a version that is in review to its institution."""
    return rooms.cohorts.send_back(actor, version_id, body.note)


@router.post("/versions/{version_id}/reopen", response_model=VersionView)
def reopen(version_id: Id, rooms: Rooms, actor: Writer) -> dict[str, Any]:
    """Make a ready version, or one whose check was given up, a draft again, to change it."""
    return rooms.cohorts.reopen(actor, version_id)


@router.post("/versions/{version_id}/withdraw", response_model=VersionView)
def withdraw(version_id: Id, rooms: Rooms, actor: Writer) -> dict[str, Any]:
    """Take a published version out of use."""
    return rooms.cohorts.withdraw_version(actor, version_id)
