"""Two institutions with a cohort each, on one database: what the tests of the register act on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from app.consents import identities, register
from app.db import Database
from app.keyring import Keyring
from app.models import Base, Cohort, Institution

FIRST, SECOND = "coh_1", "coh_2"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class RegisterWorld:
    """A database with the cohorts `coh_1` and `coh_2` of two institutions, and a clock that the test moves."""

    def __init__(self, db: Database) -> None:
        self.db, self.keyring, self.now = db, Keyring(b"k" * 32), NOW
        Base.metadata.create_all(db.engine)
        with db.unit_of_work() as session:
            session.add_all(Institution(id=f"ins_{n}", name=f"I{n}", created_at=NOW) for n in (1, 2))
            session.flush()
            session.add_all(
                Cohort(id=f"coh_{n}", institution_id=f"ins_{n}", name="c", duo=[], created_at=NOW,
                       identity_key_wrapped=self.keyring.new(),
                       consent_form={"domains": ["clinical", "genomic"]})
                for n in (1, 2)
            )  # fmt: skip

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def hasher(self, cohort_id: str = FIRST) -> identities.Hasher:
        with self.db.read() as session:
            return register.hasher_of(self.keyring, session.get_one(Cohort, cohort_id))

    def enrol(self, sources: Iterable[str], cohort_id: str = FIRST) -> dict[str, int]:
        """Participants by these identifiers; their keys."""
        hasher, sources = self.hasher(cohort_id), list(sources)
        with self.db.unit_of_work() as session:
            identities.enrol(session, cohort_id, map(hasher.digest, sources), self.clock())
            cohort = session.get_one(Cohort, cohort_id)
            return {source: register.find(session, self.keyring, cohort, source) or 0 for source in sources}
