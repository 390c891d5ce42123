"""Quasi-identifiers leave as the label that the recoding found for their class."""

from __future__ import annotations

from app.deid.transforms.contract import Params, ReleasedType, Transform, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column


class GeneraliseParams(Params):
    """None: the labels are the outcome, found when the plan is run."""


class Generalise(Transform[GeneraliseParams]):
    """`expression` is the joined label column (`labels.<column>`), never the stored column."""

    name = "generalise"
    Params = GeneraliseParams
    roles = frozenset({"quasi_identifier", "site"})

    def released(self, column: Column, params: GeneraliseParams) -> ReleasedType:
        return stored_as(
            "string",
            "k-익명성을 위해 일반화한 값(범위나 상위 분류)",
            "generalised for k-anonymity (a range or a broader group)",
        )

    def sql(self, expression: str, column: Column, params: GeneraliseParams, r: Rendering) -> str:
        return r.as_text(expression)


TRANSFORM = Generalise()
