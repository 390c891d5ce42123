"""Whether the deceased may be in a release: by policy, and by what the plan tells of relatives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.deid.deceased import Policy, may_be_in
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan

DICTIONARY = Dictionary.model_validate(
    {
        "tables": [
            {"name": "person", "kind": "participant", "fields": [
                {"name": "id", "role": {"kind": "participant_id"}}, {"name": "family", "role": {"kind": "family_id"}},
                {"name": "genome", "role": {"kind": "handle"}}, {"name": "site", "role": {"kind": "attribute"}}]},
            {"name": "pedigree", "kind": "link", "participant": ["a", "b"], "fields": [
                {"name": "a", "role": {"kind": "participant_id"}}, {"name": "b", "role": {"kind": "participant_id"}}]},
        ]
    }
)  # fmt: skip


def plan(**tables: list[tuple[str, str]]) -> Plan:
    planned: list[dict[str, Any]] = [
        {"name": name, "columns": [{"name": column, "transform": transform} for column, transform in columns]}
        for name, columns in tables.items()
    ]
    return Plan.model_validate_json(json.dumps({"version_id": "v", "tables": planned}))


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"person": [("id", "pseudonymise"), ("site", "keep"), ("site__missing", "label_missing")]}, False),
        ({"person": [("id", "pseudonymise"), ("family", "drop"), ("genome", "drop")]}, False),
        ({"person": [("id", "pseudonymise"), ("family", "keyed_id")]}, True),
        ({"person": [("id", "pseudonymise"), ("genome", "keyed_id")]}, True),
        ({"person": [("id", "pseudonymise")], "pedigree": [("a", "pseudonymise")]}, True),
    ],
)
def test_who_has_died_is_out_where_relatives_would_be_told(tables: dict[str, Any], told: bool) -> None:
    policies: tuple[Policy, ...] = ("withheld", "without_family", "as_consented")
    answers = [may_be_in(policy, plan(**tables), DICTIONARY) for policy in policies]
    assert answers == [False, not told, True]
