"""Codes of too few people climb to a broader code, and where that is still too few, are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Annotated

from pydantic import Field

from app.deid.transforms.contract import Params, ReleasedType, Transform, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column


class RollUpParams(Params):
    """`min_participants`: distinct people, not rows. `hierarchy`: what to climb, by its name in the dictionary
    (None: nothing; of a quasi-identifier the default of its type). No label finer than `min_level` leaves."""

    min_participants: Annotated[int, Field(ge=1)]
    hierarchy: str | None = None
    min_level: Annotated[int, Field(ge=0)] = 0


class RollUp(Transform[RollUpParams]):
    """`expression` is the label of a small mapping table (value -> label, made by `place`) joined by the engine."""

    name = "roll_up"
    Params = RollUpParams
    roles = frozenset({"code", "quasi_identifier", "site"})

    def released(self, column: Column, params: RollUpParams) -> ReleasedType:
        least = params.min_participants
        return stored_as(
            "string",
            f"참여자 {least}명 미만인 코드는 상위 코드로 올리거나 결측 처리",
            f"codes of fewer than {least} people are replaced by a broader code, or missing",
        )

    def sql(self, expression: str, column: Column, params: RollUpParams, r: Rendering) -> str:
        return r.as_text(expression)


def place(
    people: Mapping[str, Set[int]], levels: Sequence[Mapping[str, str]], params: RollUpParams
) -> dict[str, str | None]:
    """The label each value leaves by, None where it is left out.

    `people` holds the distinct people of each value; `levels[i]` the label of each value at level i, level 0 the value
    itself. A value stays at the first level where its label has enough people *among the values not placed before*:
    a parent's label then stands for its rare children alone, and must be common without the others.
    """
    placed: dict[str, str | None] = {}
    for labels in levels[params.min_level :]:
        groups: dict[str, list[str]] = {}
        for value in people:
            if value not in placed:
                groups.setdefault(labels[value], []).append(value)
        for label, values in groups.items():
            if len(set[int]().union(*(people[value] for value in values))) >= params.min_participants:
                placed.update(dict.fromkeys(values, label))
    return {value: placed.get(value) for value in people}


TRANSFORM = RollUp()
