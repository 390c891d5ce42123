"""Whatever the table: classes are lawful, every tuple has a class, coarsening only coarsens, order does not matter."""

from itertools import product
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.deid.anonymity.frequency import AnonymityError, Frequency, Sensitive
from app.deid.anonymity.global_lattice import fit_global
from app.deid.anonymity.local import fit_local
from app.deid.anonymity.recoding import coarsen, from_json
from app.deid.hierarchies import fit
from tests.amounts import tries
from tests.unit.deid.anonymity_tables import is_coarser, permuted, unlawful

SPECS: list[dict[str, Any]] = [
    {"kind": "interval", "bounds": [0, 12], "widths": [2, 4]},
    {"kind": "flat", "groups": {"x": ["a", "b"], "y": ["c"]}},
    {"kind": "prefix", "lengths": [2, 1]},
]
VALUES: list[list[Any]] = [[0, 1, 2, 5, 11, 14, None], ["a", "b", "c"], ["A01", "A02", "A11", "B01", None]]
FITTED = [fit(spec, values, name) for spec, values, name in zip(SPECS, VALUES, "nfp", strict=True)]
TUPLES = st.tuples(*(st.integers(0, len(values) - 1) for values in VALUES))


@st.composite
def tables(draw):
    codes = sorted(draw(st.sets(TUPLES, min_size=6, max_size=40)))
    units, values = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    one = st.integers(0, 6)
    counts = draw(
        st.lists(st.lists(one, min_size=units, max_size=units), min_size=len(codes), max_size=len(codes))
    )
    sensitive = []
    if values:
        hist = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 4, (len(codes), values))
        distinct = draw(st.sampled_from([None, 1, 2]))
        distance = draw(st.sampled_from([None, 0.2, 0.5]))
        closed = np.array(draw(st.lists(st.booleans(), min_size=values, max_size=values)))
        sensitive.append(Sensitive("s", hist.astype(np.int64), distinct, distance, closed))
    return Frequency(np.array(codes, np.int32), np.array(counts, np.int64), sensitive)


def lawful_or_none(make):
    try:
        return make()
    except AnonymityError as refused:
        if refused.problems[0][0] == "unlawful_result":
            raise
        return None


@settings(max_examples=tries(20, 200), deadline=None)
@given(tables(), st.integers(1, 8), st.lists(st.sampled_from([None, 0, 1, 2]), min_size=3, max_size=3))
def test_local(freq, k, ceiling):
    recoding = lawful_or_none(lambda: fit_local(freq, FITTED, k, max_level=ceiling))
    if recoding is None:
        return
    assert unlawful(recoding, freq, FITTED, k) == 0
    assert from_json(recoding.to_json()) == recoding
    grid = np.array(list(product(*(range(len(values)) for values in VALUES))), np.int32)
    assert set(recoding.assign(grid, FITTED).tolist()) <= {-1, *recoding.class_ids()}
    if ceiling == [None] * 3:
        assert (recoding.assign(grid, FITTED) >= 0).all()


@settings(max_examples=tries(15, 200), deadline=None)
@given(tables(), st.integers(1, 8), st.sampled_from([0.0, 0.1, 0.5]))
def test_global(freq, k, share):
    recoding = lawful_or_none(lambda: fit_global(freq, FITTED, k, share))
    if recoding is None:
        return
    assert unlawful(recoding, freq, FITTED, k) == 0
    assert from_json(recoding.to_json()) == recoding
    gone = freq.counts[recoding.assign(freq.codes, FITTED) < 0, 0].sum()
    assert gone <= share * freq.counts[:, 0].sum() + 1e-6


@settings(max_examples=tries(20, 200), deadline=None)
@given(tables(), tables(), tables(), st.integers(1, 6), st.sampled_from(["local", "limited", "global"]))
def test_coarsening(freq, later, last, k, method):
    make = {
        "local": lambda: fit_local(freq, FITTED, k),
        "limited": lambda: fit_local(freq, FITTED, k, max_level=[1, None, 2]),
        "global": lambda: fit_global(freq, FITTED, k, 0.3),
    }[method]
    recoding = lawful_or_none(make)
    if recoding is None:
        return
    for changed in (later, last):
        coarser = lawful_or_none(lambda old=recoding, new=changed: coarsen(old, new, FITTED, k))
        if coarser is None:
            return
        assert unlawful(coarser, changed, FITTED, k) == 0
        for codes in (freq.codes, later.codes, last.codes):
            assert is_coarser(coarser, recoding, codes, FITTED)
        assert coarsen(coarser, changed, FITTED, k) == coarser
        assert from_json(coarser.to_json()) == coarser
        recoding = coarser


def test_the_properties_are_not_empty():
    """Most tables of the kind drawn above do have a recoding, so the properties say something."""
    draw = np.random.default_rng(1)
    made = []
    for k in range(1, 9):
        codes = np.unique([draw.integers(0, len(values), 30) for values in VALUES], axis=1).T.astype(np.int32)
        freq = Frequency(codes, draw.integers(0, 7, (len(codes), 2)))
        recoding = fit_local(freq, FITTED, k)
        made.append(len(set(recoding.assign(codes, FITTED).tolist())))
    assert min(made) >= 2


@settings(max_examples=tries(15, 200), deadline=None)
@given(tables(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_order_of_tuples_does_not_matter(freq, k, shuffle):
    order = list(range(len(freq.codes)))
    shuffle.shuffle(order)
    for run in (fit_local, lambda table, columns, k: fit_global(table, columns, k, 0.2)):
        ours = lawful_or_none(lambda run=run: run(freq, FITTED, k))
        other = lawful_or_none(lambda run=run: run(permuted(freq, order), FITTED, k))
        assert (ours and ours.to_json()) == (other and other.to_json())
