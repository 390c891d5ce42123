"""A source identifier stands behind a keyed hash: the standard one, the same for the same text."""

from __future__ import annotations

import hmac
import unicodedata
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy.orm import Session

from app.consents import identities
from app.consents.identities import Hasher


def test_it_is_hmac_sha256() -> None:
    for key in (b"k" * 32, b"", b"x" * 64):
        assert Hasher(key).digest("등록-7") == hmac.digest(key, "등록-7".encode(), "sha256")


def test_space_around_and_the_form_of_letters_do_not_matter() -> None:
    hasher = Hasher(b"k" * 32)
    assert hasher.digest(f" {unicodedata.normalize('NFD', '등록')}\t") == hasher.digest("등록")
    assert hasher.digest("7") != hasher.digest("07")
    assert hasher.digest("7") != Hasher(b"j" * 32).digest("7")


def test_source_ids_are_looked_up_together_however_they_are_handed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hasher, looked = Hasher(b"k" * 32), list[int]()
    known = pa.table(
        {
            "identity": pa.array(hasher.digests(["a", "b", "c"]), pa.binary()),
            "key": pa.array([7, 8, 9], pa.int32()),
        }
    )
    monkeypatch.setattr(identities, "index", lambda *_: known)
    index_in = pc.index_in

    def counting(values: pa.ChunkedArray, **more: Any) -> pa.ChunkedArray:
        looked.append(len(values))
        return index_in(values, **more)

    monkeypatch.setattr(pc, "index_in", counting)
    batches = [pa.array(some, pa.string()) for some in (["c", "x"], [], ["a"], ["y", "z"])]
    found = identities.keys_of(Session(), hasher, "coh_1", iter(batches))
    assert found.to_pydict() == {"source": ["c", "a"], "key": [9, 7]}
    assert looked == [5]  # whoever looks up one by one hashes all who are known each time
    assert identities.keys_of(Session(), hasher, "coh_1", ()).num_rows == 0
