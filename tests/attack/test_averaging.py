"""Answers to one question in many words, averaged by several people of one institution: the mean tells no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.auth.policy import Actor
from app.db import Database
from app.deid import counts
from app.gate import counting
from app.models import CountAnswer
from app.schemas.counts import CountQuestion
from app.schemas.plan import Condition
from tests import world as worlds
from tests.world import World

AGE: dict[str, Any] = {"table": "person", "column": "age", "level": 3}
# One group of people, aged 40 to 59 as released, in words that differ.
BAND = {**AGE, "values": ("[40, 60)",)}
SAME: list[tuple[dict[str, Any], ...]] = [
    (BAND,),
    (BAND, {**AGE, "at_least": 20}),
    ({**AGE, "at_least": 40, "at_most": 60},),
    (BAND, {**AGE, "at_least": 0}, {**AGE, "at_most": 60}),
]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield worlds.make(db, tmp_path)
    db.dispose()


def _pooled(world: World) -> list[int]:
    """The answers of six askers of one institution to every wording."""
    found = []
    for n in range(6):
        asker = Actor(f"client:reader{n}", "client", "researcher", "ins_readers", frozenset())
        for conditions in SAME:
            asked = tuple(Condition.model_validate(c) for c in conditions)
            question = CountQuestion(version_id=world.version_id, conditions=asked)
            found.append(world.gate.count(question, asker)["value"])
    return found


def _left_open(answers: list[int], rule: counts.CountRule) -> int:
    """How many true counts the answers leave open: one answer repeated leaves its noise and rounding; answers that
    vary leave two standard errors of their mean to both sides."""
    if len(set(answers)) == 1:
        return sum(
            any(
                (2 * (n + noise) + rule.round_to) // (2 * rule.round_to) * rule.round_to == answers[0]
                for noise, _ in counts.P_TABLE
            )
            for n in range(1, answers[0] + 50)
        )
    error = np.std(answers, ddof=1) / np.sqrt(len(answers))
    return int(np.ceil(4 * error))


def test_a_pool_of_askers_and_wordings_averages_nothing_away(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six askers of an institution, four wordings: one answer, which leaves at least min_cell true counts open.
    Planted: noise drawn anew for each question; then the mean leaves a handful."""
    found: dict[str, Any] = {}
    real = counting._members

    def once(gate: Any, of: Any, dictionary: Any, drafted: Any, spill: Path) -> Any:
        # Who is counted is asked of the engine once per wording: it does not depend on who asks.
        words = str(drafted.filter)
        if words not in found:
            found[words] = real(gate, of, dictionary, drafted, spill)
        return found[words]

    monkeypatch.setattr(counting, "_members", once)
    rule = counts.CountRule(small.gate.settings.min_cell, small.gate.settings.round_to)
    answers = _pooled(small)
    assert len(answers) == 24
    assert len(found) == len(SAME)
    assert len(set(answers)) == 1
    assert _left_open(answers, rule) >= rule.min_cell
    chance = np.random.default_rng(12)
    monkeypatch.setattr(counts, "cell_key", lambda _: int(chance.integers(0, 2**63)) * 2)
    with small.db.unit_of_work() as session:
        session.query(CountAnswer).delete()
    fresh = _pooled(small)
    assert len(set(fresh)) > 1
    assert _left_open(fresh, rule) < rule.min_cell / 2
