"""From what a researcher asks to a plan and a judgement of the purpose: everything wrong with a request at once."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy.orm import Session

from app.consents.cohorts import Behind
from app.deid.counts import mask_plain
from app.deid.dictionary_shape import pointer
from app.deid.plan import draft
from app.errors import Finding, Problem, refuse_all
from app.models import AccessRequest
from app.requests import queries
from app.schemas.dictionary import Dictionary
from app.schemas.mapping import SOURCE
from app.schemas.plan import Condition, Plan, Privacy
from app.settings import Settings
from app.standards import duo

# Which way each limit may be moved by who asks: never towards less protection.
_AT_LEAST = ("k", "reserve", "min_cell", "round_to")
_AT_MOST = ("max_suppression", "tolerance")


def planned(
    settings: Settings,
    document: Mapping[str, Any],
    version_id: str,
    wish: Mapping[str, Any],
    people: int = 0,
    *,
    united: bool = False,
) -> Plan:
    """The plan for the wished tables, filter and limits, checked against the dictionary and the version's `people`.

    Problems: `plan_invalid` with every unknown column and its near matches; a limit looser than the platform's; a k
    that the cohort cannot reach; no quasi-identifier left that k would be counted over; linkage where there is nothing
    to link. Of a `united` version every table of people keeps the name of each row's source, asked for or not.
    """
    dictionary, privacy = Dictionary.model_validate(document), limits(settings, wish["privacy"])
    conditions = [Condition.model_validate(condition) for condition in wish["filter"]]
    found, tables = list(_unreachable(privacy, people)), wish["tables"]
    if united and tables is not None:
        tables = {name: _with_source(dictionary, name, columns) for name, columns in tables.items()}
    if wish.get("linkage") and not united:
        found.append(
            Finding("nothing_to_link", "only people of several cohorts are linked", pointer="/linkage")
        )
    try:
        caps = wish.get("max_rows_per_person")
        plan = draft(dictionary, tables, conditions, privacy, version_id, caps)
    except Problem as problem:
        problem.findings += found
        raise
    found += _nothing_to_count(plan, dictionary)
    if united:
        found += [
            Finding(
                "cap_of_united", "rows of several institutions cannot be capped by person yet", table=t.name
            )
            for t in plan.tables
            if t.max_rows_per_person
        ]
    refuse_all("plan_invalid", "No release of these people can keep to what is asked.", found)
    return plan.model_copy(update={"linkage": True}) if wish.get("linkage") else plan


def _with_source(dictionary: Dictionary, name: str, columns: Sequence[str]) -> list[str]:
    has = any(t.name == name and t.kind != "reference" for t in dictionary.tables)
    return [*columns, SOURCE] if has and columns and SOURCE not in columns else list(columns)


def limits(settings: Settings, wish: Mapping[str, Any]) -> Privacy:
    """The platform's limits with what the applicant made stricter; everything looser is refused at once."""
    least = Privacy(min_cell=settings.min_cell, round_to=settings.round_to)
    asked = {name: value for name, value in wish.items() if value is not None}
    refuse_all("plan_invalid", "The limits may be made stricter, never looser.", _looser(least, asked))
    return least.model_copy(update=asked)


def judged(session: Session, row: AccessRequest, of: Behind, on: date) -> dict[str, Any]:
    """How the terms of every cohort answer the purpose on this day: approve, deny or abstain, always with reasons.

    Who asks, for which institution and from which country is looked up now: it may have changed since it was written.
    """
    known = {**row.purpose, **queries.facts_of_asker(session, row.applicant, row.institution_id)}
    purpose = duo.Purpose.model_validate(known)
    match = duo.together({cohort.id: duo.match(cohort.duo, purpose, on) for cohort in of.cohorts})
    return cast("dict[str, Any]", to_jsonable_python(match))


def must_not_be_denied(match: Mapping[str, Any]) -> None:
    """Refuse with every reason where the terms deny the purpose."""
    if match["answer"] == "deny":
        findings = [
            Finding(
                reason["code"],
                f"{reason['en']} / {reason['ko']}",
                pointer="/purpose",
                hint=reason["term"] or None,
            )
            for reason in match["reasons"]
            if reason["answer"] != "approve"
        ]
        raise Problem("duo_denied", "The cohort's data use terms deny this purpose.", findings)


def latest_day(row: AccessRequest, match: Mapping[str, Any], on: date) -> date:
    """The last day that a permit issued now may have: what was asked for, shortened by the terms' time limits."""
    days = [row.end_date]
    for condition in match["conditions"]:
        what, _, value = condition.partition(":")
        if what == "use_until":
            days.append(date.fromisoformat(value))
        elif what == "use_months":
            days.append(_months_later(on, int(value)))
    return min(days)


def must_lie_ahead(end_date: date, on: date) -> None:
    """Refuse an end that is over already."""
    if end_date <= on:
        finding = Finding("end_in_the_past", "must lie in the future", pointer="/end_date")
        raise Problem("invalid_request", "The project would end before it begins.", [finding])


def must_be_a_purpose(purpose: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The purpose in its normal form, the known facts of who asks over what was said; all that is wrong with it."""
    try:
        return duo.Purpose.model_validate({**purpose, **facts}).model_dump(mode="json")
    except ValidationError as error:
        findings = [
            Finding(one["type"], "does not belong into a purpose", pointer=pointer("purpose", *one["loc"]))
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Problem("invalid_request", "The purpose cannot be read.", findings) from None


def _unreachable(privacy: Privacy, people: int) -> Iterator[Finding]:
    """Judged by the number that the catalogue shows, and its rounding, so that nobody finds the exact one by asking."""
    if people:
        shown = mask_plain(people, privacy.min_cell, privacy.round_to).value
        if privacy.k + privacy.reserve > (shown or privacy.min_cell) + privacy.round_to:
            detail = "k and reserve ask for larger classes than there are people"
            yield Finding("too_few_people", detail, pointer="/privacy/k")


def _nothing_to_count(plan: Plan, dictionary: Dictionary) -> Iterator[Finding]:
    people = dictionary.people
    leaving = {c.name for t in plan.tables if t.name == people.name for c in t.columns}
    known = [column.name for column in people.of_role("quasi_identifier", "site")]
    if known and leaving.isdisjoint(known):
        yield Finding(
            "no_quasi_identifier", "no quasi-identifier leaves, so k would be counted over nothing", people.name,
            pointer="/tables", hint=f"ask for one of {', '.join(known[:5])}",
        )  # fmt: skip


def _looser(least: Privacy, asked: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value in asked.items():
        floor = getattr(least, name)
        if (name in _AT_LEAST and value < floor) or (name in _AT_MOST and value > floor):
            bound = "at least" if name in _AT_LEAST else "at most"
            yield Finding("looser_than_policy", f"is {bound} {floor} here", pointer=f"/privacy/{name}")


def _months_later(on: date, months: int) -> date:
    year, month = divmod(on.month - 1 + months, 12)
    last = monthrange(on.year + year, month + 1)[1]
    return on.replace(year=on.year + year, month=month + 1, day=min(on.day, last))
