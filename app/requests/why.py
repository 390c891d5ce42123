"""May I? The conditions of a verb on an object, each met or not, and who can mend it; nothing is tried or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.auth import freezes, policy
from app.auth.policy import Actor, Decision
from app.errors import Problem, not_found
from app.permits import refusal
from app.requests import queries
from app.requests.decisions import Condition, conditions
from app.requests.states import TRANSITIONS

Answer = Iterator[Condition]


def answer(session: Session, actor: Actor, verb: str, object_id: str, now: datetime) -> dict[str, Any]:
    """Whether the actor may, with every condition; an object that is not theirs to see does not exist.

    `verb` is a key of `VERBS`.
    """
    found = list(VERBS[verb](session, actor, object_id, now))
    return {
        "verb": verb,
        "object": object_id,
        "allowed": all(condition.met for condition in found),
        "conditions": [
            {"condition": c.name, "met": c.met, "detail": c.detail, "who": None if c.met else c.who}
            for c in found
        ],
    }


def _create(session: Session, actor: Actor, object_id: str, _now: datetime) -> Answer:
    version, of = queries.version(session, object_id)
    facts = queries.version_facts(version, of)
    decision = policy.may_create_request(actor, facts)
    _must_be_visible(decision, "dataset version")
    yield Condition("role", actor.role == "researcher", "forbidden", "a researcher asks", "platform")
    yield Condition(
        "version_published", version.state in policy.PUBLISHED, "version_not_ready",
        f"the dataset version is {version.state}", "steward",
    )  # fmt: skip


def _submit(session: Session, actor: Actor, object_id: str, now: datetime) -> Answer:
    row, of = queries.request(session, object_id)
    facts = queries.request_facts(row, of)
    decision = policy.may_edit_request(actor, facts)
    _must_be_visible(decision, "access request")
    yield Condition("applicant", decision.allowed, "forbidden", "only the applicant submits", "applicant")
    yield _state(row.state, "submit", "applicant")
    yield Condition(
        "end_date", row.end_date > now.date(), "invalid_request", "the end lies ahead", "applicant"
    )
    yield from (
        c
        for c in conditions(session, row, of, now.date())
        if c.name in ("version_published", "data_use_terms")
    )


def _approve(session: Session, actor: Actor, object_id: str, now: datetime) -> Answer:
    row, of = queries.request(session, object_id)
    decision = policy.may_review_request(actor, queries.request_facts(row, of))
    _must_be_visible(decision, "access request")
    yield Condition("reviewer", decision.allowed, "forbidden", "a steward of the cohort decides", "steward")
    yield _state(row.state, "approve", "steward")
    claimed = row.claimed_by == actor.subject
    yield Condition("claimed", claimed, "conflict", "the request is claimed by who decides", "steward")
    yield from conditions(session, row, of, now.date())


def _order(session: Session, actor: Actor, object_id: str, now: datetime) -> Answer:
    row, project, of = queries.permit(session, object_id)
    decision = policy.may_order_extract(actor, queries.permit_facts(project, of))
    _must_be_visible(decision, "permit")
    yield Condition("holder", decision.allowed, "forbidden", "only the holder orders", "holder")
    agreed = row.agreed_at is not None
    yield Condition("agreement", agreed, "agreement_required", "the data use agreement is accepted", "holder")
    if agreed:
        reason = refusal(row.state, row.valid_until, now.date())
        yield Condition(
            "permit_live", reason is None, "permit_not_live", f"the permit is {row.state}", "steward"
        )
    yield Condition(
        "not_frozen", not _frozen(session, row.id), "frozen", "no incident has it stopped", "steward"
    )
    version, _of = queries.version(session, row.version_id)
    usable = version.state in ("published", "superseded")
    yield Condition(
        "version", usable, "version_not_ready", f"the dataset version is {version.state}", "institution"
    )


def _frozen(session: Session, permit_id: str) -> bool:
    try:
        freezes.must_not_stop_release(session, permit_id)
    except Problem:
        return True
    return False


VERBS: dict[str, Callable[[Session, Actor, str, datetime], Answer]] = {
    "request.create": _create,
    "request.submit": _submit,
    "request.approve": _approve,
    "extract.order": _order,
}


def _state(state: str, verb: str, who: str) -> Condition:
    return Condition("state", verb in TRANSITIONS[state], "conflict", f"the request is {state}", who)


def _must_be_visible(decision: Decision, noun: str) -> None:
    if not decision.visible:
        raise not_found(noun)
