"""A cohort with two versions, an extract in somebody's hands, a real house over it; a process may die in it anywhere.

`python -m tests.integration.destruction.house FOLDER POINT` works at the jobs that wait and kills itself at the point.
"""

from __future__ import annotations

import atexit
import copy
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import select

from app.auth.policy import Actor
from app.cohorts.destruction import DestructionService
from app.consents.register import hasher_of
from app.engines.destruction import DestructionEngine
from app.extracts.tasks import ExtractTasks
from app.gate import Gate, recording
from app.jobs import execute
from app.keyring import open_keyring
from app.ledger import telling
from app.main import Built, build
from app.models import Cohort, Dataset, DatasetVersion, Job, Participant, VaultTable
from app.settings import Settings
from app.withdrawals.settling import Settling
from tests import world as worlds
from tests.world import World

# Where a process may die: (the object, its method, before or after it has run).
POINTS: dict[str, tuple[Any, str, str]] = {
    "before-narrowing": (Gate, "recall", "before"),
    "closed-not-committed": (telling, "narrowed_everywhere", "before"),
    "narrowed-not-dropped": (ExtractTasks, "_drop_closed", "before"),
    "narrowed": (ExtractTasks, "narrow", "after"),
    "recorded-not-published": (Gate, "_publish", "before"),
    "bytes-out-not-published": (recording, "publish_generation", "before"),
    "published": (recording, "publish_generation", "after"),
    "without-them-not-told": (ExtractTasks, "_settle", "before"),
    "told-not-committed": (telling, "told_everywhere", "before"),
    "told": (ExtractTasks, "_settle", "after"),
    "replaced-not-swept": (ExtractTasks, "_sweep", "before"),
    "settled": (Settling, "settle", "after"),
    "forgotten": (DestructionService, "_begun", "after"),
    "waits-known": (DestructionService, "_forgotten", "after"),
    "originals-gone": (DestructionService, "_end_originals", "after"),
    "written-not-named": (DestructionEngine, "without", "after"),
    "one-table-named": (DestructionService, "_replace", "after"),
    "all-named": (DestructionService, "_rewritten", "after"),
    "one-object-gone": (DestructionEngine, "discard", "after"),
    "objects-gone": (DestructionService, "_remove_objects", "after"),
    "destroyed": (DestructionService, "_finish", "after"),
}
LEAVING = tuple(f"P-left-{n}" for n in range(20))


@dataclass
class House:
    """The world and the house that was built over its folder."""

    world: World
    built: Built
    extract: str
    leaving: dict[str, int]  # the institution's identifier -> key
    actor: Actor
    names: dict[int, str]  # key -> pseudonym in the extract's project
    going: list[str] = field(default_factory=lambda: list(LEAVING))

    def withdraw(self, participant: str, kind: str = "destroy", **more: Any) -> dict[str, Any]:
        withdrawals = self.built.house.withdrawals
        return withdrawals.take(self.actor, self.world.cohort_id, participant, [], kind, **more)

    def receipt(self, withdrawal: dict[str, Any]) -> dict[str, Any]:
        return self.built.house.withdrawals.get(self.actor, withdrawal["id"])

    def someone(self) -> str:
        """One who has not left yet, by the institution's identifier."""
        return self.going.pop()

    def work(self) -> None:
        work(self.built)

    def objects(self) -> list[str]:
        return self.built.destruction.engine.names()

    def rows(self, key: int) -> dict[str, int]:
        """Vault object -> rows of the person, over every object whether or not anything names it."""
        found = {}
        for name in self.objects():
            table = pq.read_table(self.world.var / "vault" / name, columns=["__participant"])
            found[name] = table["__participant"].to_pylist().count(key)
        return found

    def held(self) -> dict[tuple[str, str], list[VaultTable]]:
        """(version, table) -> its generations, oldest first."""
        found: dict[tuple[str, str], list[VaultTable]] = {}
        with self.world.db.read() as session:
            for row in session.scalars(select(VaultTable).order_by(VaultTable.generation)):
                found.setdefault((row.version_id, row.table_name), []).append(row)
        return found


