"""The object rules, as a table: every role against every rule, inside and outside; and that the file stays pure."""

from dataclasses import replace

import pytest

from app.auth import policy
from app.auth.policy import (
    ROLE_SCOPES,
    Actor,
    AlarmFacts,
    AuditFacts,
    CohortFacts,
    Decision,
    DepartureFacts,
    IncidentFacts,
    InstitutionFacts,
    IntegrationFacts,
    ProjectFacts,
    RequestFacts,
    Scope,
    TargetFacts,
    UploadFacts,
    VersionFacts,
)
from app.errors import Problem


def actor(role, institution=None, subject=None):
    return Actor(subject or f"client:{role}", role, role, institution, frozenset(ROLE_SCOPES[role]))


ACTORS = {
    "platform": actor("platform"),
    "own": actor("institution", "a"),
    "other": actor("institution", "b"),
    "drb": actor("steward"),
    "steward": actor("steward", "a"),
    "far steward": actor("steward", "b"),
    "inspector": actor("inspector"),
    "near inspector": actor("inspector", "a"),
    "far inspector": actor("inspector", "b"),
    "asker": actor("researcher", "a", "client:asker"),
    "researcher": actor("researcher", "a", "client:someone"),
    "asking steward": actor("steward", "a", "client:asker"),
}
YES, UNSEEN = "yes", "unseen"
COHORT, DRAFT, PUBLISHED = CohortFacts("a"), VersionFacts("a", "draft"), VersionFacts("a", "published")
REQUEST = RequestFacts("client:asker", "a", "submitted")
PROJECT = ProjectFacts("client:asker", "a")
INCIDENT, NOWHERE = IncidentFacts("client:asker", ("a",)), IncidentFacts("client:asker", ())
PROJECT_TARGET = TargetFacts("project", "client:asker", ("a",))
UNITED = IntegrationFacts("a", "in_review", ("a", "b"))

