"""The composition: settings become rooms, rooms a house, the house an application. No rule lives here."""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from app.alarms import parked
from app.alarms.departing import Moving as MovingAlarms
from app.alarms.departing import end as end_alarms
from app.alarms.feeds import FeedService
from app.alarms.raising import hand_over as hand_over_alarms
from app.alarms.raising import show as show_alarms
from app.alarms.service import AlarmService
from app.audit import newest
from app.audit.measures import observe as observe_chain
from app.auth.service import AuthService
from app.catalog.asking import Counting, CountsByWorkers, CountTasks
from app.catalog.asking import tasks as count_tasks
from app.catalog.indexing import VariableIndexing
from app.catalog.indexing import tasks as catalog_tasks
from app.catalog.service import CatalogService
from app.catalog.watching import watch as watch_figures
from app.citations.service import CitationService
from app.clock import Clock, SteadyClock, utc_now
from app.cohorts.departing import Ending as EndingCohorts
from app.cohorts.departing import move as move_cohorts
from app.cohorts.destruction import DestructionService
from app.cohorts.intake import IntakeService, check_when_complete
from app.cohorts.returns import ReturnService
from app.cohorts.service import CohortService
from app.cohorts.tasks import tasks as cohort_tasks
from app.cohorts.uploads import UploadService
from app.cohorts.validation import ValidationService
from app.db import Database
from app.engines import Limits, engine
from app.engines.destruction import DestructionEngine
from app.engines.intake import Bounds, IntakeEngine, IntakeLimits
from app.extracts.links import LinkService
from app.extracts.mending import look_through
from app.extracts.recalls import RecallService
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.extracts.watching import watch
from app.findings.service import FindingService
from app.findings.tasks import FindingTasks
from app.findings.tasks import tasks as finding_tasks
from app.gate import Gate
from app.incidents.departing import move as move_incidents
from app.incidents.service import IncidentService
from app.institutions.departures import DepartureService
from app.institutions.inspection import InspectionService
from app.institutions.quotas import QuotaService
from app.institutions.staff import StaffService
from app.integrations.checking import CheckService
from app.integrations.checking import tasks as integration_tasks
from app.integrations.departing import end as end_integrations
from app.integrations.departing import move as move_integrations
from app.integrations.service import IntegrationService
from app.jobs import MUST_END, Rules, Task, requeue_failed
from app.jobs import measures as job_measures
from app.jobs.answers import forget_answers
from app.jobs.chores import Chore, Chores
from app.jobs.engine import DurableEngine, embedded_system_url, shared_system_url
from app.jobs.workers import Membership
from app.keyring import Keyring, open_keyring, open_web_keyring
from app.models.migrating import upgrade
from app.portal import authorize, citing, mine, pages
from app.portal import incidents as incidents_page
from app.portal import variables as variables_page
from app.requests import measures as request_measures
from app.requests.departing import end as end_requests
from app.requests.departing import move as move_requests
from app.requests.handing_over import hand_over as hand_over_requests
from app.requests.holding import PermitService
from app.requests.oversight import OversightService
from app.requests.service import RequestService
from app.requests.tasks import tasks as request_tasks
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
from app.settings import ROOMS, Settings
from app.storage.access import access
from app.storage.inbox import Inbox
from app.storage.journal import Journal
from app.storage.memory import Memory
from app.storage.outbox import Outbox
from app.storage.spill import wipe
from app.storage.vault import Vault
from app.withdrawals.ending import end as end_people
from app.withdrawals.journal import Replayed
from app.withdrawals.receipts import ReceiptService
from app.withdrawals.service import WithdrawalService
from app.withdrawals.settling import tasks as withdrawal_tasks
from app.withdrawals.watching import WatchService

ROUTERS = (
    pages,
    mine,
    incidents_page,
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
    incidents,
    inspections,
    quotas,
    staff,
    departures,
    audit,
)


log = structlog.get_logger(__name__)
_A_LITTLE = timedelta(seconds=30)  # by which clocks of machines may differ
DISK_SECONDS = 60.0
"""How often a web beside workers looks for bytes on its disk whose upload a worker has ended."""


@dataclass(frozen=True)
class Served:
    """A house, and what it stands on."""

    house: House
    db: Database
    clock: Clock
    settings: Settings
    probes: dict[str, Callable[[], object]]
    """What must answer besides the database, by name."""


@dataclass(frozen=True)
class Built(Served):
    """A house that also works: the gate, and the tasks that its jobs run."""

    gate: Gate
    tasks: dict[str, Task]
    destruction: DestructionService
    indexing: VariableIndexing
    counts: CountTasks
    sweeps: tuple[Callable[[datetime], int], ...]
    """Of each store, what removes that which was half written before a moment."""


