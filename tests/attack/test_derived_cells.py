"""No hidden number follows from the others: a linear programme over every table of numbers that is shown to anyone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.catalog import progress
from app.deid import counts, released
from tests.attack.solver import Figures, rounded

LEAST = 11
Shown = Callable[[int, Any], int | None]


def _cell(shown: int | None, rule: counts.CountRule, noise: int) -> tuple[float, float]:
    """The true counts that a shown or hidden number leaves open; a hidden one is not 0, for a 0 is shown."""
    if shown is None:
        return 1, rule.min_cell - 1 + 2 * noise
    low, high = rounded(shown, rule.round_to)
    return low - noise, high + noise


def _table(rule: counts.CountRule, noise: int, show: Shown, chance: np.random.Generator) -> list[int]:
    """Values left open for each small cell of a 3 x 4 table shown with its rows, columns and total."""
    cells = chance.integers(20, 60, (3, 4))
    cells[[0, 1, 2], chance.permutation(4)[:3]] = chance.integers(1, LEAST, 3)
    people = np.repeat(np.arange(12), cells.ravel())
    keys = chance.integers(0, 2**63, len(people), dtype=np.uint64) * np.uint64(2)
    sets = [{i} for i in range(12)]
    sets += [set(range(4 * row, 4 * row + 4)) for row in range(3)]
    sets += [set(range(column, 12, 4)) for column in range(4)] + [set(range(12))]
    known, hidden = Figures(12), []
    for group in sets:
        inside = np.isin(people, list(group))
        shown = show(int(inside.sum()), keys[inside])
        known.know(dict.fromkeys(group, 1), *_cell(shown, rule, noise))
        if shown is None:
            hidden += list(group)
    return [known.values({cell: 1}) for cell in hidden if cells.ravel()[cell] < LEAST]


@pytest.mark.again
@pytest.mark.parametrize("unit", [1, 5])
def test_counts_with_their_totals(unit: int) -> None:
    """Masked tables with all totals: each small cell keeps at least min_cell values when rounded to 5, and with the
    noise alone at least half as many (6 of 300 by hand). Planted: small cells hidden and nothing else, and every one
    of them is recovered."""
    rule = counts.CountRule(LEAST, unit)
    chance = np.random.default_rng(7)
    masked: Shown = lambda n, keys: counts.masked(n, counts.cell_key(keys), rule).value  # noqa: E731
    open_values = [v for _ in range(8) for v in _table(rule, counts.NOISE_BOUND, masked, chance)]
    assert len(open_values) >= 16
    assert min(open_values) >= (LEAST if unit == 5 else LEAST // 2), open_values
    exact = counts.CountRule(LEAST, 1)
    naive: Shown = lambda n, _: n if n >= LEAST else None  # noqa: E731
    assert {v for _ in range(2) for v in _table(exact, 0, naive, chance)} == {1}


def test_counts_of_groups_that_overlap() -> None:
    """Three small groups asked two by two, so that no single equation tells one. Planted: the exact sums."""
    chance, rule = np.random.default_rng(8), counts.CountRule(LEAST, 1)
    for planted in (False, True):
        for _ in range(10):
            sizes = chance.integers(8, LEAST, 3)
            keys = [chance.integers(0, 2**63, n, dtype=np.uint64) * np.uint64(2) for n in sizes]
            known = Figures(3)
            for a, b in ((0, 1), (1, 2), (0, 2)):
                total = int(sizes[a] + sizes[b])
                shown: int | None = total
                if not planted:
                    both = np.concatenate([keys[a], keys[b]])
                    shown = counts.masked(total, counts.cell_key(both), rule).value
                known.know({a: 1, b: 1}, *_cell(shown, rule, 0 if planted else counts.NOISE_BOUND))
            left = [known.values({cell: 1}) for cell in range(3)]
            assert left == [1, 1, 1] if planted else min(left) >= LEAST, left


def _losses(people: Mapping[str, int], unit: int) -> dict[str, int]:
    """Values left open for every small loss of the attrition table of a certificate, beside the exact number of
    people in the parts."""
    limits = SimpleNamespace(min_cell=LEAST, round_to=unit)
    facts: Any = SimpleNamespace(plan=SimpleNamespace(privacy=limits), attrition=people)
    shown = {one["step"]: one for one in released.attrition(facts)}
    steps = list(released.STEPS)
    known = Figures(len(steps))
    # Cell 0 is who was released, told exactly by the parts; the others are the losses on the way there.
    known.know({0: 1}, people[steps[-1]], people[steps[-1]])
    loss = {step: len(steps) - 1 - at for at, step in enumerate(steps[:-1])}
    last = 0
    for step in steps[-2::-1]:
        value = shown[step]["people"]
        if value is not None:
            known.know(dict.fromkeys(range(loss[step] + 1), 1), *rounded(value, unit))
            last = loss[step]
        else:
            # Hidden says that it differs from the last one shown by 1 to 10 people.
            known.know(dict.fromkeys(range(last + 1, loss[step] + 1), 1), 1, LEAST - 1)
    lost = shown["suppressed"]["people"]
    if lost == 0 or lost is None:
        known.know({1: 1}, *((0, 0) if lost == 0 else (1, LEAST - 1 + unit // 2)))
    else:
        known.know({1: 1}, *rounded(lost, unit))
    true = {step: people[step] - people[after] for step, after in pairwise(steps)}
    return {step: known.values({loss[step]: 1}) for step in loss if 0 < true[step] < LEAST}


@pytest.mark.parametrize("unit", [1, 5])
def test_attrition_of_a_certificate(unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loss of 1 to 10 people on the way to the parts keeps at least ten values, which is what "hidden" says
    of it. Planted: each step masked by itself; then a loss is told to the person, or to the rounding."""
    chance = np.random.default_rng(9)
    left: list[int] = []
    worse: list[int] = []
    for _ in range(12):
        losses = chance.choice([0, 3, 7, 10, 40], len(released.STEPS) - 1)
        numbers = [int(300 + losses[at:].sum()) for at in range(len(released.STEPS))]
        people = {**dict(zip(released.STEPS, numbers, strict=True)), "suppressed": int(losses[-1])}
        left += _losses(people, unit).values()
        with monkeypatch.context() as fault:
            fault.setattr(
                counts,
                "mask_attrition",
                lambda steps, least, to: [
                    counts.StepShown(step, counts.mask_plain(n, least, to).value, False) for step, n in steps
                ],
            )
            worse += _losses(people, unit).values()
    assert len(left) >= 12
    assert min(left) >= LEAST - 1, left
    assert min(worse) == 1 if unit == 1 else min(worse) < LEAST - 1, worse


