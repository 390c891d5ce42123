"""The opaque token of a participant towards the institution: random, one for each, found in both directions."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.consents.identities import Hasher
from app.models import Participant

TOKEN_BYTES = 16
PREFIX = "rt_"
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_LETTERS)}
_DIGITS = 26  # of 5 bits hold the 128 bits
_BATCH = 5_000


def text_of(token: bytes) -> str:
    """A token as it is told: `rt_` and 26 letters of Crockford's base 32."""
    number = int.from_bytes(token)
    return PREFIX + "".join(_LETTERS[number >> 5 * place & 31] for place in reversed(range(_DIGITS)))


def read(text: str) -> bytes | None:
    """The token that a text tells; None where it is none."""
    digits = [_VALUES.get(letter) for letter in text.removeprefix(PREFIX)]
    if not text.startswith(PREFIX) or len(digits) != _DIGITS or None in digits:
        return None
    number = 0
    for digit in digits:
        number = number << 5 | (digit or 0)
    return number.to_bytes(TOKEN_BYTES) if number >> 8 * TOKEN_BYTES == 0 else None


def token_of(session: Session, key: int) -> str:
    """The token of a participant; the caller's transaction writes, for old rows are given theirs now."""
    return tokens_of(session, [key])[key]


def tokens_of(session: Session, keys: Iterable[int]) -> dict[int, str]:
    """The tokens of participants by key; LookupError where a key is nobody's."""
    wanted, found = sorted(set(keys)), dict[int, str]()
    for start in range(0, len(wanted), _BATCH):
        query = select(Participant.key, Participant.return_token).where(
            Participant.key.in_(wanted[start : start + _BATCH])
        )
        for key, token in session.execute(query):
            found[key] = text_of(_made(session, key) if token is None else token)
    if len(found) != len(wanted):
        raise LookupError("a key without its participant")
    return found


def find_by_token(session: Session, cohort_id: str, token: str) -> int | None:
    """The key of the participant of this cohort whom a token stands for; None where it stands for none."""
    wanted = read(token)
    if wanted is None:
        return None
    query = select(Participant.key).where(
        Participant.cohort_id == cohort_id, Participant.return_token == wanted
    )
    return session.scalar(query)


def told(session: Session, hasher: Hasher, cohort_id: str, sources: Sequence[str]) -> list[str | None]:
    """The tokens of people by the institution's own identifiers, in the same order; None where one is unknown."""
    digests = [hasher.digest(source) for source in sources]
    keys: dict[bytes, int] = {}
    for start in range(0, len(digests), _BATCH):
        query = select(Participant.identity, Participant.key).where(
            Participant.cohort_id == cohort_id, Participant.identity.in_(digests[start : start + _BATCH])
        )
        keys.update((row[0], row[1]) for row in session.execute(query))
    tokens = tokens_of(session, keys.values())
    return [tokens[keys[digest]] if digest in keys else None for digest in digests]


def _made(session: Session, key: int) -> bytes:
    row = session.get_one(Participant, key, with_for_update=True, populate_existing=True)
    if row.return_token is None:
        row.return_token = secrets.token_bytes(TOKEN_BYTES)
        session.flush()
    return row.return_token
