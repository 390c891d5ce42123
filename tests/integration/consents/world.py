"""Two institutions with a cohort each, on one database: what the tests of the register act on."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import select

from app.consents import identities, linkage, register
from app.consents.purposes import may_be_agreed
from app.db import Database
from app.engines.intake import Ages, Bounds, Hashes, IntakeLimits, RegisterReader
from app.keyring import Keyring
from app.models import Cohort, Consent, Institution
from tests.schema import with_tables

FIRST, SECOND = "coh_1", "coh_2"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LIMITS = IntakeLimits("256MB", 1, Bounds(200, 2**30), 0.01)


def csv_of(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """A register of these lines, with every column that one of them has."""
    lines = list(lines)
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def line(who: str, domain: str = "clinical", state: str = "granted", **more: Any) -> dict[str, Any]:
    """One line of a register."""
    return {"participant_id": who, "domain": domain, "state": state, **more}


class RegisterWorld:
    """A database with the cohorts `coh_1` and `coh_2` of two institutions, and a clock that the test moves."""

    def __init__(self, db: Database) -> None:
        self.db, self.keyring, self.now = db, Keyring(b"k" * 32), NOW
        with_tables(db)
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

    def read(self, content: bytes, folder: Path, cohort_id: str = FIRST) -> RegisterReader:
        """A register, read and checked."""
        people = self.hasher(cohort_id)
        with self.db.unit_of_work() as session:
            platform = linkage.hasher_of(session, self.keyring, self.now)
        hashes = Hashes(
            lambda texts: identities.digests(people, texts),
            lambda texts: pa.array(
                [linkage.hashed(platform, one) for one in texts.to_pylist()], pa.binary(16)
            ),
        )
        (folder / "original").write_bytes(content)
        reader = RegisterReader(folder, LIMITS, Ages(self.now.date(), 19, 7), may_be_agreed)
        reader.read(folder / "original", hashes)
        return reader

    def load(self, lines: Sequence[Mapping[str, Any]] | bytes, cohort_id: str = FIRST) -> register.Loaded:
        """A register, read and loaded; a Problem where something is wrong with it."""
        content = lines if isinstance(lines, bytes) else csv_of(lines)
        self.withdrawn: list[tuple[str, int, list[str]]] = []
        with tempfile.TemporaryDirectory() as folder:
            reader = self.read(content, Path(folder), cohort_id)
            try:
                with self.db.unit_of_work() as session:
                    return register.load(
                        session, cohort_id, reader.people(), reader.lines(), rows=reader.rows, at=self.clock(),
                        actor="test", carry=self._carry,
                    )  # fmt: skip
            finally:
                reader.close()

    def _carry(self, withdrawn: register.Withdrawals) -> int:
        self.withdrawn = list(withdrawn)
        return len(self.withdrawn)

    def key(self, source: str, cohort_id: str = FIRST) -> int:
        """The key of a person whom the cohort knows."""
        with self.db.read() as session:
            found = register.find(session, self.keyring, session.get_one(Cohort, cohort_id), source)
        assert found is not None
        return found

    def held(self, source: str, domain: str = "clinical", cohort_id: str = FIRST) -> Consent:
        """What the register holds of one person and domain."""
        with self.db.read() as session:
            query = select(Consent).where(
                Consent.participant_key == self.key(source, cohort_id), Consent.domain == domain
            )
            return session.scalars(query).one()

    def epoch(self, cohort_id: str = FIRST) -> int:
        with self.db.read() as session:
            return session.get_one(Cohort, cohort_id).epoch
