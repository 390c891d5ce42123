"""This process among the workers: it shows that it lives, and takes over the work of those that no longer do.

No clock of another machine is believed: a worker is dead when what it last wrote has not changed for a while by our own
monotonic clock. One that was taken for dead ends itself at once when it notices, so that no job is run twice for long.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import structlog
from sqlalchemy import CursorResult, delete, select, update

from app.clock import Clock
from app.db import Database
from app.models import Worker

log = structlog.get_logger(__name__)
BEAT = 5.0  # seconds between two signs of life
DEAD_AFTER = 45.0  # seconds without one


@dataclass
class Membership:
    """A row of `workers` for as long as the process works. `take_over` is given the id of a dead worker; it may be
    repeated."""

    db: Database
    clock: Clock
    worker_id: str
    take_over: Callable[[str], int]
    beat: float = BEAT
    dead_after: float = DEAD_AFTER
    end: Callable[[int], object] = os._exit
    now: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[datetime, float]] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _last: float = 0.0

    def start(self) -> None:
        """Write the row and begin to show signs of life."""
        at = self.clock()
        with self.db.unit_of_work() as session:
            session.add(Worker(id=self.worker_id, started_at=at, seen_at=at, dead_at=None))
        self._last = self.now()
        self._thread = threading.Thread(target=self._run, name="worker-life", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Call after the last job came to rest or was given up: the others take over at once what was given up."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        with self.db.unit_of_work() as session:
            gone = update(Worker).where(Worker.id == self.worker_id, Worker.dead_at.is_(None))
            session.execute(gone.values(dead_at=self.clock()))

    def look(self) -> list[str]:
        """One sign of life, and a look at the others; those whose work was taken over now.

        Ends the process where others took it for dead, or must have by now.
        """
        try:
            alive = self._sign()
        except Exception as error:  # the database is away for a moment, or for longer
            log.warning("no sign of life could be given", error=type(error).__name__)
            alive = self.now() - self._last < self.dead_after
            if alive:
                return []
        if not alive:
            log.error("this worker was taken for dead and ends itself", worker=self.worker_id)
            self.end(70)
            return []
        return [dead for dead in self._dead() if self._bury(dead)]

    def _sign(self) -> bool:
        with self.db.unit_of_work() as session:
            mine = update(Worker).where(Worker.id == self.worker_id, Worker.dead_at.is_(None))
            done = cast("CursorResult[Any]", session.execute(mine.values(seen_at=self.clock())))
            written = bool(done.rowcount == 1)
        if written:
            self._last = self.now()
        return written

    def _dead(self) -> list[str]:
        with self.db.read() as session:
            others = session.execute(
                select(Worker.id, Worker.seen_at, Worker.dead_at).where(Worker.id != self.worker_id)
            ).all()
        now, found = self.now(), []
        known = {}
        for one, seen_at, dead_at in others:
            last = self._seen.get(one)
            known[one] = last if last is not None and last[0] == seen_at else (seen_at, now)
            if dead_at is not None or now - known[one][1] >= self.dead_after:
                found.append(one)
        self._seen = known
        return found

    def _bury(self, dead: str) -> bool:
        """Mark first, so that it ends itself if it lives; then take over; the row goes last, so that a death of ours in
        between leaves the rest to the next."""
        with self.db.unit_of_work() as session:
            stale = update(Worker).where(Worker.id == dead, Worker.dead_at.is_(None))
            seen = self._seen.get(dead)
            if seen is not None:
                stale = stale.where(Worker.seen_at == seen[0])  # it may have given a sign this moment
            session.execute(stale.values(dead_at=self.clock()))
            marked = session.scalar(select(Worker.dead_at).where(Worker.id == dead))
        if marked is None:
            return False
        taken = self.take_over(dead)
        with self.db.unit_of_work() as session:
            session.execute(delete(Worker).where(Worker.id == dead))
        log.warning("took over the work of a dead worker", worker=dead, jobs=taken)
        return True

    def _run(self) -> None:
        while not self._stopping.wait(self.beat):
            try:
                self.look()
            except Exception as error:  # whatever it is, the next look may go better
                log.error("looking after the other workers failed", error=type(error).__name__)
