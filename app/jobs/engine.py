"""The engines that run job rows: DBOS (durable, resumes after a crash) and one that drains the queue in line."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID
from dbos._queue import queue_worker_thread
from sqlalchemy import select
from sqlalchemy.engine import make_url

from app.clock import Clock
from app.db import Database
from app.jobs.bells import Bell, Listener, tell_others
from app.jobs.cancelling import break_off
from app.jobs.kinds import ANSWERS, CLOSING, turn
from app.jobs.parking import Rules
from app.jobs.rows import NO_RULES, Task, execute, put_back, waiting
from app.models import Job
from app.passing import passing

log = structlog.get_logger(__name__)
QUEUE = "baekman_jobs"
CLOSING_QUEUE = "baekman_closing"
ANSWERS_QUEUE = "baekman_answers"
QUEUES = (QUEUE, CLOSING_QUEUE, ANSWERS_QUEUE)
IDLE = 1.0  # seconds between two looks of the relay where nothing rings; five times that of a queue
PICKED_UP_EVERY = 60.0  # seconds
_AGAIN = "~"  # after it, what makes the id of a row that is handed over once more another one
_ALIVE = frozenset({"PENDING", "ENQUEUED", "DELAYED"})
_AT_ONCE = 100
APPLICATION_VERSION = "1"  # pinned: DBOS resumes only workflows of its own version


class Engine(Protocol):
    """Runs every job row, each at least once."""

    def start(self) -> None:
        """Begin to take rows."""

    def stop(self) -> None:
        """Take no more rows and let the running ones come to rest."""


class InlineEngine:
    """Runs waiting rows in the caller's thread: for the shell and for tests."""

    def __init__(
        self, db: Database, clock: Clock, tasks: Mapping[str, Task], rules: Rules = NO_RULES
    ) -> None:
        self.db, self.clock, self.tasks, self.rules = db, clock, tasks, rules

    def start(self) -> None:
        """Nothing runs until `drain`."""

    def stop(self) -> None:
        """Nothing runs but in `drain`."""

    def drain(self) -> int:
        """Run rows, oldest first, until none waits; how many there were."""
        ran = 0
        while ids := _waiting(self.db, self.clock):
            for job_id in ids:
                execute(self.db, self.clock, self.tasks, job_id, self.rules)
                ran += 1
        return ran


