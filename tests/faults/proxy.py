"""A proxy between the service and an S3 server that answers 500, is slow, or cuts bodies in half, as it is told to."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Final, Literal

Fault = Literal["500", "slow", "half", "half of what comes", "gone"]
# What is met at random: of the slow ones few, for they cost their time.
_DRAWN: Final[dict[Fault, int]] = {"500": 4, "half": 4, "half of what comes": 4, "gone": 4, "slow": 1}
_IN_A_ROW: Final = 4


class Proxy:
    """Passes every request on, but for those that a fault is set for.

    `fail` says what is wrong from now on: with requests of a method (None: all), for so many of them (None: for ever).
    `fail_at_random`: a share of the requests begins a row of up to four that fail in one way.
    """

    def __init__(self, port: int, slow: float) -> None:
        self.upstream, self.slow = port, slow
        self.port = 0
        self.met: Counter[str] = Counter()
        self._fault: tuple[Fault, str | None, int | None] | None = None
        self._random: tuple[Random, float] | None = None
        self._row: list[Fault] = []

    @property
    def endpoint(self) -> str:
        """The URL that the service is given."""
        return f"http://127.0.0.1:{self.port}"

    def fail(self, fault: Fault, method: str | None = None, times: int | None = None) -> None:
        """What is wrong from now on."""
        self.met.clear()
        self._fault = (fault, method, times)

    def fail_at_random(self, chance: Random, share: float) -> None:
        """From now on it is drawn what is wrong."""
        self.met.clear()
        self._random = (chance, share)

    def heal(self) -> None:
        """Nothing is wrong any more."""
        self._fault, self._random = None, None
        self._row.clear()

    def _meets(self, method: str) -> Fault | None:
        if self._random is not None:
            return self._draw(*self._random)
        if self._fault is None:
            return None
        fault, of, times = self._fault
        if (of is not None and of != method) or (times is not None and self.met[fault] >= times):
            return None
        self.met[fault] += 1
        return fault

    def _draw(self, chance: Random, share: float) -> Fault | None:
        if not self._row and chance.random() < share:
            (fault,) = chance.choices(list(_DRAWN), list(_DRAWN.values()))
            self._row = [fault] * chance.randint(1, _IN_A_ROW)
        if not self._row:
            return None
        self.met[self._row[-1]] += 1
        return self._row.pop()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the service: request after request."""
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    if not await self._pass(head, reader, writer):
                        break
        finally:
            await _closed(writer)

    async def _pass(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        method = head.split(b" ", 1)[0].decode()
        length, fault = _length(head), self._meets(method)
        if fault == "gone":
            return False
        if fault == "slow":
            await asyncio.sleep(self.slow)
        if fault == "half":  # of the request's body; the server is told nothing
            await reader.readexactly(length // 2)
            return False
        body = await reader.readexactly(length)
        if fault == "500":
            writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nwrong")
            await writer.drain()
            return True
        answer, content = await self._ask(head, body, method)
        if fault == "half of what comes":
            writer.write(answer + content[: len(content) // 2])
            await writer.drain()
            return False
        writer.write(answer + content)
        await writer.drain()
        return True

    async def _ask(self, head: bytes, body: bytes, method: str) -> tuple[bytes, bytes]:
        upstream, to = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            to.write(head + body)
            await to.drain()
            answer = await upstream.readuntil(b"\r\n\r\n")
            status = int(answer.split(b" ", 2)[1])
            if method == "HEAD" or status in (204, 304):
                return answer, b""
            if b"transfer-encoding: chunked" in answer.lower():
                return answer, await _chunked(upstream)
            return answer, await upstream.readexactly(_length(answer))
        finally:
            await _closed(to)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Let go of a connection for good: what is left open warns when it is collected, and a warning is an error."""
    writer.close()
    with suppress(ConnectionError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 1.0)  # what was written is sent, where anybody reads it
    writer.transport.abort()


async def _chunked(upstream: asyncio.StreamReader) -> bytes:
    """A chunked body, as it is written on the wire."""
    found = b""
    while True:
        size = await upstream.readuntil(b"\r\n")
        count = int(size.split(b";")[0], 16)
        found += size + await upstream.readexactly(count + 2)
        if not count:
            return found


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


@contextmanager
def before(port: int, slow: float = 3.0) -> Iterator[Proxy]:
    """A proxy in front of a server of this machine, in a thread of its own."""
    proxy, loop, ready = Proxy(port, slow), asyncio.new_event_loop(), threading.Event()

    async def listen() -> asyncio.Server:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        return server

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(listen())
        loop.run_forever()
        server.close()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
