"""From a source identifier to a participant key, by a keyed hash: the identifier itself is never stored or logged."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Insert, LargeBinary, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.consents import enrolling, laid
from app.consents.staging import staged
from app.models import Base, Participant

_BLOCK = 64  # bytes of a block of SHA-256
_BATCH = 50_000  # people staged at a time
_IDENTITY = 32  # bytes
_RANGES = 16  # of an index, each read by one statement: of ten million people some 40 MB at a time


class Hasher:
    """HMAC-SHA256 under a cohort's identity key; the keyed state is copied, which is twice as fast as a new one."""

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK:
            raise ValueError("the key is longer than a block")
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def digest(self, source: str) -> bytes:
        """The 32 bytes that stand for a source identifier, after `canonical`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(canonical(source).encode())
        outer.update(inner.digest())
        return outer.digest()

    def digests(self, sources: Iterable[str]) -> list[bytes]:
        """`digest` of each; a million take a second and a half."""
        inner_of, outer_of, told = self._inner.copy, self._outer.copy, []
        for source in sources:
            inner, outer = inner_of(), outer_of()
            plain = source.strip()
            inner.update(plain.encode() if plain.isascii() else canonical(plain).encode())
            outer.update(inner.digest())
            told.append(outer.digest())
        return told


def canonical(source: str) -> str:
    """The text of an identifier as it is hashed: without surrounding space, NFC. Whole numbers are their digits."""
    return unicodedata.normalize("NFC", source.strip())


def index(session: Session, cohort_id: str) -> pa.Table:
    """(identity, key int32) of everyone the cohort has ever known.

    The database lays all of a range of identities end to end, as identity and key by turns: a row of Python's own for
    each person costs more than reading them.
    """
    connection, person = session.connection(), Participant
    query = select(laid.pairs(connection, person.key, person.identity)).where(
        person.cohort_id == cohort_id,
        person.identity.between(bindparam("first", type_=LargeBinary), bindparam("last", type_=LargeBinary)),
        # Of another length it is nobody's digest, and would put all that is laid after it out of place.
        func.length(person.identity) == _IDENTITY,
    )
    parts = [_INDEX.empty_table()]
    for part in range(_RANGES):
        ends = {"first": bytes([part * 256 // _RANGES]).ljust(_IDENTITY, b"\0"),
                "last": bytes([(part + 1) * 256 // _RANGES - 1]).ljust(_IDENTITY, b"\xff")}  # fmt: skip
        keys, identities = laid.as_pairs(connection.scalar(query, ends), _IDENTITY)
        fixed = pa.Array.from_buffers(
            pa.binary(_IDENTITY), len(keys), [None, pa.py_buffer(identities.tobytes())]
        )
        parts.append(pa.table([fixed.cast(pa.binary()), pa.array(keys)], schema=_INDEX))
    return pa.concat_tables(parts)


def enrol(session: Session, cohort_id: str, identities: Iterable[bytes], at: datetime) -> None:
    """Make participants of identities that the cohort does not know; those it knows stay as they are.

    The caller has locked the cohort. The database does it in sets, as for a register (`enrolling`).
    """
    given = list(set(identities))
    if not given:
        return
    with staged(session, _people(given), ()) as connection:
        enrolling.enrol(connection, cohort_id, at)


def _people(identities: list[bytes]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(identities), _BATCH):
        some = identities[start : start + _BATCH]
        numbers = pa.array(range(start, start + len(some)), pa.int32())
        yield pa.RecordBatch.from_pydict({"n": numbers, "identity": pa.array(some, pa.binary())})


def keys_of(session: Session, hasher: Hasher, cohort_id: str, batches: Iterable[pa.Array]) -> pa.Table:
    """(source, key) of the source ids that the cohort knows; unknown ones are not in it."""
    sources, identities = _digested(hasher, batches)
    return _look_up(index(session, cohort_id), sources, identities)


def enrolled_keys(
    session: Session, hasher: Hasher, cohort_id: str, batches: Iterable[pa.Array], at: datetime
) -> pa.Table:
    """(source, key) of all the source ids; those that the cohort did not know are participants from now on. The caller
    has locked the cohort."""
    sources, identities = _digested(hasher, batches)
    enrol(session, cohort_id, _absent(index(session, cohort_id), identities), at)
    return _look_up(index(session, cohort_id), sources, identities)


_INDEX = pa.schema([("identity", pa.binary()), ("key", pa.int32())])
_KEYS = pa.schema([("source", pa.string()), ("key", pa.int32())])


def _digested(hasher: Hasher, batches: Iterable[pa.Array]) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """All source ids, and the identity of each. They are looked up together: to look some up, all who are known are
    hashed, so that batch by batch it would cost the people by the batches."""
    pairs = [(batch.cast(pa.string()), digests(hasher, batch).cast(pa.binary())) for batch in batches]
    sources, identities = zip(*pairs, strict=True) if pairs else ((), ())
    return pa.chunked_array(sources, pa.string()), pa.chunked_array(identities, pa.binary())


def digests(hasher: Hasher, sources: pa.Array) -> pa.Array:
    """The identities of source identifiers, 32 bytes each, in the same order."""
    data = b"".join(hasher.digests(sources.to_pylist()))
    return pa.Array.from_buffers(pa.binary(32), len(sources), [None, pa.py_buffer(data)])


def _look_up(known: pa.Table, sources: pa.ChunkedArray, identities: pa.ChunkedArray) -> pa.Table:
    found = pc.index_in(identities, value_set=known["identity"].combine_chunks())
    keys = pc.take(known["key"].combine_chunks(), found)
    return pa.table({"source": sources, "key": keys}, _KEYS).filter(pc.is_valid(keys))


def _absent(known: pa.Table, identities: pa.ChunkedArray) -> list[bytes]:
    missing = pc.invert(pc.is_in(identities, value_set=known["identity"].combine_chunks()))
    absent: list[bytes] = identities.filter(missing).to_pylist()
    return absent


def insert_missing(session: Session, table: type[Base], unique: list[str]) -> Insert:
    """An insert that passes over rows whose `unique` columns are there already."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing(index_elements=unique)
    return sqlite.insert(table).on_conflict_do_nothing(index_elements=unique)
