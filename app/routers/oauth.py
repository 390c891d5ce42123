"""The endpoints of the built-in issuer that machines call; the page for people is `portal/authorize.py`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from app.auth.policy import Actor
from app.auth.service import AuthService
from app.auth.wire import MAX_FORM_BYTES, Answer, Call, fields_of
from app.routers.guards import auth_service, requires
from app.routers.problems import PROBLEMS
from app.schemas.api_oauth import (
    Introspection,
    Jwks,
    Metadata,
    OAuthError,
    TokenAnswer,
    UserInfo,
    token_form,
)

router = APIRouter(tags=["oauth"])

_FORM_TYPE = "application/x-www-form-urlencoded"
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": OAuthError, "description": "RFC 6749 5.2"},
    401: {"model": OAuthError, "description": "The client could not prove itself"},
    429: {"model": OAuthError, "description": "Too many failures; see Retry-After"},
}
_REFUSED: dict[int | str, dict[str, Any]] = {status: PROBLEMS[status] for status in (401, 403)}

Auth = Annotated[AuthService, Depends(auth_service)]


async def form_call(request: Request) -> Call:
    """The form as a call. A body that is no form, or too large, has no fields, which is an invalid_request.

    Read here and not by FastAPI: its answer to a bad form is a problem document, and OAuth clients need RFC 6749's.
    """
    return Call(
        method=request.method,
        path=request.url.path,
        parameters=fields_of(await _body(request))
        if _is_form(request.headers.get("content-type", ""))
        else (),
        authorization=request.headers.get("authorization"),
        address=request.client.host if request.client else "",
    )


FormCall = Annotated[Call, Depends(form_call)]


@router.post(
    "/oauth/token",
    response_model=TokenAnswer,
    responses=_ERRORS,
    openapi_extra=token_form("grant_type", "scope", "code", "redirect_uri", "code_verifier", "refresh_token"),
)
def token(call: FormCall, auth: Auth) -> JSONResponse:
    """A token for a grant: client_credentials, authorization_code with PKCE, or refresh_token."""
    return _json(auth.token(call))


@router.post("/oauth/revoke", responses=_ERRORS, openapi_extra=token_form("token", "token_type_hint"))
def revoke(call: FormCall, auth: Auth) -> JSONResponse:
    """Give a token back; 200 too where it was unknown."""
    return _json(auth.revoke(call))


@router.post(
    "/oauth/introspect",
    response_model=Introspection,
    responses=_ERRORS,
    openapi_extra=token_form("token", "token_type_hint"),
)
def introspect(call: FormCall, auth: Auth) -> JSONResponse:
    """Whether a token of the asking client holds now."""
    return _json(auth.introspect(call))


@router.get("/oauth/userinfo", response_model=UserInfo, response_model_exclude_none=True, responses=_REFUSED)
@router.post("/oauth/userinfo", response_model=UserInfo, response_model_exclude_none=True, responses=_REFUSED)
def userinfo(auth: Auth, actor: Annotated[Actor, Depends(requires("openid"))]) -> JSONResponse:
    """Who the person of the token is."""
    return JSONResponse(auth.userinfo(actor), headers={"Cache-Control": "no-store"})


@router.get("/oauth/jwks", response_model=Jwks)
def jwks(auth: Auth) -> JSONResponse:
    """The public keys that tokens verify with."""
    return JSONResponse(auth.jwks(), headers={"Cache-Control": "public, max-age=300"})


@router.get("/.well-known/oauth-authorization-server", response_model=Metadata)
@router.get("/.well-known/openid-configuration", response_model=Metadata)
def metadata(auth: Auth) -> JSONResponse:
    """What the issuer offers."""
    return JSONResponse(auth.metadata(), headers={"Cache-Control": "public, max-age=300"})


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            return b""
    return body


def _is_form(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == _FORM_TYPE


def _json(answer: Answer) -> JSONResponse:
    return JSONResponse(answer.body or {}, answer.status, answer.headers)