def settings_of(folder: Path) -> Settings:
    return Settings(_env_file=None, var=folder, rows_per_part=300, catalog_public=True)


def make(folder: Path, people: int = 200) -> House:
    """Everything in `folder`: the published version of `tests.world` and a superseded one with the same tables. It is a
    copy of one that nobody changes."""
    made = _template(people)
    shutil.copytree(made.world.var, folder, dirs_exist_ok=True)
    settings = settings_of(folder)
    built, keyring = build(settings), open_keyring(settings)
    world = replace(
        made.world, db=built.db, gate=worlds.gate_of(built.db, folder, built.clock, keyring), keyring=keyring,
        keys=[*made.world.keys], clock=built.clock, var=folder, extras={}, chance=copy.copy(made.world.chance),
    )  # fmt: skip
    return House(world, built, made.extract, dict(made.leaving), made.actor, dict(made.names))


@cache
def _template(people: int) -> House:
    """Founded once in a process; the folder goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="baekman-house-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = _founded(folder, people)
    made.built.db.dispose()
    return made


def _founded(folder: Path, people: int) -> House:
    settings = settings_of(folder)
    built = build(settings)
    world = worlds.make(built.db, folder, people, clock=built.clock, keyring=open_keyring(settings))
    # Every second consents to both domains, every twentieth to nothing.
    both = [key for place, key in enumerate(world.keys) if place % 2 == 0 and place % 20]
    keys = both[: len(LEAVING)]
    with world.db.unit_of_work() as session:
        cohort = session.get_one(Cohort, world.cohort_id)
        for source, key in zip(LEAVING, keys, strict=True):
            session.get_one(Participant, key).identity = hasher_of(world.keyring, cohort).digest(source)
        dataset = session.scalars(select(Dataset)).one()
        of = session.get_one(DatasetVersion, world.version_id)
        of.people = people
        session.add(
            DatasetVersion(
                id="ver_old", dataset_id=dataset.id, number=0, state="superseded", dictionary=of.dictionary,
                dictionary_digest="0" * 64, report=None, people=people, created_at=of.created_at,
                published_at=of.created_at,
            )
        )  # fmt: skip
        institution = cohort.institution_id
    queries = {"person": worlds.PEOPLE_SQL, "visit": worlds.VISIT_SQL, "steps": worlds.STEPS_SQL}
    vault = built.destruction.engine.vault
    for version in (world.version_id, "ver_old"):
        worlds.fill_vault(world.db, vault, folder, version, world.keys, queries, place=version)
    extract = world.permit()
    world.release(extract)
    actor = Actor("client:hospital", "hospital", "institution", institution, frozenset({"consents:write"}))
    return House(
        world, built, extract, dict(zip(LEAVING, keys, strict=True)), actor, world.pseudonyms(extract)
    )


def work(built: Built, seconds: float = 120) -> None:
    """Run every job that has not ended, those that a dead process began first, as the durable engine does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with built.db.read() as session:
            query = select(Job).where(Job.state.in_(("running", "queued", "waiting")))
            rows = sorted(
                session.scalars(query), key=lambda job: (job.state != "running", job.created_at, job.id)
            )
        if not rows:
            return
        due = [job for job in rows if job.not_before is None or job.not_before <= built.clock()]
        for job in due:
            execute(built.db, built.clock, built.tasks, job.id)
        if not due:
            time.sleep(0.05)
    raise TimeoutError


def die_at(point: str) -> None:
    """Kill this process, as an operator or a power cut would, when it comes to the point."""
    of, name, when = POINTS[point]
    method: Callable[..., Any] = getattr(of, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            method(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(of, name, dying)


if __name__ == "__main__":
    die_at(sys.argv[2])
    work(build(settings_of(Path(sys.argv[1]))))