# rule, facts, who is allowed, who is told why not; all others are told that there is no such thing
RULES = [
    ("read_institution", InstitutionFacts("a"), {"platform", "own", "drb", "steward", "asking steward"}, {}),
    (
        "register_cohort",
        COHORT,
        {"own"},
        dict.fromkeys(("drb", "steward", "asking steward"), "institution_only"),
    ),
    ("read_cohort", COHORT, {"own", "drb", "steward", "asking steward"}, {}),
    (
        "change_cohort",
        COHORT,
        {"own"},
        dict.fromkeys(("drb", "steward", "asking steward"), "institution_only"),
    ),
    (
        "change_consents",
        COHORT,
        {"own"},
        dict.fromkeys(("drb", "steward", "asking steward"), "institution_only"),
    ),
    (
        "take_withdrawal",
        COHORT,
        {"own"},
        dict.fromkeys(("drb", "steward", "asking steward"), "institution_only"),
    ),
    ("read_receipt", COHORT, {"own", "drb", "steward", "asking steward"}, {}),
    ("read_version", PUBLISHED, {"own", "drb", "steward", "asking steward"}, {}),
    (
        "change_version",
        DRAFT,
        {"own"},
        dict.fromkeys(("drb", "steward", "asking steward"), "institution_only"),
    ),
    ("publish_version", DRAFT, {"drb", "steward", "asking steward"}, {"own": "steward_only"}),
    ("find_version", DRAFT, {"own", "drb", "steward", "asking steward"}, {}),
    ("cite_version", DRAFT, {"own", "drb", "steward", "asking steward"}, {}),
    ("cite_version", PUBLISHED, set(ACTORS), {}),
    ("cite_version", VersionFacts("a", "superseded"), set(ACTORS), {}),
    ("cite_version", VersionFacts("a", "withdrawn"), {"own", "drb", "steward", "asking steward"}, {}),
    ("find_version", PUBLISHED, set(ACTORS), {}),
    (
        "upload",
        UploadFacts("a"),
        {"own"},
        dict.fromkeys(("drb", "steward", "asking steward"), "institution_only"),
    ),
    (
        "draft_integration",
        UNITED,
        {"own"},
        dict.fromkeys(("drb", "steward", "asking steward"), "institution_only"),
    ),
    ("read_integration", UNITED, {"own", "other", "drb", "steward", "far steward", "asking steward"}, {}),
    (
        "change_integration",
        UNITED,
        {"own"},
        dict.fromkeys(("other", "drb", "steward", "far steward", "asking steward"), "drafter_only"),
    ),
    (
        "review_integration",
        UNITED,
        {"drb", "steward", "far steward", "asking steward"},
        dict.fromkeys(("own", "other"), "steward_only"),
    ),
    (
        "withdraw_integration",
        UNITED,
        {"own", "other"},
        dict.fromkeys(("drb", "steward", "far steward", "asking steward"), "institution_only"),
    ),
    (
        "create_request",
        PUBLISHED,
        {"asker", "researcher"},
        dict.fromkeys(set(ACTORS) - {"asker", "researcher"}, "researcher_only"),
    ),
    ("read_request", REQUEST, {"asker", "drb", "steward", "asking steward"}, {}),
    ("read_request", replace(REQUEST, state="draft"), {"asker", "asking steward"}, {}),
    (
        "edit_request",
        REQUEST,
        {"asker", "asking steward"},
        {"drb": "applicant_only", "steward": "applicant_only"},
    ),
    (
        "review_request",
        REQUEST,
        {"drb", "steward"},
        {"asker": "own_request", "asking steward": "own_request"},
    ),
    ("read_permit", PROJECT, {"asker", "drb", "steward", "asking steward"}, {}),
    (
        "accept_agreement",
        PROJECT,
        {"asker", "asking steward"},
        {"drb": "holder_only", "steward": "holder_only"},
    ),
    (
        "report_publication",
        PROJECT,
        {"asker", "asking steward"},
        {"drb": "holder_only", "steward": "holder_only"},
    ),
    (
        "return_data",
        PROJECT,
        {"asker", "asking steward"},
        {"drb": "holder_only", "steward": "holder_only"},
    ),
    ("read_return", PROJECT, {"asker", "own", "drb", "steward", "asking steward"}, {}),
    (
        "upload",
        UploadFacts("a", returned_by="client:asker"),
        {"own", "asker", "asking steward"},
        dict.fromkeys(("drb", "steward"), "institution_only"),
    ),
    ("manage_permit", PROJECT, {"drb", "steward"}, {"asker": "own_request", "asking steward": "own_request"}),
    ("order_extract", PROJECT, {"asker", "asking steward"}, {"drb": "holder_only", "steward": "holder_only"}),
    ("cancel_extract", PROJECT, {"asker", "drb", "steward", "asking steward"}, {}),
    ("read_extract", PROJECT, {"asker", "asking steward"}, {"drb": "holder_only", "steward": "holder_only"}),
    (
        "report_finding",
        PROJECT,
        {"asker", "asking steward"},
        {"drb": "holder_only", "steward": "holder_only"},
    ),
    ("read_finding", PROJECT, {"asker", "drb", "steward", "asking steward"}, {}),
    (
        "review_finding",
        PROJECT,
        {"drb", "steward"},
        {"asker": "own_request", "asking steward": "own_request"},
    ),
    (
        "receive_finding",
        COHORT,
        {"own"},
        dict.fromkeys(("drb", "steward", "asking steward"), "institution_only"),
    ),
    ("read_alarm", AlarmFacts("a"), {"own", "drb", "steward", "asking steward"}, {}),
    ("read_alarm", AlarmFacts(None), {"platform", "drb"}, {}),
    ("acknowledge_alarm", AlarmFacts("a"), {"own", "drb", "steward", "asking steward"}, {}),
    ("acknowledge_alarm", AlarmFacts(None), {"platform", "drb"}, {}),
    ("close_alarm", AlarmFacts("a"), {"drb", "steward", "asking steward"}, {"own": "steward_only"}),
    ("close_alarm", AlarmFacts(None), {"drb"}, {"platform": "steward_only"}),
    ("name_target", PROJECT_TARGET, {"platform", "own", "drb", "steward", "asker", "asking steward"}, {}),
    ("name_target", TargetFacts("platform"), {"platform", "drb"}, {}),
    (
        "freeze_target",
        PROJECT_TARGET,
        {"platform", "drb", "steward", "asking steward"},
        dict.fromkeys(("own", "asker"), "steward_only"),
    ),
    (
        "freeze_target",
        TargetFacts("cohort", None, ("a",)),
        {"platform", "own", "drb", "steward", "asking steward"},
        {},
    ),
    ("freeze_target", TargetFacts("platform"), {"platform", "drb"}, {}),
    (
        "thaw_target",
        TargetFacts("cohort", None, ("a",)),
        {"platform", "own", "drb", "steward", "asking steward"},
        dict.fromkeys(
            ("other", "far steward", "inspector", "near inspector", "far inspector", "asker", "researcher"),
            "freezer_only",
        ),
    ),
    (
        "thaw_target",
        TargetFacts("platform"),
        {"platform", "drb"},
        dict.fromkeys(set(ACTORS) - {"platform", "drb"}, "freezer_only"),
    ),
    ("read_incident", INCIDENT, {"platform", "own", "drb", "steward", "asker", "asking steward"}, {}),
    ("read_incident", NOWHERE, {"platform", "drb", "asker", "asking steward"}, {}),
    (
        "contain_incident",
        INCIDENT,
        {"platform", "own", "drb", "steward", "asking steward"},
        {"asker": "steward_only"},
    ),
    (
        "handle_incident",
        INCIDENT,
        {"platform", "drb", "steward", "asking steward"},
        dict.fromkeys(("own", "asker"), "steward_only"),
    ),
    (
        "handle_incident",
        NOWHERE,
        {"platform", "drb"},
        dict.fromkeys(("asker", "asking steward"), "steward_only"),
    ),
    (
        "inspect",
        InstitutionFacts("a"),
        {"inspector", "near inspector"},
        dict.fromkeys(set(ACTORS) - {"inspector", "near inspector", "far inspector"}, "inspector_only"),
    ),
    (
        "inspect",
        InstitutionFacts(""),
        {"inspector"},
        dict.fromkeys(set(ACTORS) - {"inspector", "near inspector", "far inspector"}, "inspector_only"),
    ),
    (
        "declare_departure",
        DepartureFacts("a"),
        {"platform", "own"},
        dict.fromkeys(("drb", "steward", "asking steward"), "institution_only"),
    ),
    (
        "confirm_departure",
        DepartureFacts("a", None, "client:institution"),
        {"platform"},
        dict.fromkeys(("own", "other"), "own_request")
        | dict.fromkeys(("drb", "steward", "asking steward"), "platform_only"),
    ),
    (
        "confirm_departure",
        DepartureFacts("a", "b", "client:platform"),
        {"other"},
        {"platform": "own_request"}
        | dict.fromkeys(("own", "drb", "steward", "far steward", "asking steward"), "platform_only"),
    ),
    (
        "read_departure",
        DepartureFacts("a", "b"),
        {"platform", "own", "other", "drb", "steward", "far steward", "asking steward"},
        {},
    ),
    ("read_audit", AuditFacts(), {"platform", "inspector"}, {}),
    (
        "read_audit",
        AuditFacts("a"),
        {"platform", "own", "drb", "steward", "asking steward", "inspector", "near inspector"},
        {},
    ),
    (
        "read_audit",
        AuditFacts("a", "client:asker"),
        {"platform", "own", "drb", "steward", "asking steward", "asker", "inspector", "near inspector"},
        {},
    ),
]


