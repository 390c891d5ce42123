"""Tables of cases for the data use matcher: deny beats abstain beats approve, and nothing unsaid ever approves."""

from __future__ import annotations

from datetime import date
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import Problem
from app.standards.duo import (
    MATCHER_VERSION,
    Purpose,
    check_terms,
    consent_covers,
    match,
    terms_of_duo,
    together,
)
from app.standards.duo_reasons import REASONS

ON = date(2026, 6, 1)
DIABETES, TYPE_2, ASTHMA, RARE = "MONDO:0005015", "MONDO:0005148", "MONDO:0004979", "MONDO:0000001"
ANCESTORS = {TYPE_2: {DIABETES}, ASTHMA: set(), DIABETES: set()}


def terms(permission: str, *others: dict[str, Any]) -> list[dict[str, Any]]:
    first = {"term": permission} | ({"diseases": [DIABETES]} if permission == "DS" else {})
    return [first, *others]


def purpose(term: str, **said: Any) -> Purpose:
    return Purpose(term=term, **({"diseases": [TYPE_2]} if term == "DS" else {}) | said)  # type: ignore[arg-type]


# Rows: purpose; columns: the dataset's permission. The well-known error is a GRU purpose let into DS or POA data.
GRID = {
    #       NRES        GRU        HMB        DS         POA
    "GRU": ("approve", "approve", "deny", "deny", "deny"),
    "HMB": ("approve", "approve", "approve", "deny", "deny"),
    "DS": ("approve", "approve", "approve", "approve", "deny"),
    "POA": ("approve", "approve", "deny", "deny", "approve"),
    "MDS": ("approve", "approve", "approve", "abstain", "abstain"),
}
PERMISSIONS = ("NRES", "GRU", "HMB", "DS", "POA")
CASES = [(asked, held, GRID[asked][i]) for asked in GRID for i, held in enumerate(PERMISSIONS)]


@pytest.mark.parametrize(("asked", "held", "answer"), CASES)
def test_each_purpose_under_each_permission(asked: str, held: str, answer: str) -> None:
    found = match(terms(held), purpose(asked), ON, ancestors=ANCESTORS)
    assert found.answer == answer
    assert found.reasons
    assert found.matcher_version == MATCHER_VERSION


@pytest.mark.parametrize(
    ("diseases", "answer", "reason"),
    [
        ([DIABETES], "approve", "permission_covers"),
        ([TYPE_2], "approve", "permission_covers"),
        ([TYPE_2, ASTHMA], "deny", "disease_not_covered"),
        ([ASTHMA], "deny", "disease_not_covered"),
        ([TYPE_2, RARE], "abstain", "disease_relation_unknown"),
        ([ASTHMA, RARE], "deny", "disease_not_covered"),
        ([], "abstain", "disease_unstated"),
    ],
)
def test_every_disease_equals_or_descends(diseases: list[str], answer: str, reason: str) -> None:
    found = match(terms("DS"), purpose("DS", diseases=diseases), ON, ancestors=ANCESTORS)
    assert found.answer == answer
    assert reason in {r["code"] for r in found.reasons}


def test_an_ancestor_of_the_datasets_disease_is_not_covered() -> None:
    narrow = [{"term": "DS", "diseases": [TYPE_2]}]
    assert match(narrow, purpose("DS", diseases=[DIABETES]), ON, ancestors=ANCESTORS).answer == "deny"


YES, NO, OPEN = True, False, None


