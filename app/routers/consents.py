"""One person's consent: entered, read as of any moment, and the tokens that stand for people. No id is in a URL."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from app.auth.policy import Actor, Scope
from app.jobs.answers import Once
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires
from app.routers.house import House, house
from app.routers.idempotency import repeatable
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_consents import (
    ConsentEntered,
    ConsentQuestion,
    ConsentWord,
    PersonConsent,
    TokenQuestion,
    TokensTold,
)

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1/cohorts/{cohort_id}",
    tags=["consents"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
guard = requires(Scope.CONSENTS_WRITE)
Holder = Annotated[Actor, Depends(guard)]


@router.post("/consents", response_model=ConsentEntered)
def enter(
    cohort_id: Id,
    body: ConsentWord,
    rooms: Rooms,
    actor: Holder,
    once: Annotated[Once | None, Depends(repeatable(guard))],
) -> dict[str, Any]:
    """Enter one participant's consent to some domains. Entering the same again changes nothing."""
    return rooms.cohorts.consents.set_one(actor, cohort_id, body.model_dump(), once)


@router.post("/consents/of", response_model=PersonConsent)
def of_one(cohort_id: Id, body: ConsentQuestion, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """What one participant consented to at a moment: a question with a body, for the identifier belongs in no URL."""
    return rooms.cohorts.consents.of_one(actor, cohort_id, body.participant, body.as_of)


@router.post("/return-tokens", response_model=TokensTold)
def tokens(cohort_id: Id, body: TokenQuestion, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """The return tokens of participants by your own identifiers, in the same order. Nothing of the question is kept."""
    return rooms.cohorts.consents.tokens(actor, cohort_id, body.participants)
