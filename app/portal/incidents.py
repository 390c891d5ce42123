"""The page of incidents that are over: how many there were, how fast they were stopped and told; no detail."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from app.incidents.service import IncidentService
from app.portal.rendering import Accepted, Language, html
from app.portal.words import language

router = APIRouter(include_in_schema=False)


def incidents_of(request: Request) -> IncidentService:
    """The incidents of this application."""
    return cast("IncidentService", request.app.state.house.incidents)


@router.get("/incidents", response_class=HTMLResponse)
def incidents(
    service: Annotated[IncidentService, Depends(incidents_of)],
    lang: Language = None,
    accept_language: Accepted = "",
) -> HTMLResponse:
    """Open to everyone."""
    return html("incidents.html", language(lang, accept_language), {"years": service.by_year()})
