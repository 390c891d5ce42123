"""Numbers that move in batches, and none that can be worked out from the others."""

from hypothesis import given
from hypothesis import strategies as st

from app.catalog.progress import ACROSS, in_batches, shown
from app.deid.counts import mask_plain

counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 80), max_size=6)


@given(counts.map(lambda drawn: in_batches({}, drawn, 11)), counts)
def test_a_number_moves_by_a_batch_or_not_at_all(before: dict[str, int], now: dict[str, int]):
    after = in_batches(before, now, 11)
    for name in {*before, *now}:
        moved = after.get(name, 0) - before.get(name, 0)
        assert moved == 0 or abs(moved) >= 11
        assert abs(after.get(name, 0) - now.get(name, 0)) < 11


def test_whoever_is_gone_altogether_is_not_hidden_for_ever():
    few = in_batches({"a": 20, "b": 40}, {"a": 5, "b": 40}, 11)
    # As before they were a batch, they are none; and nothing hides b.
    assert shown(few, 11, 5) == (40, {"b": 40})
    assert in_batches(few, {"b": 40}, 11) == {"b": 40}
    assert in_batches({"a": 5}, {}, 11) == {}  # of figures that were kept when they could fall to a few


def test_the_last_of_a_batch_leaves_unseen():
    assert in_batches({"a": 11}, {"a": 10}, 11) == {"a": 11}


@given(counts)
def test_what_is_hidden_is_never_a_few_people_or_one_institution(people: dict[str, int]):
    total, by_institution = shown(people, 11, 5)
    hidden = [name for name, value in by_institution.items() if value is None]
    shown_ones = [name for name in people if people[name] and by_institution[name] is not None]
    if hidden and shown_ones:
        assert len(hidden) > 1
        assert sum(people[name] for name in hidden) >= 11
    assert total == mask_plain(sum(people.values()), 11, 5).value
    assert all(value is None or value == 0 or value >= 11 for value in by_institution.values())


def test_what_is_taken_off_is_taken_off_however_little_is_left_of_it() -> None:
    before = {"a": 100, "b": 100, ACROSS: 20}
    now = in_batches(before, before | {ACROSS: 9}, 11)
    assert now == before | {ACROSS: 9}
    assert (shown(now, 11, 1)[0] or 0) <= 191
