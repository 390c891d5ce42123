"""Does not leave. Any column may be dropped."""

from __future__ import annotations

from app.deid.transforms.contract import ROLES, Params, ReleasedType, Transform, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column


class DropParams(Params):
    """None."""


class Drop(Transform[DropParams]):
    """Nothing of the column leaves: no value, no name in a part."""

    name = "drop"
    Params = DropParams
    roles = ROLES

    def released(self, column: Column, params: DropParams) -> ReleasedType:
        return stored_as(column.type, "반출하지 않음", "not released")

    def sql(self, expression: str, column: Column, params: DropParams, r: Rendering) -> None:
        return None


TRANSFORM = Drop()