def _measure(watching: WatchService, recalls: RecallService, db: Database, clock: Clock) -> None:
    """Set the metrics that are read from the database: whichever process works, the one that is asked tells them."""
    watching.observe()
    recalls.observe()
    with db.read() as session:
        show_alarms(session)
        observe_chain(session, clock)
    job_measures.observe(db, clock)
    request_measures.observe(db, clock)


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


def build(settings: Settings, clock: Clock = utc_now) -> Built:
    """Every room: of a process that works, and serves as well where it is the only one."""
    keyring, web_keyring = open_keyring(settings), open_web_keyring(settings)
    ground = _ground(settings, clock, web_keyring)
    db, room = ground.db, settings.var.resolve()
    vault = Vault.open(settings.store_url("vault"), access(settings, "vault"))
    limits = Limits(
        settings.engine_memory,
        settings.engine_threads,
        settings.rows_per_part,
        settings.spark,
        settings.spark_memory,
        settings.spark_from,
    )
    memory = Memory.open(settings.store_url("memory"), access(settings, "memory"))
    running = engine(settings.engine, limits, vault)
    gate = Gate(db, clock, settings, keyring, running, ground.outbox, memory)
    house = _house(ground, gate, gate)
    checking = IntakeEngine(vault, room / "spill", _intake_limits(settings))
    uploads, leave = ground.uploads, ground.withdrawals.leave
    intake = IntakeService(
        db, clock, ground.inbox, checking, web_keyring, uploads.remove_original, leave, gate
    )
    validation = ValidationService(db, clock, settings, checking)
    rewriting = DestructionEngine(vault, room / "spill", settings.engine_memory, settings.engine_threads)
    destruction = DestructionService(db, clock, rewriting, uploads.end_for_destruction, settings.min_cell)
    indexing = VariableIndexing(db, clock, checking)
    counts = CountTasks(db, clock, gate)
    tasks = {
        **cohort_tasks(intake, validation, destruction),
        **catalog_tasks(indexing),
        **count_tasks(counts),
        **integration_tasks(CheckService(db, clock, settings, running)),
        **request_tasks(house.requests, house.permits),
        **extract_tasks(ExtractTasks(house.extracts, gate, settings.recall_days)),
        **withdrawal_tasks(house.withdrawals),
        **finding_tasks(FindingTasks(house.findings, gate)),
    }
    probes = {**_probes(ground), "vault": vault.probe, "memory": memory.probe, "engine": running.probe}
    sweeps = ground.inbox.sweep, vault.sweep, ground.outbox.sweep, memory.sweep
    return Built(house, db, clock, settings, probes, gate, tasks, destruction, indexing, counts, sweeps)


def serving(settings: Settings, clock: Clock = utc_now) -> Served:
    """What a web beside workers of their own needs: neither the vault nor what builds remember, no gate, no engine, and
    of the keys those that sign tokens and find a person by the institution's identifier (ADR 45)."""
    ground = _ground(settings, clock, open_web_keyring(settings, alone=True))
    counts = CountsByWorkers(ground.db, clock, settings.count_wait_seconds)
    return Served(_house(ground, counts, None), ground.db, clock, settings, _probes(ground))


@dataclass(frozen=True)
class _Ground:
    """What both kinds of processes stand on."""

    settings: Settings
    clock: Clock
    db: Database
    keyring: Keyring
    inbox: Inbox
    outbox: Outbox
    journal: Journal
    uploads: UploadService
    withdrawals: WithdrawalService


def _ground(settings: Settings, clock: Clock, keyring: Keyring) -> _Ground:
    settings.var.mkdir(parents=True, exist_ok=True, mode=0o700)
    db, spill = Database(settings.database), settings.var.resolve() / "spill" / "inbox"
    inbox = Inbox.open(settings.store_url("inbox"), spill, access(settings, "inbox"))
    outbox = Outbox.open(settings.store_url("outbox"), access(settings, "outbox"))
    journal = Journal(settings.journal_path)
    uploads = UploadService(db, clock, settings, inbox, check_when_complete(clock))
    withdrawals = WithdrawalService(db, clock, keyring, journal)
    return _Ground(settings, clock, db, keyring, inbox, outbox, journal, uploads, withdrawals)


def _probes(ground: _Ground) -> dict[str, Callable[[], object]]:
    return {"inbox": ground.inbox.probe, "outbox": ground.outbox.probe}


