"""Ids of records, families, staff and handles leave keyed: equal within a project and a space, else unlinkable."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.deid.transforms.contract import Params, ReleasedType, Transform, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column


class KeyedIdParams(Params):
    """`space`: ids of the same space stay equal across tables, such as `record:visit`; the dictionary gives it."""

    space: Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,200}$")]


class KeyedId(Transform[KeyedIdParams]):
    """AES-256 under the project's own key (see `deid.keyed`). A missing or empty id stays missing."""

    name = "keyed_id"
    Params = KeyedIdParams
    roles = frozenset({"record_id", "family_id", "provider_id", "handle"})
    types = frozenset({"string", "integer", "number"})

    def released(self, column: Column, params: KeyedIdParams) -> ReleasedType:
        return stored_as(
            "string",
            "이 과제에서만 쓰이는 대체 식별자(16자리 16진수)",
            "substitute id of this project only (16 hex characters)",
            sensitive_to_identity=True,
        )

    def sql(self, expression: str, column: Column, params: KeyedIdParams, r: Rendering) -> str:
        return r.keyed(r.id_text(expression, column.type), params.space)


TRANSFORM = KeyedId()
