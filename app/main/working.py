"""Jobs and chores: within the one process, in a worker of its own, or of a web beside workers its disk alone."""

from __future__ import annotations

import os
import random
import secrets
import socket
from dataclasses import dataclass
from datetime import timedelta

from app.alarms import parked
from app.clock import Clock, SteadyClock
from app.jobs import Rules
from app.jobs.chores import Chores
from app.jobs.engine import DurableEngine, embedded_system_url, shared_system_url
from app.jobs.workers import Membership
from app.main.chores import chores_of, chores_of_web
from app.main.preparing import go_on_from_the_last_line, prepare, probe_servers, sweep_half_stored
from app.main.rooms import Built, Served, build
from app.settings import Settings
from app.storage.spill import wipe

DISK_SECONDS = 60.0
"""How often a web beside workers looks for bytes on its disk whose upload a worker has ended."""


@dataclass(frozen=True)
class Working:
    """What runs beside the web. A web beside workers runs no jobs, only what concerns its own disk."""

    chores: Chores
    jobs: DurableEngine | None = None

    def stop(self) -> None:
        """End after what is running, or give it up after a while."""
        self.chores.stop()
        if self.jobs is not None:
            self.jobs.stop()


@dataclass(frozen=True)
class Worker:
    """A process without a web."""

    built: Built
    working: Working
    life: Membership

    def stop(self) -> None:
        """End; what was given up is for the others."""
        self.working.stop()
        self.life.stop()
        self.built.db.dispose()


def begin(built: Served) -> Working:
    """Database up to date, an issuer that can sign, stores that keep their promises; jobs and chores running in this
    process, unless workers of their own do that."""
    probe_servers(built)
    prepare(built)
    go_on_from_the_last_line(built)
    if not isinstance(built, Built):
        every = min(built.settings.chores_seconds, DISK_SECONDS)
        working = Working(Chores(chores_of_web(built), every, built.db.alone))
        working.chores.start()
        return working
    wipe(built.settings.var / "spill")
    built.destruction.sweep(older_than=None)  # nothing is at work yet
    sweep_half_stored(built, older_than=timedelta())
    return work(built, f"{socket.gethostname()}-embedded", embedded_system_url(built.settings.var))


def work(built: Built, executor_id: str, system_url: str) -> Working:
    """Jobs and chores, running until `stop`."""
    settings = built.settings
    jobs = DurableEngine(
        built.db,
        built.clock,
        built.tasks,
        system_url=system_url,
        executor_id=executor_id,
        poll=settings.jobs_poll_seconds,
        rules=rules_of(settings),
        at_once=settings.jobs_at_once,
        per_project=settings.jobs_per_project,
    )
    jobs.start()
    chores = Chores(chores_of(built), settings.chores_seconds, built.db.alone)
    chores.start()
    return Working(chores, jobs)


def rules_of(settings: Settings) -> Rules:
    """When a job is given up, and who is told."""
    most = settings.jobs_most_tries, settings.jobs_most_deaths
    return Rules(*most, parked.parked, parked.overtaken, random.SystemRandom().random)


def start_worker(settings: Settings, clock: Clock | None = None) -> Worker:
    """A process that only works, beside others like it. `ValueError` where the database serves one process alone."""
    time = clock or SteadyClock()
    built = build(settings, time)
    if built.db.is_sqlite:
        raise ValueError("separate workers need PostgreSQL (BAEKMAN_DATABASE_URL)")
    probe_servers(built)
    prepare(built)
    go_on_from_the_last_line(built)
    wipe(settings.var / "spill")
    worker_id = (
        f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"  # two with one id would run jobs twice
    )
    working = work(built, worker_id, shared_system_url(settings.database))
    take_over = working.jobs.take_over if working.jobs is not None else lambda _: 0
    life = Membership(built.db, time, worker_id, take_over)
    life.start()
    return Worker(built, working, life)
