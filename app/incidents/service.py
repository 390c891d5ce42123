"""The verbs of incidents. They need the database alone: they work with the store down, and from the shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy.orm import Session

from app.auth import policy
from app.auth.policy import Actor, IncidentFacts, Target
from app.clock import Clock
from app.db import Database, new_id
from app.deid.identifiers import looks_like
from app.errors import Finding, Problem, not_found, refuse_all
from app.incidents import queries, targets
from app.incidents.affected import affected
from app.incidents.clocks import TOLD
from app.incidents.freezing import freeze, thaw
from app.incidents.noting import note
from app.incidents.states import LIVE, step
from app.jobs.answers import Once, earlier, keep
from app.models import Incident, IncidentParty
from app.settings import Settings

View = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Overdue:
    """A clock that nobody has answered in time."""

    subject: str  # `inc_...:people`
    data: Mapping[str, Any]


@dataclass(frozen=True)
class IncidentService:
    """Who may do what with an incident: `app/auth/policy/freezing.py`; in which state: `states.py`."""

    db: Database
    clock: Clock
    settings: Settings

    def report(self, actor: Actor, body: Mapping[str, Any], once: Once | None = None) -> View:
        """Say that something went wrong: `kind`, `text`, `known_at` (now, where it is left out) and `touches`. It stops
        nothing by itself."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            if (answer := earlier(session, once, now)) is not None:
                return answer
            known_at = body.get("known_at") or now
            asked = [Target(one["kind"], one["subject"]) for one in body["touches"]]
            late = Finding("unknown_value", "lies ahead", pointer="/known_at")
            wrong = _telling(body["text"], "/text") + ([late] if known_at > now else [])
            named, found = _named(session, actor, asked)
            refuse_all("invalid_request", "The incident cannot be reported like this.", [*wrong, *found])
            row = Incident(
                id=new_id("inc"), kind=body["kind"], text=body["text"], state="reported",
                touches=[{"kind": one.kind, "subject": one.subject} for one in dict.fromkeys(asked)],
                reported_by=actor.subject, known_at=known_at, reported_at=now, contained_at=None, assessed_at=None,
                notified_at=None, recovered_at=None, closed_at=None, assessment=None, notices=[], note="",
            )  # fmt: skip
            session.add(row)
            session.flush()
            _add_parties(session, row.id, named)
            data = {"kind": row.kind, "touches": len(row.touches), "text_length": len(row.text)}
            note(session, row, "incident.reported", actor, now, data)
            return keep(session, once, 201, self._view(session, actor, row, now))

    def listed(self, actor: Actor, state: str | None, after: str | None, limit: int) -> list[View]:
        """Incidents that the actor may see, newest first."""
        now = self.clock()
        with self.db.read() as session:
            rows = queries.listed(session, actor, state, after, limit)
            return [self._view(session, actor, row, now) for row in rows]

    def get(self, actor: Actor, incident_id: str) -> View:
        """One incident with its clocks and freezes."""
        with self.db.read() as session:
            row, facts = queries.incident(session, incident_id)
            policy.must_read_incident(actor, facts)
            return self._view(session, actor, row, self.clock())

    def contain(
        self, actor: Actor, incident_id: str, asked: Sequence[Target] = (), *, holders: bool = False
    ) -> View:
        """Freeze these, or all that the incident touches; `holders`: and whoever holds the projects among them. From
        the next byte, token and build on they stand still."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, facts = queries.incident(session, incident_id, lock=True)
            policy.must_contain_incident(actor, facts)
            row.state = step(row.state, "contain")
            chosen = list(asked or queries.touched(row))
            chosen += targets.holders(session, chosen) if holders else []
            if not chosen:
                raise Problem(
                    "invalid_request", "The incident touches nothing yet: name what is to be frozen."
                )
            named, found = _named(session, actor, chosen)
            refuse_all("invalid_request", "This cannot be frozen.", found)
            for one in chosen:
                policy.must_freeze_target(
                    actor, targets.facts_of(session, one) or policy.TargetFacts(one.kind)
                )
            if Target("client", actor.client_id) in chosen or Target.of_subject(actor.subject) in chosen:
                raise Problem(
                    "conflict", "Nobody freezes themselves: let somebody else, or the shell, do it."
                )
            _add_parties(session, row.id, named)
            known = queries.touched(row)
            new = [one for one in dict.fromkeys(chosen) if one not in known]
            row.touches = [*row.touches, *({"kind": one.kind, "subject": one.subject} for one in new)]
            row.contained_at = row.contained_at or now
            new_ones = freeze(session, row, chosen, actor, now)
            data = {"frozen": len(new_ones)}
            note(session, row, "incident.contained", actor, now, data, ("freeze.set", new_ones))
            return self._view(session, actor, row, now)

    def thaw(self, actor: Actor, incident_id: str, asked: Sequence[Target]) -> View:
        """Lift the freeze of these alone, which turned out to have no part in it."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, _facts = self._handled(session, actor, incident_id, "thaw")
            lifted = thaw(session, row, actor, now, asked)
            data = {"lifted": len(lifted)}
            note(session, row, "incident.thawed", actor, now, data, ("freeze.lifted", lifted))
            return self._view(session, actor, row, now)

    def assess(self, actor: Actor, incident_id: str, risk: str, text: str) -> View:
        """Say how grave it is (`none`, `some`, `high`), and count from the ledger whom it concerns."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, _facts = self._handled(session, actor, incident_id, "assess")
            refuse_all("invalid_request", "The words would tell who it is about.", _telling(text, "/text"))
            found = affected(session, queries.touched(row))
            row.assessment = {**found, "risk": risk, "text": text, "at": now.isoformat(), "by": actor.subject}
            row.assessed_at = row.assessed_at or now
            counts = {name: found[name] for name in ("people", "projects", "extracts")}
            note(session, row, "incident.assessed", actor, now, {**counts, "risk": risk})
            return self._view(session, actor, row, now)

    def notify(self, actor: Actor, incident_id: str, whom: str, at: datetime | None, ground: str) -> View:
        """Write down that people, authority or institutions were told, `at` when; or on which `ground` they are not.
        Once people and authority are answered, it is notified."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, facts = queries.incident(session, incident_id, lock=True)
            policy.must_handle_incident(actor, facts)
            when = at or now
            wrong = _telling(ground, "/ground")
            if not row.known_at <= when <= now:
                wrong.append(Finding("unknown_value", "lies before it was known, or ahead", pointer="/at"))
            refuse_all("invalid_request", "The notice cannot be written down like this.", wrong)
            told = {"whom": whom, "at": when.isoformat(), "by": actor.subject, "ground": ground}
            row.notices = [*row.notices, told]
            complete = {one["whom"] for one in row.notices}.issuperset(TOLD)
            row.state = step(row.state, "notify" if complete else "tell")
            row.notified_at = row.notified_at or (now if complete else None)
            data = {"whom": whom, "given": not ground, "ground_length": len(ground)}
            note(session, row, "incident.notified", actor, now, data)
            return self._view(session, actor, row, now)

    def recover(self, actor: Actor, incident_id: str, text: str) -> View:
        """What was stopped goes on: every freeze is lifted, and what withdrawals closed meanwhile is built anew."""
        return self._end(actor, incident_id, "recover", text)

    def close(self, actor: Actor, incident_id: str, text: str) -> View:
        """The end: what was learned is written down."""
        return self._end(actor, incident_id, "close", text)

    def dismiss(self, actor: Actor, incident_id: str, text: str) -> View:
        """It was none: every freeze is lifted, and the clocks stand."""
        return self._end(actor, incident_id, "dismiss", text)

    def overdue(self) -> list[Overdue]:
        """Every clock of a living incident that is past its time and not answered."""
        now = self.clock()
        with self.db.read() as session:
            return [
                Overdue(f"{row.id}:{one['clock']}", {"due_at": one["due_at"].isoformat()})
                for row in queries.in_states(session, LIVE)
                for one in queries.clocks_of(row, self.settings.incident_hours, now)
                if one["late"] and one["answered_at"] is None
            ]

    def by_year(self) -> list[View]:
        """For everyone: of incidents that are closed, by the year in which they were known, newest first; how many, the
        people of all of them together (rounded, few not shown), how fast they were stopped, how many told in time."""
        found: dict[int, list[Incident]] = {}
        with self.db.read() as session:
            for row in queries.in_states(session, ("closed",)):
                found.setdefault(row.known_at.year, []).append(row)
            return [self._year(year, rows) for year, rows in sorted(found.items(), reverse=True)]

    def _year(self, year: int, rows: Sequence[Incident]) -> View:
        least, step_ = self.settings.min_cell, self.settings.round_to
        people = sum(int(row.assessment["people"]) for row in rows if row.assessment)
        hours = [(row.contained_at - row.known_at).total_seconds() / 3600 for row in rows if row.contained_at]
        late = [
            any(one["late"] for one in queries.clocks_of(row, self.settings.incident_hours, row.known_at)
                if one["clock"] in TOLD)
            for row in rows
        ]  # fmt: skip
        return {
            "year": year, "count": len(rows), "people": None if people < least else round(people / step_) * step_,
            "hours_to_contain": round(median(hours), 1) if hours else None, "in_time": late.count(False),
        }  # fmt: skip

    def _end(self, actor: Actor, incident_id: str, verb: str, text: str) -> View:
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, _facts = self._handled(session, actor, incident_id, verb)
            refuse_all("invalid_request", "The words would tell who it is about.", _telling(text, "/note"))
            lifted = thaw(session, row, actor, now)
            row.note = text
            if verb == "recover":
                row.recovered_at = now
            else:
                row.closed_at = now
            data = {"lifted": len(lifted), "note_length": len(text)}
            felt = ("freeze.lifted", lifted)
            note(session, row, f"incident.{row.state}", actor, now, data, felt)
            return self._view(session, actor, row, now)

    def _handled(
        self, session: Session, actor: Actor, incident_id: str, verb: str
    ) -> tuple[Incident, IncidentFacts]:
        row, facts = queries.incident(session, incident_id, lock=True)
        policy.must_handle_incident(actor, facts)
        row.state = step(row.state, verb)
        return row, facts

    def _view(self, session: Session, actor: Actor, row: Incident, now: datetime) -> View:
        return queries.view(session, actor, row, self.settings.incident_hours, now)


def _named(session: Session, actor: Actor, asked: Sequence[Target]) -> tuple[set[str], list[Finding]]:
    """The institutions behind the targets; and every target that is not there, or not the actor's to name."""
    named, wrong = set[str](), []
    for i, one in enumerate(asked):
        facts = targets.facts_of(session, one)
        if facts is None or not policy.may_name_target(actor, facts).allowed:
            detail = not_found(one.kind).detail
            wrong.append(Finding("not_found", detail, pointer=f"/touches/{i}"))
        else:
            named |= set(facts.institutions)
    return named, wrong


def _add_parties(session: Session, incident_id: str, institutions: set[str]) -> None:
    for one in sorted(institutions.difference(queries.parties(session, incident_id))):
        session.add(IncidentParty(incident_id=incident_id, institution_id=one))
    session.flush()


def _telling(text: str, pointer: str) -> list[Finding]:
    """Where words hold what looks like an identifier of a person."""
    if looks_like(text) is None:
        return []
    return [Finding("identifier", "must not name a person", pointer=pointer)]
