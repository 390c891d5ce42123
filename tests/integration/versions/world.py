"""A dataset with a published version, and verbs of its institution and its steward to make the next ones."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from app.auth.policy import Actor
from app.cohorts.service import CohortService
from app.models import DatasetVersion, VaultTable
from app.storage.held import objects_of
from app.withdrawals.service import WithdrawalService
from tests.integration.intake.world import IntakeWorld, csv_bytes
from tests.integration.test_bad_inputs import PEOPLE, VISITS, bills, dictionary

HOLDER = Actor(
    "client:hospital", "hospital", "institution", "ins_a", frozenset({"cohorts:write", "uploads:write"})
)
STEWARD = Actor("account:steward", "portal", "steward", "ins_a", frozenset({"datasets:publish"}))


def document() -> dict[str, Any]:
    """The dictionary of the published version: a unit and labels beside what `test_bad_inputs` has."""
    made = copy.deepcopy(dictionary())
    made["tables"][1]["fields"][2]["unit"] = "mg/dL"
    made["tables"][1]["fields"][3]["labels"] = {"ok": {"en": "well"}}
    return made


def visits(first: int, last: int) -> bytes:
    """Visits of these numbers, each of a person that is there."""
    return csv_bytes([VISITS[0], *([i, i % 200 + 1, 10.5, "ok"] for i in range(first, last + 1))])


class VersionsWorld(IntakeWorld):
    """What a test of versions acts on; `version` is the draft at hand."""

    def _furnish(self) -> None:
        with self.db.read() as session:
            there = session.get(DatasetVersion, self.version) is not None
        if not there:  # else the folder is a copy of one that was furnished
            super()._furnish()
        self.now += timedelta(hours=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        leave = WithdrawalService(self.db, self.clock, self.keyring).leave
        self.cohorts = CohortService(self.db, self.clock, self.settings, self.keyring, leave)

    def furnish(self) -> str:
        """People, visits and bills, checked and published; the version's id."""
        self.set_dictionary(document())
        for table, content in {
            "person": csv_bytes(PEOPLE), "visit": csv_bytes(VISITS), "bill": bills([1, 2]),
        }.items():  # fmt: skip
            assert self.upload(table, content).state == "accepted"
        assert self.hand_in()["outcome"] == "ready"
        return self.publish()

    def draft(self, made_from: str | None = None) -> str:
        """A draft made from the version at hand, which it then is."""
        self.version = str(
            self.cohorts.new_version(HOLDER, "dst_1", made_from=made_from or self.version)["id"]
        )
        return self.version

    def hand_in(self) -> dict[str, Any]:
        """Let the draft be checked; its report."""
        self.cohorts.submit(HOLDER, self.version)
        self.jobs.drain()
        return dict(self.cohorts.report(HOLDER, self.version)["report"])

    def publish(self) -> str:
        """Hand the ready version to the steward, who publishes it."""
        self.cohorts.submit(HOLDER, self.version)
        self.cohorts.publish(STEWARD, self.version)
        return self.version

    def state(self, version: str) -> str:
        with self.db.read() as session:
            return session.get_one(DatasetVersion, version).state

    def objects(self, version: str, table: str) -> tuple[str, ...]:
        """The objects of the newest generation of a table."""
        with self.db.read() as session:
            query = select(VaultTable).where(VaultTable.version_id == version, VaultTable.table_name == table)
            rows = session.scalars(query.order_by(VaultTable.generation)).all()
            return objects_of(session, rows[-1]) if rows else ()

    def edit(self, document: dict[str, Any]) -> None:
        self.cohorts.set_dictionary(HOLDER, self.version, document, None)
