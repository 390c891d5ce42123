"""What is done before anything is served: stores that keep their promises, every migration, and what was forgotten."""

from __future__ import annotations

from datetime import timedelta

import structlog

from app.audit import newest
from app.clock import SteadyClock, utc_now
from app.main.rooms import Built, Served
from app.models.migrating import upgrade
from app.settings import ROOMS
from app.withdrawals.journal import Replayed

log = structlog.get_logger(__name__)
_A_LITTLE = timedelta(seconds=30)  # by which clocks of machines may differ


def probe_servers(built: Served) -> None:
    """A `Problem`, before anything is served, where a store that is a server does not keep what rooms rest on."""
    for room in ROOMS:
        if room in built.probes and not built.settings.store_url(room).startswith("file:"):
            built.probes[room]()


def go_on_from_the_last_line(built: Served) -> None:
    """Where the machine's clock is behind what was written here before, time goes on from there: nothing that has ended
    by its date begins again. The operator may say that the clock was wrong before (`clock_may_go_back`)."""
    if not isinstance(built.clock, SteadyClock) or built.settings.clock_may_go_back:
        return
    with built.db.read() as session:
        last = newest(session)
    if last is not None and (behind := built.clock.not_before(last)) > _A_LITTLE:
        log.error("the machine's clock is behind the audit chains", seconds=int(behind.total_seconds()))


def prepare(built: Served, restored: str | None = None) -> Replayed:
    """Before anything is served: every migration, an issuer that can sign, and what the journal holds and the database
    has forgotten: institutions that left, withdrawals, stopped permits. `restored`: the moment of the backup that was
    just put back. Processes that start together do it one after the other: what one took anew the next one finds."""
    upgrade(built.db)
    with built.db.in_turn("prepare"):
        if restored is not None:
            built.house.uploads.end_lost()
        built.house.auth.bootstrap()
        built.house.departures.replay()
        built.house.permits.replay()
        return built.house.withdrawals.replay(restored)


def sweep_half_stored(built: Built, older_than: timedelta = timedelta(days=1)) -> int:
    """Remove what dead processes left half written in any store; how many. Ages are those of the stores' own clocks."""
    before = utc_now() - older_than
    return sum(sweep(before) for sweep in built.sweeps)
