"""One hop to a thread a request: who asks, the plain handler and the model of its answer run in the same one.

FastAPI goes to a thread for each of the three, and under load each waits anew for its turn. Nothing of it runs on the
loop instead: what reads the database never does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

P = ParamSpec("P")
T = TypeVar("T")
_in_thread: ContextVar[bool] = ContextVar("in_thread", default=False)
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_BODY_READERS: set[Callable[..., Any]] = set()


def reads_body(dependency: Callable[P, T]) -> Callable[P, T]:
    """Say of a dependency that it awaits the request's body: it is received on the loop, before the thread begins."""
    _BODY_READERS.add(dependency)
    return dependency


def announces_body(request: Request) -> bool:
    """Whether a body may come: a GET has one only where its headers say so (RFC 9112 6.3)."""
    return request.method not in ("GET", "HEAD") or not _FRAMING.isdisjoint(request.headers.keys())


async def in_thread(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `act` answers, from a worker thread: from this one where it is one already."""
    if _in_thread.get():
        return act(*args, **kwargs)
    return await run_in_threadpool(act, *args, **kwargs)


class InOneThread(APIRoute):
    """A route whose plain handler runs in one thread with all that its request needs; an async handler stays as it is.

    Its dependencies are async and wait for nothing but the body and `in_thread`; one that waits for anything else is a
    RuntimeError at its first request.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **told: Any) -> None:
        self._threaded = not iscoroutinefunction(endpoint)
        super().__init__(path, _at_once(endpoint) if self._threaded else endpoint, **told)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, run to its end in a thread."""
        handle = super().get_route_handler()
        if not self._threaded:
            return handle

        async def threaded(request: Request) -> Response:
            if expects or (reads and announces_body(request)):
                try:
                    await request.body()
                except ClientDisconnect:
                    return await handle(request)  # which meets it again, and tells of it in its own way
            return await run_in_threadpool(_run, handle(request))

        expects = self.body_field is not None
        reads = any(one.call in _BODY_READERS for one in _flat(self.dependant))
        return threaded


def _at_once(endpoint: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(endpoint)
    async def called(*args: P.args, **kwargs: P.kwargs) -> T:
        return endpoint(*args, **kwargs)

    return called


def _run(steps: Coroutine[Any, Any, T]) -> T:
    """What a coroutine answers that waits for nothing; it runs here, in a context of its own."""
    _in_thread.set(True)
    try:
        steps.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    steps.close()
    raise RuntimeError("a handler in a thread waited for the loop")


def _flat(dependant: Dependant) -> Iterator[Dependant]:
    for inner in dependant.dependencies:
        yield inner
        yield from _flat(inner)
