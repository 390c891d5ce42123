"""Properties of transforms, pseudonyms and counts over whatever values Hypothesis finds, run on DuckDB."""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.deid.counts import NOISE_BOUND, CountRule, cell_key, mask_attrition, mask_plain, masked, record_keys
from app.deid.keyed import keyed_id, record_key, register
from app.deid.pseudonyms import pseudonyms, shift_days
from app.deid.transforms import Rendering, transforms
from app.deid.transforms.rendering import keyed_name
from app.deid.transforms.roll_up import RollUpParams, place
from app.deid.transforms.shift_date import PLACEHOLDERS
from app.schemas.dictionary import Column
from tests.amounts import tries

SMALL = settings(max_examples=tries(15, 100), deadline=None)
KEYS = st.binary(min_size=32, max_size=32)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
DAYS = st.dates(date(1851, 1, 1), date(2098, 1, 1)).filter(lambda day: day.isoformat() not in PLACEHOLDERS)
ID_LISTS = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=60, unique=True)


def as_ids(values: Sequence[bytes]) -> Any:
    return np.frombuffer(b"".join(values), dtype=np.uint8).reshape(-1, 16)


@cache
def engine() -> duckdb.DuckDBPyConnection:
    """One for all examples: to open one takes longer than to ask it."""
    return duckdb.connect()


def release(
    name: str, kind: str, role: dict[str, Any], params: dict[str, Any], values: Sequence[Any],
    key: bytes = bytes(32), shift: int = 7,
) -> list[Any]:  # fmt: skip
    """The values as they leave, in order."""
    column = Column.model_validate({"name": "x", "type": kind, "role": role})
    transform = transforms()[name]
    sql = transform.sql("rows.x", column, transform.Params.model_validate(params), Rendering())
    stored = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "date": "DATE"}[kind]
    connection = engine()
    if space := params.get("space"):
        with suppress(duckdb.InvalidInputException):  # there is none yet
            connection.remove_function(keyed_name(space))
        register(connection, record_key(key), [space])
    connection.execute("CREATE OR REPLACE TABLE crosswalk AS SELECT ?::INTEGER AS shift_days", [shift])
    connection.execute(f"CREATE OR REPLACE TABLE rows (i INTEGER, x {stored})")
    connection.executemany("INSERT INTO rows VALUES (?, ?)", [*enumerate(values)])
    return [row[0] for row in connection.sql(f"SELECT {sql} FROM rows, crosswalk ORDER BY i").fetchall()]


@SMALL
@given(key=KEYS, ids=ID_LISTS, window=st.integers(7, 2000))
def test_shifts_are_whole_weeks_within_the_window_and_never_none(key: bytes, ids: list[bytes], window: int):
    shifts = shift_days(key, as_ids(ids), window)
    assert (shifts % 7 == 0).all()
    assert (shifts != 0).all()
    assert (np.abs(shifts) <= window).all()
    assert (shifts == shift_days(key, as_ids(ids), window)).all()


@SMALL
@given(key=KEYS, person=st.binary(min_size=16, max_size=16), days=st.lists(DAYS, min_size=2, max_size=10))
def test_a_shift_keeps_intervals_and_weekdays(key: bytes, person: bytes, days: list[date]):
    shift = int(shift_days(key, as_ids([person]))[0])
    moved = release("shift_date", "date", {"kind": "date"}, {}, days, shift=shift)
    assert [b - a for a, b in itertools.pairwise(moved)] == [b - a for a, b in itertools.pairwise(days)]
    assert [day.weekday() for day in moved] == [day.weekday() for day in days]
    assert all(after - before == timedelta(shift) for before, after in zip(days, moved, strict=True))


@SMALL
@given(key=KEYS, other=KEYS, values=st.lists(TEXTS, min_size=1, max_size=10, unique=True))
def test_keyed_ids_meet_across_tables_of_a_project_and_never_across_projects(
    key: bytes, other: bytes, values: list[str]
):
    assume(key != other)
    role, params = {"kind": "record_id", "of": "visit"}, {"space": "record:visit"}
    visits = release("keyed_id", "string", role, params, values, key)
    events = release("keyed_id", "string", role, params, [*reversed(values)], key)
    assert visits == [*reversed(events)] == [keyed_id(key, "record:visit", value) for value in values]
    assert len(set(visits)) == len(values)
    assert not set(visits) & set(release("keyed_id", "string", role, params, values, other))
    assert not set(visits) & set(release("keyed_id", "string", role, {"space": "family"}, values, key))


@SMALL
@given(
    tenths=st.integers(1, 100),
    start=st.integers(-1000, 1000),
    bands=st.integers(1, 50),
    near=st.lists(st.tuples(st.integers(-2, 52), st.sampled_from([-1, 0, 1])), max_size=10),
    far=st.lists(FINITE, min_size=1, max_size=10),
)
def test_bands_are_total_right_at_the_edges_and_monotone(
    tenths: int, start: int, bands: int, near: list[tuple[int, int]], far: list[float]
):
    width, low = Decimal(tenths) / 10, Decimal(start) / 10
    high = low + width * bands
    edges = [float(low + width * band) for band, _ in near]
    steps = [int(step) for _, step in near]
    beside = [
        float(np.nextafter(edge, step * np.inf)) if step else edge
        for edge, step in zip(edges, steps, strict=True)
    ]
    values = sorted(beside + far)
    params = {"width": float(width), "low": float(low), "high": float(high)}
    labels = release("band", "number", {"kind": "number"}, params, values)
    for value, label in zip(values, labels, strict=True):
        if label.startswith("<"):
            assert value < float(low)
        elif label.startswith(">="):
            assert value >= float(high)
        else:
            left, right = label[1:-1].split(", ")
            assert float(left) <= value < float(right)
            assert Decimal(right) - Decimal(left) == width
    assert labels == [
        label for i, label in enumerate(labels) if i == labels.index(label) or labels[i - 1] == label
    ]


