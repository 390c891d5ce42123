"""Who consents, and by which random id, as the database lays it end to end: the very people that its rows name."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import crosswalk
from app.consents import linkage, linking, queries
from app.consents.cohorts import Behind
from app.consents.purposes import holds
from app.consents.queries import covered
from app.db import Database
from app.models import Cohort, Consent, Institution, Participant
from tests.integration.consents.world import FIRST, NOW, SECOND, RegisterWorld

pytestmark = pytest.mark.both  # each database has words of its own for it

ENDED, EMPTY = "coh_3", "coh_4"
ON, DOMAINS = NOW.date(), ("clinical", "genomic")
DAYS = (None, None, date(2026, 3, 1), ON, date(2026, 3, 3))
AGREED: tuple[list[str], ...] = ([], [], [], ["HMB"], ["GRU"], ["GRU", "HMB"], ["DS:MONDO:0005148"])
ASKED: tuple[dict[str, Any] | None, ...] = (
    None, {"term": "HMB"}, {"term": "GRU"}, {"term": "DS", "diseases": ["MONDO:0005148"]}, {"term": "unknown"},
)  # fmt: skip


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """Three cohorts, drawn: one of them ended, and its people stand between those of the others; and an empty one."""
    found = Database(database_url)
    world = RegisterWorld(found)
    with found.unit_of_work() as session:
        session.add(Institution(id="ins_3", name="I3", created_at=NOW))
        session.flush()
        session.add_all(
            Cohort(id=one, institution_id="ins_3", name=one, duo=[], created_at=NOW, consent_form={},
                   identity_key_wrapped=world.keyring.new(), ended_at=NOW if one == ENDED else None)
            for one in (ENDED, EMPTY)
        )  # fmt: skip
        session.flush()
        _draw(session, random.Random(20261126))
    yield found
    found.dispose()


def _draw(session: Session, drawn: random.Random) -> None:
    key, tokens = (
        0,
        [None, None, *(drawn.choice((b"\x00", b"\xff")) * 8 + drawn.randbytes(8) for _ in range(60))],
    )
    people, consents = list[Participant](), list[Consent]()
    for _ in range(500):
        key += drawn.choice((1, 1, 1, 2, 40_000 if 200 < key < 300 else 1))
        cohort = drawn.choice((FIRST, FIRST, SECOND, SECOND, ENDED))
        people.append(
            Participant(key=key, cohort_id=cohort, identity=drawn.randbytes(32), random_id=drawn.randbytes(16),
                        linkage=drawn.choice(tokens), may_link=drawn.random() < 0.8, created_at=NOW)
        )  # fmt: skip
        consents += [
            Consent(participant_key=key, domain=domain, cohort_id=cohort, purposes=drawn.choice(AGREED),
                    state=drawn.choice(("granted",) * 6 + ("withdrawn", "ended", "reconsent_due")),
                    valid_until=drawn.choice(DAYS), adult_due=drawn.choice(DAYS), changed_at=NOW)
            for domain in DOMAINS
            if drawn.random() < 0.8
        ]  # fmt: skip
    session.add_all(people)
    session.flush()
    session.add_all(consents)


def by_rows(session: Session, cohort_id: str, domain: str, purpose: dict[str, Any] | None) -> list[int]:
    """The rule in plain words, row by row."""
    rows = session.scalars(select(Consent).where(Consent.cohort_id == cohort_id, Consent.domain == domain))
    return sorted(
        one.participant_key
        for one in rows
        if one.state == "granted"
        and (one.valid_until is None or one.valid_until >= ON)
        and (one.adult_due is None or one.adult_due > ON)
        and session.get_one(Cohort, cohort_id).ended_at is None
        and holds(one.purposes, purpose)
    )


def ids_by_rows(session: Session, keys: Sequence[int]) -> list[bytes]:
    held = dict(session.execute(select(Participant.key, Participant.random_id)).all())
    return [held[key] for key in keys]


@pytest.mark.parametrize("known_from", [1, 10, 1_000])
def test_who_consents_is_who_the_rows_say(
    db: Database, known_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether some, most or all of the lists of purposes are known before all people are read."""
    monkeypatch.setattr(queries, "_SAMPLE", known_from)
    with db.read() as session:
        everyone = [session.get_one(Cohort, one) for one in (FIRST, SECOND, ENDED, EMPTY)]
        for purpose in ASKED:
            for domain in DOMAINS:
                plain = {c.id: by_rows(session, c.id, domain, purpose) for c in everyone}
                assert len(plain[FIRST]) > 5
                assert not plain[ENDED]
                for cohort_id, keys in plain.items():
                    found = covered(session, cohort_id, domain, purpose, ON)
                    assert found.dtype == np.int32
                    assert found.tolist() == keys
                both = crosswalk.covered_now(session, Behind(tuple(everyone)), [domain], purpose, ON)[domain]
                assert both.tolist() == sorted(key for keys in plain.values() for key in keys)


