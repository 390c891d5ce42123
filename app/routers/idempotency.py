"""`Idempotency-Key` on the wire: a key, the route and the digest of the body become `Once`, which services keep."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from app.auth.policy import Actor
from app.jobs.answers import Once
from app.routers.guards import Guard
from app.routers.threads import reads_body

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="Repeat a POST with the same key and body: nothing is made twice, the answer is the same.",
    ),
]


def repeatable(guard: Guard) -> Callable[..., Coroutine[Any, Any, Once | None]]:
    """A dependency that gives `Once` for the asker whom `guard` lets in; None where no key was sent."""

    @reads_body
    async def once(request: Request, actor: Actor = Depends(guard), key: Key = None) -> Once | None:
        if key is None:
            return None
        body = hashlib.sha256(await request.body()).hexdigest()
        return Once(actor.subject, key, f"{request.method} {request.url.path}"[:200], body)

    return once
