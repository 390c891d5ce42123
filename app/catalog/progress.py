"""The way to the million as the public sees it: numbers that move in batches and hide whatever is small; pure."""

from __future__ import annotations

from collections.abc import Mapping

from app.deid.counts import mask_plain

# Parts of the figures that belong to no institution: people counted again in cohorts of one, and at others.
WITHIN, ACROSS = "+within", "+across"


def in_batches(shown: Mapping[str, int], now: Mapping[str, int], least: int) -> dict[str, int]:
    """The numbers to show: each stays as it was until it has moved by at least `least` people.

    So nobody who watches the page can tell when one person left. Of fewer than `least` people nothing is shown: not
    before they have become so many, and, where so many left that the number moves, not afterwards.
    """
    moved: dict[str, int] = {}
    for name in {*shown, *now}:
        before, after = shown.get(name, 0), now.get(name, 0)
        moved[name] = after if abs(after - before) >= least else before
    # What is taken off is no number of somebody's: without the rest of it, too many would be shown.
    small = {name for name, count in moved.items() if count and name in (WITHIN, ACROSS)}
    return {name: count for name, count in sorted(moved.items()) if count >= least or name in small}


def shown(parts: Mapping[str, int], least: int, unit: int) -> tuple[int | None, dict[str, int | None]]:
    """The total of distinct people and each institution's number, small ones hidden (None), others rounded to `unit`.

    `parts` see `Counted.parts`. What is hidden must not follow from the total: where the hidden ones together are fewer
    than `least`, or there is only one, the smallest shown number is hidden too.
    """
    people = of_institutions(parts)
    answers = {name: mask_plain(count, least, unit).value for name, count in people.items()}
    hidden = {name for name, value in answers.items() if value is None}
    by_size = sorted(
        (name for name in people if name not in hidden and people[name]), key=lambda n: (people[n], n)
    )
    while hidden and by_size and (len(hidden) == 1 or sum(people[n] for n in hidden) < least):
        hidden.add(by_size.pop(0))
    total = mask_plain(_total(parts), least, unit).value
    return total, {name: None if name in hidden else answers[name] for name in sorted(answers)}


def twice(parts: Mapping[str, int], least: int, unit: int) -> tuple[int | None, int | None]:
    """(participations over all cohorts, how many of them are of people counted before); None where it is too few to
    tell, and then for both, for the one would tell the other."""
    again = parts.get(WITHIN, 0) + parts.get(ACROSS, 0)
    told = mask_plain(again, least, unit).value
    if told is None:
        return None, None
    return mask_plain(_total(parts) + again, least, unit).value, told


def of_institutions(parts: Mapping[str, int]) -> dict[str, int]:
    """The parts that are institutions."""
    return {name: count for name, count in parts.items() if name not in (WITHIN, ACROSS)}


def _total(parts: Mapping[str, int]) -> int:
    # Sums of numbers that move by a batch each: no difference of two of them moves by less.
    return max(0, sum(of_institutions(parts).values()) - parts.get(ACROSS, 0))
