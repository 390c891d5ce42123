"""The rule of a lawful class, the frequency table's refusals, and the loss, on cases worked by hand."""

import numpy as np
import pytest

from app.deid.anonymity.frequency import AnonymityError, Frequency, Sensitive, check_root, rule_of
from app.deid.anonymity.loss import combine, loss, summary
from app.deid.anonymity.recoding import Recoding
from app.deid.hierarchies import fit

CODES = np.array([[0], [1], [2]], np.int32)


def table(counts, *sensitive):
    return Frequency(CODES, np.array(counts, np.int64), list(sensitive))


def column(hist, distinct=None, distance=None, closed=()):
    hist = np.array(hist, np.int64)
    return Sensitive("illness", hist, distinct, distance, np.isin(np.arange(hist.shape[1]), closed))


def lawful(freq, k):
    return rule_of(freq, k).lawful(freq.measures()).tolist()


def test_column_0_needs_k_and_every_other_column_0_or_k():
    assert lawful(table([[3, 0], [3, 2], [2, 3]]), 3) == [True, False, False]


def test_distinct_values():
    assert lawful(table([[4], [4], [4]], column([[4, 0], [3, 1], [0, 0]], distinct=2)), 3) == [
        False,
        True,
        True,
    ]


def test_a_closed_value_may_not_be_the_only_one_even_without_l():
    assert lawful(table([[4], [4], [4]], column([[4, 0], [0, 4], [2, 2]], closed=[1])), 3) == [
        True,
        False,
        True,
    ]


def test_distance_to_the_overall_distribution():
    # Overall 5:5; the classes lie .5, .5 and 0 from it, by total variation.
    freq = table([[4], [4], [2]], column([[4, 0], [0, 4], [1, 1]], distance=0.4))
    assert lawful(freq, 2) == [False, False, True]
    assert lawful(table([[4], [4], [2]], column([[4, 0], [0, 4], [1, 1]], distance=0.5)), 2) == [
        True,
        True,
        True,
    ]


def test_the_root_names_every_column_that_is_below_k():
    freq = table([[1, 1, 9], [1, 0, 0], [1, 0, 0]], column([[1, 0], [1, 0], [1, 0]], distinct=2))
    with pytest.raises(AnonymityError) as refused:
        check_root(rule_of(freq, 5), freq.measures().sum(axis=0))
    assert [code for code, _ in refused.value.problems] == ["below_k", "below_k", "sensitive"]
    assert [detail[:14] for _, detail in refused.value.problems[:2]] == ["count column 0", "count column 1"]


@pytest.mark.parametrize(
    ("freq", "k", "code"),
    [
        (table([[1], [1], [1]]), 0, "bad_k"),
        (table([[1], [-1], [1]]), 2, "bad_counts"),
        (table([[1], [1]]), 2, "bad_counts"),
        (Frequency(np.zeros((0, 1), np.int32), np.zeros((0, 1), np.int64)), 2, "empty"),
        (table([[1], [1], [1]], column([[1], [1]])), 2, "bad_sensitive"),
    ],
)
def test_tables_that_cannot_be_judged(freq, k, code):
    with pytest.raises(AnonymityError, match=code):
        rule_of(freq, k)


def test_loss_by_hand():
    # Four values in two pairs: raw costs 0, a pair (2/4 - 1/4) / (3/4) = 1/3, the root 1.
    pairs = {"kind": "flat", "groups": {"p": ["a", "b"], "q": ["c", "d"]}}
    fitted = [fit(pairs, ["a", "b", "c"], "x")]
    tree = Recoding(("x",), (2,), (2,), (-1, 0, 0, 1), (-1, 0, 0, 0), (-1, 1, 1, 0), ("", "p", "q", "a"))
    freq = table([[6], [3], [1]])
    assert tree.assign(freq.codes, fitted).tolist() == [3, 1, 2]
    assert loss(tree, freq, fitted) == pytest.approx((6 * 0 + 3 / 3 + 1 / 3) / 10)
    gone = Recoding(tree.names, tree.heights, (1,), (-1,), (-1,), (-1,), ("",))
    assert loss(gone, freq, fitted) == 1
    assert combine(np.array([0.0, 1.0])) == pytest.approx(2**0.5 - 1)


def test_summary_counts_people():
    counts = np.array([[4], [2], [9], [1]], np.int64)
    figures = summary(np.array([7, 7, 2, -1], np.int32), counts)
    assert figures == {"classes": 2, "smallest": 6, "average": 7.5, "suppressed": 1, "max_risk": 1 / 6}
    assert summary(np.array([-1], np.int32), counts[:1])["max_risk"] == 0
