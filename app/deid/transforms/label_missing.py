"""Why a value is missing leaves beside it, as one of the declared reasons."""

from __future__ import annotations

from app.deid.transforms.contract import Params, ReleasedType, Transform, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column


class LabelMissingParams(Params):
    """None."""


class LabelMissing(Transform[LabelMissingParams]):
    """`expression` is the reason column `<column>__missing`; anything but a declared reason leaves as null.

    Not for quasi-identifiers: why a person's age is missing would split their class.
    """

    name = "label_missing"
    Params = LabelMissingParams
    roles = frozenset({"attribute", "sensitive", "number", "code", "date"})

    def fits(self, column: Column, params: LabelMissingParams) -> str | None:
        return None if column.missing else "the dictionary declares no missing codes for this column"

    def released(self, column: Column, params: LabelMissingParams) -> ReleasedType:
        return stored_as("string", "결측 사유", "why the value is missing")

    def sql(self, expression: str, column: Column, params: LabelMissingParams, r: Rendering) -> str:
        reasons = ", ".join(r.text(reason) for reason in sorted(set(column.missing.values())))
        return f"(CASE WHEN {expression} IN ({reasons}) THEN {r.as_text(expression)} END)"


TRANSFORM = LabelMissing()
