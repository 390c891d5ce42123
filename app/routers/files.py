"""Bytes of released files over HTTP: exact ranges, one strong ETag, and a check before every chunk.

RFC 9110 sections 8.8.3 (ETag), 13 (conditions), 14 (ranges); RFC 9530 (Repr-Digest); RFC 6266 (file names).
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Send

from app.errors import Problem
from app.routers.handing import NO_PROXY, PLACE, Proxy

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,30})-([0-9]{0,30})[ \t]*", re.IGNORECASE)
_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Parts(Protocol):
    """What files are read from; the outbox is one."""

    def chunks(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` up to but not including `end`, at most 1 MiB at a time."""

    def is_file(self, name: str, size: int) -> bool:
        """Whether it lies there, with so many bytes, as a file that the proxy may have as well."""


def deliver(
    parts: Parts,
    name: str,
    size: int,
    etag: str,
    sha256: str,
    request: Request,
    *,
    filename: str,
    check: Callable[[], None],
    damaged: Callable[[], object] = bool,
    media_type: str = "application/vnd.apache.parquet",
    proxy: Proxy = NO_PROXY,
) -> Response:
    """Answer GET or HEAD for the object `name` of `size` bytes; `etag` without quotes, `sha256` in hex.

    `check` raises a `Problem` when the bytes may not leave (any more). It is called here, so that the refusal is an
    answer, and before each chunk, where it cuts the connection: the client sees a short body, never a whole one.
    Of a whole file the last chunk leaves only where all of them hash to `sha256`; else, and where bytes are missing,
    `damaged` is called and the connection is cut. What the store cannot give at all is an answer, not a cut one.
    A piece of the file that `proxy` takes is checked here and sent by it; the whole never, for its digest is looked at.
    Raises `range_not_satisfiable`, and `precondition_failed` for an If-Match that names another ETag.
    """
    check()
    tag = f'"{etag}"'
    headers = _headers(tag, sha256, filename)
    if (wanted := request.headers.get("if-match")) is not None and not _names(wanted, tag, weak=False):
        raise Problem(
            "precondition_failed", "The file is not the one that If-Match names.", headers={"ETag": tag}
        )
    if (known := request.headers.get("if-none-match")) is not None and _names(known, tag, weak=True):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, size, 200
    if request.method != "HEAD" and request.headers.get("if-range", tag) == tag:
        start, end, status = _range(request.headers.get("range"), size)
    some = status == 206 and (start, end) != (0, size)
    if some and proxy.takes(request) and parts.is_file(name, size):
        return Response(headers=headers | {"X-Accel-Redirect": f"{PLACE}{name}"}, media_type=media_type)
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(headers=headers, media_type=media_type)
    chunks = _begun(parts.chunks(name, start, end), damaged, check) if end > start else iter(())
    whole = sha256 if (start, end) == (0, size) else None
    body = _checked(chunks, end - start, check, whole, damaged)
    return _Cut(body, status, headers, media_type)


def _headers(tag: str, sha256: str, filename: str) -> dict[str, str]:
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", filename)
    return {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}",
        "Repr-Digest": f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }


def _names(field: str, tag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags names ours; only the weak comparison forgives W/."""
    if field.strip() == "*":
        return True
    found = _ETAG.finditer(field)
    return any(m[1] == tag and (weak or not m[0].startswith("W/")) for m in found)


def _range(field: str | None, size: int) -> tuple[int, int, int]:
    """Start, end (excluded) and status for a Range field.

    Several ranges, another unit or nonsense are ignored, as RFC 9110 section 14.2 allows: the answer is the whole.
    """
    match = _RANGE.fullmatch(field or "")
    if match is None or not (match[1] or match[2]):
        return 0, size, 200
    if not match[1]:
        length = min(int(match[2]), size)
        if length == size == 0 and int(match[2]):
            return 0, 0, 200  # the last bytes of nothing are nothing, which no Content-Range can say
        start, end = size - length, size
    else:
        start, end = int(match[1]), min(int(match[2] or size), size - 1) + 1
        if match[2] and int(match[2]) < start:
            return 0, size, 200
    if start >= end:
        raise Problem(
            "range_not_satisfiable",
            f"The file has {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end, 206


class _Stopped(Exception):
    """The bytes may not go on."""


def _begun(
    chunks: Iterator[bytes], damaged: Callable[[], object], check: Callable[[], None]
) -> Iterator[bytes]:
    """The chunks with the first of them read, so that a store that does not answer is told before anything is sent."""
    try:
        first = next(chunks)
    except (StopIteration, FileNotFoundError):
        damaged()
        check()  # which tells why, now that it is known
        raise Problem("part_damaged", "Its bytes are gone.", headers={"Retry-After": "60"}) from None
    return chain((first,), chunks)


def _checked(
    chunks: Iterator[bytes],
    length: int,
    check: Callable[[], None],
    whole: str | None,
    damaged: Callable[[], object],
) -> Iterator[bytes]:
    """The chunks, each after its check; `_Stopped` where it refuses, where the object ends too early, or, where all of
    it is asked for, before its last chunk if its digest is not `whole`."""
    sent, digest = 0, hashlib.sha256()
    while sent < length:
        try:
            check()
            chunk = next(chunks)
        except (StopIteration, FileNotFoundError):
            damaged()
            raise _Stopped from None
        except Problem:
            raise _Stopped from None
        sent += len(chunk)
        if whole is not None:
            digest.update(chunk)
            if sent >= length and digest.hexdigest() != whole:
                damaged()
                raise _Stopped
        yield chunk


class _Cut(StreamingResponse):
    """A stream that, when stopped, ends without its last message: the server closes the connection."""

    def __init__(
        self, content: Iterator[bytes], status_code: int, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(content, status_code, headers, media_type)

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except _Stopped:
            return
