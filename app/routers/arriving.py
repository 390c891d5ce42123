"""How slowly a body may come: whoever sends next to nothing for long is answered 408 and holds no connection or writer.

The server itself knows no such limit (uvicorn waits for a body for as long as the connection lives); a proxy in front
usually does, but the service must not need one for this.
"""

from __future__ import annotations

import anyio
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GRACE = 30.0  # seconds in which nothing is asked of the sender
LEAST = 1024  # bytes a second, on average, after that


class Slow(HTTPException, TimeoutError):
    """The body came too slowly; `TimeoutError` to whoever streams it, and may keep what came."""

    def __init__(self) -> None:
        super().__init__(408, headers={"Connection": "close"})


class Arriving:
    """Between the server and the application: times what is received."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receive = _Arrival(receive).next
        await self.app(scope, receive, send)


class _Arrival:
    """One body. The clock runs from when it is first asked for: until then it waits for us."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._began: float | None = None
        self._bytes = 0
        self._ended = False

    async def next(self) -> Message:
        if self._ended:  # only the end of the connection can come now, and it may be long in coming
            return await self._receive()
        now = anyio.current_time()
        if self._began is None:
            self._began = now
        allowed = GRACE + self._bytes / LEAST - (now - self._began)
        try:
            with anyio.fail_after(max(0.0, allowed)):
                message = await self._receive()
        except TimeoutError:
            raise Slow from None
        self._bytes += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        return message
