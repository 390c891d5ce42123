"""The short cut for usual tokens lets nothing through that the long way refuses; the engine judges as Python does."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.deid.identifiers import looks_like
from app.deid.identifiers.linkage import DIGEST, SHAPE, USUAL, refusal, sql_refusal

usual = st.from_regex(USUAL, fullmatch=True)
odd = st.text(st.sampled_from("0189aAfFmMdDsS:-._/+=@ 가"), max_size=90)


@settings(max_examples=200, deadline=None)
@given(usual)
@example("md5:9001011234567abcd")
@example("sha256:0123456789abcdef0")
@example("M123A4567:0123456789abcdefg")
def test_a_usual_token_is_no_number_of_a_person(token: str) -> None:
    if refusal(token) is None:
        assert looks_like(token) is None
        assert re.search(SHAPE, token)
        assert not re.search(DIGEST, token)


@settings(max_examples=10, deadline=None)
@given(st.lists(usual | odd, min_size=20, max_size=60))
@example(
    [
        "9001011234567",
        "agency:9001011234567",
        "0d9f7c3a-5b1e-4f6a-9c2d-1e3f5a7b9c0d",
        "a" * 64,
        "ab:" + "a" * 78,
    ]
)
def test_the_engine_says_the_same(tokens: list[str]) -> None:
    table = pa.table({"token": pa.array(tokens, pa.string())})
    with duckdb.connect() as con:
        con.register("tokens", table)
        told = con.execute(f"SELECT token, {sql_refusal('token')} FROM tokens").fetchall()
    assert told == [(token, refusal(token)) for token in tokens]


@pytest.mark.parametrize("token", ["agency:9001011234567", "agency:900101-1234567", "agency:M123A4567"])
def test_a_number_behind_an_agency_is_still_a_number(token: str) -> None:
    assert refusal(token) is not None
