"""The doors of the service, hung before one house after the other: to put them together takes longer than a test."""

from __future__ import annotations

from fastapi import FastAPI

from app.main.doors import about, hang
from app.routers.house import House

_MADE: set[FastAPI] = set()
_FREE: list[FastAPI] = []


def before(house: House) -> FastAPI:
    """All doors of the service before this house alone, until they are given `back`."""
    app = _FREE.pop() if _FREE else _made(house)
    app.state.house = house
    return app


def back(app: FastAPI) -> None:
    """Nobody comes in by them any more: the next house may have them. ValueError where they are not from here: others
    may be less than the service's."""
    if app not in _MADE or app in _FREE:
        raise ValueError("these doors were not hung here, or are back already")
    _FREE.append(app)


def _made(house: House) -> FastAPI:
    app = hang(house, FastAPI(docs_url=None, redoc_url=None, **about()))
    _MADE.add(app)
    return app
