"""The index of a cohort, which the database lays end to end, names the very people and keys that its rows do."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy import select

from app.consents import identities
from app.db import Database
from app.models import Participant
from tests.integration.consents.world import FIRST, NOW, SECOND, RegisterWorld

pytestmark = pytest.mark.both  # each database has words of its own for it


def test_everyone_of_the_cohort_is_in_it_with_their_key_and_nobody_else(database_url: str) -> None:
    db = Database(database_url)
    RegisterWorld(db)
    ends = [bytes([byte]) * 32 for byte in (0, 15, 16, 0x7F, 0x80, 0xEF, 0xF0, 255)]
    mixed = [bytes([byte, *(255 - byte for _ in range(31))]) for byte in range(256)]
    with db.unit_of_work() as session:
        for cohort_id, given in ((FIRST, [*ends, *mixed]), (SECOND, [*ends, b"short", b""])):
            for key, identity in enumerate(given, start=1 if cohort_id == FIRST else 2**31 - 100):
                session.add(
                    Participant(key=key, cohort_id=cohort_id, identity=identity, created_at=NOW,
                                random_id=secrets.token_bytes(16))
                )  # fmt: skip
    with db.read() as session:
        assert identities.index(session, "coh_none").num_rows == 0
        for cohort_id, known in ((FIRST, len(ends) + len(mixed)), (SECOND, len(ends))):
            found = identities.index(session, cohort_id).to_pydict()
            rows = select(Participant.identity, Participant.key).where(Participant.cohort_id == cohort_id)
            held = {identity: key for identity, key in session.execute(rows) if len(identity) == 32}
            assert len(found["key"]) == known
            assert dict(zip(found["identity"], found["key"], strict=True)) == held
    db.dispose()
