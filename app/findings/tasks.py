"""The job of findings: from the pseudonym to the person, and by their consent to the return token or to the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.consents import epochs
from app.consents.queries import covered
from app.consents.return_tokens import token_of
from app.findings import queries
from app.findings.service import FindingService, noted, over
from app.findings.states import step
from app.jobs import JobContext, Task


class Traced(Protocol):
    """A person behind a pseudonym."""

    @property
    def cohort_id(self) -> str:
        """The cohort that they are known in."""

    @property
    def key(self) -> int:
        """Their participant key there."""


class Tracing(Protocol):
    """The side of the gate that findings use."""

    def trace(self, extract_id: str, pseudonym: str) -> Traced | None:
        """Who stands behind a pseudonym of this extract's project, while their consent still covers it."""


@dataclass(frozen=True)
class FindingTasks:
    """The task, safe to run again."""

    service: FindingService
    gate: Tracing

    def bring_back(self, job: JobContext) -> None:
        """accepted -> forwarded, where the person agreed to be contacted again and does at this moment; else ended."""
        with self.service.db.read() as session:
            row, _facts = queries.finding(session, job.subject)
            if row.state != "accepted" or row.pseudonym is None:
                return
            extract_id, pseudonym = row.extract_id, row.pseudonym
        found = self.gate.trace(extract_id, pseudonym)
        now = self.service.clock()
        with self.service.db.unit_of_work() as session:
            row, facts = queries.finding(session, job.subject, lock=True)
            if row.state != "accepted":
                return
            token = None
            if found is not None:
                epochs.lock(session, found.cohort_id)  # nobody takes their word back while it is read
                willing = covered(session, found.cohort_id, "recontact", None, now.date())
                if np.isin(found.key, willing):
                    token = token_of(session, found.key)
            institutions = [facts.institution_id, *facts.also]
            if found is None or token is None:
                row.state = step(row.state, "end")
                over(row, now)
            else:
                row.state, row.return_token, row.pseudonym = step(row.state, "forward"), token, None
                row.cohort_id, row.forwarded_at = found.cohort_id, now
                institutions = [queries.receiver(session, row)]
            noted(session, row, institutions, f"finding.{row.state}", "platform", now)


def tasks(findings: FindingTasks) -> dict[str, Task]:
    """The tasks by the kind of their job."""
    return {"return_finding": findings.bring_back}
