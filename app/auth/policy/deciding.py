"""A decision, its reasons, and the few questions that all rules are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from app.auth.policy.roles import Actor
from app.errors import Problem, not_found

REASONS: dict[str, str] = {
    "applicant_only": "Only the applicant may do this.",
    "drafter_only": "Only the institution that drafts the integration may do this.",
    "freezer_only": "Only whoever may freeze a thing may thaw it: the platform, or the stewards of its data.",
    "holder_only": "Only the holder of the project may do this.",
    "inspector_only": "Only an inspector may do this.",
    "institution_only": "Only the institution that holds the cohort may do this.",
    "not_published": "The dataset version is not published.",
    "own_request": "Nobody reviews or decides what they asked for themselves.",
    "platform_only": "Only the platform's administration may do this.",
    "researcher_only": "Only a researcher may do this.",
    "steward_only": "Only a steward may do this.",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed; if not, whether the object may be seen to exist, and why (a key of `REASONS`)."""

    allowed: bool
    visible: bool
    reason: str = ""


F = TypeVar("F")

YES = Decision(True, True)
UNSEEN = Decision(False, False)


def seen(reason: str) -> Decision:
    """No, and this is why (a key of `REASONS`); that the object exists is no secret."""
    return Decision(False, True, reason)


def owns(actor: Actor, institution_id: str) -> bool:
    """Whether the actor acts for the institution itself."""
    return actor.role == "institution" and actor.institution_id == institution_id


def stewards(actor: Actor, institution_id: str, also: tuple[str, ...] = ()) -> bool:
    """A steward without an institution is the public data review board's and serves every cohort. Of a united
    version the stewards of every source are stewards."""
    return actor.role == "steward" and actor.institution_id in (None, institution_id, *also)


def own_only(actor: Actor, institution_id: str) -> Decision:
    """The institution alone; its stewards are told so."""
    if owns(actor, institution_id):
        return YES
    return seen("institution_only") if stewards(actor, institution_id) else UNSEEN


def own_or_steward(actor: Actor, institution_id: str, also: tuple[str, ...] = ()) -> Decision:
    """The institutions and whoever stewards one of them."""
    if any(owns(actor, one) for one in (institution_id, *also)) or stewards(actor, institution_id, also):
        return YES
    return UNSEEN


def refusing(noun: str, rule: Callable[[Actor, F], Decision]) -> Callable[[Actor, F], None]:
    """The refusing twin of a rule: `not_found` for what must not be seen, `forbidden` with the reason for what may."""

    def must(actor: Actor, facts: F) -> None:
        decision = rule(actor, facts)
        if decision.allowed:
            return
        if not decision.visible:
            raise not_found(noun)
        raise Problem("forbidden", REASONS[decision.reason], extra={"reason": decision.reason})

    return must
