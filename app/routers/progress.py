"""The way to the million, open to everyone."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from app.routers.house import House, house
from app.schemas.api_catalog import ProgressView

router = APIRouter(tags=["progress"])


@router.get("/v1/progress", response_model=ProgressView)
def progress(rooms: Annotated[House, Depends(house)]) -> dict[str, Any]:
    """Distinct consenting people in published cohorts: in all, by institution, by day, and what to expect; masked."""
    return rooms.catalog.progress()
