"""The verbs of findings: report, review, receive; and the uses of a participant's data, for whoever asks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app import ledger
from app.audit import institution_stream, project_stream, record
from app.auth import policy
from app.auth.policy import Actor, CohortFacts, ProjectFacts
from app.clock import Clock
from app.consents.return_tokens import find_by_token
from app.db import Database, new_id
from app.deid.identifiers import looks_like
from app.errors import Finding as Wrong
from app.errors import Problem, not_found, refuse_all
from app.findings import queries
from app.findings.states import OVER, step
from app.jobs import enqueue
from app.jobs.answers import Once, earlier, keep
from app.models import Cohort, Finding

View = dict[str, Any]
_HEX = re.compile(r"(?<![0-9a-z])[0-9a-f]{16}(?![0-9a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class FindingService:
    """What holders report, stewards judge and institutions receive. Who the person is, only the worker finds out."""

    db: Database
    clock: Clock

    def report(self, actor: Actor, body: Mapping[str, Any], once: Once | None = None) -> View:
        """Report a finding about a pseudonym of the holder's own extract. Whether the pseudonym is anyone's is not
        looked at here: what was withdrawn, recalled or never existed is answered alike."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            if (answer := earlier(session, once, now)) is not None:
                return answer
            row, facts = queries.extract(session, body["extract_id"])
            policy.must_report_finding(actor, facts)
            if row.generation == 0:
                raise Problem("conflict", "Nothing of this extract was handed out yet.")
            refuse_all("invalid_request", "The finding would tell who it is about.", _telling(body))
            found = Finding(
                id=new_id("fnd"), extract_id=row.id, project_id=row.project_id, cohort_id=None,
                pseudonym=body["pseudonym"], return_token=None, code=body["code"], text=body["text"], state="reported",
                reason="", reported_by=actor.subject, reported_at=now, decided_by=None, decided_at=None,
                forwarded_at=None, settled_at=None,
            )  # fmt: skip
            session.add(found)
            session.flush()
            _note(session, found, facts, "finding.reported", actor.subject, now)
            return keep(session, once, 201, queries.view(session, actor, found))

    def listed(self, actor: Actor, state: str | None, after: str | None, limit: int) -> list[View]:
        """Own reports, what waits for a steward, or what came back to an institution; newest first."""
        with self.db.read() as session:
            return queries.listed(session, actor, state, after, limit)

    def get(self, actor: Actor, finding_id: str) -> View:
        """One finding, as it is told to this reader."""
        with self.db.read() as session:
            row, facts = queries.finding(session, finding_id)
            if actor.role == "institution":
                policy.must_receive_finding(actor, CohortFacts(queries.receiver(session, row)))
            else:
                policy.must_read_finding(actor, facts)
            return queries.view(session, actor, row)

    def decide(self, actor: Actor, finding_id: str, verb: str, reason: str) -> View:
        """accept | decline, by a steward. An accepted one is checked by the worker against the consent to recontact."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, facts = queries.finding(session, finding_id, lock=True)
            policy.must_review_finding(actor, facts)
            row.state, row.decided_by, row.decided_at = step(row.state, verb), actor.subject, now
            if row.state == "declined":
                row.reason = reason
                over(row, now)
            else:
                enqueue(session, "return_finding", subject=row.id, at=now)
            _note(session, row, facts, f"finding.{row.state}", actor.subject, now)
            return queries.view(session, actor, row)

    def receive(self, actor: Actor, finding_id: str, verb: str) -> View:
        """deliver | inform: the institution has it; the participant was told. Then the text goes."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, _facts = queries.finding(session, finding_id, lock=True)
            institution = queries.receiver(session, row)
            policy.must_receive_finding(actor, CohortFacts(institution))
            row.state = step(row.state, verb)
            if row.state in OVER:
                over(row, now)
            noted(session, row, [institution], f"finding.{row.state}", actor.subject, now)
            return queries.view(session, actor, row)

    def uses(self, actor: Actor, cohort_id: str, return_token: str) -> View:
        """The projects that hold or held the data of the participant whom the token stands for; the look-up is
        recorded, the token is not."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            if (cohort := session.get(Cohort, cohort_id)) is None:
                raise not_found("cohort")
            policy.must_take_withdrawal(actor, CohortFacts(cohort.institution_id))
            if (key := find_by_token(session, cohort_id, return_token)) is None:
                raise not_found("participant")
            uses = [queries.use(session, one, key) for one in ledger.extracts_holding(session, key)]
            record(
                session, stream=institution_stream(cohort.institution_id), event="participant.uses_listed",
                actor=actor.subject, object_id=cohort_id, at=now, data={"uses": len(uses)},
            )  # fmt: skip
            return {"return_token": return_token, "uses": [use for use in uses if use["generations"]]}


def over(row: Finding, now: datetime) -> None:
    """What is left of a finding at its end: ids, states and times."""
    row.text, row.pseudonym, row.settled_at = "", None, now


def noted(
    session: Session, row: Finding, institutions: Sequence[str], event: str, actor: str, now: datetime
) -> None:
    """The line of a finding in the streams of institutions, which whoever reported it cannot read."""
    _record(session, row, [institution_stream(one) for one in institutions], event, actor, now)


def _note(session: Session, row: Finding, facts: ProjectFacts, event: str, actor: str, now: datetime) -> None:
    """The line of what the reporter may know: in the project's stream, and those of all who hold its data."""
    held = [institution_stream(one) for one in (facts.institution_id, *facts.also)]
    _record(session, row, [project_stream(row.project_id), *held], event, actor, now)


def _record(
    session: Session, row: Finding, streams: Sequence[str], event: str, actor: str, now: datetime
) -> None:
    data = {"project": row.project_id, "code_length": len(row.code), "text_length": len(row.text)}
    for stream in sorted(streams):
        record(session, stream=stream, event=event, actor=actor, object_id=row.id, at=now, data=data)


def _telling(body: Mapping[str, Any]) -> list[Wrong]:
    """Places where the words of a finding hold a pseudonym, or what looks like an identifier of a person."""
    return [
        Wrong("identifier", "must not name the person, nor any pseudonym", pointer=f"/{name}")
        for name in ("code", "text")
        if _HEX.search(body[name]) or looks_like(body[name]) is not None
    ]
