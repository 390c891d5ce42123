"""A process of its own with the durable engine, to be killed: `python -m tests.integration.jobs.worker FOLDER URL`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from app.clock import utc_now
from app.db import Database
from app.jobs import JobContext, Task
from app.jobs.engine import DurableEngine, embedded_system_url


def tasks(folder: Path) -> dict[str, Task]:
    """`slow` takes until it is killed on its first run and ends at once on any later one; `quick` ends at once."""

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

    return {"slow": slow, "quick": quick}


def engine(folder: Path, db: Database, more: dict[str, Task] | None = None) -> DurableEngine:
    """The engine over a folder, always under the same executor id, as one embedded process is."""
    system = embedded_system_url(folder)
    known = {**tasks(folder), **(more or {})}
    return DurableEngine(db, utc_now, known, system_url=system, executor_id="test-embedded", poll=0.02)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    running = engine(place, Database(sys.argv[2]))
    running.start()
    (place / "started").touch()
    time.sleep(600)
