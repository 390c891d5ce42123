"""Class sizes, losses, groups and inference, each against figures counted by hand."""

from pathlib import Path

import pytest

from app.deid.risk.classes import risk_of, uniqueness
from app.deid.risk.columns import column_losses, total_loss
from app.deid.risk.groups import suppressed_by_group
from app.deid.risk.inference import inferences
from tests.unit.deid.risk_tables import standing

RAW = [
    {"key": 0, "sex": "M", "age": 25, "salary": "high"},
    {"key": 1, "sex": "M", "age": 25, "salary": "low"},
    {"key": 2, "sex": "F", "age": 31, "salary": "low"},
    {"key": 3, "sex": "F", "age": 47, "salary": "low"},
    {"key": 4, "sex": "F", "age": 90, "salary": "high"},
]
# The last one is suppressed; the women of 31 and 47 share the widest label.
OUT = [
    {"key": 0, "sex": "M", "age": "[20, 30)", "salary": "high"},
    {"key": 1, "sex": "M", "age": "[20, 30)", "salary": "low"},
    {"key": 2, "sex": "F", "age": "*", "salary": "low"},
    {"key": 3, "sex": "F", "age": "*", "salary": "low"},
]


def test_class_sizes_before_and_after(tmp_path: Path):
    with standing(tmp_path, RAW, OUT) as ground:
        found = uniqueness(ground)
    before, after = found.before, found.after
    assert found.quasi_identifiers == ("sex", "age")
    assert (before.people, before.classes, before.smallest, before.largest) == (5, 4, 1, 2)
    assert (before.average_risk, before.max_risk, before.unique_share) == (4 / 5, 1.0, 3 / 5)
    assert before.below_k_share == 3 / 5
    assert (after.people, after.classes, after.smallest, after.largest) == (4, 2, 2, 2)
    assert (after.average_risk, after.max_risk, after.unique_share, after.below_k_share) == (0.5, 0.5, 0, 0)


def test_the_histogram_holds_everyone_once():
    # 3 people alone, 2 classes of 2, one of 11, one of 1,500.
    found = risk_of({1: 3, 2: 2, 11: 1, 1500: 1}, 11)
    assert {(b.low, b.high): (b.classes, b.people) for b in found.histogram if b.classes} == {
        (1, 1): (3, 3),
        (2, 2): (2, 4),
        (11, 19): (1, 11),
        (1000, None): (1, 1500),
    }
    assert found.below_k_share == 7 / 1518
    assert found.median == 1500


def test_nobody_is_no_risk():
    assert risk_of({}, 11).max_risk == 0


def test_the_loss_of_each_column(tmp_path: Path):
    with standing(tmp_path, RAW, OUT) as ground:
        found = {loss.column: loss for loss in column_losses(ground)}
        total = total_loss(list(found.values()))
    # ARX's Loss over a domain of 100: a band of 10 costs (.10 - .01) / .99, the root and the suppressed cost 1.
    age = (2 * (0.10 - 0.01) / 0.99 + 3) / 5
    assert found["age"].loss == pytest.approx(age)
    assert found["age"].levels == (0, 2, 0, 2)
    assert found["sex"].loss == pytest.approx(1 / 5)
    assert found["sex"].levels == (4, 0)
    # No label: one cell of five is gone.
    assert found["salary"].loss == pytest.approx(1 / 5)
    assert (found["salary"].distinct_before, found["salary"].distinct_after) == (2, 2)
    assert total == pytest.approx(((1 + age) * 1.2) ** 0.5 - 1)


def test_who_is_left_out(tmp_path: Path):
    visits = [{"key": 0, "code": "A"}, {"key": 4, "code": "A"}, {"key": 4, "code": "B"}]
    with standing(tmp_path, RAW, OUT, visits, visits[:1]) as ground:
        found = {g.column: {one.label: one for one in g.groups} for g in suppressed_by_group(ground)}
    women = found["sex"]["F"]
    assert (women.people, women.people_out, women.rows, women.rows_out) == (3, 2, 5, 2)
    assert women.suppressed_share == pytest.approx(1 / 3)
    assert found["sex"]["M"].suppressed_share == 0
    # Bands of ten years; those of one person are put together, for they would name a person.
    assert set(found["age"]) == {"20-29", None}
    assert (found["age"][None].people, found["age"][None].people_out) == (3, 2)


def test_bands_of_years_are_told_whole(tmp_path: Path):
    born = [{**row, "age": year} for row, year in zip(RAW, (1949, 1949, 1950, 1950, 1950), strict=True)]
    with standing(tmp_path, born, OUT) as ground:
        (by_age,) = [one for one in suppressed_by_group(ground) if one.kind == "age"]
    assert [(g.label, g.people, g.people_out) for g in by_age.groups] == [
        ("1940-1949", 2, 2),
        ("1950-1959", 3, 2),
    ]


def test_a_hierarchy_is_shown_level_by_level(tmp_path: Path):
    with standing(tmp_path, RAW, OUT, min_cell=2) as ground:
        (age,) = [one for one in column_losses(ground) if one.column == "age"]
    assert [(s.level, s.labels, s.fewest, s.released) for s in age.steps] == [
        (0, 4, 1, 0),
        (1, 4, 1, 2),
        (2, 2, 1, 0),
        (3, 1, 5, 2),
    ]
    # Who stands alone under a label is not named by it.
    assert [s.commonest for s in age.steps] == [
        (("25", 2),), (("[20, 30)", 2),), (("[0, 50)", 4),), (("*", 5),),
    ]  # fmt: skip


def test_what_a_class_tells_of_a_sensitive_value(tmp_path: Path):
    with standing(tmp_path, RAW, OUT) as ground:
        (found,) = inferences(ground)
    # Of four released, three earn little: base 3/4. The men are one each, the women both low: best (1 + 2) / 4.
    assert (found.base, found.best, found.gain) == (0.75, 0.75, 0.0)
    assert (found.surest, found.inferable) == (1.0, 0.5)
    # Raw classes: the men share one of each, the three women are alone.
    assert found.raw == pytest.approx(4 / 5)


def test_a_release_that_tells_more_has_a_gain(tmp_path: Path):
    raw = [{"key": i, "sex": "MF"[i % 2], "age": 25, "salary": ("high", "low")[i % 2]} for i in range(8)]
    out = [{**row, "age": "[20, 30)"} for row in raw]
    with standing(tmp_path, raw, out) as ground:
        (found,) = inferences(ground)
    assert (found.base, found.best, found.gain, found.inferable) == (0.5, 1.0, 0.5, 1.0)


def test_missing_values_are_no_values(tmp_path: Path):
    out = [{**row, "salary": None if row["key"] in (2, 3) else row["salary"]} for row in OUT]
    with standing(tmp_path, RAW, out) as ground:
        (found,) = inferences(ground)
    assert (found.base, found.best) == (0.5, 0.5)
