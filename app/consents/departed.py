"""Who has left, read off the withdrawals that were taken and the register's history: never from what consent says now.

For the monitor alone. It holds what others answer against a second source, so that a fault in the first is seen.
"""

from __future__ import annotations

from collections.abc import Collection

from pyroaring import BitMap
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import ConsentChange, Participant, Withdrawal
from app.schemas.register import DOMAINS, ENDED

_USED = ("no_further_use", "destroy")  # kinds after which nothing of theirs may be used
_BATCH = 10_000


def departed(session: Session, cohort_ids: Collection[str]) -> dict[str, BitMap]:
    """Domain -> keys of the people of these cohorts who withdrew it and have given no new word since; of a cohort whose
    institution left, everybody."""
    query = select(Withdrawal.participant_key, Withdrawal.domains).where(
        Withdrawal.cohort_id.in_(sorted(cohort_ids)),
        Withdrawal.kind.in_(_USED),
        Withdrawal.participant_key.is_not(None),
    )
    gone = {domain: BitMap() for domain in DOMAINS}
    for key, domains in session.execute(query.execution_options(yield_per=_BATCH)):
        for domain in set(domains) & gone.keys():
            gone[domain].add(key)
    for key, domain in _said_again(session, sorted(BitMap().union(*gone.values()))):
        gone[domain].discard(key)
    ended = select(Withdrawal.cohort_id).where(
        Withdrawal.cohort_id.in_(sorted(cohort_ids)), Withdrawal.kind == ENDED
    )
    everybody = select(Participant.key).where(Participant.cohort_id.in_(ended))
    all_gone = BitMap(session.scalars(everybody.execution_options(yield_per=_BATCH)))
    return {domain: keys | all_gone for domain, keys in gone.items() if keys or all_gone}


def _said_again(session: Session, keys: list[int]) -> list[tuple[int, str]]:
    """(key, domain) of those whose newest word is no withdrawal."""
    found = []
    for start in range(0, len(keys), _BATCH):
        newest = (
            select(func.max(ConsentChange.id))
            .where(ConsentChange.participant_key.in_(keys[start : start + _BATCH]))
            .group_by(ConsentChange.participant_key, ConsentChange.domain)
        )
        query = select(ConsentChange.participant_key, ConsentChange.domain).where(
            ConsentChange.id.in_(newest), ConsentChange.state.not_in(("withdrawn", "ended"))
        )
        found += [(row[0], row[1]) for row in session.execute(query)]
    return found