def _house(ground: _Ground, counts: Counting | CountsByWorkers, gate: Gate | None) -> House:
    settings, clock, db, keyring = ground.settings, ground.clock, ground.db, ground.keyring
    watching = WatchService(db, clock)
    feeds = FeedService(db, clock, settings)
    recalls = RecallService(db, clock, settings.recall_days, settings.recall_grace_days)
    auth = AuthService(db, clock, settings, keyring)
    extracts_ = ExtractService(db, clock, ground.outbox, settings)
    return House(
        auth=auth,
        uploads=ground.uploads,
        cohorts=CohortService(db, clock, settings, keyring, ground.withdrawals.leave),
        catalog=CatalogService(db, clock, settings, counts),
        integrations=IntegrationService(db, clock, settings),
        returns=ReturnService(db, clock),
        citations=CitationService(db, clock, settings.public_url),
        requests=RequestService(db, clock, settings, gate),
        permits=PermitService(db, clock, ground.journal),
        oversight=OversightService(db, clock),
        extracts=extracts_,
        links=LinkService(extracts_, auth.links, auth.issuer),
        recalls=recalls,
        withdrawals=ground.withdrawals,
        receipts=ReceiptService(db),
        watch=watching,
        findings=FindingService(db, clock),
        feeds=feeds,
        alarms=AlarmService(db, clock),
        incidents=IncidentService(db, clock, settings),
        inspections=InspectionService(db, clock),
        quotas=QuotaService(db, clock, settings),
        staff=StaffService(db, clock, (hand_over_requests, hand_over_alarms)),
        departures=DepartureService(
            db,
            clock,
            settings,
            ends=(EndingCohorts(ground.uploads), end_requests, end_people, end_integrations, end_alarms),
            moves=(MovingAlarms(feeds), move_cohorts, move_requests, move_integrations, move_incidents),
            journal=ground.journal,
        ),
        db=db,
        measure=partial(_measure, watching, recalls, db, clock),
    )


def create_app(settings: Settings | None = None, clock: Clock | None = None) -> FastAPI:
    """The application: brings the database up to date, then serves; and works, unless workers of their own do."""
    chosen = settings or Settings()
    time = clock or SteadyClock()
    built = serving(chosen, time) if chosen.jobs == "separate" else build(chosen, time)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        working = await run_in_threadpool(_begin, built)
        try:
            yield
        finally:
            await run_in_threadpool(working.stop)
            built.db.dispose()

    return hang(built.house, FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, **_about()))


def hang(house: House, app: FastAPI) -> FastAPI:
    """The house and all its doors, hung into an application."""
    app.state.house = house
    for module in ROUTERS:
        app.include_router(module.router)
    problems.install(app)
    state_scopes(app)
    assert_every_route_guarded(app)
    return app


def _intake_limits(settings: Settings) -> IntakeLimits:
    bounds = Bounds(settings.expansion_max_ratio, settings.upload_max_bytes * 8)
    return IntakeLimits(
        settings.engine_memory,
        settings.engine_threads,
        bounds,
        settings.quarantine_share,
        settings.adult_age,
        settings.assent_age,
    )


def _begin(built: Served) -> Working:
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


def chores_of(built: Built) -> dict[str, Chore]:
    """What runs without being asked, by name."""
    house = built.house
    return {
        "end consents by date": house.withdrawals.end_by_date,
        "carry out departures": house.departures.carry_out_due,
        "count people once a day": house.catalog.progress,
        "listen for silence": house.feeds.check,
        "nobody who left can be read": lambda: house.alarms.monitor(
            lambda: watch(house.extracts, close=built.settings.monitor_closes_extracts),
            lambda: (built.gate.look(), watch_figures(built.db, built.clock, built.settings)),
        ),
        "index variables": built.indexing.catch_up,
        "legal clocks of incidents": lambda: house.alarms.chase("incident_overdue", house.incidents.overdue),
        "chase recalls": house.recalls.chase,
        "expire extracts": house.extracts.expire_due,
        "sweep the vault": built.destruction.sweep,
        "read parts through": lambda: look_through(house.extracts),
        "drop what was half published": house.extracts.sweep_half_published,
        "sweep what was half stored": lambda: sweep_half_stored(built),
        "wipe spills of the dead": lambda: wipe(built.settings.var / "spill"),
        "expire uploads": house.uploads.expire_due,
        "sweep tokens": house.auth.sweep,
        "withdrawals reach every copy": lambda: requeue_failed(built.db, built.clock, sorted(MUST_END)),
        "parked jobs ring": lambda: parked.ring_again(built.db, built.clock),
        "forget counts": built.counts.forget,
        "forget answers": lambda: forget_answers(built.db, built.clock),
    }


def chores_of_web(served: Served) -> dict[str, Chore]:
    """What a web beside workers does itself: what arrives lies on its disk until it is whole, where no worker comes;
    its own metrics tell the figures of the day."""
    house = served.house
    return {"uploads on this disk": house.uploads.sweep_disk, "figures of the day": house.catalog.progress}


def _about() -> dict[str, Any]:
    return {
        "title": "Baekman",
        "version": "0.1.0",
        "description": "The sharing layer between institutions that hold consented biomedical cohorts and the "
        "researchers approved to use them. / 동의받은 바이오 코호트와 승인된 연구자를 잇는 공유 플랫폼.",
    }