@pytest.mark.parametrize(
    ("modifier", "said", "answer"),
    [
        ({"term": "NPU"}, {"for_profit_organisation": YES, "commercial": NO}, "deny"),
        ({"term": "NPU"}, {"for_profit_organisation": NO, "commercial": YES}, "approve"),
        ({"term": "NPU"}, {}, "abstain"),
        ({"term": "NCU"}, {"for_profit_organisation": YES, "commercial": NO}, "approve"),
        ({"term": "NCU"}, {"for_profit_organisation": NO, "commercial": YES}, "deny"),
        ({"term": "NCU"}, {}, "abstain"),
        ({"term": "NPUNCU"}, {"for_profit_organisation": YES, "commercial": NO}, "deny"),
        ({"term": "NPUNCU"}, {"for_profit_organisation": NO, "commercial": YES}, "deny"),
        ({"term": "NPUNCU"}, {"for_profit_organisation": NO, "commercial": NO}, "approve"),
        ({"term": "NPUNCU"}, {"for_profit_organisation": NO}, "abstain"),
        ({"term": "NPUNCU"}, {"for_profit_organisation": YES}, "deny"),
        ({"term": "GSO"}, {"genetic": YES}, "approve"),
        ({"term": "GSO"}, {"genetic": NO}, "deny"),
        ({"term": "GSO"}, {}, "abstain"),
        ({"term": "NPOA"}, {"population_origins": YES}, "deny"),
        ({"term": "NPOA"}, {"population_origins": NO}, "approve"),
        ({"term": "NPOA"}, {}, "abstain"),
        ({"term": "GS", "places": ["KR", "JP"]}, {"country": "KR"}, "approve"),
        ({"term": "GS", "places": ["KR", "JP"]}, {"country": "US"}, "deny"),
        ({"term": "GS", "places": ["KR"]}, {}, "abstain"),
        ({"term": "GS"}, {"country": "KR"}, "abstain"),
        ({"term": "US", "users": ["u1"]}, {"user": "u1"}, "approve"),
        ({"term": "US", "users": ["u1"]}, {"user": "u2"}, "deny"),
        ({"term": "US", "users": ["u1"]}, {}, "abstain"),
        ({"term": "US"}, {"user": "u1"}, "abstain"),
        ({"term": "IS", "institutions": ["i1"]}, {"institution": "i2"}, "deny"),
        ({"term": "PS", "projects": ["p1"]}, {"project": "p1"}, "approve"),
        ({"term": "PS", "projects": ["p1"]}, {"project": "p2"}, "deny"),
        ({"term": "TS", "until": "2026-06-01"}, {}, "approve"),
        ({"term": "TS", "until": "2026-05-31"}, {}, "deny"),
        ({"term": "TS", "months": 12}, {}, "approve"),
        ({"term": "TS"}, {}, "abstain"),
        ({"term": "MOR", "until": "2027-01-01"}, {"publish_from": "2026-12-31"}, "deny"),
        ({"term": "MOR", "until": "2027-01-01"}, {"publish_from": "2027-01-01"}, "approve"),
        ({"term": "MOR", "until": "2027-01-01"}, {}, "approve"),
        ({"term": "NMDS"}, {}, "approve"),
        ({"term": "CC"}, {}, "approve"),
        ({"term": "RS"}, {}, "abstain"),
        ({"term": "XYZ"}, {}, "abstain"),
        ({"term": 7}, {}, "abstain"),
        ({}, {}, "abstain"),
        ({"term": "IRB", "surprise": 1}, {}, "abstain"),
    ],
)
def test_each_modifier_on_general_research(
    modifier: dict[str, Any], said: dict[str, Any], answer: str
) -> None:
    assert match(terms("GRU", modifier), purpose("GRU", **said), ON).answer == answer


def test_methods_development_is_denied_where_prohibited_even_where_the_permission_abstains() -> None:
    for held in PERMISSIONS:
        assert match(terms(held, {"term": "NMDS"}), purpose("MDS"), ON).answer == "deny"


@pytest.mark.parametrize("asked", ["HMB", "DS"])
def test_health_data_do_not_serve_the_study_of_origins(asked: str) -> None:
    found = match(terms("HMB"), purpose(asked, population_origins=True), ON)
    assert found.answer == "deny"
    assert "origins_prohibited" in {r["code"] for r in found.reasons}


@pytest.mark.parametrize(
    "flag", ["vulnerable_groups", "stigmatised_disease", "illegal_behaviour", "discrimination_risk"]
)
def test_delicate_subjects_are_left_to_a_person(flag: str) -> None:
    assert match(terms("GRU"), purpose("HMB", **{flag: True}), ON).answer == "abstain"
    assert match(terms("DS"), purpose("GRU", **{flag: True}), ON).answer == "deny"


@pytest.mark.parametrize(
    "given", [[], terms("GRU", {"term": "HMB"}), [{"term": "IRB"}], [{"term": "DUO:0000001"}]]
)
def test_without_exactly_one_permission_nothing_is_approved(given: list[dict[str, Any]]) -> None:
    assert match(given, purpose("HMB"), ON).answer == "abstain"


def test_conditions_go_onto_the_permit_and_all_reasons_are_given() -> None:
    given = terms(
        "HMB",
        *({"term": t} for t in ("COL", "IRB", "PUB", "RTN", "NPU")),
        {"term": "TS", "until": "2027-01-01"},
        {"term": "MOR", "months": 6},
    )
    found = match(given, purpose("GRU", for_profit_organisation=True), ON)
    assert found.answer == "deny"
    assert [(r["code"], r["term"]) for r in found.reasons] == [
        ("for_profit_organisation", "NPU"),
        ("purpose_not_covered", "HMB"),
    ]
    assert found.conditions == [
        "collaboration", "ethics_approval", "publication", "return_of_results", "use_until:2027-01-01",
        "publish_after_months:6",
    ]  # fmt: skip


def test_ids_and_shorthands_are_the_same_term() -> None:
    for short, term in terms_of_duo().items():
        assert match([{"term": short}], purpose("HMB"), ON) == match(
            [{"term": term["id"]}], purpose("HMB"), ON
        )


