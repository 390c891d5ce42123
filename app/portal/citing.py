"""The page that the DOI of a version leads to: what it is, how it is cited, and what became of it."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse

from app.citations.service import CitationService
from app.errors import Problem
from app.portal.rendering import Accepted, Language, html
from app.portal.words import language

router = APIRouter(include_in_schema=False)


def citations_of(request: Request) -> CitationService:
    """The citations of this application."""
    return cast("CitationService", request.app.state.house.citations)


@router.get("/cite/{version_id}", response_class=HTMLResponse)
def cite(
    version_id: Annotated[str, Path(pattern=r"^[a-z0-9_]{1,40}$")],
    citations: Annotated[CitationService, Depends(citations_of)],
    lang: Language = None,
    accept_language: Accepted = "",
) -> HTMLResponse:
    """Public, because whoever gave the version a DOI has made it so; 404 in words for every other version."""
    chosen = language(lang, accept_language)
    try:
        found = citations.landing(version_id)
    except Problem:
        return html("cite.html", chosen, {"found": None, "version_id": version_id}, status=404)
    return html("cite.html", chosen, {"found": found, "version_id": version_id})
