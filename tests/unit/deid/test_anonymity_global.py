"""Global recoding is exact: equal, on small tables, to trying every node of the lattice."""

from itertools import product

import numpy as np
import pytest

from app.deid.anonymity.frequency import AnonymityError, Frequency, rule_of
from app.deid.anonymity.global_lattice import Descent, fit_global
from app.deid.anonymity.ladder import costs
from app.deid.anonymity.loss import combine, loss, summary
from app.deid.anonymity.recoding import FullDomain, coarsen, from_json
from tests.amounts import first
from tests.unit.deid.anonymity_tables import is_coarser, people, permuted, unlawful


def every_node(freq, fitted, k, share):
    """Loss and levels of the best node, by brute force and without any code of the search."""
    rule, people_in, found = rule_of(freq, k), freq.counts[:, 0], []
    for levels in product(*(range(one.height + 1) for one in fitted)):
        nodes = np.stack([one.nodes[freq.codes[:, q], levels[q]] for q, one in enumerate(fitted)], axis=1)
        _, home = np.unique(nodes, axis=0, return_inverse=True)
        sums = np.zeros((home.max() + 1, freq.measures().shape[1]))
        np.add.at(sums, home.ravel(), freq.measures())
        out = ~rule.lawful(sums)[home.ravel()]
        if people_in[out].sum() > share * people_in.sum() or out.all():
            continue
        cost = [costs(one, levels[q])[nodes[:, q]] for q, one in enumerate(fitted)]
        means = [(np.where(out, 1.0, one) * people_in).sum() / people_in.sum() for one in cost]
        found.append((combine(np.array(means)), levels))
    return min(found)


@pytest.mark.parametrize(
    "asked", [{}, {"units": 2}, {"distinct": 3}, {"distance": 0.2}, {"closed": (0, 1, 2, 3)}]
)
@pytest.mark.parametrize(("k", "share"), first(2, [(2, 0.0), (5, 0.05), (11, 0.02), (40, 0.3)]))
def test_it_finds_what_trying_every_node_finds(asked, k, share):
    freq, fitted = people(500, seed=k, **asked)
    recoding = fit_global(freq, fitted, k, share)
    best, _ = every_node(freq, fitted, k, share)
    assert loss(recoding, freq, fitted) == pytest.approx(best, abs=1e-9)
    figures = summary(recoding.assign(freq.codes, fitted), freq.counts)
    assert figures["suppressed"] <= share * 500
    assert unlawful(recoding, freq, fitted, k) == 0


@pytest.mark.again
def test_a_search_that_cuts_too_much_is_caught(monkeypatch):
    """Treating every node over budget as hopeless is wrong where unions can be unlawful: brute force notices."""
    honest = Descent.judge

    def hasty(self, node):
        cost, _ = honest(self, node)
        return cost, True

    monkeypatch.setattr(Descent, "judge", hasty)
    wrong = 0
    for share in np.arange(20) / 100:
        freq, fitted = people(500, seed=5, units=2)
        best, _ = every_node(freq, fitted, 5, share)
        wrong += loss(fit_global(freq, fitted, 5, share), freq, fitted) > best + 1e-9
    assert wrong > 0


def test_text_order_and_levels():
    freq, fitted = people(500)
    recoding = fit_global(freq, fitted, 5, 0.05, max_level=[3, None, 1], min_level=[1, None, None])
    assert recoding.chosen[0] in (1, 2, 3)
    assert recoding.chosen[2] <= 1
    assert from_json(recoding.to_json()) == recoding
    order = np.random.default_rng(0).permutation(len(freq.codes))
    again = fit_global(
        permuted(freq, order), fitted, 5, 0.05, max_level=[3, None, 1], min_level=[1, None, None]
    )
    assert again.to_json() == recoding.to_json()


def test_labels_hold_the_value_they_stand_for():
    freq, fitted = people(300)
    recoding = fit_global(freq, fitted, 5, 0.1)
    for codes, class_id in zip(freq.codes, recoding.assign(freq.codes, fitted).tolist(), strict=True):
        if class_id >= 0:
            for q, (level, label) in enumerate(recoding.labels(class_id)):
                assert fitted[q].labels[level][fitted[q].nodes[codes[q], level]] == label
    with pytest.raises(AnonymityError, match="no_such_class"):
        recoding.labels(10**6)


def test_coarsening_suppresses_what_fails_and_keeps_ids():
    freq, fitted = people(500)
    recoding = fit_global(freq, fitted, 5, 0.1)
    later = Frequency(freq.codes, np.random.default_rng(5).binomial(freq.counts, 0.8))
    coarser = coarsen(recoding, later, fitted, 5)
    assert isinstance(coarser, FullDomain)
    assert set(coarser.groups) < set(recoding.groups)
    assert unlawful(coarser, later, fitted, 5) == 0
    assert is_coarser(coarser, recoding, freq.codes, fitted)
    assert coarsen(coarser, later, fitted, 5) == coarser


def test_no_node_is_good_enough():
    freq, fitted = people(100)
    with pytest.raises(AnonymityError, match="too_much_suppression"):
        fit_global(freq, fitted, 30, 0.0, max_level=[0, 0, 0])
    with pytest.raises(AnonymityError, match="below_k"):
        fit_global(freq, fitted, 101, 0.5)
