"""What a leaked file says of where it is from: its digest, and the words in it that could be pseudonyms; in any order.

Parquet is read column by column in batches; gzip, zip (and so spreadsheets) unpacked; everything else is looked through
as bytes, so that CSV, JSON and what was pasted somewhere are alike. Nothing else of it is kept.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.errors import Problem

MOST_WORDS = 200_000  # beyond that, those with the smallest checksums are kept: an even sample
CHUNK = 1 << 20
_WORD = re.compile(rb"(?<![0-9A-Za-z])[0-9A-Fa-f]{16}(?![0-9A-Za-z])")
_WHOLE = r"^\s*[0-9A-Fa-f]{16}\s*$"
_EDGE = 64  # bytes of a chunk that are looked at again with the next: no word is cut in two


@dataclass(frozen=True, slots=True)
class Leaked:
    """A file: SHA-256, size, how it was read, and its distinct words of 16 hexadecimal characters, in lower case."""

    sha256: str
    bytes: int
    form: str  # parquet | gzip | zip | text
    words: tuple[str, ...]


def read(path: Path, most_ratio: int) -> Leaked:
    """Look through a file; a packed one that grows more than `most_ratio` times is refused as a bomb. Memory: bounded,
    whatever the file's size."""
    seal, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            seal.update(chunk)
            size += len(chunk)
    form, words = _words(path, size * most_ratio + CHUNK)
    return Leaked(seal.hexdigest(), size, form, _sample(words))


def _words(path: Path, most: int) -> tuple[str, Iterator[bytes]]:
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PAR1":
        try:
            return "parquet", _of_parquet(pq.ParquetFile(path))
        except (pa.ArrowException, OSError):
            pass  # a broken one is looked through as it is
    if head[:2] == b"\x1f\x8b":
        return "gzip", _of_bytes(_Bounded(most).of(_inflated(path)))
    if zipfile.is_zipfile(path):
        return "zip", _of_zip(path, _Bounded(most))
    return "text", _of_bytes(_chunks(path))


def _of_parquet(file: pq.ParquetFile) -> Iterator[bytes]:
    """The words of every column of text, by any name; values of other types are none."""
    for batch in file.iter_batches(batch_size=65_536):
        for column in batch.columns:
            values = column.dictionary if pa.types.is_dictionary(column.type) else column
            if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
                alike = values.filter(pc.match_substring_regex(values, _WHOLE))
                for word in pc.unique(alike).to_pylist():
                    yield word.strip().lower().encode()


class _Bounded:
    """What is unpacked of one file, `left` bytes at most, from however many members."""

    def __init__(self, left: int) -> None:
        self.left = left

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks; a Problem as soon as all that were taken are too much together."""
        for chunk in chunks:
            self.left -= len(chunk)
            if self.left < 0:
                raise Problem("payload_too_large", "The file grows beyond all measure when it is unpacked.")
            yield chunk


def _inflated(path: Path) -> Iterator[bytes]:
    """What a gzip file holds, all of its members, as far as it can be read: what comes before a cut counts."""
    inside = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for chunk in _chunks(path):
        while chunk:
            try:
                yield inside.decompress(chunk, CHUNK)
            except zlib.error:
                return
            chunk = inside.unconsumed_tail
            if inside.eof:
                chunk, inside = inside.unused_data, zlib.decompressobj(zlib.MAX_WBITS | 16)


def _of_zip(path: Path, bounded: _Bounded) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            try:
                with archive.open(member) as file:
                    yield from _of_bytes(bounded.of(iter(partial(file.read, CHUNK), b"")))
            except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError):
                continue  # locked, or broken


def _of_bytes(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The words of a stream of bytes; two-byte characters are read as one."""
    rest = b""
    for chunk in chunks:
        text = rest + chunk.replace(b"\0", b"")
        keep = max(len(text) - _EDGE, 0)
        for match in _WORD.finditer(text):
            if match.start() < keep:
                yield match[0].lower()
        # What begins in the edge is found with the next chunk; one byte before it tells whether a word begins there.
        rest = text[max(keep - 1, 0) :]
        if keep:
            rest = (b"z" if text[keep - 1 : keep].isalnum() else b" ") + rest[1:]
    for match in _WORD.finditer(rest):
        yield match[0].lower()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(CHUNK), b"")


def _sample(words: Iterable[bytes]) -> tuple[str, ...]:
    found: set[bytes] = set()
    for word in words:
        found.add(word)
        if len(found) > 2 * MOST_WORDS:
            found = set(sorted(found, key=zlib.crc32)[:MOST_WORDS])
    return tuple(sorted(word.decode() for word in sorted(found, key=zlib.crc32)[:MOST_WORDS]))
