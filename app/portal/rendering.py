"""Pages are rendered here, in one language, with headers under which nothing is loaded from elsewhere."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, cast

from fastapi import Header, Query, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from app.catalog.service import CatalogService
from app.portal.words_of_pages import WORDS

_templates = Environment(
    loader=PackageLoader("app.portal"), autoescape=select_autoescape(), undefined=StrictUndefined
)
Language = Annotated[str | None, Query(max_length=20)]
Accepted = Annotated[str, Header(max_length=500)]


async def catalog_of(request: Request) -> CatalogService:
    """The catalogue of this application."""
    return cast("CatalogService", request.app.state.house.catalog)


def html(
    template: str, lang: str, values: dict[str, Any], *, asks: bool = False, status: int = 200
) -> HTMLResponse:
    """A page of words in this language; `asks`: it holds a form that is sent to ourselves."""
    nonce = secrets.token_urlsafe(16)
    other = "en" if lang == "ko" else "ko"
    text = _templates.get_template(template).render(
        values, lang=lang, other=other, words=WORDS[lang], nonce=nonce
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Language": lang,
        "Content-Security-Policy": f"default-src 'none'; style-src 'nonce-{nonce}'; "
        f"form-action '{'self' if asks else 'none'}'; frame-ancestors 'none'; base-uri 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(text, status_code=status, headers=headers)
