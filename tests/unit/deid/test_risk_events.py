"""The attack by three events, rare codes, and the meet of two releases, against figures counted by hand."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from app.deid.anonymity.full_domain import FullDomain
from app.deid.hierarchies import fit
from app.deid.risk.codes import code_losses
from app.deid.risk.events import event_uniqueness
from app.deid.risk.intersection import intersect, intersect_recodings
from tests.unit.deid.risk_tables import standing

PEOPLE = [{"key": key, "sex": "F", "age": 30} for key in range(5)]
OUT = [{"key": key, "sex": "F", "age": "*"} for key in range(5)]
JANUARY, LATE = date(2020, 1, 3), date(2020, 1, 30)


def _visits(codes: dict[int, str], day: date = JANUARY) -> list[dict[str, object]]:
    return [
        {"key": key, "code": code, "day": day, "value": 1.0} for key, said in codes.items() for code in said
    ]


# Two people have A, B, C; one alone has D; one has too few events.
HISTORIES = {0: "ABC", 1: "ABC", 2: "ABD", 3: "AB"}


def test_unique_by_three_events(tmp_path: Path):
    raw = _visits(HISTORIES)
    with standing(tmp_path, PEOPLE, OUT, raw, raw) as ground:
        found = event_uniqueness(ground)
    assert found is not None
    assert found.tables == ("visits",)
    for attack in (found.before, found.after, found.codes_alone):
        assert (attack.able, attack.sampled) == (3, 3)
        assert attack.unique_share == pytest.approx(1 / 3)


def test_a_dropped_code_takes_the_uniqueness_away(tmp_path: Path):
    with standing(tmp_path, PEOPLE, OUT, _visits(HISTORIES), _visits({**HISTORIES, 2: "AB"})) as ground:
        found = event_uniqueness(ground)
    assert found is not None
    assert found.before.unique_share == pytest.approx(1 / 3)
    assert (found.after.able, found.after.unique_share) == (2, 0.0)


def test_days_of_a_month_are_one_event_and_other_months_another(tmp_path: Path):
    same = _visits({0: "ABC"}) + _visits({1: "ABC"}, LATE)
    moved = _visits({0: "ABC"}) + _visits({1: "ABC"}, date(2020, 2, 1))
    with standing(tmp_path, PEOPLE, OUT, same, moved) as ground:
        found = event_uniqueness(ground)
    assert found is not None
    assert (found.before.unique_share, found.after.unique_share, found.codes_alone.unique_share) == (0, 1, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_superset_of_the_known_events_hides_the_person(tmp_path: Path, seed: int):
    # Person 0 hides in person 4, who has all that they have.
    raw = _visits({0: "ABC", 4: "ABCE"})
    with standing(tmp_path, PEOPLE, OUT, raw, raw, seed=seed) as ground:
        found = event_uniqueness(ground)
        again = event_uniqueness(ground)
    assert found == again
    assert found is not None
    # Person 0 is never unique; person 4 is, unless just A, B, C are drawn.
    assert found.before.unique_share in (0.0, 0.5)


def test_repeats_are_one_event(tmp_path: Path):
    raw = _visits({0: "AAAB"})
    with standing(tmp_path, PEOPLE, OUT, raw, raw) as ground:
        found = event_uniqueness(ground)
    assert found is not None
    assert found.before.able == 0


def test_rare_codes(tmp_path: Path):
    raw = _visits({0: "A", 1: "A"}) + [
        {"key": key, "code": code, "day": JANUARY}
        for key, code in ((0, "B1"), (1, "B2"), (2, "C1"), (2, "C1"), (3, "D"))
    ]
    out = _visits({0: "A", 1: "A"}) + [
        {"key": key, "code": code, "day": JANUARY} for key, code in ((0, "B"), (1, "B"), (2, None), (2, None))
    ]
    # Person 3 is suppressed: what they alone had is no loss of codes.
    with standing(tmp_path, PEOPLE[:4], OUT[:3], raw, out) as ground:
        (found,) = code_losses(ground)
    assert (found.kept, found.rolled_up, found.dropped) == (1, 2, 1)
    assert (found.cells, found.cells_rolled_up, found.cells_dropped) == (6, 2, 2)
    assert (found.people_rolled_up, found.people_dropped) == (2, 1)


def test_the_meet_of_two_releases():
    first, second = np.array([0, 0, 0, 1, 1, -1, 2]), np.array([0, 0, 1, 1, 1, 0, -1])
    found = intersect(first, second, np.ones(7, np.int64), 2, "p-1")
    # Crowds of the five in both: {0, 1}, {2}, {3, 4}.
    assert (found.both.people, found.both.classes, found.both.smallest) == (5, 3, 1)
    assert (found.both.unique_share, found.both.below_k_share) == (1 / 5, 1 / 5)
    assert (found.only_first, found.only_second) == (1, 1)
    assert found.needs_signature


def test_tuples_stand_for_people():
    found = intersect(np.array([0, 0]), np.array([0, 1]), np.array([1000, 3], np.int64), 5)
    assert found.both.below_k_share == 3 / 1003
    assert found.needs_signature
    assert not intersect(np.array([0, 0]), np.array([0, 1]), np.array([4000, 3], np.int64), 5).needs_signature


def test_the_same_release_twice_tells_nothing_more():
    same = np.array([0, 0, 1, 1])
    assert intersect(same, same, np.ones(4, np.int64), 2).both.smallest == 2


def test_full_domain_releases_meet_at_the_finer_level_of_each_column():
    fitted = [
        fit({"kind": "flat"}, ["F", "M"], "sex"),
        fit({"kind": "interval", "bounds": [0, 100], "widths": [50]}, [10, 60], "age"),
    ]
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int32)
    people = np.array([5, 6, 7, 8], np.int64)
    by_sex = FullDomain(("sex", "age"), (1, 2), (0, 2), ((0, ("F", "*")), (1, ("M", "*"))))
    by_age = FullDomain(("sex", "age"), (1, 2), (1, 1), ((0, ("*", "[0, 50)")), (1, ("*", "[50, 100)"))))
    found = intersect_recodings(by_sex.to_json(), by_age.to_json(), codes, people, fitted, 6)
    # Alone each has classes of 11 and more; the meet is sex by half century: 5, 6, 7, 8.
    assert (found.both.classes, found.both.smallest) == (4, 5)
    assert found.both.below_k_share == pytest.approx(5 / 26)
