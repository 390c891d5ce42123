"""The index of variables is written once a published version, by a job: its columns, people with a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from app.catalog import variable_queries as queries
from app.catalog.variables import variables_of
from app.clock import Clock
from app.db import Database
from app.jobs import JobContext, Task, enqueue
from app.models import Dataset, DatasetVersion, VariableIndex
from app.schemas.dictionary import Dictionary

_AT_ONCE = 100  # versions that one round of the chore hands to jobs


class Counting(Protocol):
    """Counts in the vault, which this room cannot read."""

    def filled(
        self, job_id: str, dictionary: Dictionary, tables: Mapping[str, tuple[str, ...]]
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """(table, column) -> people of the table, and those of them with a value."""


@dataclass(frozen=True)
class VariableIndexing:
    """Takes versions into the index."""

    db: Database
    clock: Clock
    counting: Counting

    def index(self, job: JobContext) -> None:
        """One version; begun again after a crash it ends the same, and one that was indexed stays as it is."""
        with self.db.read() as session:
            version = session.get(DatasetVersion, job.subject)
            if version is None or version.dictionary is None or version.state not in queries.SHOWN:
                return
            if session.get(VariableIndex, version.id) is not None:
                return
            tables = queries.stored_tables(session, version.id)
        dictionary = Dictionary.model_validate(version.dictionary)
        counted = self.counting.filled(job.id, dictionary, tables) if tables else {}
        with self.db.unit_of_work() as session:
            # Versions of one dataset share rows, so that they are taken in one after the other.
            session.get_one(Dataset, version.dataset_id, with_for_update=True)
            version = session.get_one(DatasetVersion, job.subject)
            queries.index(
                session, version, list(variables_of(version.dictionary or {})), counted, self.clock()
            )

    def catch_up(self) -> int:
        """Hand to jobs what is published and not in the index: older versions, or failed jobs; how many."""
        with self.db.unit_of_work() as session:
            missing = queries.unindexed(session, _AT_ONCE)
            for version_id in missing:
                enqueue(session, "index_variables", subject=version_id, at=self.clock())
            return len(missing)


def tasks(service: VariableIndexing) -> dict[str, Task]:
    """The tasks by the kind of their job."""
    return {"index_variables": service.index}
