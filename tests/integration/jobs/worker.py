"""A process of its own with the durable engine, to be killed: `python -m tests.integration.jobs.worker DIR URL [ID]`.

With an id it is one of several workers on one PostgreSQL, which shows that it lives; else the only, embedded one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from app.clock import utc_now
from app.db import Database
from app.jobs import JobContext, Rules, Task
from app.jobs.engine import DurableEngine, embedded_system_url, shared_system_url
from app.jobs.workers import Membership


def tasks(folder: Path) -> dict[str, Task]:
    """`slow` takes until it is killed on its first run and ends at once on any later one; `quick` ends at once; no
    process survives `poison`."""

    def slow(job: JobContext) -> None:
        runs = folder / f"{job.id}.runs"
        first = not runs.exists()
        with runs.open("a") as file:
            file.write("run\n")
        job.progress(step="begun")
        while first:
            time.sleep(0.05)

    def quick(job: JobContext) -> None:
        with (folder / f"{job.id}.runs").open("a") as file:
            file.write("run\n")

    def poison(job: JobContext) -> None:
        quick(job)
        os.kill(os.getpid(), signal.SIGKILL)

    return {"slow": slow, "quick": quick, "poison": poison}


def engine(folder: Path, db: Database, more: dict[str, Task] | None = None) -> DurableEngine:
    """The engine over a folder, always under the same executor id, as one embedded process is."""
    system = embedded_system_url(folder)
    known = {**tasks(folder), **(more or {})}
    return DurableEngine(
        db, utc_now, known, system_url=system, executor_id="test-embedded", poll=0.02, rules=Rules(3, 2)
    )


def one_of_several(folder: Path, db: Database, name: str) -> None:
    """Begin to work beside others, with short patience."""
    shared = shared_system_url(db.url)
    running = DurableEngine(db, utc_now, tasks(folder), system_url=shared, executor_id=name, poll=0.02)
    running.start()
    # Longer than a loaded machine lets a process stand still.
    Membership(db, utc_now, name, running.take_over, beat=0.2, dead_after=8.0).start()


if __name__ == "__main__":
    place, database = Path(sys.argv[1]), Database(sys.argv[2])
    if len(sys.argv) > 3:
        one_of_several(place, database, sys.argv[3])
    else:
        engine(place, database).start()
    (place / "started").touch()
    time.sleep(600)
