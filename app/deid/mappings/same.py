"""As it is: the column is renamed at most. Allowed where both dictionaries say the same of it."""

from __future__ import annotations

from collections.abc import Iterator

from app.deid.mappings.contract import Kind, Lookup, MappingParams, Places, Question, typed
from app.schemas.dictionary import Code, Column

_KEYS = frozenset({"participant_id", "record_id", "family_id", "provider_id", "handle"})


class SameParams(MappingParams):
    """None."""


class Same(Kind[SameParams]):
    """The value stays. What differs in unit, type or vocabulary is no rename; labels bind where the united column has
    any: a value without a label would mean what nobody has said."""

    name = "same"
    Params = SameParams

    def findings(
        self, source: Column | None, target: Column, params: SameParams
    ) -> Iterator[tuple[str, str]]:
        if source is None:
            return
        whole_into_number = source.type == "integer" and target.type == "number"
        if source.type != target.type and not whole_into_number and source.role.kind not in _KEYS:
            yield "type_differs", f"a {source.type} is no {target.type}: recode it"
        if (source.unit or source.unit_column) and (source.unit, source.unit_column is None) != (
            target.unit, target.unit_column is None,
        ):  # fmt: skip
            yield "unit_unmapped", "the two columns have different units: map the unit"
        elif target.unit and source.unit != target.unit:
            yield (
                "unit_unmapped",
                "the source does not say in which unit it is: its dictionary must, or map the unit",
            )
        ours, theirs = source.role, target.role
        both_codes = isinstance(ours, Code) and isinstance(theirs, Code)
        if both_codes and _vocabulary(ours) != _vocabulary(theirs):
            yield "vocabulary_unmapped", "the two columns have different vocabularies, or versions: map them"
        if source.labels and target.labels and source.labels != target.labels:
            differing = sum(target.labels.get(value) != label for value, label in source.labels.items())
            if differing:
                yield (
                    "labels_differ",
                    f"{differing} values have another label, or none, in the united dictionary",
                )

    def sql(self, at: Places, source: Column | None, target: Column, params: SameParams) -> str:
        return typed(at.raw, target)

    def question(
        self, at: Places, source: Column | None, target: Column, params: SameParams
    ) -> Question | None:
        if not target.labels or target.role.kind in _KEYS:
            return None
        known = ", ".join("'" + value.replace("'", "''") + "'" for value in sorted(target.labels))
        return Question(
            "value", at.raw, f"{at.raw} IS NOT NULL AND CAST({at.raw} AS VARCHAR) NOT IN ({known})"
        )

    def lookup(self, params: SameParams) -> Lookup:
        return {}


def _vocabulary(role: object) -> tuple[str, str | None] | None:
    return (role.vocabulary, role.version) if isinstance(role, Code) else None


KIND = Same()
