"""The server on its socket: the head of a request is small and comes soon, or the connection is closed.

uvicorn closes a connection on which nothing comes after an answer. One on which a byte comes now and then it would keep
for ever, before a request as well as after an answer that came before the end of a body.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_BYTES = 32 * 2**10  # of a request line and headers that come in pieces; tokens have one to two thousand
HEAD_SECONDS = 10.0  # from the connection, or the last answer, to the end of the next head


class Bounded(H11Protocol):
    """A connection that is closed where it is in no request and has not sent a whole head in time."""

    _waiting: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        # However logging is set up: a line of a request would hold the signature of a link.
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """What came may have begun a request; if not, the wait goes on and is not begun anew."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Begin to wait for the next head, and for what is left of the body."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._waiting is None and not self.transport.is_closing():
            self._waiting = self.loop.call_later(HEAD_SECONDS, self._close)

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _close(self) -> None:
        self._waiting = None
        self.transport.abort()


# What `uvicorn.run` is told beside host and port.
LIMITS: dict[str, Any] = {"http": Bounded, "h11_max_incomplete_event_size": HEAD_BYTES}
