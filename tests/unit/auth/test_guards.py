"""DOOR 1: every route is guarded or public; the check itself is shown to fail on a route that is neither."""

from types import SimpleNamespace
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from app.auth.links import Linked
from app.auth.policy import Actor, Scope
from app.auth.service import invalid_token
from app.errors import Problem
from app.portal import authorize
from app.routers import clients, oauth
from app.routers.guards import (
    ALL_SCOPES,
    LINKED,
    PUBLIC,
    assert_every_route_guarded,
    linked,
    requires,
    unguarded_routes,
)


class OneToken:
    """An issuer that knows one token."""

    def authenticate(self, bearer):
        if bearer != "good":
            raise invalid_token()
        return Actor("client:c", "c", "researcher", None, frozenset({"catalog:read"}))


def application():
    app = FastAPI(docs_url=None, redoc_url=None)
    router = APIRouter(prefix="/v1")

    @router.get("/catalog")
    def catalog(actor: Annotated[Actor, Depends(requires(Scope.CATALOG_READ))]) -> str:
        return actor.subject

    @router.get("/both")
    def both(actor: Annotated[Actor, Depends(requires(Scope.CATALOG_READ, Scope.AUDIT_READ))]) -> str:
        return actor.subject

    app.include_router(router)
    app.state.house = SimpleNamespace(auth=OneToken())

    @app.exception_handler(Problem)
    async def problem(request, error):
        return JSONResponse(error.to_dict(), error.status, error.headers)

    return app


def get(path, *headers):
    return TestClient(application()).get(path, headers=list(headers))


def test_a_good_token_comes_in():
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = get("/v1/catalog", ("Authorization", f"{scheme} good"))
        assert (answer.status_code, answer.json()) == (200, "client:c")


def test_without_a_token_the_challenge_carries_no_error():
    for path in ("/v1/catalog", "/v1/catalog?access_token=good"):
        answer = get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="baekman"'
        assert answer.json()["code"] == "invalid_token"


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer bad")],
        [("Authorization", "Basic good")],
        [("Authorization", "Bearer")],
        [("Authorization", "good")],
        [("Authorization", "Bearer good"), ("Authorization", "Bearer good")],
        [("Cookie", "access_token=good")],
        [("X-Authorization", "Bearer good")],
    ],
)
def test_every_other_way_is_refused(headers):
    answer = get("/v1/catalog", *headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_a_wrong_token_is_named_invalid():
    answer = get("/v1/catalog", ("Authorization", "Bearer bad"))
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_missing_scope_names_all_that_are_needed():
    answer = get("/v1/both", ("Authorization", "Bearer good"))
    assert answer.status_code == 403
    challenge = answer.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="audit:read catalog:read"' in challenge


def test_openapi_shows_the_scopes_of_each_route():
    document = application().openapi()
    assert document["paths"]["/v1/both"]["get"]["security"] == [{"oauth2": ["catalog:read", "audit:read"]}]
    flows = document["components"]["securitySchemes"]["oauth2"]["flows"]
    assert set(flows) == {"clientCredentials", "authorizationCode"}
    assert set(flows["authorizationCode"]["scopes"]) == set(ALL_SCOPES)


def test_a_guard_names_known_scopes():
    with pytest.raises(KeyError):
        requires("nothing:such")
    with pytest.raises(ValueError, match="at least one"):
        requires()


def test_a_link_opens_what_is_on_the_list_and_no_token_does():
    app = FastAPI(docs_url=None, redoc_url=None)
    path = "/v1/links/{extract_id}/{name}"

    @app.get("/v1/extracts/{extract_id}")
    def other(extract_id: str, asker: Annotated[Linked, Depends(linked)]) -> str:
        return asker.link.id

    @app.get(path)
    def by_token(extract_id: str, actor: Annotated[Actor, Depends(requires(Scope.EXTRACTS_READ))]) -> str:
        return actor.subject

    assert set(LINKED) == {path}
    assert sorted(unguarded_routes(app)) == ["GET /v1/extracts/{extract_id}", f"GET {path}"]


def test_our_routes_are_guarded():
    app = application()
    for router in (oauth.router, clients.router, authorize.router):
        app.include_router(router)
    assert_every_route_guarded(app)


def test_the_check_finds_a_planted_route_however_deep():
    app, outer, inner = application(), APIRouter(prefix="/v1"), APIRouter(prefix="/deep")

    @inner.get("/open")
    def planted() -> str:
        return "open"

    def plain(request):
        return PlainTextResponse("open")

    outer.include_router(inner)
    app.include_router(outer)
    app.add_route("/plain", plain)
    app.mount("/files", FastAPI())
    found = set(unguarded_routes(app))
    assert {"GET /v1/deep/open", "GET,HEAD /plain", "ANY /files/{path}"} <= found
    with pytest.raises(AssertionError, match="/v1/deep/open"):
        assert_every_route_guarded(app)


def test_a_dependency_that_only_looks_like_a_guard_does_not_count():
    app = application()

    def guard() -> str:
        return "anyone"

    @app.get("/v1/looks")
    def looks(actor: Annotated[str, Depends(guard)]) -> str:
        return actor

    assert list(unguarded_routes(app)) == ["GET /v1/looks"]


def test_nothing_of_a_noun_is_public():
    assert {path for path in PUBLIC if path.startswith("/v1/")} == {"/v1/progress"}
