"""Is it alive, is it ready, what does it measure."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from app.routers.house import House, house

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """`ok` is false where something that is needed does not answer."""

    ok: bool


@router.get("/healthz", response_model=Health)
def healthz() -> dict[str, bool]:
    """The process answers."""
    return {"ok": True}


@router.get("/readyz", response_model=Health, responses={503: {"model": Health}})
def readyz(rooms: Annotated[House, Depends(house)], response: Response) -> dict[str, bool]:
    """The database answers, so that requests can be served."""
    ok = bool(rooms.db.ping())
    response.status_code = 200 if ok else 503
    return {"ok": ok}


@router.get("/metrics", response_class=Response)
def metrics(rooms: Annotated[House, Depends(house)]) -> Response:
    """Prometheus text; what is read from the database is read now, whichever process does the work."""
    rooms.measure()
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
