"""Every refusal leaves as RFC 9457 `application/problem+json` in our words; every answer carries a request id.

A library's message, a value that was sent, or a trace never reaches a client, and never the log either.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import CODES, Finding, Problem
from app.passing import passing
from app.routers.arriving import Arriving

log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_MOST = 100  # findings told of one request

# The library's error types in our words; what is not here is told as a wrong shape.
_WORDS: dict[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a property of this request",
    "json_invalid": "is not JSON",
    "string_too_short": "is too short",
    "string_too_long": "is too long",
    "string_pattern_mismatch": "holds characters that do not belong there, or has the wrong length",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "list_type": "must be a JSON array",
    "tuple_type": "must be a JSON array",
    "too_short": "has too few elements",
    "too_long": "has too many elements",
    "literal_error": "is not one of the words allowed here",
    "enum": "is not one of the words allowed here",
    "date_type": "must be a date, YYYY-MM-DD",
    "date_parsing": "must be a date, YYYY-MM-DD",
    "date_from_datetime_parsing": "must be a date, YYYY-MM-DD",
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than": "is too large",
    "less_than_equal": "is too large",
}
_CODES_BY_STATUS = {
    400: "invalid_request", 404: "not_found", 405: "method_not_allowed", 408: "request_timeout",
    413: "payload_too_large", 415: "unsupported_media_type", 422: "invalid_request", 429: "too_many_requests",
}  # fmt: skip


class FindingBody(BaseModel):
    """One thing that is wrong, and where; never a value."""

    code: str
    detail: str
    table: str | None = None
    column: str | None = None
    lines: list[int] | None = None
    count: int | None = None
    pointer: str | None = None
    hint: str | None = None
    near: list[str] | None = None


class ProblemBody(BaseModel):
    """A refusal: `code` is stable, the words are not. More members may follow, by code."""

    type: str
    title: str
    title_ko: str
    status: int
    detail: str
    code: str
    instance: str | None = None
    problems: list[FindingBody] | None = None


def _declared(status: int) -> dict[str, Any]:
    codes = sorted(code for code, (of, _title, _ko) in CODES.items() if of == status)
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {"description": "One of: " + ", ".join(codes), "content": {MEDIA_TYPE: {"schema": schema}}}


# What every route may answer besides its success; one declaration for all of them. `ProblemBody` is put among the
# schemas by `model` at 500, the others refer to it.
_STATUSES = (401, 403, 404, 405, 409, 410, 412, 413, 415, 422, 428, 429, 503)
PROBLEMS: dict[int | str, dict[str, Any]] = {status: _declared(status) for status in _STATUSES}
PROBLEMS[500] = {**_declared(500), "model": ProblemBody}


def problems_and(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`PROBLEMS` and those of further statuses, for routes that can answer more than most."""
    return {**PROBLEMS, **{status: _declared(status) for status in statuses}}


def install(app: FastAPI) -> None:
    """Hang all of this into the application; called once by main, before the first request."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Arriving)
    app.add_middleware(Envelope)


class Envelope:
    """The outermost layer of ours: a request id on every answer, and nothing but `internal` of what nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, sending)
            except Exception as error:
                # The message of a library may hold a value, so only the type and the place are logged.
                problem = passing(error)
                say = log.error if problem is None else log.warning
                say("request failed", error=type(error).__name__, at=_place(error))
                if begun:
                    return  # an answer is under way: it ends short, which the client can see
                if problem is None:
                    problem = Problem("internal", "Give us the request id.", extra={"request_id": request_id})
                await _answer(problem, scope["path"])(scope, receive, sending)


def _answer(problem: Problem, path: str) -> JSONResponse:
    return JSONResponse(
        problem.to_dict(instance=path), problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


async def _problem(request: Request, error: Exception) -> JSONResponse:
    return _answer(cast("Problem", error), request.url.path)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    errors = cast("RequestValidationError", error).errors()
    findings = [_finding(one) for one in errors[:_MOST]]
    wants_json = any(finding.pointer == "" for finding in findings) and _is_not_json(request)
    if wants_json:
        return _answer(Problem("unsupported_media_type", "Send application/json."), request.url.path)
    problem = Problem("invalid_request", "See `problems`, each with its place.", findings)
    return _answer(problem, request.url.path)


async def _http(request: Request, error: Exception) -> JSONResponse:
    status = cast("HTTPException", error).status_code
    code = _CODES_BY_STATUS.get(status, "internal" if status >= 500 else "invalid_request")
    problem = Problem(code, CODES[code][1] + ".", headers=dict(cast("HTTPException", error).headers or {}))
    if code == "method_not_allowed":
        problem.headers["Allow"] = ", ".join(_methods(request))
    return _answer(problem, request.url.path)


def _finding(error: Mapping[str, Any]) -> Finding:
    kind, loc = str(error["type"]), list(error["loc"])
    place, steps = (str(loc[0]), loc[1:]) if loc else ("body", [])
    if kind == "json_invalid":
        return Finding("json_invalid", _WORDS[kind], pointer="")
    detail = _WORDS.get(kind, "does not have the shape that belongs here")
    if place == "body":
        return Finding(kind, detail, pointer=_pointer(steps))
    return Finding(kind, f"{place} parameter {detail}", pointer=f"{place}:{_pointer(steps)[1:]}")


def _pointer(steps: Sequence[object]) -> str:
    parts = (str(step)[:80].replace("~", "~0").replace("/", "~1") for step in steps)
    return "".join("/" + part for part in parts)


def _is_not_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    return not (media_type == "application/json" or media_type.endswith("+json"))


def _methods(request: Request) -> list[str]:
    """Every method of this path: Starlette itself would tell those of the first route alone."""
    found: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        route = context.original_route
        regex = getattr(context, "path_regex", None) or getattr(route, "path_regex", None)
        if context.methods and regex is not None and regex.match(request.scope["path"]):
            found |= context.methods
        elif regex is None and isinstance(route, BaseRoute) and route.matches(request.scope)[0] is Match.FULL:
            found |= {"GET", "HEAD"}
    return sorted(found)


def _request_id(scope: Scope) -> str:
    sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)


def _place(error: BaseException) -> str:
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
