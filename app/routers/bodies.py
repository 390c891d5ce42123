"""What no JSON body may hold, whatever its shape: what a database cannot store or two readers read differently."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, Path, Request

from app.errors import Finding, refuse_all
from app.routers.threads import announces_body, reads_body

MOST_BYTES = 8 * 2**20
MOST_DEEP = 40
Id = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,40}$")]


@reads_body
async def _storable(request: Request) -> None:
    """Refuse NUL, broken Unicode, numbers that are none, and endless nesting, in keys and values at any depth."""
    if announces_body(request) and (body := await request.body()):
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return  # the framework tells of what is not JSON
        refuse_all("invalid_request", "The body holds what cannot be stored.", _findings(document, "", 0))


def _findings(value: Any, here: str, depth: int) -> Iterator[Finding]:
    if depth > MOST_DEEP:
        yield Finding("too_deep", f"is nested more than {MOST_DEEP} deep", pointer=here[:200])
    elif isinstance(value, dict):
        for i, (key, inner) in enumerate(value.items()):
            if not _is_text(key):
                yield Finding(
                    "bad_text", f"the name of property {i + 1} cannot be stored", pointer=here[:200]
                )
            else:
                yield from _findings(inner, f"{here}/{key[:80]}", depth + 1)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _findings(inner, f"{here}/{i}", depth + 1)
    elif isinstance(value, str) and not _is_text(value):
        yield Finding("bad_text", "holds a NUL or broken Unicode", pointer=here[:200])
    elif isinstance(value, float) and not math.isfinite(value):
        yield Finding("bad_number", "must be a finite number", pointer=here[:200])


def _is_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


Storable = Depends(_storable)
