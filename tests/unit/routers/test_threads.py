"""One hop to a thread a request: never on the loop, the body received before, and no plain handler left out."""

import threading
from collections.abc import Generator
from typing import Annotated, Any

import anyio
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient

from app.main import ROUTERS
from app.routers.bodies import Storable
from app.routers.guards import PUBLIC
from app.routers.threads import InOneThread, in_thread, reads_body
from app.routers.tus import TusRoute


async def asker() -> int:
    """The thread in which a dependency would read the database."""
    return await in_thread(threading.get_ident)


async def looks() -> int:
    return threading.get_ident()


class Turn:
    """Waits for the loop to come by again."""

    def __await__(self) -> Generator[None]:
        yield


async def waits() -> None:
    await Turn()


@reads_body
async def late() -> int:
    return threading.get_ident()


def application(**told: Any) -> FastAPI:
    app = FastAPI(**told)
    router = APIRouter(route_class=InOneThread, dependencies=[Storable])

    @router.get("/threads", response_model=list[int])
    def threads(asked: Annotated[int, Depends(asker)], seen: Annotated[int, Depends(looks)]) -> list[int]:
        return [asked, seen, threading.get_ident()]

    @router.get("/loop")
    async def loop(asked: Annotated[int, Depends(asker)]) -> list[int]:
        return [asked, threading.get_ident()]

    @router.get("/waits", dependencies=[Depends(waits)])
    def waiting() -> None:
        raise AssertionError("it came to the handler")

    @router.post("/body", dependencies=[Depends(late)])
    def body(sent: Annotated[dict[str, str], Body()]) -> dict[str, str]:
        return sent

    app.include_router(router, prefix="/v1")
    return app


def test_who_asks_and_the_handler_share_a_thread_that_is_not_the_loop_s():
    with TestClient(application()) as client:
        threads, looped = client.get("/v1/threads").json(), client.get("/v1/loop").json()
    loop = looped[1]
    assert len(set(threads)) == 1, threads
    assert loop not in threads
    assert looped[0] != loop


def test_a_dependency_that_waits_for_the_loop_is_an_error_and_not_a_hang():
    with TestClient(application()) as client, pytest.raises(RuntimeError, match="waited for the loop"):
        client.get("/v1/waits")


def test_a_body_that_comes_in_pieces_reaches_the_handler():
    with TestClient(application()) as client:
        answer = client.post(
            "/v1/body", content=iter([b'{"a": ', b'"b"}']), headers={"Content-Type": "application/json"}
        )
    assert (answer.status_code, answer.json()) == (200, {"a": "b"})


def test_a_body_on_its_way_holds_no_thread():
    """The handler's thread begins when the body is there: whoever sends slowly takes no thread from others."""
    app, steps = application(), list[str]()

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            steps.append(f"received in {threading.get_ident() == here}")
            busy.append(anyio.to_thread.current_default_thread_limiter().borrowed_tokens)
            return {"type": "http.request", "body": b'{"a": "b"}', "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            steps.append(message["type"])

        here, busy = threading.get_ident(), list[float]()
        headers = [(b"content-type", b"application/json")]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/body", "query_string": b"", "headers": headers,
            "http_version": "1.1", "scheme": "http", "server": ("here", 80), "root_path": "",
        }  # fmt: skip
        await app(scope, receive, send)  # type: ignore[arg-type]
        assert busy == [0]

    anyio.run(run)
    assert steps == ["received in True", "http.response.start", "http.response.body"]


def test_every_plain_handler_behind_a_token_runs_so():
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for module in ROUTERS:
        app.include_router(module.router)
    others = {
        context.path_format
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute)
        and not isinstance(context.original_route, InOneThread | TusRoute)
    }
    assert others - PUBLIC == {"/oauth/userinfo"}
