"""Value by value: M is 1, F is 2. A value that the table does not name is listed, never passed on."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from app.deid.mappings.contract import (
    Kind,
    Lookup,
    MappingParams,
    Places,
    Question,
    fits,
    looked_up,
    not_listed,
    typed,
)  # fmt: skip
from app.schemas.dictionary import Column, MissingReason


class RecodeParams(MappingParams):
    """`values`: the source's value, as stored, and the united one. `missing`: those that say why there is none."""

    values: dict[str, str] = Field(max_length=5000)
    missing: dict[str, MissingReason] = Field(default_factory=dict, max_length=500)


class Recode(Kind[RecodeParams]):
    """A table of values."""

    name = "recode"
    Params = RecodeParams

    def findings(
        self, source: Column | None, target: Column, params: RecodeParams
    ) -> Iterator[tuple[str, str]]:
        if not params.values:
            yield "empty_recode", "the table names no value"
        if both := len(params.values.keys() & params.missing.keys()):
            yield "recoded_twice", f"{both} values are both recoded and missing"
        if wrong := sum(not fits(value, target) for value in params.values.values()):
            yield "wrong_type", f"{wrong} united values are no {target.type}"
        if target.labels and (strange := len(set(params.values.values()) - target.labels.keys())):
            yield "unlabelled_target", f"{strange} united values have no label in the united dictionary"
        if source is not None and source.labels:
            known = params.values.keys() | params.missing.keys() | source.missing.keys()
            if left := len(source.labels.keys() - known):
                yield (
                    "value_unmapped",
                    f"{left} values with a label in the source's dictionary are not in the table",
                )

    def sql(self, at: Places, source: Column | None, target: Column, params: RecodeParams) -> str:
        return typed(looked_up(at, "l.into"), target)

    def reason(self, at: Places, params: RecodeParams) -> str:
        return (
            f"coalesce({at.reason or 'NULL'}, {looked_up(at, 'l.reason')})"
            if params.missing
            else at.reason or "NULL"
        )

    def lookup(self, params: RecodeParams) -> Lookup:
        return {
            **{value: (into, None) for value, into in params.values.items()},
            **{value: (None, reason) for value, reason in params.missing.items()},
        }

    def question(self, at: Places, source: Column | None, target: Column, params: RecodeParams) -> Question:
        return Question("value", at.raw, not_listed(at))


KIND = Recode()
