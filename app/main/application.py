"""The application that a server serves: it prepares, serves, and works unless workers of their own do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from app.clock import Clock, SteadyClock
from app.main.doors import about, hang
from app.main.rooms import build, serving
from app.main.working import begin
from app.settings import Settings


def create_app(settings: Settings | None = None, clock: Clock | None = None) -> FastAPI:
    """The application: brings the database up to date, then serves; and works, unless workers of their own do."""
    chosen = settings or Settings()
    time = clock or SteadyClock()
    built = serving(chosen, time) if chosen.jobs == "separate" else build(chosen, time)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        working = await run_in_threadpool(begin, built)
        try:
            yield
        finally:
            await run_in_threadpool(working.stop)
            built.db.dispose()

    return hang(built.house, FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, **about()))
