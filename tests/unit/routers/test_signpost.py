"""The signpost finds what FastAPI finds, by fewer questions; what is not plain is left to FastAPI."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from app.main import ROUTERS
from app.routers.signpost import Signpost

Found = tuple[Any, dict[str, Any]]


def scope_of(method: str, path: str, root: str = "") -> Scope:
    return {
        "type": "http", "method": method, "path": root + path, "root_path": root, "query_string": b"", "headers": [],
        "http_version": "1.1", "scheme": "http", "server": ("here", 80),
    }  # fmt: skip


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    """Which handlers were found, instead of calling them."""
    met: list[Found] = []

    async def handle(_route: APIRoute, scope: Scope, _receive: Receive, _send: Send) -> None:
        met.append((scope["endpoint"], scope["path_params"]))

    monkeypatch.setattr(APIRoute, "handle", handle)
    return met


def ask(app: Any, *scopes: Scope) -> None:
    async def nothing(*_: Any) -> Any:
        raise AssertionError("it was answered")

    async def run() -> None:
        for scope in scopes:
            await app(scope, nothing, nothing)

    anyio.run(run)


def test_of_ours_it_finds_what_fastapi_finds(found: list[Found], monkeypatch: pytest.MonkeyPatch) -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for module in ROUTERS:
        app.include_router(module.router)
    scopes = [
        (method, (context.path_format or "").replace("{", "").replace("}", ""))
        for context in iter_route_contexts(app.routes)
        for method in sorted(context.methods or ())
    ]
    assert len(scopes) > 150
    ask(app.router.app, *(scope_of(*one) for one in scopes))
    by_fastapi = found.copy()
    found.clear()
    signpost = Signpost(app.router)
    left: list[str] = []

    async def leave(scope: Scope, _receive: Receive, _send: Send) -> None:
        left.append(scope["path"])
        found.append(by_fastapi[len(found)])

    monkeypatch.setattr(app.router, "app", leave)
    ask(signpost, *(scope_of(*one) for one in scopes))
    assert found == by_fastapi
    assert {path for path in left if path.startswith("/v1/") and path.count("/") > 1} == set()


def small() -> FastAPI:
    """Routers whose order decides, one with a parameter in its first words."""
    app = FastAPI(openapi_url=None)
    wild, plain, deep = APIRouter(), APIRouter(prefix="/v1/things"), APIRouter(prefix="/v1")
    wild.get("/{one}/things/of")(lambda one: f"wild {one}")
    wild.get("/v1/{one:path}/end")(lambda one: f"end {one}")
    wild.post("/v1/things/{one}")(lambda one: f"posted {one}")
    plain.get("/{one}")(lambda one: f"plain {one}")
    deep.get("/things/{one}/{two}")(lambda one, two: f"deep {one} {two}")
    for router in (wild, plain, deep):
        app.include_router(router)
    return app


CALLS = [
    ("GET", "/v1/things/of"), ("GET", "/v2/things/of"), ("GET", "/v1/things/x"), ("POST", "/v1/things/x"),
    ("PUT", "/v1/things/x"), ("GET", "/v1/things/x/end"), ("GET", "/v1/things/x/y"), ("GET", "/v1/things/x/y/z"),
    ("GET", "/v1/things/x/"), ("GET", "/v1/things"), ("GET", "/v1"), ("GET", "/"), ("HEAD", "/v1/things/x"),
    ("GET", "/v1/things%2Fx"), ("GET", "//v1/things/x"), ("GET", "/v1//things/x"),
]  # fmt: skip


@pytest.mark.parametrize("root", ["", "/behind"])
def test_order_parameters_and_what_is_not_found_are_fastapi_s(root: str) -> None:
    def answers(app: FastAPI) -> list[tuple[int, str, str | None]]:
        with TestClient(app, root_path=root) as client:
            told = [client.request(*call, follow_redirects=False) for call in CALLS]
        return [(one.status_code, one.text, one.headers.get("allow")) for one in told]

    signed = small()
    signed.router.middleware_stack = Signpost(signed.router)
    assert answers(signed) == answers(small())
    assert [text for _, text, _ in answers(signed)[:4]] == [
        '"wild v1"',
        '"wild v2"',
        '"plain x"',
        '"posted x"',
    ]
