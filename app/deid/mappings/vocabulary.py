"""From one vocabulary, or version of it, to another: KCD-8 to KCD-9. Codes that stay are said to stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from app.deid.mappings.contract import (
    Kind,
    Lookup,
    MappingParams,
    Places,
    Question,
    looked_up,
    not_listed,
    typed,
)  # fmt: skip
from app.schemas.dictionary import Code, Column, MissingReason


class VocabularyParams(MappingParams):
    """`codes`: those that change. `others`: whether the map is whole (`refused`), or its makers state that every code
    it does not name means the same in both (`unchanged`). `missing`: codes that have no successor, and the reason."""

    codes: dict[str, str] = Field(default_factory=dict, max_length=100_000)
    missing: dict[str, MissingReason] = Field(default_factory=dict, max_length=10_000)
    others: Literal["refused", "unchanged"] = "refused"


class Vocabulary(Kind[VocabularyParams]):
    """A table of codes between two vocabularies that the two dictionaries name."""

    name = "vocabulary"
    Params = VocabularyParams

    def findings(
        self, source: Column | None, target: Column, params: VocabularyParams
    ) -> Iterator[tuple[str, str]]:
        if not isinstance(target.role, Code) or source is None or not isinstance(source.role, Code):
            yield "not_a_code", "both columns must be codes of a named vocabulary"
        elif source.role.vocabulary != target.role.vocabulary and params.others == "unchanged":
            yield "others_of_another", "codes of another vocabulary do not stay what they are: name every one"
        if both := len(params.codes.keys() & params.missing.keys()):
            yield "recoded_twice", f"{both} codes are both mapped and missing"
        if target.type != "string" or (source is not None and source.type != "string"):
            yield "wrong_type", "codes of both columns must be of type string"

    def sql(self, at: Places, source: Column | None, target: Column, params: VocabularyParams) -> str:
        if params.others == "refused":
            return typed(looked_up(at, "l.into"), target)
        known = looked_up(at, "true")
        return typed(f"CASE WHEN {known} THEN {looked_up(at, 'l.into')} ELSE {at.raw} END", target)

    def reason(self, at: Places, params: VocabularyParams) -> str:
        return (
            f"coalesce({at.reason or 'NULL'}, {looked_up(at, 'l.reason')})"
            if params.missing
            else at.reason or "NULL"
        )

    def lookup(self, params: VocabularyParams) -> Lookup:
        return {
            **{code: (into, None) for code, into in params.codes.items()},
            **{code: (None, reason) for code, reason in params.missing.items()},
        }

    def question(
        self, at: Places, source: Column | None, target: Column, params: VocabularyParams
    ) -> Question | None:
        return Question("code", at.raw, not_listed(at)) if params.others == "refused" else None


KIND = Vocabulary()
