"""Uploads: tus 1.0 for large files, one plain PUT for small ones. Bodies stream to the disk, never through memory."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Query, Request, Response

from app.auth.policy import Actor, Scope
from app.cohorts.upload_targets import Wanted
from app.cohorts.uploads import ALGORITHMS, UploadService
from app.errors import Problem
from app.routers import tus
from app.routers.guards import requires
from app.routers.problems import problems_and
from app.routers.threads import InOneThread
from app.schemas.api_uploads import UploadView


async def upload_service(request: Request) -> UploadService:
    """The uploads of this application."""
    return cast("UploadService", request.app.state.house.uploads)


Mode = Literal["replace", "append", "patch"]
Uploads = Annotated[UploadService, Depends(upload_service)]
Uploader = Annotated[Actor, Depends(requires(Scope.UPLOADS_WRITE))]
ConsentUploader = Annotated[Actor, Depends(requires(Scope.CONSENTS_WRITE))]

ANSWERS = problems_and(408, 411, 423, 460, 507)
speaking_tus = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=tus.TusRoute, responses=ANSWERS)
router = APIRouter(route_class=InOneThread, tags=["uploads"], responses=ANSWERS)


@speaking_tus.options("", status_code=204)
@speaking_tus.options("/{upload_id}", status_code=204)
def options(uploads: Uploads, _actor: Uploader, response: Response) -> None:
    """What of tus is spoken here."""
    response.headers["Tus-Version"] = tus.VERSION
    response.headers["Tus-Extension"] = tus.EXTENSIONS
    response.headers["Tus-Max-Size"] = str(uploads.settings.upload_max_bytes)
    response.headers["Tus-Checksum-Algorithm"] = ",".join(ALGORITHMS)


@speaking_tus.post("", status_code=201)
async def create(request: Request, uploads: Uploads, actor: Uploader) -> Response:
    """Begin an upload (Upload-Length, Upload-Metadata: purpose, version and table, or cohort).

    A body of the type application/offset+octet-stream is its first piece.
    """
    kind = tus.media_type(request.headers)
    if kind not in ("", tus.OCTETS) and request.headers.get("content-length") != "0":
        raise Problem("unsupported_media_type", f"The first piece of an upload is {tus.OCTETS}.")
    wanted, checksum = tus.wanted(request.headers), tus.checksum(request.headers)
    view = await tus.in_writer_thread(uploads.create, actor, wanted)
    location = _location(view)
    if kind == tus.OCTETS and wanted.length:
        try:
            pieces = tus.pieces(request)
            view = await tus.in_writer_thread(uploads.append, actor, view["id"], 0, pieces, checksum)
        except Problem as problem:
            problem.headers["Location"] = location
            raise
    return Response(status_code=201, headers={"Location": location, **tus.standing(view)})


@speaking_tus.head("/{upload_id}")
def stands_at(upload_id: str, uploads: Uploads, actor: Uploader) -> Response:
    """Where the upload stands: Upload-Offset of Upload-Length bytes are safe."""
    view = uploads.resumable(actor, upload_id)
    about = {"Upload-Length": str(view["length"]), "Upload-Metadata": tus.described(view)}
    return Response(status_code=200, headers={**tus.standing(view), **about})


@speaking_tus.patch("/{upload_id}", status_code=204)
async def append(upload_id: str, request: Request, uploads: Uploads, actor: Uploader) -> Response:
    """Add bytes at Upload-Offset; with Upload-Checksum all of them count or none."""
    if tus.media_type(request.headers) != tus.OCTETS:
        raise Problem("unsupported_media_type", f"Bytes of an upload are {tus.OCTETS}.")
    offset, checksum = tus.offset(request.headers), tus.checksum(request.headers)
    pieces = tus.pieces(request)
    view = await tus.in_writer_thread(uploads.append, actor, upload_id, offset, pieces, checksum)
    return Response(status_code=204, headers=tus.standing(view))


@speaking_tus.delete("/{upload_id}", status_code=204)
def terminate(upload_id: str, uploads: Uploads, actor: Uploader) -> Response:
    """End an upload that is not complete; its bytes are removed."""
    uploads.terminate(actor, upload_id)
    return Response(status_code=204)


@router.get("/v1/uploads/{upload_id}", response_model=UploadView)
def read(upload_id: str, uploads: Uploads, actor: Uploader) -> dict[str, Any]:
    """The upload, its state and the report of its checks."""
    return uploads.status(actor, upload_id)


@router.put("/v1/versions/{version_id}/tables/{table}", status_code=202, response_model=UploadView)
async def put_table(
    version_id: str,
    table: str,
    request: Request,
    response: Response,
    uploads: Uploads,
    actor: Uploader,
    mode: Annotated[
        Mode, Query(description="Laid onto the rows that the table has, or in their place.")
    ] = "replace",
    partition: Annotated[
        str | None,
        Query(max_length=400, description="Of an append: `column:from/before`, where its rows lie."),
    ] = None,
) -> dict[str, Any]:
    """Upload a table in one piece, as it is: CSV or Parquet as the dictionary says. It is checked next."""
    length = body_length(request, uploads)
    wanted = Wanted(
        "table", length, version_id=version_id, table=table, mode=mode, partition=tus.partition(partition)
    )
    return await put_whole(request, response, uploads, actor, wanted)


@router.put("/v1/cohorts/{cohort_id}/consents", status_code=202, response_model=UploadView)
async def put_consents(
    cohort_id: str, request: Request, response: Response, uploads: Uploads, actor: ConsentUploader
) -> dict[str, Any]:
    """Upload the consent register of a cohort in one piece. It is checked next."""
    wanted = Wanted("consents", body_length(request, uploads), cohort_id=cohort_id)
    return await put_whole(request, response, uploads, actor, wanted)


async def put_whole(
    request: Request, response: Response, uploads: UploadService, actor: Actor, wanted: Wanted
) -> dict[str, Any]:
    """Create and fill in one request; an upload that fails half way is ended, for nobody would resume it."""
    checksum = tus.checksum(request.headers)
    view = await tus.in_writer_thread(uploads.create, actor, wanted)
    response.headers["Location"] = _location(view)
    response.headers["Retry-After"] = "1"
    if not wanted.length:
        return view
    try:
        pieces = tus.pieces(request)
        return await tus.in_writer_thread(uploads.append, actor, view["id"], 0, pieces, checksum)
    except Exception:
        with suppress(Problem):
            await tus.in_writer_thread(uploads.give_up, actor, view["id"])
        raise


def body_length(request: Request, uploads: UploadService) -> int:
    """Content-Length of a body that is the file itself, within the limit of a plain PUT."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "Send the file itself, without Content-Encoding.")
    if (length := request.headers.get("content-length")) is None:
        raise Problem("length_required", "Send Content-Length, or use tus at /v1/uploads.")
    most = uploads.settings.upload_put_max_bytes
    if int(length) > most:
        raise Problem(
            "payload_too_large", f"A plain PUT takes {most} bytes; use tus at /v1/uploads for more."
        )
    return int(length)


def _location(view: dict[str, Any]) -> str:
    return f"/v1/uploads/{view['id']}"


router.include_router(speaking_tus)
