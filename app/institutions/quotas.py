"""What there may be and what there is: read by whom it concerns, changed by the platform."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from app.audit import PLATFORM, record
from app.auth import policy, quotas
from app.auth.policy import Actor, InstitutionFacts
from app.clock import Clock
from app.db import Database
from app.errors import not_found
from app.models import Institution, Quota
from app.settings import Settings


@dataclass(frozen=True)
class QuotaService:
    """An institution's own quotas; a holder's own."""

    db: Database
    clock: Clock
    settings: Settings

    def of_institution(self, actor: Actor, institution_id: str) -> list[dict[str, Any]]:
        """Bytes in inbox and vault."""
        with self.db.read() as session:
            policy.must_read_institution(actor, InstitutionFacts(institution_id))
            if session.get(Institution, institution_id) is None:
                raise not_found("institution")
            return [
                asdict(one)
                for one in quotas.usage(session, self.settings, institution_id, quotas.INSTITUTION)
            ]

    def own(self, actor: Actor) -> list[dict[str, Any]]:
        """Live extracts of the actor's projects."""
        with self.db.read() as session:
            return [asdict(one) for one in quotas.usage(session, self.settings, actor.subject, quotas.HOLDER)]

    def set(self, actor: Actor, subject: str, name: str, most: int) -> dict[str, Any]:
        """Allow more or less than the settings do; 0: without limit. What is there already stays."""
        policy.must_administer(actor)
        now = self.clock()
        with self.db.unit_of_work() as session:
            if name in quotas.INSTITUTION and session.get(Institution, subject) is None:
                raise not_found("institution")
            row = session.get(Quota, (subject, name), with_for_update=True)
            if row is None:
                row = Quota(subject=subject, name=name)
                session.add(row)
            row.most, row.set_by, row.set_at = most, actor.subject, now
            session.flush()
            record(session, stream=PLATFORM, event="quota.set", actor=actor.subject, object_id=subject[:80], at=now,
                   data={"quota": name, "most": most})  # fmt: skip
            [found] = quotas.usage(session, self.settings, subject, (name,))
            return asdict(found)
