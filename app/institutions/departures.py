"""An institution leaves or goes over into another: declared by one, confirmed by another, carried out in one order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.audit import PLATFORM, institution_stream, record
from app.auth import departing, policy
from app.auth.policy import Actor, DepartureFacts
from app.clock import Clock
from app.consents.custody import Leaving, Merging, lock_all
from app.db import Database, new_id, retried
from app.errors import Finding, Problem, not_found, refuse_all
from app.institutions.departure_states import OPEN, step
from app.jobs import answers
from app.jobs.answers import Once
from app.models import Departure, Institution
from app.settings import Settings
from app.storage.journal import Journal

End = Callable[[Session, Leaving], dict[str, int]]
"""A room's part of an institution's leaving -> how many of what."""
Move = Callable[[Session, Merging], dict[str, int]]
"""A room's part of its going over into another."""
View = dict[str, Any]
JOURNALED = ("kind", "institution_id", "successor_id", "reason", "declared_by", "confirmed_by")


@dataclass(frozen=True)
class DepartureService:
    """`ends` and `moves`: the parts of the rooms, in the order in which they are run, in one transaction."""

    db: Database
    clock: Clock
    settings: Settings
    ends: Sequence[End]
    moves: Sequence[Move]
    journal: Journal | None = None

    def declare(
        self,
        actor: Actor,
        institution_id: str,
        reason: str,
        on: date,
        successor_id: str | None = None,
        once: Once | None = None,
    ) -> View:
        """Say that an institution leaves on a day, or goes over into a successor; nothing happens before another has
        confirmed it, and the day has come."""
        policy.must_declare_departure(actor, DepartureFacts(institution_id))
        now = self.clock()
        with self.db.unit_of_work() as session:
            if (answer := answers.earlier(session, once, now)) is not None:
                return answer
            row = session.get(Institution, institution_id, with_for_update=True)
            if row is None:
                raise not_found("institution")
            wrong = _unfit(session, row, successor_id)
            if on < now.date():
                wrong.append(Finding("out_of_range", "the day lies in the past", pointer="/on"))
            refuse_all("invalid_request", "It cannot depart so.", wrong)
            made = Departure(
                id=new_id("dep"), institution_id=row.id, kind="merge" if successor_id else "leave",
                successor_id=successor_id, reason=reason, on=on, state="declared", declared_by=actor.subject,
                declared_at=now, confirmed_by=None, confirmed_at=None, carried_out_at=None, counts={},
            )  # fmt: skip
            session.add(made)
            session.flush()
            _note(session, made, "departure.declared", actor.subject, now, {"on": on.isoformat()})
            return answers.keep(session, once, 201, view(made))

    def confirm(self, actor: Actor, departure_id: str) -> View:
        """By another than declared it: the platform, or the successor. Where its day has come it is carried out in this
        same order; else a chore does it on that day."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = _locked(session, actor, departure_id)
            policy.must_confirm_departure(actor, _facts(row))
            row.state = step(row.state, "confirm")
            row.confirmed_by, row.confirmed_at = actor.subject, now
            _note(session, row, "departure.confirmed", actor.subject, now, {})
        if row.on <= now.date():
            self._carry_out(departure_id)
        with self.db.read() as session:
            return view(session.get_one(Departure, departure_id))

    def call_off(self, actor: Actor, departure_id: str) -> View:
        """Whoever may declare it may call it off, until it is carried out."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = _locked(session, actor, departure_id)
            policy.must_declare_departure(actor, _facts(row))
            row.state = step(row.state, "call_off")
            _note(session, row, "departure.called_off", actor.subject, now, {})
            return view(row)

    def get(self, actor: Actor, departure_id: str) -> View:
        """One departure, for those whom it concerns."""
        with self.db.read() as session:
            return view(_seen(session, actor, departure_id))

    def listed(self, actor: Actor, after: str | None, limit: int) -> list[View]:
        """Departures that concern the actor, newest first."""
        query = select(Departure)
        if actor.role != "platform" and not (actor.role == "steward" and actor.institution_id is None):
            mine = actor.institution_id or ""
            query = query.where(or_(Departure.institution_id == mine, Departure.successor_id == mine))
        if after:
            query = query.where(Departure.id < after)
        with self.db.read() as session:
            return [view(row) for row in session.scalars(query.order_by(Departure.id.desc()).limit(limit))]

    def carry_out_due(self) -> int:
        """Every confirmed departure whose day has come; how many. One that failed is tried again by the next call."""
        with self.db.read() as session:
            query = select(Departure.id).where(
                Departure.state == "confirmed", Departure.on <= self.clock().date()
            )
            due = list(session.scalars(query.order_by(Departure.id)))
        done = 0
        for departure_id in due:
            try:
                self._carry_out(departure_id)
            except Problem:  # its successor departed meanwhile: it stays confirmed until it is called off
                continue
            done += 1
        return done

    def replay(self) -> int:
        """Carry out what the journal says was carried out and the database has forgotten; how many. Called before
        anything is served, so that a restored backup gives nothing of an institution that has left since."""
        done = 0
        for entry in self.journal.entries() if self.journal is not None else ():
            if "departure" not in entry:
                continue
            with self.db.unit_of_work() as session:
                done += self._again(session, entry)
        return done

    @retried
    def _carry_out(self, departure_id: str) -> None:
        with self.db.unit_of_work() as session:
            row = session.get_one(Departure, departure_id, with_for_update=True, populate_existing=True)
            if row.state != "confirmed":
                return  # another process did it meanwhile
            both = _lock_both(session, row.institution_id, row.successor_id)
            institution = both[row.institution_id]
            wrong = _unfit(session, institution, row.successor_id, itself=row.id)
            refuse_all("invalid_request", "It cannot depart so any more.", wrong)
            cohorts = lock_all(session, row.institution_id)
            withdrawals = {cohort.id: new_id("wdr") for cohort in cohorts}
            self._run(session, row, institution, withdrawals)
            if self.journal is not None:  # the last step before the commit
                self.journal.add(_entry(row, withdrawals))

    def _again(self, session: Session, entry: Mapping[str, Any]) -> bool:
        row = session.get(Departure, entry["departure"], with_for_update=True)
        both = _lock_both(session, entry["institution_id"], entry["successor_id"])
        institution = both.get(entry["institution_id"])
        if institution is None or institution.closed_at is not None:
            return False  # registered after the backup was made; or carried out
        if entry["successor_id"] and entry["successor_id"] not in both:
            return False
        at = datetime.fromisoformat(entry["at"])
        if row is None:
            row = Departure(id=entry["departure"], on=at.date(), declared_at=at, counts={})
            session.add(row)
        for name in JOURNALED:
            setattr(row, name, entry[name])
        row.state, row.confirmed_at = "confirmed", row.confirmed_at or at
        session.flush()
        known = entry["withdrawals"]
        cohorts = lock_all(session, institution.id)
        self._run(session, row, institution, {one.id: known.get(one.id) or new_id("wdr") for one in cohorts})
        return True

    def _run(
        self, session: Session, row: Departure, institution: Institution, withdrawals: Mapping[str, str]
    ) -> None:
        now, counts = self.clock(), dict[str, int]()
        actor = row.confirmed_by or "platform"
        if row.successor_id is None:
            leaving = Leaving(institution.id, row.id, withdrawals, actor, now)
            for end in self.ends:
                counts |= end(session, leaving)
            counts |= departing.end(session, institution.id)
        else:
            merging = Merging(
                institution.id, row.successor_id, row.id, tuple(sorted(withdrawals)), actor, now
            )
            for move in self.moves:
                counts |= move(session, merging)
            moved = departing.Moving(self.settings)
            counts |= moved(session, institution.id, row.successor_id, actor, now)
        institution.closed_at, institution.successor_id = now, row.successor_id
        row.state, row.carried_out_at, row.counts = step(row.state, "carry_out"), now, counts
        session.flush()
        event = "institution.merged" if row.successor_id else "institution.left"
        _note(session, row, event, actor, now, counts)


