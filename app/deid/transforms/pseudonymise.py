"""A participant leaves as the project's pseudonym, taken from the crosswalk and from nowhere else."""

from __future__ import annotations

from app.deid.transforms.contract import Params, ReleasedType, Transform, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column


class PseudonymiseParams(Params):
    """None."""


class Pseudonymise(Transform[PseudonymiseParams]):
    """The pseudonym of the crosswalk row. The stored id is not read: it cannot leak by way of this column.

    A re-identification code must not be derived from information about the person (45 CFR 164.514(c)); the crosswalk
    derives it from an internal random id.
    """

    name = "pseudonymise"
    Params = PseudonymiseParams
    roles = frozenset({"participant_id"})

    def released(self, column: Column, params: PseudonymiseParams) -> ReleasedType:
        return stored_as(
            "string",
            "이 과제에서만 쓰이는 가명(16자리 16진수)",
            "pseudonym of this project only (16 hex characters)",
            sensitive_to_identity=True,
        )

    def sql(self, expression: str, column: Column, params: PseudonymiseParams, r: Rendering) -> str:
        return r.as_text(r.pseudonym)


TRANSFORM = Pseudonymise()
