"""How much is tried: in `make test` few examples and the first cases of many; the other cases are run again by CI."""

from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import settings

Amount = TypeVar("Amount")


def tries(quick: Amount, thorough: Amount) -> Amount:
    """How much is tried in this run, the number of examples above all; the profile `thorough` is said by
    `--hypothesis-profile`."""
    return thorough if settings.get_current_profile_name() == "thorough" else quick


def first(quick: int, cases: Sequence[Any]) -> list[Any]:
    """Cases of one promise, the telling ones first: `make test` runs that many, the others are marked `again`."""
    later = [case if isinstance(case, tuple) else (case,) for case in cases[quick:]]
    return [*cases[:quick], *(pytest.param(*case, marks=pytest.mark.again) for case in later)]
