"""The variables of every cohort as a page to search in, where the operator has opened the catalogue to the public."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse

from app.catalog.finding import FIELDS
from app.catalog.service import CatalogService
from app.portal.rendering import Accepted, Language, catalog_of, html
from app.portal.words import language

router = APIRouter(include_in_schema=False)
_ON_A_PAGE = 25


@router.get("/variables", response_class=HTMLResponse)
def variables(
    catalog: Annotated[CatalogService, Depends(catalog_of)],
    q: Annotated[str, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = "",
    field: Annotated[str, Query(max_length=10)] = "",
    cursor: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_]{1,60}$")] = None,
    lang: Language = None,
    accept_language: Accepted = "",
) -> HTMLResponse:
    """A form, what it finds, and the next page; 403 in words where the catalogue is not public."""
    chosen = language(lang, accept_language)
    asked = {"lang": chosen, "q": q, "field": field if field in FIELDS else ""}
    told: dict[str, Any] = {"asked": asked, "fields": FIELDS, "found": [], "more": None, "open": True}
    if not catalog.settings.catalog_public:
        return html("variables.html", chosen, {**told, "open": False}, status=403)
    fields = [field] if field in FIELDS else []
    found = catalog.variables.search(q, cursor, _ON_A_PAGE + 1, fields)
    told["found"] = found[:_ON_A_PAGE]
    if len(found) > _ON_A_PAGE:
        told["more"] = urlencode({**asked, "cursor": found[_ON_A_PAGE - 1]["id"]})
    return html("variables.html", chosen, told, asks=True)