def view(row: Departure) -> View:
    """A departure as those see it whom it concerns."""
    names = (
        "id", "institution_id", "kind", "successor_id", "reason", "on", "state", "declared_by", "declared_at",
        "confirmed_by", "confirmed_at", "carried_out_at", "counts",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names}


def _lock_both(session: Session, institution_id: str, successor_id: str | None) -> dict[str, Institution]:
    """An institution and its successor by id, locked in this order and read again: neither departs while the other
    goes over into it. Two at the same moment would each find the other open, and both be closed."""
    query = select(Institution).where(Institution.id.in_({institution_id, successor_id} - {None}))
    locked = query.order_by(Institution.id).with_for_update().execution_options(populate_existing=True)
    return {row.id: row for row in session.scalars(locked)}


def _unfit(
    session: Session, row: Institution, successor_id: str | None, itself: str | None = None
) -> list[Finding]:
    if row.closed_at is not None:
        raise Problem("conflict", "The institution takes part no more.", extra={"state": "closed"})
    wrong = []
    if successor_id is not None:
        other = session.get(Institution, successor_id)
        if successor_id == row.id:
            wrong.append(Finding("invalid", "nobody goes over into themselves", pointer="/successor_id"))
        elif other is None or other.closed_at is not None:
            detail = "there is no such institution that takes part"
            wrong.append(Finding("invalid", detail, pointer="/successor_id"))
    others = select(Departure.id).where(Departure.state.in_(OPEN), Departure.institution_id == row.id)
    if any(one != itself for one in session.scalars(others)):
        raise Problem("conflict", "Another departure of it is declared; call that off first.")
    return wrong


def _locked(session: Session, actor: Actor, departure_id: str) -> Departure:
    _seen(session, actor, departure_id)
    return session.get_one(Departure, departure_id, with_for_update=True, populate_existing=True)


def _seen(session: Session, actor: Actor, departure_id: str) -> Departure:
    row = session.get(Departure, departure_id)
    if row is None:
        raise not_found("departure")
    policy.must_read_departure(actor, _facts(row))
    return row


def _facts(row: Departure) -> DepartureFacts:
    return DepartureFacts(row.institution_id, row.successor_id, row.declared_by)


def _entry(row: Departure, withdrawals: Mapping[str, str]) -> dict[str, Any]:
    """The journal's line: ids, times and the reason that was given."""
    at = (row.carried_out_at or row.declared_at).isoformat()
    return {"departure": row.id, **{name: getattr(row, name) for name in JOURNALED},
            "withdrawals": dict(withdrawals), "at": at}  # fmt: skip


def _note(
    session: Session, row: Departure, event: str, actor: str, now: datetime, data: Mapping[str, Any]
) -> None:
    """One line in the chain of everyone whom it concerns."""
    told = {"departure": row.id, "kind": row.kind, "successor": row.successor_id, **data}
    both = [institution_stream(one) for one in (row.institution_id, row.successor_id) if one]
    for stream in (*sorted(both), PLATFORM):
        record(
            session, stream=stream, event=event, actor=actor, object_id=row.institution_id, at=now, data=told
        )
