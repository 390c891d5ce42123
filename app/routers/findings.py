"""Findings and uses: a researcher reports, a steward judges, an institution receives; and who used a person's data."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.auth.policy import Actor, Scope
from app.jobs.answers import Once
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_findings import (
    Declined,
    FindingReported,
    FindingReturned,
    FindingReviewed,
    FindingState,
    FindingView,
    NewFinding,
    UsesAsked,
    UsesView,
)
from app.schemas.api_parts import PageOf

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1",
    tags=["findings"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
writes = requires(Scope.EXTRACTS_WRITE)
Reporter = Annotated[Actor, Depends(writes)]
Steward = Annotated[Actor, Depends(requires(Scope.REQUESTS_REVIEW))]
Holder = Annotated[Actor, Depends(requires(Scope.CONSENTS_WRITE))]
Reader = Annotated[
    Actor, Depends(requires_any(Scope.EXTRACTS_READ, Scope.REQUESTS_REVIEW, Scope.CONSENTS_WRITE))
]


@router.post("/findings", status_code=201, response_model=FindingReported)
def report(
    body: NewFinding,
    response: Response,
    rooms: Rooms,
    actor: Reporter,
    once: Annotated[Once | None, Depends(repeatable(writes))],
) -> dict[str, Any]:
    """Report what was found about one person of your extract. The answer is the same whoever the pseudonym names."""
    view = rooms.findings.report(actor, body.model_dump(), once)
    response.headers["Location"] = f"/v1/findings/{view['id']}"
    return view


@router.get("/findings", response_model=PageOf[FindingView])
def listed(rooms: Rooms, actor: Reader, page: Paged, state: FindingState | None = None) -> dict[str, Any]:
    """Your reports, what waits for you, or what came back to your institution; newest first."""
    return page.of(rooms.findings.listed(actor, state, page.after, page.take))


@router.get("/findings/{finding_id}", response_model=FindingView)
def read(finding_id: Id, rooms: Rooms, actor: Reader) -> dict[str, Any]:
    """One finding, as far as it is yours to see."""
    return rooms.findings.get(actor, finding_id)


@router.post("/findings/{finding_id}/accept", response_model=FindingReviewed)
def accept(finding_id: Id, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """Take a finding on: it goes to the institution, if the person agreed to be contacted again."""
    return rooms.findings.decide(actor, finding_id, "accept", "")


@router.post("/findings/{finding_id}/decline", response_model=FindingReviewed)
def decline(finding_id: Id, body: Declined, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """Do not take a finding on, and say why."""
    return rooms.findings.decide(actor, finding_id, "decline", body.reason)


@router.post("/findings/{finding_id}/delivered", response_model=FindingReturned)
def delivered(finding_id: Id, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """Say that the finding has reached whoever looks after the participant."""
    return rooms.findings.receive(actor, finding_id, "deliver")


@router.post("/findings/{finding_id}/informed", response_model=FindingReturned)
def informed(finding_id: Id, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """Say that the participant was informed. The text of the finding is removed here."""
    return rooms.findings.receive(actor, finding_id, "inform")


@router.post("/cohorts/{cohort_id}/uses", response_model=UsesView)
def uses(cohort_id: Id, body: UsesAsked, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """Which projects used a participant's data, for the participant who asks. The look-up is recorded."""
    return rooms.findings.uses(actor, cohort_id, body.return_token)
