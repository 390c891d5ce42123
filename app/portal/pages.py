"""The front page with the way to the million, and the API as a page: rendered here, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from app.catalog.service import CatalogService
from app.portal.curve import curve
from app.portal.rendering import Accepted, Language, catalog_of, html
from app.portal.words import language
from app.portal.words_of_pages import WORDS

router = APIRouter(include_in_schema=False)
METHODS = ("get", "post", "put", "patch", "delete")


@router.get("/", response_class=HTMLResponse)
def front(
    catalog: Annotated[CatalogService, Depends(catalog_of)],
    lang: Language = None,
    accept_language: Accepted = "",
) -> HTMLResponse:
    """How far the way to the million is, and what each role does first."""
    found = catalog.progress()
    people, goal = found["people"], found["goal"]
    share = 0.0 if people is None else min(1.0, people / goal)
    values = {
        "found": found, "share": share, "width": max(share * 640, 3 if people else 0),
        "variables_open": catalog.settings.catalog_public,
    }  # fmt: skip
    return html("front.html", language(lang, accept_language), values)


@router.get("/progress", response_class=HTMLResponse)
def way(
    catalog: Annotated[CatalogService, Depends(catalog_of)],
    lang: Language = None,
    accept_language: Accepted = "",
) -> HTMLResponse:
    """The way to the million: the curve, the goal, the pace and what to expect, with how sure that is."""
    found, chosen = catalog.progress(), language(lang, accept_language)
    return html("progress.html", chosen, {"found": found, "picture": curve(found, WORDS[chosen])})


@router.get("/docs", response_class=HTMLResponse)
def reference(request: Request, lang: Language = None, accept_language: Accepted = "") -> HTMLResponse:
    """Every route with its scopes, what it takes and what it answers, from the OpenAPI description."""
    schema = request.app.openapi()
    values = {"info": schema["info"], "groups": list(_groups(schema))}
    return html("reference.html", language(lang, accept_language), values)


def _groups(schema: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Routes by tag, in the order of the description."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, methods in schema["paths"].items():
        for method in METHODS:
            if operation := methods.get(method):
                tag = (operation.get("tags") or ["other"])[0]
                found.setdefault(tag, []).append(_route(path, method, operation, schema))
    yield from found.items()


def _route(path: str, method: str, operation: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    security = operation.get("security", [])
    return {
        "path": path,
        "method": method.upper(),
        "summary": operation.get("description") or operation.get("summary", ""),
        "scopes": [scope for way in security for scopes in way.values() for scope in scopes],
        "public": not security,
        "parameters": [
            {"name": p["name"], "where": p["in"], "required": p.get("required", False)}
            for p in operation.get("parameters", [])
        ],
        "fields": list(_fields(operation, schema)),
        "answers": [s for s in operation.get("responses", {}) if s.startswith("2")],
    }


def _fields(operation: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The properties of a JSON body, one level deep."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = content.get("schema", {})
    for option in body.get("anyOf", [body]):
        name = option.get("$ref", "").rpartition("/")[2]
        model = schema.get("components", {}).get("schemas", {}).get(name, option)
        for field, about in model.get("properties", {}).items():
            required = field in model.get("required", [])
            yield {"name": field, "required": required, "about": about.get("description", "")}
