"""The tus 1.0 protocol on the wire: its headers in and out, and bodies that stream from the loop into a worker thread.

Source: tus.io resumable upload protocol 1.0.0, core with creation, creation-with-upload, checksum, expiration and
termination.
"""

from __future__ import annotations

import binascii
import difflib
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine, Iterator, Mapping
from email.utils import format_datetime
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import RunVar
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from app.cohorts.upload_targets import Wanted
from app.cohorts.uploads import ALGORITHMS, Checksum, Interrupted
from app.errors import Finding, Problem, refuse_all

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
OCTETS = "application/offset+octet-stream"
IDLE_SECONDS = 30.0  # a body that is silent for longer has lost its sender; what came is kept
PIECE = 1 << 18  # bytes handed to the writing thread at a time
WRITERS = 32  # bodies received at a time; more wait unread, so that other requests keep their threads
PURPOSES = {"table": ("version", "table"), "consents": ("cohort",)}

P = ParamSpec("P")
T = TypeVar("T")
_writers: RunVar[anyio.CapacityLimiter] = RunVar("upload_writers")
_number = re.compile(r"[0-9]{1,18}")


class TusRoute(APIRoute):
    """Refuses other versions of tus, and says `Tus-Resumable` on every answer, refusals too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with the protocol around it."""
        handle = super().get_route_handler()

        async def spoken(request: Request) -> Response:
            try:
                if request.method != "OPTIONS" and request.headers.get("tus-resumable") != VERSION:
                    detail = f"Send Tus-Resumable: {VERSION}."
                    raise Problem("tus_version_unsupported", detail, headers={"Tus-Version": VERSION})
                response = await handle(request)
            except Problem as problem:
                problem.headers.setdefault("Tus-Resumable", VERSION)
                raise
            response.headers["Tus-Resumable"] = VERSION
            return response

        return spoken


def wanted(headers: Mapping[str, str]) -> Wanted:
    """What a creation asks for, from Upload-Length and Upload-Metadata; every problem at once."""
    problems: list[Finding] = []
    length = _length(headers, problems)
    meta = _metadata(headers.get("upload-metadata", ""), problems)
    purpose = meta.get("purpose", "table")
    if purpose not in PURPOSES:
        near = tuple(difflib.get_close_matches(purpose, PURPOSES))
        problems.append(_finding("purpose", "It is `table` or `consents`.", near))
    for key in PURPOSES.get(purpose, ()):
        if not meta.get(key):
            near = tuple(difflib.get_close_matches(key, meta))
            problems.append(_finding(key, f"An upload with the purpose {purpose} names its {key}.", near))
    refuse_all("invalid_request", "The upload cannot be created.", problems)
    if purpose == "consents":
        return Wanted("consents", length, cohort_id=meta["cohort"])
    return Wanted(
        "table", length, version_id=meta["version"], table=meta["table"], mode=meta.get("mode") or "replace",
        partition=partition(meta.get("partition")),
    )  # fmt: skip


def partition(text: str | None) -> dict[str, str] | None:
    """`column:from/before` in its parts; what is not there is empty, and refused where the table is known."""
    if not text:
        return None
    head, _, before = text.rpartition("/")
    column, _, first = head.partition(":")
    return {"column": column, "from": first, "before": before}


def offset(headers: Mapping[str, str]) -> int:
    """Upload-Offset in bytes."""
    value = headers.get("upload-offset", "")
    if not _number.fullmatch(value):
        detail = "Upload-Offset is a number of bytes."
        raise Problem("invalid_request", detail, [Finding("header", detail, pointer="Upload-Offset")])
    return int(value)


def checksum(headers: Mapping[str, str]) -> Checksum | None:
    """Upload-Checksum, where it is sent."""
    if (value := headers.get("upload-checksum")) is None:
        return None
    algorithm, _, encoded = value.strip().partition(" ")
    digest = _decoded(encoded)
    if algorithm not in ALGORITHMS or digest is None:
        detail = f"Upload-Checksum is one of {', '.join(ALGORITHMS)}, a space and the digest in base64."
        raise Problem("invalid_request", detail, [Finding("header", detail, pointer="Upload-Checksum")])
    return Checksum(algorithm, digest)


def media_type(headers: Mapping[str, str]) -> str:
    """The media type of the body, in lower case, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def standing(view: Mapping[str, Any]) -> dict[str, str]:
    """The headers that say where an upload stands."""
    return {
        "Upload-Offset": str(view["received"]),
        "Upload-Expires": format_datetime(view["expires_at"], usegmt=True),
        "Cache-Control": "no-store",
    }


def described(view: Mapping[str, Any]) -> str:
    """Upload-Metadata of what we keep of it; file names are not kept, they can name people."""
    keys = ("purpose", *PURPOSES[view["purpose"]])
    return ",".join(f"{key} {b64encode(view[key].encode()).decode()}" for key in keys)


async def in_writer_thread(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what reads a body in a thread of the upload writers; a sender that went away is a `request_timeout`."""
    try:
        limiter = _writers.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(WRITERS)
        _writers.set(limiter)
    try:
        return await anyio.to_thread.run_sync(lambda: act(*args, **kwargs), limiter=limiter)
    except Interrupted:
        detail = "The body ended early; what is acknowledged stands at Upload-Offset (ask with HEAD)."
        raise Problem("request_timeout", detail, headers={"Connection": "close"}) from None


def pieces(request: Request) -> Iterator[bytes]:
    """The request's body for a worker thread, a piece at a time; `Interrupted` after what came before it broke off."""
    body = _Body(request)
    while piece := anyio.from_thread.run(body.next):
        yield piece


class _Body:
    def __init__(self, request: Request) -> None:
        self._stream = request.stream()
        self._broken = False

    async def next(self) -> bytes:
        """Up to a piece and one network read more; empty at the end."""
        if self._broken:
            raise Interrupted
        piece = bytearray()
        try:
            while len(piece) < PIECE:
                with anyio.fail_after(IDLE_SECONDS):
                    piece += await anext(self._stream)
        except StopAsyncIteration:
            pass
        except (ClientDisconnect, TimeoutError):
            self._broken = True
            if not piece:
                raise Interrupted from None
        return bytes(piece)


def _length(headers: Mapping[str, str], problems: list[Finding]) -> int:
    for name in ("Upload-Defer-Length", "Upload-Concat"):
        if name.lower() in headers:
            problems.append(Finding("header", f"{name} is not spoken here.", pointer=name))
    value = headers.get("upload-length", "")
    if _number.fullmatch(value):
        return int(value)
    problems.append(Finding("header", "Upload-Length is a number of bytes.", pointer="Upload-Length"))
    return 0


def _metadata(field: str, problems: list[Finding]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in field.split(","))):
        key, _, encoded = pair.partition(" ")
        value = _decoded(encoded)
        try:
            found[key] = "" if value is None else value.decode("utf-8")
        except UnicodeDecodeError:
            value = None
        if value is None or "\0" in found[key]:
            detail = "Each pair is a key, a space and text in base64."
            problems.append(Finding("header", detail, pointer="Upload-Metadata"))
            found.pop(key, None)
    return found


def _decoded(encoded: str) -> bytes | None:
    try:
        return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def _finding(key: str, detail: str, near: tuple[str, ...] = ()) -> Finding:
    return Finding("upload_metadata", detail, pointer=f"Upload-Metadata/{key}", near=near)
