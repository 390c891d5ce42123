"""A commitment to who it was: someone was there, and only who has its key can show that it was them; pure.

The key (the opening) is random. Where the participant brings one, they keep it, and it is not kept here; where they do
not, it is made and forgotten, and nobody can open the commitment any more.
"""

from __future__ import annotations

import hmac
import secrets
import unicodedata

_LABEL = b"baekman/1 destroyed"


def commitment(opening: str | None, cohort_id: str, participant: str) -> str:
    """HMAC-SHA256 under the opening (64 hex digits) of the cohort and the institution's identifier; 64 hex digits."""
    key = bytes.fromhex(opening) if opening else secrets.token_bytes(32)
    name = unicodedata.normalize("NFC", participant.strip()).encode()
    return hmac.digest(key, b"\0".join((_LABEL, cohort_id.encode(), name)), "sha256").hex()


def of_hash(cohort_id: str, identity: bytes) -> str:
    """The same where only the keyed hash of the identifier is known, as of a register or of the journal: under a key
    that is made and forgotten, so that someone was there and nobody can tell who."""
    key = secrets.token_bytes(32)
    return hmac.digest(key, b"\0".join((_LABEL, b"hash", cohort_id.encode(), identity)), "sha256").hex()


def opens(commitment_: str, opening: str, cohort_id: str, participant: str) -> bool:
    """Whether the commitment is to this participant of this cohort under this opening."""
    return hmac.compare_digest(commitment_, commitment(opening, cohort_id, participant))
