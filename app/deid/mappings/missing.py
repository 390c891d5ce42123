"""The source does not have it: every value is missing, and why is said, for people and for the reason column."""

from __future__ import annotations

from collections.abc import Iterator

from app.deid.mappings.contract import Kind, MappingParams, Places, typed
from app.schemas.dictionary import Column, MissingReason
from app.schemas.mapping import Why


class MissingParams(MappingParams):
    """`why` in words, for those who review; `reason` as the dictionary's missing codes name it."""

    why: Why
    reason: MissingReason = "not_asked"


class Missing(Kind[MissingParams]):
    """Nothing is read."""

    name = "missing"
    Params = MissingParams
    needs_source = False

    def findings(
        self, source: Column | None, target: Column, params: MissingParams
    ) -> Iterator[tuple[str, str]]:
        if target.required or target.role.kind == "participant_id":
            yield "required", "the united dictionary requires a value here"

    def sql(self, at: Places, source: Column | None, target: Column, params: MissingParams) -> str:
        return typed("NULL", target)

    def reason(self, at: Places, params: MissingParams) -> str:
        return f"'{params.reason}'"


KIND = Missing()
