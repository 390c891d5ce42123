"""Minimality: what the classes of a local recoding tell someone who knows how it was made; and faults it must find."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.deid.anonymity import local
from app.deid.anonymity.frequency import AnonymityError, Frequency, Sensitive
from app.deid.anonymity.local import fit_local
from app.deid.anonymity.search import Search
from app.deid.hierarchies import Fitted, fit
from tests.attack.minimality import attack

K = 11


def _survey(size: int = 2500, pure: bool = False) -> tuple[list[Fitted], Frequency]:
    """Shaped like UCI Adult: skewed categories, one person in four with the rarer salary. `pure`: of sex and schooling
    alone, and in the six largest schools everybody has one salary."""
    chance = np.random.default_rng(4)
    age = 17 + (chance.random(size) ** 2 * 60).astype(int)
    columns = [
        age,
        chance.integers(0, 2, size),
        *(np.minimum(*chance.integers(0, most, (2, size))) for most in (7, 9, 5)),
    ]
    school = columns[3]
    likely = np.where(school == 0, 0.03, 0.4)
    salary = (chance.random(size) < (np.where(school < 6, school == 5, likely) if pure else likely)).astype(
        int
    )
    spec: dict[str, Any] = {"kind": "interval", "bounds": [0, 100], "widths": [5, 10, 20, 40]}
    fitted, codes = [], []
    names = ("age", "sex", "work", "school", "marital")
    for name, column in zip(names, columns, strict=True):
        if pure and name not in ("sex", "school"):
            continue
        values, code = np.unique(column, return_inverse=True)
        kind = spec if name == "age" else {"kind": "flat"}
        fitted.append(fit(kind, values.tolist() if name == "age" else [f"v{v}" for v in values], name))
        codes.append(code)
    tuples, home, people = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True, return_counts=True)
    hist = np.zeros((len(tuples), 2), np.int64)
    np.add.at(hist, (home.ravel(), salary), 1)
    sensitive = Sensitive("salary", hist, 2, None, np.zeros(2, np.bool_))
    return fitted, Frequency(tuples.astype(np.int32), people[:, None].astype(np.int64), [sensitive])


def test_what_a_remainder_says_of_its_siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Knowing the siblings shrinks nobody's candidates below k and uncovers no value of a remainder: a remainder is
    filled to k. Planted: it is not filled, and its few people keep the parent's label for a hiding place."""
    fitted, freq = _survey()
    told = attack(fit_local(freq, fitted, K), freq, fitted, K)
    assert (told.below_k, told.finer) == (0, 0)
    # The attack has something to find: many stand in remainders, and their labels stand for fewer than they say.
    assert told.remainder > 0.2
    assert 0.5 < told.narrowed_to < 0.95

    def unfilled(self: Any, layer: Any, groups: Any) -> Any:
        kept = self.limits.rule.lawful(groups.sums)
        cells = len(layer.nodes) * self.columns
        return kept, np.stack(
            [np.bincount(groups.cell[~kept], column[~kept], cells) for column in groups.sums.T], axis=1
        )

    monkeypatch.setattr(Search, "_divide", unfilled)
    # Two more lines hold: what is unlawful is suppressed, and the result is proved afresh.
    held = attack(fit_local(freq, fitted, K), freq, fitted, K)
    assert held.below_k == 0
    monkeypatch.setattr(Search, "_layer", _nobody_dead(Search._layer))
    with pytest.raises(AnonymityError, match="unlawful"):
        fit_local(freq, fitted, K)
    monkeypatch.setattr(local, "_prove", lambda *_: None)
    worse = attack(fit_local(freq, fitted, K), freq, fitted, K)
    assert worse.below_k > 0.05
    assert worse.finer > 0.01


def _nobody_dead(real: Any) -> Any:
    def layer(self: Any, *given: Any) -> Any:
        made = real(self, *given)
        return replace(made, dead=np.zeros_like(made.dead))

    return layer


def test_a_group_that_was_not_split_off_though_it_was_large_enough() -> None:
    """With l = 2 such a group had one salary only: at most 3 % of people are betrayed so, none wrongly. Without l
    nobody is, for nothing but k decides. Planted: six of nine schools have one salary each."""
    fitted, freq = _survey()
    told = attack(fit_local(freq, fitted, K), freq, fitted, K)
    assert told.betrayed <= 0.03
    assert told.wrong == 0
    free = freq.sensitive[0]._replace(l=None)
    without = Frequency(freq.codes, freq.counts, [free])
    assert attack(fit_local(without, fitted, K), without, fitted, K).betrayed == 0
    fitted, freq = _survey(pure=True)
    worse = attack(fit_local(freq, fitted, K), freq, fitted, K)
    assert worse.betrayed > 0.1
    assert worse.wrong == 0
