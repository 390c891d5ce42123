"""DOOR 1: who asks, with which scope. A route is closed unless it names its scopes here or its path is in `PUBLIC`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, cast

from fastapi import FastAPI, Query, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import OAuthFlowAuthorizationCode, OAuthFlowClientCredentials, OAuthFlows
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import APIKeyQuery, OAuth2, SecurityScopes

from app.auth.links import SIGNATURE, Linked
from app.auth.policy import Actor, Scope
from app.auth.registered import IDENTITY_SCOPES
from app.auth.service import AuthService
from app.errors import Problem
from app.routers.threads import in_thread

# Everything that answers without a token. Nothing else does.
PUBLIC = frozenset(
    {
        "/",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/cite/{version_id}",
        "/docs",
        "/healthz",
        "/incidents",
        "/metrics",
        "/mine",
        "/oauth/authorize",
        "/oauth/introspect",
        "/oauth/jwks",
        "/oauth/revoke",
        "/oauth/token",
        "/openapi.json",
        "/operations",
        "/progress",
        "/readyz",
        "/v1/progress",
        "/variables",
    }
)

# What opens by a signed link instead of a token; nothing else asks `linked`.
LINKED = frozenset({"/v1/links/{extract_id}/{name}"})

_DESCRIPTIONS: dict[str, str] = {
    "audit:read": "Read and verify audit streams",
    "catalog:read": "Search the catalogue and ask for masked counts",
    "cohorts:read": "Read cohorts, dictionaries and reports",
    "cohorts:write": "Register cohorts, datasets and versions",
    "consents:write": "Load consents and take withdrawals",
    "datasets:publish": "Publish or return dataset versions",
    "extracts:read": "Read and download extracts",
    "extracts:write": "Order extracts",
    "incidents:manage": "Contain, assess, notify and close incidents",
    "incidents:report": "Report incidents and read those that concern you",
    "inspections:read": "Read who got what, on which ground, until when",
    "openid": "Say who you are",
    "permits:manage": "Suspend and revoke permits",
    "platform:admin": "Register institutions, clients and accounts",
    "profile": "Tell your name",
    "requests:review": "Review and decide access requests",
    "requests:write": "Write access requests and accept agreements",
    "uploads:write": "Upload files",
}

ALL_SCOPES: dict[str, str] = {
    name: _DESCRIPTIONS[name] for name in sorted(frozenset(map(str, Scope)) | IDENTITY_SCOPES)
}

_TOKEN_URL, _AUTHORIZE_URL = "/oauth/token", "/oauth/authorize"
_MACHINE_SCOPES = {name: text for name, text in ALL_SCOPES.items() if name not in IDENTITY_SCOPES}
_scheme = OAuth2(
    scheme_name="oauth2",
    auto_error=False,
    flows=OAuthFlows(
        clientCredentials=OAuthFlowClientCredentials(tokenUrl=_TOKEN_URL, scopes=_MACHINE_SCOPES),
        authorizationCode=OAuthFlowAuthorizationCode(
            tokenUrl=_TOKEN_URL, refreshUrl=_TOKEN_URL, authorizationUrl=_AUTHORIZE_URL, scopes=ALL_SCOPES
        ),
    ),
)

_signature = APIKeyQuery(
    name=SIGNATURE,
    scheme_name="link",
    auto_error=False,
    description="Of a URL that was given by `POST .../links`.",
)

Guard = Callable[..., Coroutine[Any, Any, Actor]]
_ALTERNATIVES: dict[Guard, list[str]] = {}


async def auth_service(request: Request) -> AuthService:
    """The issuer of this application."""
    return _issuer(request)


def _issuer(request: Request) -> AuthService:
    return cast("AuthService", request.app.state.house.auth)


async def _authenticated(
    request: Request, asked: SecurityScopes, _shown: Annotated[str | None, Security(_scheme)]
) -> Actor:
    """Who asks, if the token holds and has every scope."""
    actor = await in_thread(_issuer(request).authenticate, _bearer(request))
    if not actor.scopes.issuperset(asked.scopes):
        needed = " ".join(sorted(asked.scopes))
        raise Problem(
            "insufficient_scope",
            f"This needs the scope {needed}.",
            headers={
                "WWW-Authenticate": f'Bearer realm="baekman", error="insufficient_scope", scope="{needed}"'
            },
        )
    return actor


def _bearer(request: Request) -> str:
    """The token of the one Authorization header. A token in the query or in a form is never looked at: URLs are
    logged and shared (RFC 9700 4.3.2)."""
    headers = request.headers.getlist("authorization")
    scheme, _, token = headers[0].partition(" ") if headers else ("", "", "")
    if len(headers) != 1 or scheme.lower() != "bearer" or not token.strip():
        # RFC 6750 3.1: without a token the challenge carries no error code.
        raise Problem(
            "invalid_token",
            "Send an access token: Authorization: Bearer ...",
            headers={"WWW-Authenticate": 'Bearer realm="baekman"'},
        )
    return token.strip()


async def linked(
    request: Request,
    _shown: Annotated[str | None, Security(_signature)],
    _said: Annotated[str | None, Query(alias="link", description="What the signature is over.")] = None,
) -> Linked:
    """Who asks with a signed link for the file of this path."""
    place, name = request.path_params["extract_id"], request.path_params["name"]
    return await in_thread(_issuer(request).links.read, place, name, request.query_params.multi_items())


def requires(*scopes: str) -> Guard:
    """A dependency that gives the `Actor` if their token holds all these scopes; OpenAPI shows them at the route.

    `actor: Annotated[Actor, Depends(requires(Scope.COHORTS_WRITE))]`. 401 and 403 as RFC 6750 asks. At least one
    scope; an unknown one is a KeyError when the module is loaded.
    """
    if not scopes:
        raise ValueError("a guarded route names at least one scope")
    names = [str(scope) for scope in scopes]
    for name in names:
        ALL_SCOPES[name]

    async def guard(actor: Actor = Security(_authenticated, scopes=names)) -> Actor:
        return actor

    return guard


def requires_any(*scopes: str) -> Guard:
    """Like `requires`, for what several roles read by their own scope: one of these scopes is enough."""
    if len(scopes) < 2:
        raise ValueError("one scope of several: name at least two")
    names = sorted(str(scope) for scope in scopes)
    for name in names:
        ALL_SCOPES[name]

    async def guard(actor: Actor = Security(_authenticated)) -> Actor:
        if actor.scopes.isdisjoint(names):
            challenge = f'Bearer realm="baekman", error="insufficient_scope", scope="{names[0]}"'
            raise Problem(
                "insufficient_scope",
                f"This needs one of the scopes {', '.join(names)}.",
                headers={"WWW-Authenticate": challenge},
            )
        return actor

    _ALTERNATIVES[guard] = names
    return guard


def state_scopes(app: FastAPI) -> None:
    """Let the OpenAPI description say of every `requires_any` route which scopes open it, one alternative each:
    FastAPI by itself can only say that a token is needed."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = described()
            for context in iter_route_contexts(app.routes):
                if not isinstance(context.original_route, APIRoute):
                    continue
                names = _alternatives(context.dependant)
                for method in context.methods or ():
                    operation = schema["paths"].get(context.path_format, {}).get(method.lower())
                    if names and operation is not None:
                        operation["security"] = [{"oauth2": [name]} for name in names]
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _alternatives(dependant: Dependant) -> list[str]:
    for inner in dependant.dependencies:
        if found := _ALTERNATIVES.get(cast("Guard", inner.call)) or _alternatives(inner):
            return found
    return []


def unguarded_routes(app: FastAPI) -> Iterator[str]:
    """Method and path of every route that neither asks for a token (or, if it is `LINKED`, for a link) nor is `PUBLIC`.

    FastAPI's routes are a tree: `app.routes` alone would miss everything that was included. Mounts and plain
    Starlette routes cannot be guarded this way and must be public.
    """
    for context in iter_route_contexts(app.routes):
        path = context.path_format or context.path or ""
        if path in PUBLIC:
            continue
        asked = linked if path in LINKED else _authenticated
        if isinstance(context.original_route, APIRoute) and _is_guarded(context.dependant, asked):
            continue
        yield f"{','.join(sorted(context.methods or {'ANY'}))} {path}"


def assert_every_route_guarded(app: FastAPI) -> None:
    """Raise AssertionError naming every route that is open by oversight; for a test, and for the start of the app."""
    if found := sorted(unguarded_routes(app)):
        raise AssertionError("routes without a guard: " + "; ".join(found))


def _is_guarded(dependant: Dependant, guard: Callable[..., object]) -> bool:
    return dependant.call is guard or any(_is_guarded(inner, guard) for inner in dependant.dependencies)
