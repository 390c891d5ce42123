"""A person who asked for destruction is forgotten: the key stays, and nothing leads to it or from it any more."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.consents.return_tokens import text_of
from app.db import batches
from app.models import Consent, ConsentChange, Finding, LinkedPerson, Participant, PersonChange

# Column by column, what becomes of it when its person is destroyed. tests/architecture/test_forgetting.py finds every
# column that speaks of a participant, so that a new one is decided on before it lands.
FORGOTTEN = {
    "participants.identity": "replaced by random bytes: no identifier finds the person again",
    "participants.random_id": "replaced by random bytes: no pseudonym is theirs any more",
    "participants.return_token": "replaced by random bytes: the token that the institution has leads nowhere",
    "participants.linkage": "emptied",
    "participants.may_link": "emptied",
    "participants.deceased": "emptied",
    "findings.return_token": "emptied, with the text: what was found of them goes too",
    "consents.*": "deleted",
    "person_changes.*": "deleted",
    "linked_people.*": "deleted: who was linked to whom in which project",
    "consent_changes.purposes": "emptied",
    "consent_changes.valid_until": "emptied",
    "consent_changes.by_proxy": "emptied",
    "consent_changes.assent": "emptied",
    "consent_changes.adult_due": "emptied: it is a birthday",
}
KEPT = {
    "participants.key": "a number that was theirs and is never given again; bitmaps of counts and extracts hold it",
    "participants.cohort_id": "whose number it is",
    "participants.created_at": "when it was given",
    "participants.destroyed_at": "when they were forgotten",
    "consent_changes.*": "that some consent was given and taken back, and when: that the use of before was allowed",
    "withdrawals.participant_key": "emptied by `cohorts/destruction.py`, when the last row is gone",
    "ledger_chunks.members": "which numbers each extract ever held: a later count or extract is held against it",
    "count_answers.members": "which numbers an answer counted, for the same reason",
    "recall_notices.pseudonym": "what the holder has still to delete; emptied when they attest that they did",
}


def forget(session: Session, keys: Sequence[int], at: datetime) -> int:
    """Forget these people; how many were not forgotten before. The caller has locked the cohort.

    Whoever gives consent again after this is a new participant with a new key: that it is the same person cannot be
    told from anything kept here.
    """
    people: list[Participant] = []
    for some in batches(keys):
        query = select(Participant).where(Participant.key.in_(some), Participant.destroyed_at.is_(None))
        people += session.scalars(query.order_by(Participant.key).with_for_update())
    for tokens in batches([text_of(one.return_token) for one in people if one.return_token is not None]):
        findings = update(Finding).where(Finding.return_token.in_(tokens)).values(return_token=None, text="")
        session.execute(findings.execution_options(synchronize_session=False))
    for person in people:
        person.identity, person.random_id = secrets.token_bytes(32), secrets.token_bytes(16)
        person.return_token, person.linkage = secrets.token_bytes(16), None
        person.may_link, person.deceased, person.destroyed_at = False, False, at
    session.flush()
    for some in batches(keys):
        for table in (Consent, LinkedPerson, PersonChange):
            session.execute(delete(table).where(table.participant_key.in_(some)))
        session.execute(
            update(ConsentChange)
            .where(ConsentChange.participant_key.in_(some))
            .values(purposes=[], valid_until=None, by_proxy=False, assent="", adult_due=None)
            .execution_options(synchronize_session=False)
        )
    return len(people)


def is_forgotten(session: Session, key: int) -> bool:
    """Whether the person of a key was destroyed."""
    return session.scalar(select(Participant.destroyed_at).where(Participant.key == key)) is not None
