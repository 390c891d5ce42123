"""Every router and page, hung into the application, each of them guarded."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.portal import authorize, citing, mine, pages
from app.portal import incidents as incidents_page
from app.portal import operating as operating_page
from app.portal import variables as variables_page
from app.routers import (
    alarms,
    audit,
    catalog,
    citations,
    clients,
    cohorts,
    consents,
    datasets,
    departures,
    extracts,
    findings,
    incidents,
    inspections,
    institutions,
    integrations,
    links,
    oauth,
    operating,
    operations,
    permits,
    problems,
    progress,
    quotas,
    requests,
    returns,
    staff,
    uploads,
    why,
    withdrawals,
)
from app.routers.guards import assert_every_route_guarded, state_scopes
from app.routers.house import House
from app.routers.signpost import Signpost

ROUTERS = (
    pages,
    mine,
    incidents_page,
    operating_page,
    variables_page,
    citing,
    authorize,
    oauth,
    operations,
    clients,
    institutions,
    cohorts,
    consents,
    datasets,
    integrations,
    uploads,
    catalog,
    citations,
    progress,
    requests,
    permits,
    extracts,
    links,
    returns,
    withdrawals,
    why,
    findings,
    alarms,
    operating,
    incidents,
    inspections,
    quotas,
    staff,
    departures,
    audit,
)


def hang(house: House, app: FastAPI) -> FastAPI:
    """The house and all its doors, hung into an application."""
    app.state.house = house
    for module in ROUTERS:
        app.include_router(module.router)
    problems.install(app)
    state_scopes(app)
    assert_every_route_guarded(app)
    app.router.middleware_stack = Signpost(app.router)
    return app


def about() -> dict[str, Any]:
    """What the application says of itself."""
    return {
        "title": "Baekman",
        "version": "0.1.0",
        "description": "The sharing layer between institutions that hold consented biomedical cohorts and the "
        "researchers approved to use them. / 동의받은 바이오 코호트와 승인된 연구자를 잇는 공유 플랫폼.",
    }