@SMALL
@given(
    values=st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=20),
    thousandths=st.integers(1, 10**5),
    top=st.none() | st.integers(0, 1000),
)
def test_rounded_numbers_are_near_monotone_and_within_bounds(
    values: list[int], thousandths: int, top: int | None
):
    step, numbers = thousandths / 1000, sorted(value / 100 for value in values)
    params = {"to": step} | ({} if top is None else {"top": top})
    rounded = release("round_number", "number", {"kind": "number"}, params, numbers)
    assert rounded == sorted(rounded)
    for before, after in zip(numbers, rounded, strict=True):
        if top is None or after < top:
            assert abs(Decimal(repr(after)) - Decimal(repr(before))) <= Decimal(repr(step)) / 2 + Decimal(
                "1e-9"
            )
            assert Decimal(repr(after)) % Decimal(repr(step)) == 0
        else:
            assert after == top


@SMALL
@given(values=st.lists(FINITE, min_size=1, max_size=20), bottom=st.integers(-100, 0), top=st.integers(1, 100))
def test_clamped_numbers_stay_in_bounds_and_are_else_the_same(values: list[float], bottom: int, top: int):
    out = release("clamp", "number", {"kind": "number"}, {"bottom": bottom, "top": top}, values)
    assert out == [min(max(value, bottom), top) for value in values]


@SMALL
@given(
    people=st.dictionaries(
        st.text("ABC", min_size=1, max_size=3), st.frozensets(st.integers(0, 30), min_size=1), min_size=1
    ),
    least=st.integers(1, 15),
)
def test_every_code_that_leaves_stands_for_enough_people(people: dict[str, frozenset[int]], least: int):
    levels = [{code: code[:length] for code in people} for length in (3, 2, 1)]
    out = place(people, levels, RollUpParams(min_participants=least))
    assert set(out) == set(people)
    # Labels of different levels may be spelled alike, and then hold even more people.
    for label in set(out.values()) - {None}:
        behind = frozenset[int]().union(
            *(people[code] for code, released in out.items() if released == label)
        )
        assert len(behind) >= least
    assert all(released == code for code, released in out.items() if len(people[code]) >= least)
    assert all(released is None or code.startswith(released) for code, released in out.items())


@SMALL
@given(key=KEYS, other=KEYS, ids=ID_LISTS)
def test_pseudonyms_of_two_projects_share_none(key: bytes, other: bytes, ids: list[bytes]):
    assume(key != other)
    ours, theirs = pseudonyms(key, as_ids(ids)), pseudonyms(other, as_ids(ids))
    assert len(set(ours)) == len(ids)
    assert not set(ours) & set(theirs)
    assert (ours == pseudonyms(key, as_ids(ids))).all()


RULES = st.builds(CountRule, st.integers(2, 30), st.integers(1, 20), st.booleans())


@SMALL
@given(secret=KEYS, ids=ID_LISTS, rule=RULES, order=st.randoms(use_true_random=False))
def test_the_same_people_give_the_same_count_in_any_order(
    secret: bytes, ids: list[bytes], rule: CountRule, order: Any
):
    shuffled = list(ids)
    order.shuffle(shuffled)
    first, again = (cell_key(record_keys(as_ids(x), secret)) for x in (ids, shuffled))
    assert first == again
    assert masked(len(ids), first, rule) == masked(len(ids), again, rule)


@SMALL
@given(count=st.integers(0, 200), key=st.integers(0, 2**70), rule=RULES)
def test_no_small_count_is_ever_shown(count: int, key: int, rule: CountRule):
    shown = masked(count, key, rule)
    assert shown.suppressed == (shown.value is None)
    if shown.value == 0:
        assert count == 0
    elif shown.value is not None:
        assert count >= rule.min_cell
        assert shown.value >= rule.min_cell
        assert shown.value % rule.round_to == 0
        assert abs(shown.value - count) <= NOISE_BOUND + rule.round_to / 2


@SMALL
@given(losses=st.lists(st.integers(0, 40), max_size=6), start=st.integers(0, 300), least=st.integers(2, 30))
def test_no_shown_step_of_an_attrition_betrays_a_few(losses: list[int], start: int, least: int):
    counts = [start]
    for loss in losses:
        counts.append(max(0, counts[-1] - loss))
    shown = mask_attrition([(str(i), count) for i, count in enumerate(counts)], least, 5)
    true = [count for count, step in zip(counts, shown, strict=True) if not step.suppressed]
    assert all(a == b or a - b >= least for a, b in itertools.pairwise(true))
    assert all(step.people is None or step.people == 0 or step.people >= least for step in shown)
    assert mask_plain(start, least, 5).value == shown[0].people