def _institutions(parts: Mapping[str, int], answer: tuple[int | None, Mapping[str, int | None]]) -> list[int]:
    """Values left open for every small institution by the page of progress, nobody being counted twice."""
    total, told = answer
    names = sorted(told)
    known = Figures(len(names))
    for cell, name in enumerate(names):
        value = told[name]
        known.know({cell: 1}, *((1, 10**6) if value is None else (value, value)))
    assert total is not None
    known.know(dict.fromkeys(range(len(names)), 1), total, total)
    return [known.values({names.index(n): 1}) for n, people in parts.items() if people < LEAST]


def test_institutions_on_the_page_of_progress() -> None:
    """Unrounded, and with nobody known twice (the best case of an attacker): a hidden institution keeps at least
    min_cell - 1 values. Planted: only what is small is hidden, and an institution alone is told."""
    chance = np.random.default_rng(10)
    left, alone = [], []
    for _ in range(20):
        parts = {f"i{n}": int(chance.integers(LEAST, 400)) for n in range(5)}
        few = chance.integers(1, 4)
        parts |= {f"i{n}": int(chance.integers(1, LEAST)) for n in range(few)}
        left += _institutions(parts, progress.shown(parts, LEAST, 1))
        only = {name: n if n >= LEAST else None for name, n in parts.items()}
        if few == 1:
            alone += _institutions(parts, (sum(parts.values()), only))
    assert min(left) >= LEAST - 1, left
    assert set(alone) == {1}
