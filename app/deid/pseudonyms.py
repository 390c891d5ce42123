"""Pseudonyms and date shifts: of random ids under a project's own random key, never of a person's data."""

from __future__ import annotations

import hmac

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KEY_BYTES = 32
ID_BYTES = 16
SHIFT_WINDOW_DAYS = 182
"""Default: up to 26 weeks either way. All moves together go once round the year, so that no season is likelier than
another; a longer window costs as many more weeks at both ends of every table (see `window`)."""

_WORD = 8  # bytes of a pseudonym; its text has two characters a byte
_BATCH = 65_536

Ids = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]


class PseudonymError(Exception):
    """A key or the ids are unusable, or two ids met in one pseudonym; the text holds counts only."""


def subkey(key: bytes, purpose: str) -> bytes:
    """The 32-byte key of one purpose: one block of HKDF-Expand (RFC 5869) with a label of ours as `info`.

    Knowing all shifts, then, says nothing about pseudonyms, nor the other way round.
    """
    if len(key) != KEY_BYTES:
        raise PseudonymError(f"a key has {KEY_BYTES} bytes")
    return hmac.digest(key, b"baekman/1 " + purpose.encode() + b"\x01", "sha256")


def pseudonyms(key: bytes, ids: Ids) -> npt.NDArray[np.bytes_]:
    """16 lower-case hex characters (`S16`) for each row of `ids`, uint8 of shape (n, 16), random and distinct.

    AES-256 under the project key's subkey, cut to 64 bits (see `macs`). Raises PseudonymError where two rows come out
    alike: an id given twice, or (with a chance of n * n / 2**65) a collision; either would merge two people.
    """
    words = macs(subkey(key, "pseudonym"), ids)
    alike = int((np.diff(np.sort(words)) == 0).sum())
    if alike:
        raise PseudonymError(f"{alike} of {len(words)} pseudonyms are not unique")
    return as_names(words)


def as_words(names: npt.NDArray[np.bytes_]) -> Words:
    """The 64 bits of each pseudonym (S16), in the order of the texts."""
    return np.frombuffer(bytes.fromhex(names.tobytes().decode()), dtype=">u8").astype(np.uint64)


def words_of(column: pa.ChunkedArray) -> Words:
    """The 64 bits of each pseudonym of a column of texts without nulls."""
    texts = column.cast(pa.binary()).cast(pa.binary(2 * _WORD)).combine_chunks()
    return as_words(np.frombuffer(texts.buffers()[1], dtype="S16")[texts.offset :][: len(texts)])


def as_names(words: Words) -> npt.NDArray[np.bytes_]:
    """The pseudonyms (S16) of these 64 bits."""
    return np.frombuffer(words.astype(">u8").tobytes().hex().encode(), dtype="S16")


def shift_days(key: bytes, ids: Ids, window: int = SHIFT_WINDOW_DAYS) -> npt.NDArray[np.int32]:
    """Days to add to every date of each person: a multiple of 7 within +-window, never 0, all equally likely.

    A multiple of 7 keeps weekdays, so that the weekday pattern of a person's events does not tell the shift.
    """
    weeks = window // 7
    if weeks < 1:
        raise PseudonymError("the window must be at least 7 days")
    # The upper 32 bits times the number of choices: uniform to one part in 2**25 for windows of years.
    drawn = (macs(subkey(key, "shift"), ids) >> np.uint64(32)) * np.uint64(2 * weeks) >> np.uint64(32)
    steps = drawn.astype(np.int32) - weeks
    return ((steps + (steps >= 0)) * 7).astype(np.int32)


def macs(key: bytes, ids: Ids) -> Words:
    """64 bits of each 16-byte row under `key`, big-endian: the first half of its block under AES-256 (FIPS 197).

    Each id is one block of its own, so that the bare cipher is what is wanted of it: a permutation that nobody without
    the key tells from chance; half of a block says nothing of the other half. Equal ids have equal bits. Raises
    PseudonymError on ids of another shape.
    """
    if ids.dtype != np.uint8 or ids.ndim != 2 or ids.shape[1] != ID_BYTES:
        raise PseudonymError(f"ids must be rows of {ID_BYTES} bytes")
    result = np.empty(len(ids), dtype=np.uint64)
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - one block each
    for first in range(0, len(ids), _BATCH):
        blocks = cipher.update(np.ascontiguousarray(ids[first : first + _BATCH]).tobytes())
        result[first : first + _BATCH] = np.frombuffer(blocks, dtype=">u8")[::2]
    return result