def test_no_single_modifier_turns_a_refusal_into_an_approval() -> None:
    """Modifiers only ever narrow: over every permission, purpose and modifier of DUO."""
    rank = {"approve": 2, "abstain": 1, "deny": 0}
    modifiers = [short for short, term in terms_of_duo().items() if term["kind"] == "modifier"]
    for held, asked, modifier in product(PERMISSIONS, GRID, modifiers):
        alone = match(terms(held), purpose(asked), ON, ancestors=ANCESTORS).answer
        with_it = match(terms(held, {"term": modifier}), purpose(asked), ON, ancestors=ANCESTORS).answer
        assert rank[with_it] <= rank[alone], (held, asked, modifier)


@pytest.mark.parametrize(
    "given",
    [
        terms("GRU"),
        terms("DS", {"term": "GS", "places": ["KR"]}, {"term": "IRB"}),
        [{"term": "DUO:0000006"}, {"term": "MOR", "until": "2027-01-01"}, {"term": "TS", "months": 24}],
        terms("NRES", {"term": "US", "users": ["u1"]}, {"term": "RS"}),
    ],
)
def test_good_terms_are_accepted(given: list[dict[str, Any]]) -> None:
    check_terms(given)


def test_all_that_is_wrong_with_terms_comes_at_once() -> None:
    given: list[dict[str, Any]] = [
        {"term": "DS"},
        {"term": "GRU"},
        {"term": "GS", "places": ["Korea"]},
        {"term": "MOR"},
        {"term": "TS", "until": "2026-02-30"},
        {"term": "IRB", "board": "secret"},
        {"term": "NOPE-secret"},
        {"term": "IRB"},
    ]
    with pytest.raises(Problem) as refused:
        check_terms(given)
    assert refused.value.code == "invalid_request"
    assert {(f.code, f.pointer) for f in refused.value.findings} == {
        ("missing_parameter", "/duo/0"),
        ("bad_parameter", "/duo/2/places"),
        ("missing_parameter", "/duo/3"),
        ("bad_parameter", "/duo/4/until"),
        ("unknown_parameter", "/duo/5"),
        ("unknown_term", "/duo/6/term"),
        ("permission_ambiguous", "/duo"),
        ("repeated_term", "/duo"),
    }
    assert "secret" not in str(refused.value.to_dict())


@pytest.mark.parametrize("given", [[], [{"term": "IRB"}], [{}], [{"term": ["GRU"]}], [{"term": None}]])
def test_terms_without_a_permission_are_refused(given: list[dict[str, Any]]) -> None:
    with pytest.raises(Problem):
        check_terms(given)


@pytest.mark.parametrize(
    ("agreed", "asked", "covered"),
    [
        ([], "GRU", True),
        (["GRU"], "GRU", True),
        (["HMB"], "GRU", False),
        (["DUO:0000042"], "HMB", True),
        (["POA", "HMB"], "HMB", True),
        (["DS"], "DS", False),
        ([f"DS:{DIABETES}"], "DS", True),
        ([f"DS:{ASTHMA}"], "DS", False),
        ([f"DS:{DIABETES}"], "MDS", False),
        (["IRB"], "HMB", False),
        (["nonsense"], "HMB", False),
        (["GRU"], "MDS", True),
    ],
)
def test_a_participants_own_consent_narrows(agreed: list[str], asked: str, covered: bool) -> None:
    assert consent_covers(agreed, purpose(asked), ancestors=ANCESTORS) is covered


@pytest.mark.parametrize(
    "wrong",
    [
        {"term": "NRES"},
        {"term": "CC"},
        {},
        {"term": "DS", "diseases": ["diabetes"]},
        {"term": "GRU", "commercial": "no"},
        {"term": "GRU", "country": "Korea"},
        {"term": "GRU", "publish_from": "2026-02-30"},
        {"term": "GRU", "extra": 1},
    ],
)
def test_a_purpose_is_strict(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Purpose.model_validate(wrong)


def test_a_purpose_survives_json() -> None:
    asked = purpose("DS", country="KR", publish_from="2027-01-01", commercial=False)
    assert Purpose.model_validate(asked.model_dump(mode="json")) == asked


def test_every_term_and_reason_has_both_languages() -> None:
    assert len(terms_of_duo()) == 23
    assert all(term["label"] and term["label_ko"] for term in terms_of_duo().values())
    assert all(ko and en for ko, en in REASONS.values())


def test_over_several_cohorts_deny_beats_abstain_beats_approve_and_conditions_add_up():
    purpose = Purpose(term="HMB")
    day = date(2026, 3, 2)
    open_, irb = (
        match([{"term": "GRU"}], purpose, day),
        match([{"term": "HMB"}, {"term": "IRB"}], purpose, day),
    )
    narrow, unclear = match([{"term": "POA"}], purpose, day), match([{"term": "what"}], purpose, day)
    assert together({"a": irb}) == irb
    both = together({"a": open_, "b": irb})
    assert (both.answer, both.conditions) == ("approve", ["ethics_approval"])
    assert {reason["cohort"] for reason in both.reasons} == {"a", "b"}
    assert together({"a": open_, "b": unclear}).answer == "abstain"
    assert together({"a": unclear, "b": narrow, "c": open_}).answer == "deny"
