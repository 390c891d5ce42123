"""The verbs of permits: hold one, accept its agreement, stop it, let it go on to another version of its dataset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.auth.policy import Actor
from app.clock import Clock
from app.db import Database, retried
from app.models import Permit
from app.requests import following, permit_journal, permits, quoting
from app.storage.journal import Journal

View = dict[str, Any]


@dataclass(frozen=True)
class PermitService:
    """What holders and stewards do with a permit, and what follows by itself where its dataset has a new version."""

    db: Database
    clock: Clock
    journal: Journal | None = None

    def get(self, actor: Actor, permit_id: str) -> View:
        """One permit."""
        with self.db.read() as session:
            return permits.view(session, actor, permit_id)

    def held(self, actor: Actor, after: str | None, limit: int) -> list[View]:
        """The permits that the actor holds."""
        with self.db.read() as session:
            return permits.held(session, actor, after, limit)

    def agreement(self, actor: Actor, permit_id: str) -> View:
        """The text of the agreement and its digest."""
        with self.db.read() as session:
            return permits.agreement(session, actor, permit_id)

    def quote(self, actor: Actor, permit_id: str) -> View:
        """What the extract of a permit will cost, and how sure that is."""
        with self.db.read() as session:
            return quoting.quote(session, actor, permit_id)

    @retried
    def accept(self, actor: Actor, permit_id: str, digest: str) -> View:
        """The holder accepts the agreement of this digest: the permit is active."""
        with self.db.unit_of_work() as session:
            return permits.accept(session, actor, permit_id, digest, self.clock())

    @retried
    def manage(self, actor: Actor, permit_id: str, verb: str, note: str) -> View:
        """A steward suspends, resumes or revokes a permit; it holds from the next byte on."""
        with self.db.unit_of_work() as session:
            now = self.clock()
            view = permits.manage(session, actor, permit_id, verb, note, now)
            self.write_down(session, permit_id, now)
            return view

    @retried
    def expire_due(self) -> int:
        """End every permit whose last day is over; how many."""
        with self.db.unit_of_work() as session:
            return permits.expire_due(session, self.clock())

    def write_down(self, session: Session, permit_id: str, now: datetime) -> None:
        """The last step before the commit: what the journal cannot take of a permit's state is not done at all."""
        if self.journal is not None:
            state = session.get_one(Permit, permit_id).state
            self.journal.add(permit_journal.entry_of(permit_id, state, now))

    def replay(self) -> int:
        """Stop every permit that was stopped after the backup which was put back; called before anything is served."""
        return 0 if self.journal is None else permit_journal.replay(self.db, self.journal, self.clock())

    @retried
    def amend(self, actor: Actor, permit_id: str, version_id: str | None, note: str) -> View:
        """A steward lets a permit go on to a version, or says that it stays on its own (no version)."""
        with self.db.unit_of_work() as session:
            if version_id is None:
                return following.stay(session, actor, permit_id, note, self.clock())
            return following.amend(session, actor, permit_id, version_id, note, self.clock())

    def asked(self, actor: Actor, after: str | None, limit: int) -> list[View]:
        """For a steward: permits that follow, whose next version breaks what their plan uses."""
        with self.db.read() as session:
            return following.asked(session, actor, after, limit)

    def correct(self, permit_id: str, erratum_id: str) -> None:
        """Let a permit on a version with wrong values go on to the one that corrects it."""
        with self.db.unit_of_work() as session:
            following.correct(session, permit_id, erratum_id, self.clock())

    def follow(self, permit_id: str, version_id: str) -> None:
        """Let a permit go on to a version that was published, or ask its steward."""
        with self.db.unit_of_work() as session:
            following.follow(session, permit_id, version_id, self.clock())
