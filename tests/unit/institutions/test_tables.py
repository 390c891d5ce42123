"""No cell of an export is a formula to a spreadsheet, and every cell comes back as it was."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.institutions.tables import cell, csv_lines

FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\ufeff=1", "|x")


@pytest.mark.parametrize("text", FORMULAS)
def test_what_would_be_calculated_begins_with_an_apostrophe(text: str):
    assert cell(text) == f"'{text}"
    assert cell([text, "b"]) == f"'{text}; b"


def test_plain_values_stay_as_they_are():
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    values = ["고혈압", 12, -3, None, date(2026, 3, 2), at, ["a", "b"], "a=b"]
    assert [cell(one) for one in values] == [
        "고혈압", "12", "-3", "", "2026-03-02", "2026-03-02T09:00:00+00:00", "a; b", "a=b"
    ]  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=4))
def test_every_text_comes_back_and_none_begins_a_formula(texts: list[str]):
    out = "".join(csv_lines(["a"], [{"a": text} for text in texts]))
    rows = [row[0] if row else "" for row in csv.reader(io.StringIO(out, newline=""))]
    assert rows[0] == "a"
    for text, shown in zip(texts, rows[1:], strict=True):
        assert shown in (text, f"'{text}")
        assert shown[:1] not in tuple("=+-@\t\r\n|%")
