"""Counts that may be shown: the cell key method, then threshold, then rounding; the same people, the same answer.

Source of the method: the cell key (TableBuilder) method of the statistics offices of Australia, the UK and the EU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.deid.pseudonyms import Ids, Words, macs, subkey

# The p-table: how likely each noise is, in 25ths. Triangular, so symmetric and of mean 0; variance 4 (people squared),
# bounded by 4 people. One table for every true count of 1 and more; a true 0 stays 0.
#   noise  -4 -3 -2 -1  0  1  2  3  4
#   /25     1  2  3  4  5  4  3  2  1
P_TABLE: tuple[tuple[int, int], ...] = (
    (-4, 1), (-3, 2), (-2, 3), (-1, 4), (0, 5), (1, 4), (2, 3), (3, 2), (4, 1),
)  # fmt: skip
NOISE_BOUND = 4
_NOISE = tuple(noise for noise, parts in P_TABLE for _ in range(parts))


@dataclass(frozen=True)
class CountRule:
    """`min_cell`: the smallest true count that may be shown; `round_to`: shown counts are multiples of it;
    `allow_zero`: whether an empty cell is shown as 0 or hidden with the small ones."""

    min_cell: int
    round_to: int
    allow_zero: bool = True

    def __post_init__(self) -> None:
        if self.min_cell < 2 or self.round_to < 1:
            raise ValueError("min_cell must be at least 2, round_to at least 1")


@dataclass(frozen=True)
class CountShown:
    """`value` None means hidden: fewer than min_cell people, or too close to tell."""

    value: int | None
    suppressed: bool


@dataclass(frozen=True)
class StepShown:
    """One step of an attrition table; `people` None means hidden, for its difference to a shown step is small."""

    step: str
    people: int | None
    suppressed: bool


HIDDEN = CountShown(None, True)


def record_keys(ids: Ids, secret: bytes) -> Words:
    """One secret uniform number in [0, 1) for each participant, as 64-bit fractions (the number times 2**64).

    `ids` is uint8 of shape (n, 16), the participants' random ids; `secret` the platform's 32 bytes. One key a person
    for the whole platform: whoever asks, the same people give the same noise.
    """
    return macs(subkey(secret, "count"), ids)


def cell_key(keys: Words) -> int:
    """The fractional part of the sum of a cell's record keys, times 2**64: exact, and blind to their order."""
    return int(np.add.reduce(keys, dtype=np.uint64)) if len(keys) else 0


def masked(true_count: int, cell_key_sum: int, rule: CountRule) -> CountShown:
    """The count that may be shown for a cell of `true_count` people whose record keys sum to `cell_key_sum`.

    `cell_key_sum` may be the plain sum: only its last 64 bits count. Noise first; the threshold then looks at the
    noisy count alone and asks min_cell + NOISE_BOUND, so that no cell below min_cell people is ever shown while
    hidden or shown does not tell on which side of min_cell the true count lies. Never negative, never within
    1..min_cell-1.
    """
    if true_count < 0:
        raise ValueError("a count is not negative")
    if true_count == 0:
        return CountShown(0, False) if rule.allow_zero else HIDDEN
    noisy = true_count + _NOISE[(cell_key_sum % 2**64) * len(_NOISE) >> 64]
    if noisy < rule.min_cell + NOISE_BOUND:
        return HIDDEN
    return _rounded(noisy, rule)


def mask_plain(count: int, min_cell: int, round_to: int) -> CountShown:
    """A count at the edge (progress, certificate, error) without noise: 0, or hidden below min_cell, or rounded.

    Hidden too where rounding would lead below min_cell (11 rounds to 10).
    """
    rule = CountRule(min_cell, round_to)
    if count < 0:
        raise ValueError("a count is not negative")
    if count == 0:
        return CountShown(0, False)
    return HIDDEN if count < min_cell else _rounded(count, rule)


def mask_attrition(steps: Sequence[tuple[str, int]], min_cell: int, round_to: int) -> list[StepShown]:
    """An attrition table (registered, consented, filtered, released ...) in which no step betrays a few people.

    A step that leaves 1..min_cell-1 people behind (or takes them in) since the last step shown is hidden; losses add
    up over hidden steps, so that the next step shown differs from the last one by at least min_cell people or by none.
    """
    shown: list[StepShown] = []
    last: int | None = None
    for step, count in steps:
        answer = mask_plain(count, min_cell, round_to)
        if last is not None and 0 < abs(last - count) < min_cell:
            answer = HIDDEN
        if not answer.suppressed:
            last = count
        shown.append(StepShown(step, answer.value, answer.suppressed))
    return shown


def _rounded(count: int, rule: CountRule) -> CountShown:
    # Half up, in whole numbers.
    value = (2 * count + rule.round_to) // (2 * rule.round_to) * rule.round_to
    return HIDDEN if value < rule.min_cell else CountShown(value, False)
