"""Strong ETags made of revisions, and `If-Match` on edits: who has not read the present state does not overwrite it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Header, Response

from app.errors import Problem

_STRONG = re.compile(r'"([0-9]{1,18})"')


def tag(response: Response, revision: int) -> None:
    """Say which revision this answer shows."""
    response.headers["ETag"] = f'"{revision}"'


async def seen(
    if_match: Annotated[str | None, Header(description="The ETag that you have read, or *.")] = None,
) -> Sequence[int] | None:
    """The revisions that the editor has read, None for `*`; `precondition_required` where nothing is said."""
    if if_match is None:
        raise Problem("precondition_required", "Send If-Match with the ETag of what you have read.")
    if if_match.strip() == "*":
        return None
    # A weak tag, or one that is not ours, matches nothing (RFC 9110 13.1.1).
    found = (_STRONG.fullmatch(part.strip()) for part in if_match.split(","))
    return tuple(int(match[1]) for match in found if match)


Seen = Annotated[Sequence[int] | None, Depends(seen)]
