"""Attackers who look for identifiers in the cells: by shape, and by hashing every id that they can think of."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from app.deid.attacks.extract import Extract, Leaf, Sheet, quoted
from app.deid.attacks.result import Result, Words, judged
from app.deid.verify.cells import NUMBERS
from app.deid.verify.identifiers import IN_CODES, PATTERNS, SUSPECT, residents

COUNTED = 100_000
"""Source ids that are tried whoever the people are: 1 to this."""

CUT = 16  # characters of a digest that are compared: pseudonyms have no more
_BATCH = 50_000


def identifiers(extract: Extract) -> Result:
    """Every text and number that is no keyed id against the shapes of Korean identifiers, telephones and e-mails."""
    found: dict[str, int] = {}
    for sheet in extract.sheets:
        types = _types(extract, sheet)
        for leaf in sheet.leaves:
            if not leaf.keyed and (hits := _shaped(extract, sheet, leaf, types[leaf.name])):
                found[f"{sheet.name}.{leaf.name}"] = hits
    return Result(
        "identifiers",
        Words("식별자 모양의 값 찾기", "Looking for values shaped like identifiers"),
        Words(
            "주민등록번호·전화번호·전자우편의 모양", "the shapes of resident numbers, telephones and e-mails"
        ),
        Words("해당 값 0", "no such cell"),
        {"cells": sum(found.values()), "by_column": found},
        judged(not found),
    )


def dictionary(extract: Extract, known: Sequence[str]) -> Result:
    """Every distinct text of the extract against every guessable id: raw, hashed, and keyed by what the holder knows.

    `known` are ids that the attacker has of real people (resident numbers, chart numbers); 1..100,000 are tried too.
    """
    public = [
        str(extract.manifest.get(name, ""))
        for name in ("project_id", "extract_id", "version_id", "plan_hash")
    ]
    _cells(extract)
    ids = list(spellings(known))
    digests, hits, tried = _Digests(public), 0, 0
    for guesses in _batches((*ids, *map(str, range(1, COUNTED + 1)))):
        told = pa.table({"h": pa.array([d for guess in guesses for d in digests.of(guess)])})
        tried += told.num_rows
        extract.load("guess", told)
        # Two joins: with OR in the condition every pair of values would be compared.
        for column in ("exact", "folded"):
            hits += extract.number(f"SELECT count(*) FROM cells SEMI JOIN guess ON {column} = h")
    extract.load("plain", pa.table({"v": pa.array(ids, pa.string())}))
    raw = extract.number("SELECT count(DISTINCT v) FROM cells SEMI JOIN plain USING (v)")
    values = extract.number("SELECT count(*) FROM cells")
    return Result(
        "dictionary",
        Words("식별번호 사전 공격 (해시)", "Dictionary of hashed identifiers"),
        Words(
            f"가능한 식별번호(1~{COUNTED:,}, 알려진 번호 {len(set(known)):,}개), 공개된 과제·추출 번호, 흔한 해시 함수",
            f"guessable ids (1 to {COUNTED:,} and {len(set(known)):,} known ones), the public ids of project and "
            "extract, the common hash functions",
        ),
        Words("일치 0", "no match"),
        {"values_attacked": values, "digests_tried": tried, "matches": hits, "raw_matches": raw},
        judged(hits == 0 and raw == 0),
    )


def spellings(known: Iterable[str]) -> Iterator[str]:
    """An id as it is written, without separators, and without the leading zeros that a spreadsheet takes."""
    for one in known:
        bare = one.replace("-", "").replace(" ", "")
        yield from {one, bare, bare.lstrip("0") or "0"}
        if len(bare) == 13 and bare.isdigit():
            yield f"{bare[:6]}-{bare[6:]}"


def hashed(guess: str, keys: Iterable[str] = ()) -> Iterator[str]:
    """The first 16 characters of each common digest of an id, in hex and base64: plain, and by HMAC-SHA256 with an
    empty key and with `keys` that are no secret."""
    return _Digests(keys).of(guess)


class _Digests:
    """The common digests under keys that are the same for every guess: what does not hang on the guess is done once."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._plain = [
            hashlib.new(name, usedforsecurity=False) for name in ("md5", "sha1", "sha256", "sha512")
        ]
        self._keyed = [_hmac(key.encode()) for key in sorted({"", *keys})]

    def of(self, guess: str) -> Iterator[str]:
        """Each digest in hex and in base64, cut."""
        text = guess.encode()
        for begun in self._plain:
            digest = begun.copy()
            digest.update(text)
            yield from _written(digest.digest())
        for inner, outer in self._keyed:
            first, second = inner.copy(), outer.copy()
            first.update(text)
            second.update(first.digest())
            yield from _written(second.digest())


def _hmac(key: bytes) -> tuple[Any, Any]:
    """The two SHA-256 of HMAC (RFC 2104), each having taken the key."""
    block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
    return hashlib.sha256(bytes(b ^ 0x36 for b in block)), hashlib.sha256(bytes(b ^ 0x5C for b in block))


def _written(digest: bytes) -> Iterator[str]:
    yield digest[: CUT // 2].hex()
    yield b64encode(digest[: CUT // 4 * 3]).decode()


def _cells(extract: Extract) -> None:
    each = [
        f"SELECT DISTINCT {quoted(leaf.name)}::VARCHAR AS v FROM {sheet.rows} WHERE {quoted(leaf.name)} IS NOT NULL"
        for sheet in extract.sheets
        for leaf in sheet.leaves
    ]
    extract.con.execute(
        f"CREATE OR REPLACE TEMP TABLE cells AS "
        f"SELECT v, left(v, {CUT}) AS exact, nullif(lower(left(v, {CUT})), left(v, {CUT})) AS folded "
        f"FROM ({' UNION '.join(each)})"
    ).fetchall()


def _batches(guesses: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(guesses), _BATCH):
        yield guesses[start : start + _BATCH]


def _types(extract: Extract, sheet: Sheet) -> dict[str, str]:
    described = extract.rowset(f"DESCRIBE SELECT * FROM {sheet.rows}")
    return {row["column_name"]: row["column_type"] for row in described}


def _shaped(extract: Extract, sheet: Sheet, leaf: Leaf, kind: str) -> int:
    column = quoted(leaf.name)
    if kind.startswith(NUMBERS):
        return extract.number(residents(f"(SELECT {column} AS v FROM {sheet.rows})"))
    if kind != "VARCHAR":
        return 0
    patterns = (IN_CODES if leaf.role == "code" else PATTERNS).values()
    each = [f"regexp_matches({column}, '{pattern}')" for group in patterns for pattern in group]
    test = f"regexp_matches({column}, '{SUSPECT}') AND ({' OR '.join(each)})"
    return extract.number(f"SELECT count(*) FROM {sheet.rows} WHERE {test}")
