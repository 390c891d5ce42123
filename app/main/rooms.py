"""Settings become rooms, and rooms a house: one for a process that works, one for a web beside workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from app.alarms.departing import Moving as MovingAlarms
from app.alarms.departing import end as end_alarms
from app.alarms.feeds import FeedService
from app.alarms.operating import OperatingService
from app.alarms.raising import hand_over as hand_over_alarms
from app.alarms.raising import show as show_alarms
from app.alarms.service import AlarmService
from app.audit.measures import observe as observe_chain
from app.auth.service import AuthService
from app.catalog.asking import Counting, CountsByWorkers, CountTasks
from app.catalog.asking import tasks as count_tasks
from app.catalog.indexing import VariableIndexing
from app.catalog.indexing import tasks as catalog_tasks
from app.catalog.service import CatalogService
from app.citations.service import CitationService
from app.clock import Clock, utc_now
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
from app.extracts.recalls import RecallService
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
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
from app.jobs import Task
from app.jobs import measures as job_measures
from app.keyring import Keyring, open_keyring, open_web_keyring
from app.requests import measures as request_measures
from app.requests.departing import end as end_requests
from app.requests.departing import move as move_requests
from app.requests.handing_over import hand_over as hand_over_requests
from app.requests.holding import PermitService
from app.requests.oversight import OversightService
from app.requests.service import RequestService
from app.requests.tasks import tasks as request_tasks
from app.routers.handing import Proxy
from app.routers.house import House
from app.settings import Settings
from app.storage.access import access
from app.storage.inbox import Inbox
from app.storage.journal import Journal
from app.storage.memory import Memory
from app.storage.outbox import Outbox
from app.storage.vault import Vault
from app.withdrawals.ending import end as end_people
from app.withdrawals.receipts import ReceiptService
from app.withdrawals.service import WithdrawalService
from app.withdrawals.settling import tasks as withdrawal_tasks
from app.withdrawals.watching import WatchService


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
    extracts = ExtractService(db, clock, ground.outbox, settings)
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
        extracts=extracts,
        links=LinkService(extracts, auth.links, auth.issuer),
        recalls=recalls,
        withdrawals=ground.withdrawals,
        receipts=ReceiptService(db),
        watch=watching,
        findings=FindingService(db, clock),
        feeds=feeds,
        alarms=AlarmService(db, clock),
        operating=OperatingService(db, clock),
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
        proxy=Proxy(settings.proxy_mark.get_secret_value() if settings.proxy_mark else None),
    )


def _measure(watching: WatchService, recalls: RecallService, db: Database, clock: Clock) -> None:
    """Set the metrics that are read from the database: whichever process works, the one that is asked tells them."""
    watching.observe()
    recalls.observe()
    with db.read() as session:
        show_alarms(session)
        observe_chain(session, clock)
    job_measures.observe(db, clock)
    request_measures.observe(db, clock)


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
