"""A real server with the upload routes and one file to deliver; also a process of its own, to be killed.

Real guards, real service; only tokens are simple: the token `a` is institution a's, anything else is nobody's.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from app.auth.policy import Actor
from app.db import Database
from app.errors import Problem
from app.routers import uploads
from app.routers.files import deliver
from app.routers.guards import assert_every_route_guarded
from app.routers.handing import NO_PROXY, Proxy
from app.storage.outbox import Outbox
from app.storage.store import Stored
from tests.integration.uploads.world import World, actor


class Tokens:
    def authenticate(self, token: str) -> Actor:
        who = {
            "a": actor("ins_a"),
            "b": actor("ins_b"),
            "a-tables": actor("ins_a", "institution", "uploads:write"),
        }
        if token not in who:
            raise Problem("invalid_token", "No such token.")
        return who[token]


def upload_app(world: World) -> FastAPI:
    app = with_problems(FastAPI(docs_url=None, redoc_url=None))
    app.state.house = SimpleNamespace(uploads=world.service, auth=Tokens())
    app.include_router(uploads.router)
    assert_every_route_guarded(app)
    return app


def file_app(
    outbox: Outbox,
    part: Stored,
    check: Callable[[], None],
    proxy: Proxy = NO_PROXY,
) -> FastAPI:
    app = with_problems(FastAPI(docs_url=None, redoc_url=None))

    @app.api_route("/part", methods=["GET", "HEAD"])
    def part_(request: Request) -> Response:
        etag = part.sha256
        return deliver(
            outbox,
            part.name,
            part.bytes,
            etag,
            part.sha256,
            request,
            filename="진료 person.parquet",
            check=check,
            proxy=proxy,
        )

    return app


def with_problems(app: FastAPI) -> FastAPI:
    @app.exception_handler(Problem)
    def _answer(_request: Request, problem: Problem) -> JSONResponse:
        media = "application/problem+json"
        return JSONResponse(problem.to_dict(), problem.status, problem.headers, media_type=media)

    return app


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The base URL of the app on a free port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


if __name__ == "__main__":  # python -m tests.integration.uploads.server FOLDER PORT
    folder = Path(sys.argv[1])
    place = World(folder, Database(f"sqlite:///{folder / 'baekman.db'}"), now=datetime.now(UTC))
    uvicorn.run(upload_app(place), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
