"""Keyset pages: `?limit=&cursor=` in, `next_cursor` out; a page never shifts because something new was added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query


@dataclass(frozen=True, slots=True)
class Page:
    """What a list asks its service for: `take` rows (one more than is shown) after the cursor."""

    limit: int
    after: str | None

    @property
    def take(self) -> int:
        """One row more than the page shows tells whether there is another page."""
        return self.limit + 1

    def of(self, rows: list[dict[str, Any]], key: str = "id") -> dict[str, Any]:
        """The page as it is answered."""
        shown = rows[: self.limit]
        more = len(rows) > self.limit
        return {"items": shown, "next_cursor": str(shown[-1][key]) if more else None}


async def page(
    limit: Annotated[int, Query(ge=1, le=200, description="How many at most.")] = 50,
    cursor: Annotated[
        str | None, Query(pattern=r"^[A-Za-z0-9_]{1,60}$", description="`next_cursor` of the page before.")
    ] = None,
) -> Page:
    """The page that a request asks for."""
    return Page(limit, cursor)


Paged = Annotated[Page, Depends(page)]
