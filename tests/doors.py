"""The doors of the service, hung before one house after the other: to put them together takes longer than a test."""

from __future__ import annotations

from fastapi import FastAPI

from app.main.doors import about, hang
from app.routers.house import House

_FREE: list[FastAPI] = []


def before(house: House) -> FastAPI:
    """All doors of the service before this house alone, until they are given `back`."""
    app = _FREE.pop() if _FREE else hang(house, FastAPI(docs_url=None, redoc_url=None, **about()))
    app.state.house = house
    return app


def back(app: FastAPI) -> None:
    """Nobody comes in by them any more: the next house may have them."""
    _FREE.append(app)
