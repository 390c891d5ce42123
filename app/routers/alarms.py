"""Feeds and alarms: an institution says how often its news come, and that there are none; silence shows up here."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from app.auth.policy import Actor, Scope
from app.routers.bodies import MOST_BYTES, Id, Storable
from app.routers.guards import requires, requires_any
from app.routers.house import House, house
from app.routers.paging import Paged
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_alarms import (
    AlarmLevel,
    AlarmNote,
    AlarmState,
    AlarmView,
    FeedKind,
    FeedRhythm,
    FeedView,
)
from app.schemas.api_parts import PageOf

router = APIRouter(
    route_class=InOneThread,
    prefix="/v1",
    tags=["alarms"],
    responses=PROBLEMS,
    dependencies=[Storable],
    max_body_size=MOST_BYTES,
)
Rooms = Annotated[House, Depends(house)]
Holder = Annotated[Actor, Depends(requires(Scope.CONSENTS_WRITE))]
Reader = Annotated[Actor, Depends(requires(Scope.COHORTS_READ))]
Watcher = Annotated[Actor, Depends(requires_any(Scope.COHORTS_READ, Scope.PLATFORM_ADMIN))]
Answerer = Annotated[
    Actor, Depends(requires_any(Scope.CONSENTS_WRITE, Scope.PERMITS_MANAGE, Scope.PLATFORM_ADMIN))
]
Steward = Annotated[Actor, Depends(requires(Scope.PERMITS_MANAGE))]


@router.get("/cohorts/{cohort_id}/feeds", response_model=list[FeedView])
def feeds(cohort_id: Id, rooms: Rooms, actor: Reader) -> list[dict[str, Any]]:
    """The feeds that the holder of a cohort promised, and whether they are in time."""
    return rooms.feeds.listed(actor, cohort_id)


@router.put("/cohorts/{cohort_id}/feeds/{kind}", response_model=FeedView)
def declare(cohort_id: Id, kind: FeedKind, body: FeedRhythm, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """Say how often news of consents or withdrawals come. From now on their absence raises an alarm."""
    return rooms.feeds.declare(actor, cohort_id, kind, body.every_days, body.min_share)


@router.post("/cohorts/{cohort_id}/feeds/{kind}/empty", response_model=FeedView)
def nothing_to_report(cohort_id: Id, kind: FeedKind, rooms: Rooms, actor: Holder) -> dict[str, Any]:
    """The empty feed: nothing has happened since the last one."""
    return rooms.feeds.nothing_to_report(actor, cohort_id, kind)


@router.get("/alarms", response_model=PageOf[AlarmView])
def alarms(
    rooms: Rooms,
    actor: Watcher,
    page: Paged,
    state: AlarmState | None = None,
    level: AlarmLevel | None = None,
    kind: Annotated[str | None, Query(pattern=r"^[a-z_]{1,30}$")] = None,
    cohort_id: Annotated[str | None, Query(pattern=r"^[a-z0-9_]{1,40}$")] = None,
) -> dict[str, Any]:
    """The alarms of what you hold or serve, newest first."""
    wanted = {"state": state, "level": level, "kind": kind, "cohort_id": cohort_id}
    return page.of(rooms.alarms.listed(actor, wanted, page.after, page.take))


@router.post("/alarms/{alarm_id}/acknowledge", response_model=AlarmView)
def acknowledge(alarm_id: Id, body: AlarmNote, rooms: Rooms, actor: Answerer) -> dict[str, Any]:
    """Say that somebody looks into it."""
    return rooms.alarms.acknowledge(actor, alarm_id, body.note)


@router.post("/alarms/{alarm_id}/close", response_model=AlarmView)
def close(alarm_id: Id, body: AlarmNote, rooms: Rooms, actor: Steward) -> dict[str, Any]:
    """Close what was explained; while its cause lasts, the next look raises it anew."""
    return rooms.alarms.close(actor, alarm_id, body.note)
