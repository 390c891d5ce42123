"""Recalls: what a holder must delete and says of it, until when, and what happens where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from prometheus_client import Gauge
from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.auth import policy
from app.auth.policy import Actor
from app.clock import Clock
from app.db import Database
from app.errors import Finding, Problem
from app.extracts import queries
from app.extracts import recall_queries as sql
from app.extracts.recall_states import step
from app.jobs import enqueue
from app.models import Extract, Permit, RecallNotice

ANSWERS = ("destroyed", "retained", "frozen")
RECALLS = Gauge("baekman_recalls_unanswered", "Recalls that no holder has answered yet.", ("overdue",))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a holder says: `ground` is the legal ground of retaining, `until` the last day of a freeze; `ids` the
    recalls that it is about, all open ones where there are none."""

    answer: str
    ground: str = ""
    until: date | None = None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecallService:
    """The verbs of recalls. `days` are a holder's to answer; `grace` days later the permit is suspended."""

    db: Database
    clock: Clock
    days: int = 30
    grace: int = 30

    def since(self, actor: Actor, extract_id: str, after: str | None, limit: int) -> dict[str, Any]:
        """What has to be deleted by whom this came after the cursor, and the parts that take the old ones' places."""
        with self.db.read() as session:
            row = _own(session, actor, extract_id)
            notices = sql.of_extract(session, extract_id, after, limit + 1)
            shown = notices[:limit]
            last = shown[-1].id if shown else after
            return {
                "extract_id": row.id, "generation": row.generation, "state": row.state,
                **sql.what_to_delete_by(session, row), **sql.parts(session, extract_id),
                "items": [sql.shown(session, notice) for notice in shown],
                "next_cursor": last if len(notices) > limit else None, "cursor": last,
            }  # fmt: skip

    def pseudonyms(self, actor: Actor, extract_id: str, after: str | None) -> list[str]:
        """The pseudonyms to delete, those that came after the cursor, as a file for an anti-join."""
        with self.db.read() as session:
            _own(session, actor, extract_id)
            return [row.pseudonym for row in sql.of_extract(session, extract_id, after) if row.pseudonym]

    def attest(self, actor: Actor, extract_id: str, said: Answer) -> dict[str, Any]:
        """The holder says what became of the recalled rows. Of a destroyed person whose rows are destroyed the
        pseudonym goes too: nobody needs it any more."""
        now = self.clock()
        _check(said, now.date())
        with self.db.unit_of_work() as session:
            row = _own(session, actor, extract_id, lock=True)
            held = sql.of_extract(session, extract_id)
            chosen = _chosen(held, said)
            destroyed = sql.of_destroyed(session, chosen)
            for notice in chosen:
                notice.state, notice.ground = step(notice.state, said.answer), said.ground
                notice.frozen_until, notice.attested_at = said.until, now
                notice.overdue_at = None
                if said.answer == "destroyed" and notice.withdrawal_id in destroyed:
                    notice.pseudonym = ""
            if chosen:
                data = _about(chosen) | {"answer": said.answer}
                if said.until:
                    data["until"] = said.until.isoformat()
                _note(session, row, "recall.attested", actor.subject, now, data)
            session.flush()
            return {"attested": len(chosen), "recalls": [sql.shown(session, notice) for notice in held]}

    def open_of(self, actor: Actor, after: str | None, limit: int) -> list[dict[str, Any]]:
        """For stewards: whose holders have not answered, and by when they should have."""
        with self.db.read() as session:
            return sql.by_extract(session, actor, after, limit)

    def chase(self) -> int:
        """Every day: frozen ones come due again at their date, what is overdue is told to the stewards, and where that
        does not help the permit is suspended; how many moved."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            thawed = sql.thawing(session, now.date())
            for extract_id, notices in groupby(thawed, key=lambda notice: notice.extract_id):
                self._thaw(session, extract_id, list(notices), now)
            late = sql.due(session, now, self.days)
            new = [notice for notice in late if notice.overdue_at is None]
            for extract_id, notices in groupby(new, key=lambda notice: notice.extract_id):
                self._escalate(session, extract_id, list(notices), now)
            for extract_id in sorted({n.extract_id for n in late if self._is_over(n, now)}):
                permit = session.get_one(Permit, session.get_one(Extract, extract_id).permit_id)
                if permit.state == "active":
                    arguments = {"reason": "recalls_overdue"}
                    enqueue(session, "suspend_permit", subject=permit.id, arguments=arguments, at=now)
        return len(thawed) + len(new)

    def observe(self) -> None:
        """Set the metric from the rows, so that any process of the service tells the same."""
        with self.db.read() as session:
            open_, overdue = sql.unanswered(session)
        RECALLS.labels("no").set(open_ - overdue)
        RECALLS.labels("yes").set(overdue)

    def _is_over(self, notice: RecallNotice, now: datetime) -> bool:
        due_at = notice.due_at or notice.at + timedelta(days=self.days)
        return due_at + timedelta(days=self.grace) <= now

    def _thaw(self, session: Session, extract_id: str, notices: list[RecallNotice], now: datetime) -> None:
        for notice in notices:
            notice.state, notice.due_at = step(notice.state, "thaw"), now + timedelta(days=self.days)
        _note(
            session, queries.extract(session, extract_id), "recall.thawed", "platform", now, _about(notices)
        )

    def _escalate(
        self, session: Session, extract_id: str, notices: list[RecallNotice], now: datetime
    ) -> None:
        for notice in notices:
            notice.overdue_at = now
        _note(
            session, queries.extract(session, extract_id), "recall.overdue", "platform", now, _about(notices)
        )


def _check(said: Answer, today: date) -> None:
    findings = []
    if said.answer not in ANSWERS:
        findings.append(Finding("bad_answer", f"say one of {', '.join(ANSWERS)}", pointer="/answer"))
    if said.answer == "retained" and not said.ground.strip():
        findings.append(Finding("ground_missing", "name the legal ground of retaining", pointer="/ground"))
    if said.answer == "frozen" and (said.until is None or said.until <= today):
        findings.append(Finding("until_missing", "a freeze ends on a day to come", pointer="/until"))
    if said.answer != "frozen" and said.until is not None:
        findings.append(Finding("until_unasked", "only a freeze has an end", pointer="/until"))
    if findings:
        raise Problem("invalid_request", "The attestation does not say enough.", findings)


def _chosen(held: list[RecallNotice], said: Answer) -> list[RecallNotice]:
    if not said.ids:
        return [notice for notice in held if notice.state == "open"]
    named = [notice for notice in held if notice.id in set(said.ids)]
    if unknown := len(set(said.ids)) - len(named):
        finding = Finding(
            "unknown_recall", "the extract has no such recall", count=unknown, pointer="/recalls"
        )
        raise Problem("invalid_request", "Some recalls are not of this extract.", [finding])
    return [notice for notice in named if (notice.state, said.answer) != ("destroyed", "destroyed")]


def _about(notices: list[RecallNotice]) -> dict[str, Any]:
    why = {notice.withdrawal_id or notice.erratum_id or "" for notice in notices}
    return {"notices": len(notices), "withdrawals": sorted(why)}


def _own(session: Session, actor: Actor, extract_id: str, *, lock: bool = False) -> Extract:
    row = queries.extract(session, extract_id, lock=lock)
    policy.must_read_extract(actor, queries.facts(session, row.project_id))
    return row


def _note(
    session: Session, row: Extract, event: str, actor: str, now: datetime, data: dict[str, Any]
) -> None:
    stream = project_stream(row.project_id)
    record(session, stream=stream, event=event, actor=actor, object_id=row.id, at=now, data=data)
