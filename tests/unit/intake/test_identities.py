"""A source identifier stands behind a keyed hash: the standard one, the same for the same text."""

from __future__ import annotations

import hmac
import unicodedata

from app.consents.identities import Hasher


def test_it_is_hmac_sha256() -> None:
    for key in (b"k" * 32, b"", b"x" * 64):
        assert Hasher(key).digest("등록-7") == hmac.digest(key, "등록-7".encode(), "sha256")


def test_space_around_and_the_form_of_letters_do_not_matter() -> None:
    hasher = Hasher(b"k" * 32)
    assert hasher.digest(f" {unicodedata.normalize('NFD', '등록')}\t") == hasher.digest("등록")
    assert hasher.digest("7") != hasher.digest("07")
    assert hasher.digest("7") != Hasher(b"j" * 32).digest("7")
