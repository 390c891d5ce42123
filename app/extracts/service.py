"""Order, watch and fetch: what the holder of a permit can do with its extract."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.auth import freezes, policy, quotas
from app.auth.links import Link
from app.auth.policy import Actor
from app.clock import Clock
from app.db import Database, new_id, retried
from app.errors import Problem, not_found
from app.extracts import queries, recall_queries
from app.extracts.states import step
from app.jobs import answers, enqueue, held_up
from app.jobs.answers import Once
from app.jobs.cancelling import cancel, cancelled, comes_to_rest
from app.ledger.parts import DAMAGED, MADE_AGAIN, PartState, listed, state_of, unstage
from app.models import AuditLine, Extract
from app.permits import must_be_live, refusal
from app.settings import Settings
from app.storage.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Delivery:
    """A part that may be read now: its outbox name, size and digest."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ExtractService:
    """The verbs of extracts; building is a job (`extracts/tasks.py`)."""

    db: Database
    clock: Clock
    outbox: Outbox
    settings: Settings | None = None  # where there are none, nobody has a quota

    @retried
    def order(self, actor: Actor, permit_id: str, once: Once | None = None) -> dict[str, Any]:
        """The extract of a permit: there is one, however often it is ordered. The permit's row is locked, so that
        two orders at the same time end in one extract."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            if (answer := answers.earlier(session, once, now)) is not None:
                return answer
            permit = queries.permit(session, permit_id, lock=True)
            policy.must_order_extract(actor, queries.facts(session, permit.project_id))
            must_be_live(session, permit_id, now.date())
            row = queries.of_permit(session, permit_id)
            if row is None:
                if self.settings is not None:
                    quotas.must_fit(session, self.settings, actor.subject, quotas.HOLDER, 1)
                row = _new(permit_id, permit.project_id, permit.version_id, now)
                session.add(row)
                session.flush()
            if row.state in ("requested", "failed"):
                if comes_to_rest(session, "build_extract", row.id):
                    again = {"Retry-After": "2"}
                    raise Problem(
                        "conflict", "The build that was cancelled comes to rest; order again.", headers=again
                    )
                row.state, row.failure = step(row.state, "queue"), None
                enqueue(session, "build_extract", subject=row.id, at=now, project=row.project_id)
                _note(session, row, "extract.ordered", actor.subject, now, {"permit": permit_id})
            return answers.keep(session, once, 202, queries.view(session, row))

    @retried
    def cancel(self, actor: Actor, extract_id: str) -> dict[str, Any]:
        """End the first build of an extract before its end: its holder, or a steward of the data. From the answer on it
        hands out nothing; what was half made goes when the job comes to rest. Later generations only take people out:
        they are never ended."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = queries.extract(session, extract_id, lock=True)
            policy.must_cancel_extract(actor, queries.facts(session, row.project_id))
            if (stopped := held_up(session, extract_id)) is not None:
                raise Problem("job_parked", stopped["detail"], extra={"reason": stopped["reason"]})
            if listed(session, extract_id, ("staged", "ready")):
                raise Problem("conflict", "The build is done and is being handed out.")
            row.state, row.failure = step(row.state, "cancel"), cancelled().to_dict()
            cancel(session, "build_extract", extract_id, now)
            _note(session, row, "extract.cancelled", actor.subject, now, {"permit": row.permit_id})
            return queries.view(session, row)

    def get(self, actor: Actor, extract_id: str) -> dict[str, Any]:
        """One extract with its parts."""
        with self.db.read() as session:
            row = self._own(session, actor, extract_id)
            parts = listed(session, extract_id, ("ready", "blocked", "replaced"))
            recalls = [
                recall_queries.shown(session, notice)
                for notice in recall_queries.of_extract(session, extract_id)
            ]
            return {**queries.view(session, row), "parts": parts, "recalls": recalls}

    def list_own(self, actor: Actor, after: str | None, limit: int) -> list[dict[str, Any]]:
        """The actor's extracts, newest first."""
        with self.db.read() as session:
            return [
                queries.view(session, row) for row in queries.held_by(session, actor.subject, after, limit)
            ]

    def manifest(self, actor: Actor, extract_id: str) -> dict[str, Any]:
        """The manifest of the newest generation: parts with sha-256, rows, schema; codebook, attrition, certificate."""
        with self.db.read() as session:
            row = self._own(session, actor, extract_id)
            if row.manifest is None:
                raise Problem("conflict", f"The extract is {row.state}; it has no manifest yet.")
            states = {p["name"]: p for p in listed(session, extract_id, ("ready", "blocked", "replaced"))}
            return {**row.manifest, "certificate": row.certificate, "parts_state": _brief(states)}

    @retried
    def open_part(self, actor: Actor, extract_id: str, name: str, link: Link | None = None) -> Delivery:
        """The part, where every byte of it may leave at this moment; the first such call a day is recorded, of each
        link for itself."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = self._own(session, actor, extract_id)
            state = self.flowing(session, actor, extract_id, name, now)
            if link is not None and link.generation != state.generation:
                raise Problem("link_expired", "The part was made anew since.")
            self._record_delivery(session, row, actor, state, now, link)
            return Delivery(state.name, state.bytes, state.sha256)

    def flowing(self, session: Session, actor: Actor, extract_id: str, name: str, now: datetime) -> PartState:
        """The part's state, where its bytes may leave to this actor now; else a `Problem`."""
        return _must_flow(session, extract_id, name, now, *_readers(actor))

    def check_part(self, extract_id: str, name: str, reader: Actor | None = None) -> None:
        """Raise unless the next byte may leave: one row, read now, never cached; `reader`: to whom, where known."""
        with self.db.glance() as connection:
            state = state_of(connection, extract_id, name)
            if state is None or not state.frozen:
                _must_be_open(connection, extract_id, state, self.clock())
                return
        with self.db.read() as session:  # something is frozen: whether it is this
            _must_flow(session, extract_id, name, self.clock(), *_readers(reader))

    @retried
    def expire_due(self) -> int:
        """Close every extract whose time is over or whose permit has ended; how many."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            due = queries.ready_and_past(session, now)
            for extract_id in due:
                row = queries.extract(session, extract_id, lock=True)
                row.state = step(row.state, "expire")
                enqueue(session, "destroy_extract", subject=extract_id, at=now)
                _note(session, row, "extract.expired", "platform", now, {})
        return len(due)

    def sweep_half_published(self) -> int:
        """Drop the parts of a generation that was recorded and never published, where no build of it is left: its
        process died and the next one was refused. How many extracts."""
        with self.db.read() as session:
            stranded = queries.half_published(session)
        for extract_id in stranded:
            with self.db.unit_of_work() as session:
                queries.extract(session, extract_id, lock=True)
                if extract_id in queries.half_published(session):
                    self.drop_staged(session, extract_id)
        return len(stranded)

    def drop_staged(self, session: Session, extract_id: str) -> None:
        """In the transaction that holds the extract: its staged parts and their bytes go."""
        for name in unstage(session, extract_id):
            self.outbox.delete(f"{extract_id}/{name}")

    def _own(self, session: Session, actor: Actor, extract_id: str) -> Extract:
        row = queries.extract(session, extract_id)
        policy.must_read_extract(actor, queries.facts(session, row.project_id))
        return row

    def _record_delivery(
        self, session: Session, row: Extract, actor: Actor, state: PartState, now: datetime, link: Link | None
    ) -> None:
        # One line per (part, client or link, day) before its first byte: ranges and retries of one download are one.
        key = f"{row.id}/{state.name[:24]}" + (f"/{link.id}" if link else "")
        day = now.date().isoformat()
        seen = session.scalar(
            select(AuditLine.number).where(
                AuditLine.stream == project_stream(row.project_id),
                AuditLine.event == "part.delivered",
                AuditLine.object_id == key[:80],
                AuditLine.actor == actor.subject,
                AuditLine.at >= now.replace(hour=0, minute=0, second=0, microsecond=0),
            )
        )
        if seen is None:
            data = {"part": state.sha256, "client": actor.client_id, "day": day, "bytes": state.bytes}
            data |= {"link": link.id} if link else {}
            record(
                session,
                stream=project_stream(row.project_id),
                event="part.delivered",
                actor=actor.subject,
                object_id=key[:80],
                at=now,
                data=data,
            )


def _readers(actor: Actor | None) -> tuple[str, ...]:
    """Who would get the bytes: the person or client that asks, and the client that a person uses."""
    return (actor.subject, f"client:{actor.client_id}") if actor is not None else ()


def _must_flow(session: Session, extract_id: str, name: str, now: datetime, *readers: str) -> PartState:
    state = state_of(session.connection(), extract_id, name)
    if state is not None and state.state != "staged" and state.frozen:
        freezes.must_not_stop_release(session, state.permit_id, *readers)
    return _must_be_open(session.connection(), extract_id, state, now)


def _must_be_open(
    connection: Connection, extract_id: str, state: PartState | None, now: datetime
) -> PartState:
    if state is None or (state.state == "staged" and state.reason != MADE_AGAIN):
        raise not_found("part")
    if state.state == "staged":
        raise Problem(
            "part_checking",
            "A build came to the same bytes again and is about to hand them out; try again in a moment.",
            headers={"Retry-After": "2"},
        )
    if state.state == "blocked" and state.reason == DAMAGED:
        raise Problem(
            "part_damaged",
            "Its bytes were found damaged and are made anew, as they were.",
            headers={"Retry-After": "60"},
        )
    if state.state in ("blocked", "replaced"):
        extra = {
            "reason": state.reason or "reissued",
            "successor": state.successor,
            "receipt": state.withdrawal,
        }
        raise Problem(
            "part_withdrawn", "Fetch the manifest again: the part has left circulation.", extra=extra
        )
    if state.marked:
        raise Problem(
            "part_checking",
            "A withdrawal is being carried to the parts of this extract; try again in a moment.",
            headers={"Retry-After": "2"},
        )
    if why := refusal(state.permit_state, state.permit_until, now.date()):
        raise Problem("permit_not_live", why)
    if state.extract_state != "ready":
        line = _destroyed_by(connection, extract_id) if state.extract_state == "destroyed" else None
        told = {"receipt": line} if line else {}
        raise Problem("extract_expired", f"The extract is {state.extract_state}.", extra=told)
    if state.expires_on is not None and state.expires_on < now.date():
        raise Problem("extract_expired", "The time of this extract is over.")
    return state


def _destroyed_by(connection: Connection, extract_id: str) -> str | None:
    """The line of the audit chain that stands for a destroyed extract, as `stream#number`."""
    query = select(AuditLine.stream, AuditLine.number).where(
        AuditLine.object_id == extract_id, AuditLine.event == "extract.destroyed"
    )
    line = connection.execute(query.limit(1)).first()
    return f"{line.stream}#{line.number}" if line else None


def _new(permit_id: str, project_id: str, version_id: str, now: datetime) -> Extract:
    return Extract(
        id=new_id("ext"),
        permit_id=permit_id,
        project_id=project_id,
        version_id=version_id,
        state="requested",
        failure=None,
        generation=0,
        manifest=None,
        certificate=None,
        outcome_hash=None,
        epoch=0,
        earliest_consent_end=None,
        created_at=now,
        ready_at=None,
        expires_at=None,
    )


def _note(
    session: Session, row: Extract, event: str, actor: str, now: datetime, data: dict[str, Any]
) -> None:
    stream = project_stream(row.project_id)
    record(session, stream=stream, event=event, actor=actor, object_id=row.id, at=now, data=data)


def _brief(states: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {k: p[k] for k in ("state", "reason", "successor", "receipt")} for name, p in states.items()
    }
