"""Two projects on one cohort, both delivered, and an incident about the first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.auth.policy import ROLE_SCOPES, Actor, Role, Target
from app.db import Database
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.incidents.service import IncidentService
from app.incidents.tracing import TraceService
from app.jobs.engine import InlineEngine
from app.models import Client, Cohort, Extract
from app.settings import Settings
from app.withdrawals.service import WithdrawalService
from app.withdrawals.settling import tasks as withdrawal_tasks
from tests import world as worlds
from tests.world import World


def actor(name: str, role: Role, institution: str | None = None) -> Actor:
    return Actor(f"client:{name}", name, role, institution, frozenset(map(str, ROLE_SCOPES[role])))


STEWARD, PLATFORM = actor("steward", "steward"), actor("admin", "platform")
HOLDER, OTHER = actor("researcher", "researcher"), actor("other", "researcher")


@dataclass
class Site:
    """The world, its services, and the ids that tests name."""

    db: Database
    folder: Path
    people: int = 80
    now: datetime = worlds.NOW
    world: World = field(init=False)
    # What the tests of tracing remember: a part of the first generation, who left since, everybody's pseudonym.
    first: bytes = b""
    left: list[int] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = worlds.make(
            self.db, self.folder, people=self.people, clock=self.clock, rows_per_part=200
        )
        self.settings = Settings(_env_file=None, var=self.folder)
        with self.db.unit_of_work() as session:
            for name in ("researcher", "other", "steward", "admin"):
                session.add(Client(id=name, name=name, grant_types=[], redirect_uris=[], scopes=[], role="researcher",
                                   created_at=worlds.NOW))  # fmt: skip
        self.extracts = ExtractService(self.db, self.clock, self.world.gate.outbox)
        self.incidents = IncidentService(self.db, self.clock, self.settings)
        self.withdrawals = WithdrawalService(self.db, self.clock, self.world.keyring)
        tasks = {
            **extract_tasks(ExtractTasks(self.extracts, self.world.gate)),
            **withdrawal_tasks(self.withdrawals),
        }
        self.jobs = InlineEngine(self.db, self.clock, tasks)
        self.extract = self.world.permit()
        self.second = self.world.permit(holder="client:other")
        for one in (self.extract, self.second):
            self.world.release(one)
        with self.db.read() as session:
            rows = {one: session.get_one(Extract, one) for one in (self.extract, self.second)}
            self.permit, self.project = rows[self.extract].permit_id, rows[self.extract].project_id
            self.home = session.get_one(Cohort, self.world.cohort_id).institution_id
        self.hospital = actor("hospital", "institution", self.home)

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def report(self, *touches: Target, by: Actor = STEWARD, **other: Any) -> str:
        named = [{"kind": one.kind, "subject": one.subject} for one in touches]
        body = {"kind": "leak", "text": "Rows turned up elsewhere.", "touches": named, **other}
        return str(self.incidents.report(by, body)["id"])

    def part(self, extract_id: str = "") -> str:
        """The name of an open part."""
        parts = self.extracts.get(self.holder(extract_id), extract_id or self.extract)["parts"]
        return str(next(p["name"] for p in parts if p["state"] == "ready"))

    def holder(self, extract_id: str) -> Actor:
        return OTHER if extract_id == self.second else HOLDER

    def paths(self, extract_id: str = "", table: str = "person") -> list[Path]:
        """The files of the open parts of a table."""
        wanted = extract_id or self.extract
        parts = self.extracts.get(self.holder(wanted), wanted)["parts"]
        return [
            self.folder / "outbox" / wanted / p["name"]
            for p in parts
            if p["table"] == table and p["state"] == "ready"
        ]

    def withdraw(self, key: int, *domains: str) -> None:
        """Of these domains, of all where none is named."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.consents.register.find", lambda *_: key)
            self.withdrawals.take(self.hospital, self.world.cohort_id, "who", domains, "no_further_use")
        self.jobs.drain()

    def tracing(self) -> TraceService:
        return TraceService(self.db, self.clock, self.settings, self.world.gate)