def test_one_who_changes_is_seen_in_the_same_transaction(db: Database) -> None:
    with db.unit_of_work() as session:
        before = covered(session, FIRST, "clinical", None, ON).tolist()
        for values in ({"purposes": ["POA"]}, {"state": "withdrawn"}):
            one = update(Consent).where(Consent.participant_key == before[3], Consent.domain == "clinical")
            session.execute(one.values(**values))
            purpose = {"term": "HMB"} if "purposes" in values else None
            assert before[3] not in covered(session, FIRST, "clinical", purpose, ON)
            assert by_rows(session, FIRST, "clinical", purpose) == covered(
                session, FIRST, "clinical", purpose, ON
            ).tolist()  # fmt: skip


def test_random_ids_stand_in_the_order_of_their_keys(db: Database) -> None:
    drawn = random.Random(7)
    with db.read() as session:
        for cohorts in ([FIRST], [SECOND], [FIRST, SECOND]):
            query = (
                select(Participant.key).where(Participant.cohort_id.in_(cohorts)).order_by(Participant.key)
            )
            everyone = session.scalars(query).all()
            few = sorted(drawn.sample(everyone, 9))
            for keys in (everyone, everyone[:100], everyone[-100:], few, few[:1], []):
                found = crosswalk.random_ids(session, cohorts, np.array(keys, dtype=np.int32))
                assert found.shape == (len(keys), 16)
                assert [row.tobytes() for row in found] == ids_by_rows(session, keys)


def test_one_of_another_cohort_or_without_an_id_is_nobody(db: Database) -> None:
    with db.unit_of_work() as session:
        query = select(Participant.key).order_by(Participant.key)
        own, other = (
            session.scalars(query.where(Participant.cohort_id == one)).all() for one in (FIRST, SECOND)
        )
        for keys in ([*own[:5], other[0]], [own[0], other[-1]], [own[0], 10**9]):
            with pytest.raises(LookupError):
                crosswalk.random_ids(session, [FIRST], np.array(sorted(keys), dtype=np.int32))
        session.execute(update(Participant).where(Participant.key == own[2]).values(random_id=b"short"))
        with pytest.raises(LookupError):
            crosswalk.random_ids(session, [FIRST], np.array(own[:5], dtype=np.int32))


def persons_by_rows(session: Session, cohort_ids: Sequence[str]) -> dict[int, int]:
    """Key -> number of the person, row by row: the first key of a token that may be linked gives all of them theirs."""
    rows = select(Participant).where(Participant.cohort_id.in_(cohort_ids)).order_by(Participant.key)
    known, told = dict[bytes, int](), dict[int, int]()
    for row in session.scalars(rows):
        count = len(set(told.values()))
        told[row.key] = (
            count if not row.may_link or row.linkage is None else known.setdefault(row.linkage, count)
        )
    return told


@pytest.mark.parametrize("batch", [7, 100_000])
def test_who_is_one_person_is_whom_the_rows_tie(
    db: Database, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linkage, "_BATCH", batch)
    with db.read() as session:
        for cohorts in ([FIRST], [FIRST, SECOND], [FIRST, SECOND, ENDED, EMPTY], [EMPTY]):
            found, plain = linkage.linked(session, cohorts), persons_by_rows(session, cohorts)
            assert dict(zip(found.keys.tolist(), found.person.tolist(), strict=True)) == plain
            assert found.keys.tolist() == list(plain)
            assert found.people == len(set(plain.values()))
            assert (found.people < len(plain)) == (cohorts != [EMPTY])
            assert found.keys.dtype == found.person.dtype == np.int32


def test_each_key_has_its_cohort(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "_BATCH", 7)
    names = {FIRST: "one", SECOND: "the second", ENDED: "x"}
    with db.read() as session:
        held = dict(
            session.execute(select(Participant.key, Participant.cohort_id).order_by(Participant.key)).all()
        )
        keys = np.array(list(held), dtype=np.int32)
        told = linking.sources_of_keys(session, names, keys)
        assert told.tolist() == [names[cohort] for cohort in held.values()]
        assert linking.sources_of_keys(session, names, keys[:0]).tolist() == []
        for cohort_id in (*names, EMPTY):
            own = [key for key, cohort in held.items() if cohort == cohort_id]
            found = linking.of_cohort(session, cohort_id, keys)
            assert found.tolist() == own
            assert found.dtype == np.int32
            assert linking.of_cohort(session, cohort_id, keys[::9]).tolist() == [
                key for key in own if key in keys[::9]
            ]
        with pytest.raises(KeyError):
            linking.sources_of_keys(session, {FIRST: "one"}, keys)
