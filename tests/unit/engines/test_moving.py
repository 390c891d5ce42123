"""Who moved between two generations is told from two lists of people as a look at each person would tell it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.engines.duckdb.moving import Compared

COLUMNS = ("in_clinical", "in_lifelog")
CLASSES = (None, -2, 0, 1, 2)
BEFORE = {0: ("20-29", "f"), 1: ("30-39", "f"), 2: ("30-39", "m")}
AFTER = {0: ("30-39", "f"), 1: ("20-29", "f"), 7: ("30-39", None)}  # numbered anew; a label went


def _slice(key: int) -> int:
    return key * 7919 % 2**32


def _people(random: np.random.Generator, most: int) -> dict[int, dict[str, Any]]:
    """By key: the consent columns, and a class (None: not in the extract; -2: without labels)."""
    found = {}
    for key in sorted(random.choice(200, size=int(random.integers(0, most)), replace=False).tolist()):
        clinical, lifelog = random.random(2) < 0.7
        held = {"in_clinical": bool(clinical), "in_lifelog": bool(lifelog)}
        found[key] = {**held, "class": CLASSES[int(random.integers(0, len(CLASSES)))]}
    return found


def _was(people: dict[int, dict[str, Any]]) -> pa.Table:
    columns: dict[str, Any] = {
        "key": pa.array(list(people), pa.int32()),
        "name": pa.array([_slice(key) << 32 | 5 for key in people], pa.uint64()),
        "shift_days": pa.array([key % 5 for key in people], pa.int32()),
        "class": pa.array([p["class"] for p in people.values()], pa.int32()),
    }
    return pa.table(columns | {c: pa.array([p[c] for p in people.values()], pa.bool_()) for c in COLUMNS})


def _walk(people: dict[int, dict[str, Any]]) -> pa.Table:
    slices = pa.array([_slice(key) for key in people], pa.uint32())
    columns: dict[str, Any] = {"key": pa.array(list(people), pa.int32()), "slice": slices}
    return pa.table(columns | {c: pa.array([p[c] for p in people.values()], pa.bool_()) for c in COLUMNS})


def _is_in(people: dict[int, dict[str, Any]], key: int, column: str) -> bool:
    return key in people and people[key]["class"] is not None and people[key][column]


def _label(people: dict[int, dict[str, Any]], labels: dict[int, Any], key: int) -> Any:
    there = _is_in(people, key, "in_clinical") and people[key]["class"] >= 0
    return labels[people[key]["class"]] if there else None


@pytest.mark.parametrize("seed", range(40))
def test_two_generations_are_compared_person_by_person(seed: int) -> None:
    random = np.random.default_rng(seed)
    was, now = _people(random, 60), _people(random, 60)
    for one in now.values():  # their classes have other numbers now
        one["class"] = 7 if one["class"] == 2 else one["class"]
    compared = Compared(_was(was), _walk(now), COLUMNS)
    assert compared.gone["key"].to_pylist() == [key for key in was if key not in now]
    assert compared.gone["slice"].to_pylist() == [_slice(key) for key in was if key not in now]
    assert compared.gone["shift_days"].to_pylist() == [key % 5 for key in was if key not in now]
    assert compared.joined.tolist() == [key for key in now if key not in was]

    released = np.array([p["class"] is not None for p in now.values()], dtype=np.bool_)
    classes = np.array([-1 if p["class"] is None else p["class"] for p in now.values()], dtype=np.int32)
    moves = compared.moves(released)
    everyone = sorted({*was, *now})
    moved = [k for k in everyone if any(_is_in(was, k, c) != _is_in(now, k, c) for c in COLUMNS)]
    rows = moves.table().to_pylist()
    assert rows == [
        {"key": k, "slice": _slice(k)}
        | {f"was_{c}": _is_in(was, k, c) for c in COLUMNS}
        | {f"now_{c}": _is_in(now, k, c) for c in COLUMNS}
        for k in moved
    ]
    assert moves.keys[moves.of("in_lifelog")].tolist() == [
        k for k in moved if _is_in(was, k, "in_lifelog") != _is_in(now, k, "in_lifelog")
    ]
    other = [k for k in everyone if _label(was, BEFORE, k) != _label(now, AFTER, k)]
    found = compared.relabelled("in_clinical", BEFORE, AFTER, classes)
    assert sorted(found.tolist()) == sorted(_slice(k) for k in other)


def test_a_class_without_labels_is_no_class_of_before() -> None:
    """What was kept may not tell a class: then it is not the same as one that is not told now."""
    one = {3: {"in_clinical": True, "in_lifelog": False, "class": 0}}
    compared = Compared(_was(one), _walk(one), COLUMNS)
    same = compared.relabelled("in_clinical", {0: ("f",)}, {0: ("f",)}, np.zeros(1, dtype=np.int32))
    assert same.tolist() == []
    untold = compared.relabelled("in_clinical", {}, {}, np.zeros(1, dtype=np.int32))
    assert untold.tolist() == [_slice(3)]
