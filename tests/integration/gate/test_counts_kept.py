"""What a count keeps for the next one follows from the people who consent at that moment: nobody who left is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from app.consents import cohorts
from app.db import Database
from app.engines.duckdb import codes
from app.engines.duckdb.counting import KeptCodes
from app.gate import counting
from app.models import Consent
from app.schemas.counts import CountQuestion
from app.schemas.plan import Condition, Privacy
from app.storage.vault import Vault
from tests import world as worlds
from tests.world import NOW, World

PEOPLE = 60
LEAST = Privacy().k  # people of a code that is released
# Everybody has an E11 and an I10; a C50 those at a few places of the list, in a family of codes of its own.
VISITS = """
SELECT key AS __participant, (key * 100 + n)::BIGINT AS vid, key * 7 AS pid, DATE '2020-01-01' AS day,
       ['E11', 'I10'][n + 1] AS code, 60.0 AS weight FROM people, range(2) r(n)
UNION ALL SELECT key, (key * 100 + 9)::BIGINT, key * 7, DATE '2020-01-01', 'C50', 60.0
FROM (SELECT key, row_number() OVER (ORDER BY key) AS place FROM people) WHERE place BETWEEN 2 AND {last}
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    queries = {"person": worlds.PEOPLE_SQL, "visit": VISITS.format(last=LEAST + 1), "steps": worlds.STEPS_SQL}
    yield worlds.make(db, tmp_path, PEOPLE, queries=queries)
    db.dispose()


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The columns whose codes were judged anew, in turn."""
    found, build = list[str](), codes.build

    def told(con: object, rollup: codes.Rollup, name: str, rows: str) -> dict[str, int]:
        found.append(rollup.key)
        return build(con, rollup, name, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(codes, "build", told)
    return found


def _members(world: World, code: str, on: datetime = NOW) -> list[int]:
    """Who is counted as having a code, before any noise."""
    gate = replace(world.gate, clock=lambda: on)
    condition = {"table": "visit", "column": "code", "level": 0, "values": (code,)}
    question = CountQuestion(version_id=world.version_id, conditions=(Condition.model_validate(condition),))
    with world.db.read() as session:
        of = cohorts.behind(session, world.version_id)
        drafted = counting.checked(question, world.dictionary, gate)
        found, keys = counting.members(gate, of, world.dictionary, drafted, world.var / "count")
    assert len(found) == len(keys)
    return sorted(found)


def test_the_same_people_are_judged_once(small: World, judged: list[str]) -> None:
    consenting = [key for place, key in enumerate(small.keys) if place % 20]
    assert _members(small, "E11") == _members(small, "I10") == consenting
    assert _members(small, "C50") == small.keys[1 : LEAST + 1]
    assert judged == ["visit.code"]


def test_a_withdrawal_changes_the_very_next_count(small: World, judged: list[str]) -> None:
    rare = small.keys[1 : LEAST + 1]
    assert _members(small, "C50") == rare
    small.set_consent(rare[3], "clinical", "withdrawn")
    # One fewer, and the code is that of too few to be told: what was judged with them counts no more.
    assert _members(small, "C50") == []
    assert rare[3] not in _members(small, "E11")
    small.set_consent(rare[3], "clinical", "granted")
    assert _members(small, "C50") == rare
    assert len(judged) == 2  # the people are those of the first question again


def test_a_consent_that_moves_no_epoch_counts_as_well(small: World) -> None:
    rare = small.keys[1 : LEAST + 1]
    assert _members(small, "C50") == rare
    with small.db.unit_of_work() as session:
        session.get_one(Consent, (rare[0], "clinical")).state = "withdrawn"
    assert _members(small, "C50") == []


def test_a_consent_ends_at_midnight(small: World) -> None:
    rare = small.keys[1 : LEAST + 1]
    with small.db.unit_of_work() as session:
        session.get_one(Consent, (rare[-1], "clinical")).valid_until = NOW.date()
    assert _members(small, "C50") == rare
    assert _members(small, "C50", NOW + timedelta(days=1)) == []


def test_other_rows_are_judged_anew(small: World, judged: list[str]) -> None:
    assert _members(small, "C50") == small.keys[1 : LEAST + 1]
    fewer = {"visit": VISITS.format(last=LEAST)}
    vault = Vault.open(f"file://{small.var}/vault")
    worlds.fill_vault(small.db, vault, small.var, small.version_id, small.keys, fewer)
    assert _members(small, "C50") == []
    assert len(judged) == 2


def test_what_is_kept_is_bounded_and_the_oldest_goes() -> None:
    table = pa.table({"v": ["C50"], "released": ["C50"]})
    kept = KeptCodes(most_bytes=2 * table.nbytes)
    for digest in (b"1", b"2"):
        kept.put(digest, table)
    assert kept.get(b"1") is table
    kept.put(b"3", table)
    assert [kept.get(digest) is table for digest in (b"1", b"2", b"3")] == [True, False, True]
    kept.put(b"4", pa.table({"v": ["C50"] * 100, "released": ["C50"] * 100}))
    assert [kept.get(digest) for digest in (b"1", b"3", b"4")] == [table, table, None]
