"""The verbs of access requests: ask, review, decide; two decisions at once come to one outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.auth import policy
from app.auth.policy import Actor
from app.clock import Clock
from app.consents.cohorts import Behind, sources_of
from app.consents.purposes import purpose_digest
from app.db import Database, new_id, retried
from app.errors import Finding, Problem, not_found
from app.jobs import enqueue
from app.jobs.answers import Once, earlier, keep
from app.models import AccessRequest, DryRun, Review
from app.requests import decisions, queries
from app.requests.asking import judged, must_be_a_purpose, must_lie_ahead, must_not_be_denied, planned
from app.requests.decisions import Decided
from app.requests.dummies import made_up
from app.requests.states import BOARDS, REVIEWABLE, step
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan, plan_hash
from app.settings import Settings

View = dict[str, Any]


class DryRunning(Protocol):
    """The side of the gate that requests use."""

    def dry_run(
        self, plan: Plan, purpose: Mapping[str, Any], progress: Callable[..., None]
    ) -> dict[str, Any]:
        """What the plan would release now: counts only."""


@dataclass(frozen=True)
class RequestService:
    """What applicants and stewards do. Dry runs are jobs (`requests/tasks.py`)."""

    db: Database
    clock: Clock
    settings: Settings
    gate: DryRunning | None  # none in a web without workers' keys: dry runs are jobs

    @retried
    def create(self, actor: Actor, body: Mapping[str, Any], once: Once | None = None) -> View:
        """A draft for a published version; `plan_invalid` names everything that cannot leave or does not exist."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            version, of = queries.version(session, body["version_id"])
            policy.must_create_request(actor, queries.version_facts(version, of))
            if (answer := earlier(session, once, now)) is not None:
                return answer
            row = AccessRequest(
                id=new_id("req"), version_id=version.id, cohort_id=of.only, applicant=actor.subject,
                institution_id=actor.institution_id, state="draft", duo_match=None, claimed_by=None, notes=[],
                revision=1, created_at=now, submitted_at=None, decided_at=None,
                **self._asked(session, actor, version.id, body, now),
            )  # fmt: skip
            session.add(row)
            session.flush()
            _note(
                session,
                row,
                of,
                "request.created",
                actor,
                now,
                {"plan": row.plan_hash, "version": version.id},
            )
            return keep(session, once, 201, _receipt(row))

    @retried
    def edit(
        self, actor: Actor, request_id: str, body: Mapping[str, Any], seen: Sequence[int] | None
    ) -> View:
        """Replace what a draft or returned request asks for; `seen` holds the revisions read, None: any."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = self._own(session, actor, request_id)
            if seen is not None and row.revision not in seen:
                tag = {"ETag": f'"{row.revision}"'}
                raise Problem("precondition_failed", "Read it again, then edit.", headers=tag)
            row.state = step(row.state, "edit")
            for name, value in self._asked(session, actor, row.version_id, body, now).items():
                setattr(row, name, value)
            row.revision += 1
            _note(session, row, of, "request.edited", actor, now, {"plan": row.plan_hash})
            return queries.request_view(session, row, now)

    @retried
    def submit(self, actor: Actor, request_id: str) -> View:
        """Hand in. The cohort's data use terms answer the purpose first; every reason is told where they deny."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = self._own(session, actor, request_id)
            row.state = step(row.state, "submit")
            version, _of = queries.version(session, row.version_id)
            if version.state != "published":
                raise Problem("version_not_ready", f"The dataset version is {version.state}.")
            must_lie_ahead(row.end_date, now.date())
            match = judged(session, row, of, now.date())
            must_not_be_denied(match)
            row.duo_match, row.claimed_by = match, None
            row.submitted_at = row.submitted_at or now
            row.revision += 1
            _open_reviews(session, row.id, of, now)
            data = {"plan": row.plan_hash, "duo": match["answer"]}
            _note(session, row, of, "request.submitted", actor, now, data)
            return queries.request_view(session, row, now)

    @retried
    def withdraw(self, actor: Actor, request_id: str) -> View:
        """The applicant takes an undecided request back."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = self._own(session, actor, request_id)
            row.state, row.decided_at = step(row.state, "withdraw"), now
            _note(session, row, of, "request.withdrawn", actor, now)
            return queries.request_view(session, row, now)

    def get(self, actor: Actor, request_id: str) -> View:
        """One request."""
        with self.db.read() as session:
            row, of = queries.request(session, request_id)
            policy.must_read_request(actor, queries.request_facts(row, of))
            return queries.request_view(session, row, self.clock())

    def dummy(self, actor: Actor, request_id: str) -> bytes:
        """Made-up Parquet of the request's plan as a zip: right columns, no row read, for code written meanwhile."""
        with self.db.read() as session:
            row, of = queries.request(session, request_id)
            policy.must_read_request(actor, queries.request_facts(row, of))
            version, _cohort = queries.version(session, row.version_id)
            return made_up(Dictionary.model_validate(version.dictionary), Plan.model_validate(row.plan))

    def requests(self, actor: Actor, *, mine: bool, after: str | None, limit: int) -> list[View]:
        """Own requests, or those a steward may review; `mine`: only those that wait for this steward."""
        with self.db.read() as session:
            rows = queries.listed(session, actor, mine=mine, after=after, limit=limit)
            return [queries.request_brief(row, self.clock()) for row in rows]

    @retried
    def claim(self, actor: Actor, request_id: str, *, take_over: bool = False) -> View:
        """Take a request on; one that a colleague holds is taken over only on purpose."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = self._reviewed(session, actor, request_id)
            if row.claimed_by not in (None, actor.subject) and not take_over:
                raise Problem("conflict", "A colleague has claimed this request.", extra={"state": row.state})
            row.state, row.claimed_by = step(row.state, "claim"), actor.subject
            _note(session, row, of, "request.claimed", actor, now)
            return queries.request_view(session, row, now)

    @retried
    def send_back(self, actor: Actor, request_id: str, note: str) -> View:
        """Return a request to its applicant with what has to be mended."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = self._reviewed(session, actor, request_id)
            row.state = step(row.state, "return")
            row.revision += 1
            _write(row, actor, "return", note, now)
            _note(session, row, of, "request.returned", actor, now)
            return queries.request_view(session, row, now)

    @retried
    def review(self, actor: Actor, request_id: str, board: str, state: str, note: str) -> View:
        """Enter the outcome of a board; it can be changed until the decision, and each change is recorded."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = self._reviewed(session, actor, request_id)
            row.state = step(row.state, "review")
            known = queries.reviews(session, row.id)
            # A steward of one institution enters what its boards said; the public board answers for all of them.
            answering = [i for i in queries.reviewing(of) if i in ("", actor.institution_id or i)]
            for institution in answering:
                review = known[board, institution]
                review.state, review.reviewer, review.note, review.at = state, actor.subject, note, now
            session.flush()
            whose = {"institutions": answering} if of.only is None else {}
            data = {"board": board, "state": state, "plan": row.plan_hash, **whose}
            _note(session, row, of, "request.reviewed", actor, now, data)
            return queries.request_view(session, row, now)

    @retried
    def order_dry_run(self, actor: Actor, request_id: str, once: Once | None = None) -> View:
        """Ask what the present plan would release. While one of it for this purpose is queued, it is the answer."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = self._reviewed(session, actor, request_id)
            if (answer := earlier(session, once, now)) is not None:
                return answer
            if row.state not in REVIEWABLE:
                raise Problem("conflict", f"The request is {row.state}.", extra={"state": row.state})
            if (run := queries.present_dry_run(session, row, "queued")) is None:
                run = DryRun(
                    id=new_id("dry"), request_id=row.id, plan_hash=row.plan_hash,
                    purpose_digest=purpose_digest(row.purpose), state="queued", result=None, created_at=now,
                    finished_at=None,
                )  # fmt: skip
                session.add(run)
                session.flush()
                arguments = {"dry_run_id": run.id}
                enqueue(session, "dry_run", subject=run.id, arguments=arguments, at=now, project=row.id)
                data = {"request": row.id, "plan": row.plan_hash}
                _note(session, row, of, "dry_run.ordered", actor, now, data, object_id=run.id)
            return keep(session, once, 202, {"id": run.id, "state": run.state, "plan_hash": run.plan_hash})

    def dry_run(self, actor: Actor, request_id: str) -> View:
        """The newest dry run, for those who review: its numbers are not masked."""
        with self.db.read() as session:
            row, of = queries.request(session, request_id)
            policy.must_review_request(actor, queries.request_facts(row, of))
            if (run := queries.dry_run(session, row.id)) is None:
                raise not_found("dry run")
            return queries.dry_run_view(session, run)

    def dry_run_page(self, actor: Actor, request_id: str) -> str:
        """The newest dry run as a page with pictures; `not_found` where none has come to a result."""
        with self.db.read() as session:
            row, _of = self._reviewed(session, actor, request_id)
            run = queries.present_dry_run(session, row, "ready")
            if run is None or not run.result or "page" not in run.result:
                raise not_found("dry run")
            return str(run.result["page"])

    @retried
    def decide(self, actor: Actor, request_id: str, decided: Decided, once: Once | None = None) -> View:
        """Approve, approve conditionally or reject the very plan that `decided` names.

        The row is locked: of two decisions at once the second finds a decided request. Approval makes the project
        and its permit in the same transaction.
        """
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = self._reviewed(session, actor, request_id)
            if (answer := earlier(session, once, now)) is not None:
                return answer
            after = step(row.state, decisions.VERBS[decided.decision])
            if row.claimed_by != actor.subject:
                raise Problem("conflict", "Claim the request first.", extra={"state": row.state})
            if decided.plan_hash != row.plan_hash:
                finding = Finding("plan_changed", "is not the present plan", pointer="/plan_hash")
                raise Problem("precondition_failed", "Read the request again.", [finding])
            permit = None
            if decided.decision == "approve":
                permit = decisions.issue(session, row, of, decided, actor.subject, now)
            row.state = after
            # Under conditions nothing is decided yet: it may still be returned, rejected or approved.
            row.decided_at = None if decided.decision == "conditional" else now
            row.revision += 1
            _write(row, actor, decided.decision, "\n".join((decided.note, *decided.conditions)).strip(), now)
            signed = {"signed_intersections": True} if decided.accept_intersections else {}
            data = {"plan": row.plan_hash, "permit": permit.id if permit else None, **signed}
            _note(session, row, of, decisions.EVENTS[decided.decision], actor, now, data)
            issued = {"permit_id": permit.id, "project_id": permit.project_id} if permit else {}
            return keep(session, once, 200, {**_receipt(row), **issued})

    def _asked(
        self, session: Session, actor: Actor, version_id: str, body: Mapping[str, Any], now: datetime
    ) -> dict[str, Any]:
        must_lie_ahead(body["end_date"], now.date())
        facts = queries.facts_of_asker(session, actor.subject, actor.institution_id)
        version, _of = queries.version(session, version_id)
        united = bool(sources_of(session, version_id))
        plan = planned(
            self.settings, version.dictionary or {}, version_id, body, version.people, united=united
        )
        return {
            "title": body["title"], "summary": body["summary"], "purpose": must_be_a_purpose(body["purpose"], facts),
            "plan": plan.model_dump(mode="json"), "plan_hash": plan_hash(plan),
            "irb_reference": body["irb_reference"], "end_date": body["end_date"],
        }  # fmt: skip

    def _own(self, session: Session, actor: Actor, request_id: str) -> tuple[AccessRequest, Behind]:
        row, of = queries.request(session, request_id, lock=True)
        policy.must_edit_request(actor, queries.request_facts(row, of))
        return row, of

    def _reviewed(self, session: Session, actor: Actor, request_id: str) -> tuple[AccessRequest, Behind]:
        row, of = queries.request(session, request_id, lock=True)
        policy.must_review_request(actor, queries.request_facts(row, of))
        return row, of


def _open_reviews(session: Session, request_id: str, of: Behind, now: datetime) -> None:
    """All boards start again: what they saw before may not be what is asked now."""
    known = queries.reviews(session, request_id)
    for institution in queries.reviewing(of):
        for board in BOARDS:
            row = known.get((board, institution)) or Review(
                id=new_id("rev"), request_id=request_id, board=board, institution_id=institution
            )
            row.state, row.reviewer, row.note, row.at = "pending", "", "", now
            session.add(row)
    session.flush()


def _receipt(row: AccessRequest) -> View:
    return {"id": row.id, "state": row.state, "plan_hash": row.plan_hash, "revision": row.revision}


def _write(row: AccessRequest, actor: Actor, on: str, text: str, now: datetime) -> None:
    if text:
        row.notes = [*row.notes, {"at": now.isoformat(), "by": actor.subject, "on": on, "text": text}]


def _note(
    session: Session, row: AccessRequest, of: Behind, event: str, actor: Actor, at: datetime, data: Any = None,
    object_id: str | None = None,
) -> None:  # fmt: skip
    for institution in of.institutions:
        record(
            session,
            stream=institution_stream(institution),
            event=event,
            actor=actor.subject,
            object_id=object_id or row.id,
            at=at,
            data=data,
        )
