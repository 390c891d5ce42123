"""The seeds of linked people: a name stays with a person, and never goes to another."""

from __future__ import annotations

import numpy as np
import pytest

from app import crosswalk

KEY = bytes(range(32))
A1, B1, A2, B2, C1 = 1, 2, 3, 4, 5


def _seeded(*people: tuple[int, ...], held: dict[int, bytes]) -> dict[int, bytes]:
    """The id that each participant's pseudonym is made of, where these are people."""
    keys = np.array(sorted(key for one in people for key in one), dtype=np.int32)
    first = {key: min(one) for one in people for key in one}
    person = np.array([first[key] for key in keys.tolist()], dtype=np.int32)
    ids = np.stack([_own(key) for key in keys.tolist()])
    made, given = crosswalk._seeded(ids, keys, person, held, KEY)
    assert all(
        made[i].tobytes() == given.get(key, _own(key).tobytes()) for i, key in enumerate(keys.tolist())
    )
    return {key: made[i].tobytes() for i, key in enumerate(keys.tolist())}


def _own(key: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.full(16, key, dtype=np.uint8)


@pytest.fixture
def before() -> dict[int, bytes]:
    return _seeded((A1, B1), (A2, B2), held={})


def test_people_have_one_name_each_and_keep_it(before: dict[int, bytes]) -> None:
    assert before[A1] == before[B1] != before[A2] == before[B2]
    assert _seeded((A1, B1), (A2, B2), held=before) == before


def test_whose_other_left_keeps_the_name(before: dict[int, bytes]) -> None:
    now = _seeded((A1,), (A2, B2), held=before)
    assert (now[A1], now[A2]) == (before[A1], before[A2])


def test_who_is_linked_no_more_has_their_own(before: dict[int, bytes]) -> None:
    now = _seeded((A1,), (B1,), (A2, B2), held=before)
    assert (now[A1], now[B1]) == (_own(A1).tobytes(), _own(B1).tobytes())


def test_tokens_that_were_swapped_give_new_names(before: dict[int, bytes]) -> None:
    now = _seeded((A1, B2), (A2, B1), held=before)
    assert now[A1] == now[B2] != now[A2] == now[B1]
    assert not {now[A1], now[A2]} & set(before.values())


def test_a_corrected_token_gives_nobody_the_name_of_another(before: dict[int, bytes]) -> None:
    now = _seeded((A1,), (A2, B1), held={A1: before[A1], B1: before[B1]})
    assert now[A1] == _own(A1).tobytes()
    assert now[A2] == now[B1] != before[A1]


@pytest.mark.parametrize("joined", [A2, C1])
def test_nobody_comes_into_a_name_that_somebody_has_taken_back(before: dict[int, bytes], joined: int) -> None:
    """A1 has withdrawn, and the name they shared with B1 was recalled; then B1 is found to be one with another."""
    now = _seeded((joined, B1), (B2,), held=before)
    assert now[joined] == now[B1] != before[A1]
    assert _seeded((joined, B1), (B2,), held=before | {joined: now[B1], B1: now[B1]})[B1] == now[B1]


def test_who_is_left_alone_and_found_anew_keeps_no_name_of_two(before: dict[int, bytes]) -> None:
    """B1's other was destroyed, and nothing is known of them any more."""
    held = {key: seed for key, seed in before.items() if key != A1}
    assert _seeded((B1,), (A2, B2), held=held)[B1] == before[B1]
    assert _seeded((C1, B1), (A2, B2), held=held)[C1] != before[B1]


def test_people_that_become_one_have_one_name_of_theirs(before: dict[int, bytes]) -> None:
    now = _seeded((A1, B1, A2, B2), held=before)
    assert len(set(now.values())) == 1
    assert set(now.values()) < set(before.values())
    later = _seeded((A1, B1, A2, B2, C1), held=now)
    assert set(later.values()) == set(now.values())