@pytest.mark.parametrize("name", ACTORS)
@pytest.mark.parametrize(
    ("rule", "facts", "allowed", "told"), RULES, ids=[f"{r[0]}-{i}" for i, r in enumerate(RULES)]
)
def test_rule(rule, facts, allowed, told, name):
    decision = getattr(policy, f"may_{rule}")(ACTORS[name], facts)
    must = getattr(policy, f"must_{rule}")
    if name in allowed:
        assert decision == Decision(True, True)
        must(ACTORS[name], facts)
        return
    assert decision == Decision(False, name in told, told.get(name, ""))
    with pytest.raises(Problem) as refused:
        must(ACTORS[name], facts)
    assert refused.value.status == (403 if name in told else 404)
    assert refused.value.extra.get("reason") == told.get(name)


def test_every_rule_is_in_the_table():
    rules = {name.removeprefix("may_") for name in dir(policy) if name.startswith("may_")}
    assert rules - {"administer"} == {rule for rule, *_ in RULES}
    assert all(hasattr(policy, f"must_{rule}") for rule in rules)


@pytest.mark.parametrize("name", ACTORS)
def test_only_the_platform_administers(name):
    assert policy.may_administer(ACTORS[name]).allowed == (name == "platform")
    if name != "platform":
        with pytest.raises(Problem, match="forbidden"):
            policy.must_administer(ACTORS[name])


def test_scopes_are_alphabetical_and_no_role_holds_both_ends_of_a_decision():
    assert list(Scope) == sorted(Scope)
    assert set().union(*ROLE_SCOPES.values()) == set(Scope)
    for asks, decides in [
        (Scope.REQUESTS_WRITE, Scope.REQUESTS_REVIEW),
        (Scope.COHORTS_WRITE, Scope.DATASETS_PUBLISH),
        (Scope.PLATFORM_ADMIN, Scope.EXTRACTS_READ),
        (Scope.PLATFORM_ADMIN, Scope.COHORTS_READ),
    ]:
        assert not any({asks, decides} <= scopes for scopes in ROLE_SCOPES.values())
