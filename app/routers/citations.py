"""Citations: identifiers of people, institutions and versions; metadata and citations; publications of projects."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse

from app.auth.policy import Actor, Scope
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_citations import (
    CreatorsGiven,
    CreatorsView,
    DoiGiven,
    DoiView,
    Form,
    NewPublication,
    OrcidGiven,
    OrcidView,
    PublicationView,
    RorGiven,
    RorView,
)
from app.schemas.api_parts import PageOf

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1",
    tags=["citations"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
Admin = Annotated[Actor, Depends(requires(Scope.PLATFORM_ADMIN))]
Writer = Annotated[Actor, Depends(requires(Scope.COHORTS_WRITE))]
Reader = Annotated[Actor, Depends(requires_any(Scope.CATALOG_READ, Scope.COHORTS_READ))]
Holder = Annotated[Actor, Depends(requires(Scope.REQUESTS_WRITE))]
Concerned = Annotated[Actor, Depends(requires_any(Scope.REQUESTS_WRITE, Scope.PERMITS_MANAGE))]
_FORMS: dict[str, Any] = {
    media: {} for media in ("application/json", "application/xml", "text/plain", "application/x-bibtex",
                            "application/x-research-info-systems")
}  # fmt: skip


@router.put("/institutions/{institution_id}/ror", response_model=RorView)
def set_ror(institution_id: Id, body: RorGiven, rooms: Rooms, actor: Admin) -> dict[str, Any]:
    """The ROR id of an institution."""
    return rooms.citations.set_ror(actor, institution_id, body.ror)


@router.put("/accounts/{account_id}/orcid", response_model=OrcidView)
def set_orcid(account_id: Id, body: OrcidGiven, rooms: Rooms, actor: Admin) -> dict[str, Any]:
    """The ORCID iD of a person."""
    return rooms.citations.set_orcid(actor, account_id, body.orcid)


@router.put("/datasets/{dataset_id}/creators", response_model=CreatorsView)
def set_creators(dataset_id: Id, body: CreatorsGiven, rooms: Rooms, actor: Writer) -> dict[str, Any]:
    """Who made a dataset, as it is cited."""
    return rooms.citations.set_creators(actor, dataset_id, body.model_dump()["creators"])


@router.put("/versions/{version_id}/doi", response_model=DoiView)
def set_doi(version_id: Id, body: DoiGiven, rooms: Rooms, actor: Writer) -> dict[str, Any]:
    """The DOI of a published version; from then on its landing page is public."""
    return rooms.citations.set_doi(actor, version_id, body.doi)


@router.get("/versions/{version_id}/citation", response_class=Response, responses={200: {"content": _FORMS}})
def citation(
    version_id: Id,
    rooms: Rooms,
    actor: Reader,
    form: Annotated[
        Form, Query(description="DataCite 4.6 as JSON or XML, or the citation as text, RIS or BibTeX.")
    ] = "json",
) -> Response:
    """How a version is cited."""
    media, said = rooms.citations.citation(actor, version_id, form)
    return JSONResponse(said) if form == "json" else Response(said, media_type=media)


@router.get("/versions/{version_id}/publications", response_model=PageOf[PublicationView])
def publications(version_id: Id, rooms: Rooms, actor: Reader, page: Paged) -> dict[str, Any]:
    """What was published from a version, newest first."""
    return page.of(rooms.citations.publications_of_version(actor, version_id, page.after, page.take))


@router.post("/permits/{permit_id}/publications", status_code=201, response_model=PublicationView)
def report(permit_id: Id, body: NewPublication, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """Tell of a publication from the data of a permit."""
    return rooms.citations.report_publication(actor, permit_id, body.model_dump())


@router.get("/permits/{permit_id}/publications", response_model=PageOf[PublicationView])
def reported(permit_id: Id, rooms: Rooms, actor: Concerned, page: Paged) -> dict[str, Any]:
    """What was published from a permit, newest first."""
    return page.of(rooms.citations.publications_of_permit(actor, permit_id, page.after, page.take))


@router.delete("/permits/{permit_id}/publications/{publication_id}", status_code=204)
def take_back(permit_id: Id, publication_id: Id, rooms: Rooms, actor: Holder) -> None:
    """Take back what was reported by mistake."""
    rooms.citations.withdraw_publication(actor, permit_id, publication_id)
