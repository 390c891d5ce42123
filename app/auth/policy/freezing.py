"""Incidents, and what a freeze stops: decided here for every byte, token, build and count, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.auth.policy.deciding import UNSEEN, YES, Decision, owns, refusing, seen, stewards
from app.auth.policy.facts import IncidentFacts, TargetFacts
from app.auth.policy.roles import Actor
from app.errors import Problem

# What can be frozen, and what stands still while it is.
STOPS: dict[str, str] = {
    "account": "tokens of the person, and every byte of what they hold",
    "client": "tokens of the client, and every byte of what it holds",
    "cohort": "every byte, build and count of the cohort's data",
    "institution": "every byte, build and count of the data of all of its cohorts",
    "permit": "every byte and build under the permit",
    "platform": "every byte, build and count",
    "project": "every byte and build under any permit of the project",
}


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A thing that can be frozen: a kind of `STOPS`, and its id (empty for the platform)."""

    kind: str
    subject: str = ""

    @classmethod
    def of_subject(cls, subject: str) -> Target:
        """The target of an actor's subject, `client:<id>` or `account:<id>`."""
        kind, _, name = subject.partition(":")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class Release:
    """All that a released byte hangs on; any of it, frozen, stops the byte. `askers`: subjects of holder and reader."""

    permit_id: str
    project_id: str
    cohorts: tuple[str, ...]
    institutions: tuple[str, ...]
    askers: tuple[str, ...] = ()

    def targets(self) -> frozenset[Target]:
        """Everything whose freeze stops this."""
        named = {Target("permit", self.permit_id), Target("project", self.project_id)}
        return frozenset(
            {*named, *data(self.cohorts, self.institutions), *map(Target.of_subject, self.askers)}
        )


def data(cohorts: Iterable[str], institutions: Iterable[str]) -> frozenset[Target]:
    """Everything whose freeze stops a count, or anything else that is told of these cohorts' data."""
    held = {Target("institution", one) for one in institutions}
    return frozenset({Target("platform"), *(Target("cohort", one) for one in cohorts), *held})


def must_not_be_frozen(reach: frozenset[Target], standing: Iterable[Target]) -> None:
    """Refuse where something that this hangs on is frozen now; what it is, is told by its kind alone."""
    if found := sorted(reach.intersection(standing)):
        raise Problem(
            "frozen", "It is stopped while an incident is dealt with.", extra={"frozen": found[0].kind}
        )


def may_name_target(actor: Actor, facts: TargetFacts) -> Decision:
    """Report an incident about it: whoever holds it or its data, its stewards, the platform."""
    holds = facts.holder is not None and actor.subject == facts.holder
    if holds or any(owns(actor, one) for one in facts.institutions):
        return YES
    return YES if _in_charge(actor, facts.institutions) else UNSEEN


def may_freeze_target(actor: Actor, facts: TargetFacts) -> Decision:
    """Freeze: the platform and the stewards of the data; an institution what is its own alone."""
    if _in_charge(actor, facts.institutions):
        return YES
    if facts.kind in ("cohort", "institution") and any(owns(actor, one) for one in facts.institutions):
        return YES
    return seen("steward_only") if may_name_target(actor, facts).visible else UNSEEN


def may_thaw_target(actor: Actor, facts: TargetFacts) -> Decision:
    """Let go of what was frozen: whoever may freeze it. That it is frozen, its incident tells all who handle that."""
    return YES if may_freeze_target(actor, facts).allowed else seen("freezer_only")


def may_read_incident(actor: Actor, facts: IncidentFacts) -> Decision:
    """Whoever reported it, the institutions it touches, their stewards, the platform."""
    if actor.subject == facts.reporter or any(owns(actor, one) for one in facts.institutions):
        return YES
    return YES if _in_charge(actor, facts.institutions) else UNSEEN


def may_contain_incident(actor: Actor, facts: IncidentFacts) -> Decision:
    """Stop what goes on: whoever may judge it, and an institution that it touches; of what, each target decides."""
    if any(owns(actor, one) for one in facts.institutions):
        return YES
    return may_handle_incident(actor, facts)


def may_handle_incident(actor: Actor, facts: IncidentFacts) -> Decision:
    """Assess, notify, recover, close, export: the platform, and the stewards of the data that it touches."""
    if _in_charge(actor, facts.institutions):
        return YES
    return seen("steward_only") if may_read_incident(actor, facts).visible else UNSEEN


def _in_charge(actor: Actor, institutions: tuple[str, ...]) -> bool:
    """The platform; the public stewards; a steward of one of the institutions."""
    return actor.role == "platform" or any(stewards(actor, one) for one in institutions or ("",))


must_name_target = refusing("object", may_name_target)
must_freeze_target = refusing("object", may_freeze_target)
must_thaw_target = refusing("object", may_thaw_target)
must_read_incident = refusing("incident", may_read_incident)
must_contain_incident = refusing("incident", may_contain_incident)
must_handle_incident = refusing("incident", may_handle_incident)
