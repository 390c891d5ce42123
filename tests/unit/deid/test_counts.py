"""Masked counts: the p-table as documented, zero, threshold, rounding, attrition, and presets with their sources."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import app.deid.presets as presets_file
from app.deid.counts import (
    NOISE_BOUND,
    P_TABLE,
    CountRule,
    CountShown,
    cell_key,
    mask_attrition,
    mask_plain,
    masked,
    record_keys,
)
from app.deid.presets import presets

SECRET = bytes(range(32))
CMS = CountRule(11, 1)
SPREAD = [(i * 2**64 + 2**63) // 1000 for i in range(1000)]  # cell keys, evenly spread


def test_the_p_table_is_symmetric_bounded_and_of_mean_zero():
    chances = dict(P_TABLE)
    assert sum(chances.values()) == 25
    assert all(chances[noise] == chances[-noise] for noise in chances)
    assert max(chances) == NOISE_BOUND
    assert sum(noise * noise * parts for noise, parts in P_TABLE) / 25 == 4


def test_the_noise_follows_the_p_table():
    shown = [masked(1000, key, CMS).value for key in SPREAD]
    for noise, parts in P_TABLE:
        assert shown.count(1000 + noise) == pytest.approx(1000 * parts / 25, abs=2)


def test_only_the_fraction_of_the_sum_counts():
    assert masked(100, 5 * 2**64 + SPREAD[900], CMS) == masked(100, SPREAD[900], CMS)


def test_record_keys_are_uniform_and_secret():
    ids = np.random.default_rng(1).integers(0, 256, (20_000, 16), dtype=np.uint8)
    keys = record_keys(ids, SECRET)
    assert np.histogram(keys / 2**64, 10, (0, 1))[0].min() > 1800
    assert not (keys == record_keys(ids, SECRET[::-1])).any()


def test_a_cell_key_is_the_exact_sum_modulo_one():
    keys = np.array([2**64 - 1, 2, 2**63], dtype=np.uint64)
    assert cell_key(keys) == (2**64 - 1 + 2 + 2**63) % 2**64
    assert cell_key(keys[:0]) == 0


def test_nobody_is_shown_as_zero_or_hidden_as_the_rule_says():
    assert masked(0, 123, CMS) == CountShown(0, False)
    assert masked(0, 123, CountRule(8, 5, allow_zero=False)) == CountShown(None, True)


@pytest.mark.parametrize("count", range(1, 11))
def test_one_to_ten_people_are_never_shown(count: int):
    assert {masked(count, key, CMS) for key in SPREAD} == {CountShown(None, True)}


def test_enough_people_are_shown_whatever_the_noise():
    assert not any(masked(11 + 2 * NOISE_BOUND, key, CMS).suppressed for key in SPREAD)


def test_one_person_more_does_not_tell_where_the_threshold_lies():
    # At every true count around the threshold some sets are shown and some hidden.
    shares = [sum(masked(count, key, CMS).suppressed for key in SPREAD) / 1000 for count in range(11, 20)]
    assert all(a >= b for a, b in pairwise(shares))
    assert shares[0] > 0.9
    assert 0 < shares[4] < 1
    assert shares[-1] == 0


def test_a_negative_count_and_a_rule_without_threshold_are_refused():
    with pytest.raises(ValueError, match="negative"):
        masked(-1, 0, CMS)
    with pytest.raises(ValueError, match="negative"):
        mask_plain(-1, 11, 5)
    with pytest.raises(ValueError, match="min_cell"):
        CountRule(1, 5)


@pytest.mark.parametrize(
    ("count", "shown"), [(0, 0), (1, None), (10, None), (11, None),
    (12, None), (13, 15), (17, 15), (18, 20), (1002, 1000)],
)  # fmt: skip
def test_plain_masking_rounds_and_hides_what_rounds_below_the_threshold(count: int, shown: int | None):
    assert mask_plain(count, 11, 5) == CountShown(shown, shown is None)


def test_an_attrition_table_hides_a_step_that_only_a_few_left():
    steps = [
        ("registered", 2694),
        ("consented", 2400),
        ("filtered", 2395),
        ("suppressed", 2391),
        ("released", 2380),
    ]
    shown = [(step.step, step.people) for step in mask_attrition(steps, 11, 5)]
    assert shown == [
        ("registered", 2695),
        ("consented", 2400),
        ("filtered", None),
        ("suppressed", None),
        ("released", 2380),
    ]


def test_a_step_that_nobody_left_is_shown():
    assert [s.people for s in mask_attrition([("a", 100), ("b", 100), ("c", 0)], 11, 5)] == [100, 100, 0]


def test_presets_are_data_with_source_and_claim_no_approval():
    known = presets()
    assert set(known.rows) == {"expert_0_09", "hipaa_safe_harbor", "korea_pseudonymised"}
    assert set(known.counts) == {"all_of_us_20", "cms_11", "opensafely"}
    document = json.loads(Path(presets_file.__file__).with_suffix(".json").read_text("utf-8"))
    for preset in [*document["rows"].values(), *document["counts"].values()]:
        assert preset["source"]
        assert preset["claim"].startswith("No authority has approved")
    assert known.rows["expert_0_09"].k == 11
    assert known.rows["hipaa_safe_harbor"].date_modes == ("year",)


@pytest.mark.parametrize(("name", "hidden"), [("cms_11", 10), ("all_of_us_20", 20), ("opensafely", 7)])
def test_count_presets_hide_what_their_source_hides(name: str, hidden: int):
    rule = presets().counts[name].rule
    for count in range(1, hidden + 1):
        assert all(masked(count, key, rule).suppressed for key in SPREAD[::50])
    assert any(not masked(hidden + 6, key, rule).suppressed for key in SPREAD)
    assert all(not masked(hidden + 20, key, rule).suppressed for key in SPREAD)