class DurableEngine:
    """DBOS behind our rows. A relay thread enqueues each waiting row under the row's own id, so a row that is
    handed over twice still runs as one workflow. After a crash DBOS resumes what was pending at `start`.

    Relay and queues look when a bell rings (`app/jobs/bells.py`), `poll` seconds apart at least, and else about once a
    second. DBOS's own threads of the queues can only look at fixed times, so its loop runs in threads of ours."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        tasks: Mapping[str, Task],
        *,
        system_url: str,
        executor_id: str,
        poll: float,
        rules: Rules = NO_RULES,
        rest: int = 10,
        at_once: int = 2,
        per_project: int | None = None,
    ) -> None:
        self.db, self.clock, self.tasks, self.poll, self.rules = db, clock, tasks, poll, rules
        self.rest = rest  # seconds that running jobs are given to come to rest at `stop`
        self.at_once, self.per_project = at_once, per_project
        self._executor_id = executor_id
        self.away = 1.0  # seconds between two tries of a job that lost the database
        self._running: set[str] = set()
        self._unwritten: set[str] = set()
        self._suspects = threading.Lock()
        self._looked = 0.0
        self._stopping = threading.Event()
        self._due = Bell(poll, IDLE)
        self._handed = [Bell(poll, 5 * IDLE, partial(self._has_begun, name)) for name in QUEUES]
        self._relay = threading.Thread(target=self._run_relay, name="job-relay", daemon=True)
        self._listener = None if db.is_sqlite else Listener(db.url, self._ring)
        self._queues: list[threading.Thread] = []
        self._silence: Callable[[], None] = lambda: None
        config: DBOSConfig = {
            "name": "baekman",
            "system_database_url": system_url,
            "application_version": APPLICATION_VERSION,
            "executor_id": executor_id,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "ERROR",
            "enable_otlp": False,
            "max_executor_threads": 8,
        }
        self._dbos = DBOS(config=config)
        DBOS.listen_queues([])

        # Our own rows count what a job costs; DBOS alone would bury it in silence.
        @DBOS.workflow(name="baekman_job", max_recovery_attempts=None)
        def run_job(job_id: str) -> None:
            # The whole task is one step of DBOS: tasks are idempotent and keep their own place in our tables.
            while not self._done(job_id):
                self._stopping.wait(self.away)
            self._ring_queues()  # a place is free, in a moment

        self._workflow = run_job

    def start(self) -> None:
        """Launch DBOS (which resumes pending workflows), the queues and the relay."""
        DBOS.launch()
        for name, bell in zip(QUEUES, self._handed, strict=True):
            queue = DBOS.register_queue(
                name,
                worker_concurrency=self.at_once if name == QUEUE else 1,
                polling_interval_sec=self.poll,
                on_conflict="always_update",  # it may have been set otherwise before
            )
            thread = threading.Thread(
                target=queue_worker_thread,
                args=(bell, self._dbos, queue),
                name=f"job-queue {name}",
                daemon=True,
            )
            thread.start()
            self._queues.append(thread)
        self._silence = self.db.on_commit(self._due.ring)
        if self._listener is not None:
            self._listener.start()
        self._relay.start()

    def _has_begun(self, queue: str) -> bool:
        """Whether all that was taken from a queue has begun. DBOS counts what has begun against its places, each one
        in its own thread: were it to look again before these begin, it would take more than there are places. A
        database that is away has DBOS itself waiting for it."""
        try:
            taken = DBOS.list_workflows(
                status=["PENDING"],
                queue_name=queue,
                executor_id=self._executor_id,
                load_input=False,
                load_output=False,
            )
        except Exception:
            # An error here would end the thread of the queue, and nobody would close parts any more.
            return True
        return {one.workflow_id for one in taken} <= set(self._dbos._active_workflows_set.activeList())

    def take_over(self, worker: str) -> int:
        """Put what a dead worker had begun back into the queue; how many jobs. May be repeated."""
        begun = DBOS.list_workflows(
            status=["PENDING"], executor_id=worker, load_input=False, load_output=False
        )
        for queue in QUEUES:
            ids = [one.workflow_id for one in begun if one.queue_name == queue]
            if ids:
                DBOS.resume_workflows(ids, queue_name=queue)
        self._ring_queues()
        return len(begun)

    def stop(self) -> None:
        """Stop the relay, wait a little for running jobs, close DBOS."""
        self._silence()
        self._stopping.set()
        for bell in (self._due, *self._handed):
            bell.set()
        if self._listener is not None:
            self._listener.stop()
        for thread in (self._relay, *self._queues):
            if thread.is_alive():
                thread.join(timeout=10)
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=self.rest)
        if begun := sorted(self._running | self._unwritten):
            put_back(self.db, begun)

    def _done(self, job_id: str) -> bool:
        """Run the job; False where the database went away while it ran, or before its end was written down: it keeps
        its place until the database is back. Any other error ends it for DBOS alone, and `pick_up` hands it over anew:
        going round with it would hold the place of a worker for ever."""
        self._running.add(job_id)
        try:
            if job_id in self._unwritten:
                put_back(self.db, [job_id])  # it was not the worker that ended
                self._unwritten.discard(job_id)
            with self._suspects if self._is_suspect(job_id) else nullcontext():
                execute(self.db, self.clock, self.tasks, job_id, self.rules, self._executor_id)
        except Exception as error:
            away = (passes := passing(error)) is not None and passes.code == "database_unavailable"
            if self._stopping.is_set() or not away:
                if not away:
                    log.error("job could not be ended", job=job_id, error=type(error).__name__)
                raise
            self._unwritten.add(job_id)
            log.warning("job waits for the database", job=job_id, error=type(error).__name__)
            return False
        finally:
            self._running.discard(job_id)
        return True

    def pick_up(self) -> int:
        """Hand over anew what DBOS takes for ended, or knows nothing of, and our rows do not: it ended with an error of
        ours, or its tables are not those of our rows. How many jobs."""
        with self.db.read() as session:
            begun = list(session.scalars(select(Job.id).where(Job.state.in_(("queued", "running")))))
        known: dict[str, str] = {}
        for start in range(0, len(begun), _AT_ONCE):
            ids = begun[start : start + _AT_ONCE]
            known |= {
                one.workflow_id: one.status
                for one in DBOS.list_workflows(workflow_id_prefix=ids, load_input=False, load_output=False)
            }
        alive = {id_.partition(_AGAIN)[0] for id_, status in known.items() if status in _ALIVE}
        with self.db.read() as session:  # after DBOS was asked: a row ends before its workflow does
            query = select(Job.id).where(
                Job.id.in_(sorted(set(begun) - alive)), Job.state.in_(("queued", "running"))
            )
            lost = sorted(session.scalars(query)) if set(begun) - alive else []
        for job_id in lost:
            put_back(self.db, [job_id])
            self._hand_over(job_id, f"{job_id}{_AGAIN}{secrets.token_hex(4)}")
        if lost:
            log.warning("picked up jobs that nobody ran", jobs=len(lost))
        return len(lost)

    def _is_suspect(self, job_id: str) -> bool:
        """Whether a worker ended while the job ran. Such jobs run one after the other, so that the one that did it
        takes none of the others along; but what closes parts never waits."""
        with self.db.read() as session:
            job = session.get(Job, job_id)
            return job is not None and job.state == "running" and job.kind not in CLOSING | ANSWERS

    def _break_off(self) -> None:
        """Once a second: what runs here and is to end is broken off."""
        if not self._running or time.monotonic() - self._looked < 1:
            return
        self._looked = time.monotonic()
        query = select(Job.id).where(Job.id.in_(sorted(self._running)), Job.cancel_asked_at.is_not(None))
        with self.db.read() as session:
            asked = list(session.scalars(query))
        for job_id in asked:
            break_off(job_id)

    def _run_relay(self) -> None:
        picked_up = float("-inf")
        while not self._due.wait():
            try:
                if time.monotonic() - picked_up >= PICKED_UP_EVERY:
                    picked_up = time.monotonic()
                    with self.db.alone("job pick up") as alone:
                        if alone:
                            self.pick_up()
                self._break_off()
                if _waiting(self.db, self.clock, self.per_project):
                    self._hand_over_in_turn()
            except Exception as error:  # the relay must outlive a database that is away for a moment
                log.warning("relay waits", error=type(error).__name__)

    def _hand_over_in_turn(self) -> None:
        """One relay at a time over all workers: two would let in more of a project than may run."""
        with self.db.alone("job relay") as alone:
            for job_id in _waiting(self.db, self.clock, self.per_project) if alone else ():
                self._hand_over(job_id)

    def _hand_over(self, job_id: str, as_: str | None = None) -> None:
        with self.db.read() as session:
            job = session.get(Job, job_id)
            if job is None:
                return
            queue, priority = _lane(job.kind), turn(job.kind, job.created_at)
        with SetWorkflowID(as_ or job_id), SetEnqueueOptions(priority=priority):
            DBOS.enqueue_workflow(queue, self._workflow, job_id)
        with self.db.unit_of_work() as session:
            job = session.get(Job, job_id)
            if job is not None and job.state == "waiting":
                job.state = "queued"
                tell_others(session)
        self._ring_queues()

    def _ring(self) -> None:
        self._due.ring()
        self._ring_queues()

    def _ring_queues(self) -> None:
        for bell in self._handed:
            bell.ring()


def _lane(kind: str) -> str:
    return CLOSING_QUEUE if kind in CLOSING else ANSWERS_QUEUE if kind in ANSWERS else QUEUE


def embedded_system_url(var: Path) -> str:
    """Where DBOS keeps its own tables in the embedded default."""
    return f"sqlite:///{var.resolve() / 'jobs.db'}"


def shared_system_url(database_url: str) -> str:
    """Where DBOS keeps its own tables for workers that share a PostgreSQL: in a schema of its own there."""
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


def _waiting(db: Database, clock: Clock, per_project: int | None = None) -> list[str]:
    with db.read() as session:
        return waiting(session, clock(), per_project=per_project)
