"""Whoever consents is known to the verifier by 64 bits; a name that is no keyed id is never taken for one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from app.deid.verify.keys import bits_of
from tests.attack.release import lawful


def test_a_keyed_id_is_read_as_the_bits_that_it_spells() -> None:
    told = [0, 1, 2**64 - 1, 0xDEADBEEF00000000, 7]
    names = [f"{bits:016x}" for bits in told]
    column = pa.chunked_array([names[:2], [], names[2:]], pa.string())
    for read, expected in ((column, told), (column.slice(1, 3), told[1:4]), (column.slice(5), [])):
        found = bits_of(read)
        assert found is not None
        assert found.tolist() == expected


@pytest.mark.parametrize(
    "name",
    ["A" * 16, " " + "a" * 15, "aa" + " " * 2 + "a" * 12, "a" * 15, "g" * 16, "a" * 14 + "é", "", None],
    ids=["capitals", "blank first", "blanks", "short", "no digit", "no ascii", "empty", "missing"],
)
def test_what_is_no_keyed_id_has_no_bits(name: str | None) -> None:
    assert bits_of(pa.chunked_array([["0" * 16, name]], pa.string())) is None


def test_one_name_that_is_no_keyed_id_leaves_the_others_eligible(tmp_path: Path) -> None:
    release = lawful(tmp_path)
    assert release.verdict().ok
    assert release.eligible is not None
    strange = pa.table({"table": ["visit", "person"], "pseudonym": ["nobody", "A" * 16]})
    everyone = release.eligible
    release.eligible = pa.concat_tables([everyone, strange.cast(everyone.schema)])
    assert release.verdict().ok
    release.eligible = pa.concat_tables([everyone.slice(1), strange.cast(everyone.schema)])
    assert {found.code for found in release.verdict().refusals} == {"not_eligible"}
