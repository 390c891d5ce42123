"""A version made from the last: what it begins with, what it changes, and what that does to permits that live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.cohorts import destruction_queries, segments
from app.cohorts import intake_queries as queries
from app.consents import epochs
from app.deid.dictionary_changes import BREAKING, Change, changes, concerned
from app.engines.intake import Before, Parent, TableChange
from app.errors import Finding, Problem
from app.jobs import enqueue
from app.models import Cohort, Dataset, DatasetVersion, Permit
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan

LIVE = ("pending_agreement", "active", "suspended")
"""States of a permit under which something may still leave."""


def continue_from(
    session: Session, row: DatasetVersion, before_id: str, held: Dataset, of: Cohort, at: datetime
) -> None:
    """Let a new draft begin with the dictionary and the tables of the dataset's last version; no row is copied.

    Raises Problem("conflict") where that is not the last published one, or people are being destroyed in it."""
    before = session.get(DatasetVersion, before_id, with_for_update=True)
    if before is None or before.dataset_id != held.id:
        finding = Finding("unknown_version", "the dataset has no such version", pointer="/from")
        raise Problem("invalid_request", "A version is made from one of the same dataset.", [finding])
    if before.state != "published":
        raise Problem("conflict", "A version is made from the last one alone.", [not_last(before.state)])
    epochs.lock(session, of.id)  # a destruction begins under the same lock
    run = destruction_queries.unfinished(session, of.id)
    if run is not None and run.state != "rewritten":
        raise Problem(
            "conflict", "People are being destroyed in the cohort; try again in a minute.",
            headers={"Retry-After": "60"},
        )  # fmt: skip
    row.made_from, row.dictionary, row.dictionary_digest = (
        before.id,
        before.dictionary,
        before.dictionary_digest,
    )
    session.flush()
    segments.carry(session, before.id, row.id, at)


def not_last(state: str) -> Finding:
    """Why a version cannot be gone on from."""
    if state == "superseded":
        return Finding(
            "superseded", "the version has been superseded", pointer="/from", hint="make it from the newest"
        )
    return Finding("not_published", f"the version is {state}", pointer="/from")


def predecessor(session: Session, row: DatasetVersion) -> DatasetVersion | None:
    """The version that this one is held against: the one it was made from, else the one published now."""
    if row.made_from is not None:
        return session.get_one(DatasetVersion, row.made_from)
    query = select(DatasetVersion).where(
        DatasetVersion.dataset_id == row.dataset_id,
        DatasetVersion.state == "published",
        DatasetVersion.id != row.id,
    )
    return session.scalar(query.limit(1))


def as_before(session: Session, row: DatasetVersion) -> Before:
    """A version as the engine holds others against it."""
    held = queries.newest_tables(session, row.id)
    return Before(Dictionary.model_validate(row.dictionary), queries.as_parents(session, held))


def dictionary_changes(before: DatasetVersion, after: Mapping[str, Any] | None) -> list[Change]:
    """What a dictionary says otherwise than that of a version."""
    if before.dictionary is None or after is None:
        return []
    return changes(Dictionary.model_validate(before.dictionary), Dictionary.model_validate(after))


def findings(
    row: DatasetVersion, before: DatasetVersion, tables: Mapping[str, Parent], earlier: Before
) -> Iterator[Finding]:
    """What forbids this version after that one: it was superseded, or something breaks in silence."""
    if row.made_from is not None and before.state != "published":
        yield not_last(before.state)
    stated = {(one["table"], one["column"], one["change"]) for one in row.stated or []}
    for change in dictionary_changes(before, row.dictionary):
        table, column = change.table or None, change.column or None
        if change.kind == BREAKING and change.place not in stated:
            yield Finding(
                "breaking_unstated", f"breaks what was approved before ({change.change}), and nobody has said so",
                table, column, hint="state it (PUT /v1/versions/{id}/changes), or take it back",
            )  # fmt: skip
        if change.change == "unit" and _keeps_rows(change.table, tables, earlier):
            yield Finding(
                "unit_changed", "the rows carried over from the last version are in the old unit", table, column,
                hint="replace the table",
            )  # fmt: skip


def state_changes(
    row: DatasetVersion, before: DatasetVersion | None, said: Sequence[Mapping[str, Any]]
) -> None:
    """Take the breaking changes that the institution names; each must be one that the dictionary makes."""
    made = {} if before is None else {c.place: c for c in dictionary_changes(before, row.dictionary)}
    wrong = [
        Finding("unknown_change", "the dictionary makes no such change", pointer=f"/breaking/{i}")
        for i, one in enumerate(said)
        if (one["table"], one["column"], one["change"]) not in made
    ]
    if wrong:
        raise Problem("invalid_request", "Some of the changes are none of this version's.", wrong)
    row.stated = [dict(one) for one in said]


def written(
    session: Session, row: DatasetVersion, before: DatasetVersion, rows: Sequence[TableChange]
) -> dict[str, Any]:
    """The part of a version's report about what is new in it."""
    return {
        **brief(session, row, before),
        "tables": [
            {"table": one.table, "rows": one.rows.to_dict(), "people": one.people.to_dict()} for one in rows
        ],
    }


def brief(session: Session, row: DatasetVersion, before: DatasetVersion | None) -> dict[str, Any]:
    """What a version's dictionary changes, what of it was stated, and what it does to the permits that live."""
    if before is None:
        return {"from": None, "number": None, "dictionary": [], "stated": row.stated or [], "permits": {}}
    return {
        "from": before.id,
        "number": before.number,
        "dictionary": [one.to_dict() for one in dictionary_changes(before, row.dictionary)],
        "stated": row.stated or [],
        "permits": effects(session, row),
    }


def effects(session: Session, row: DatasetVersion) -> dict[str, int]:
    """How many live permits of the dataset stay on their version, how many go on to this one by themselves, and of how
    many the steward is asked, because what breaks is in their plan."""
    query = (
        select(Permit)
        .join(DatasetVersion, DatasetVersion.id == Permit.version_id)
        .where(
            DatasetVersion.dataset_id == row.dataset_id, Permit.state.in_(LIVE), Permit.version_id != row.id
        )
    )
    counted = {"stay": 0, "follow": 0, "ask": 0}
    for permit in session.scalars(query.order_by(Permit.id)):
        if not permit.follow:
            counted["stay"] += 1
        else:
            counted["ask" if breaks(session, permit, row.dictionary) else "follow"] += 1
    return counted


def let_follow(session: Session, row: DatasetVersion, at: datetime) -> None:
    """Order that permits which follow go on to a version that is published now, or that their stewards are asked."""
    query = (
        select(Permit.id)
        .join(DatasetVersion, DatasetVersion.id == Permit.version_id)
        .where(DatasetVersion.dataset_id == row.dataset_id, Permit.state.in_(LIVE), Permit.follow.is_(True))
    )
    for permit_id in session.scalars(query.order_by(Permit.id)):
        enqueue(session, "follow_version", subject=permit_id, arguments={"version_id": row.id}, at=at)


def breaks(session: Session, permit: Permit, dictionary: Mapping[str, Any] | None) -> list[Change]:
    """The breaking changes from a permit's own version to this dictionary that its plan is concerned by."""
    own = session.get_one(DatasetVersion, permit.version_id)
    if own.dictionary is None or dictionary is None:
        return []
    before, after = Dictionary.model_validate(own.dictionary), Dictionary.model_validate(dictionary)
    planned = {t.name: [c.name for c in t.columns] for t in Plan.model_validate(permit.plan).tables}
    return [c for c in changes(before, after) if c.kind == BREAKING and concerned(c, planned, before)]


def _keeps_rows(table: str, tables: Mapping[str, Parent], earlier: Before) -> bool:
    old, new = earlier.tables.get(table), tables.get(table)
    return old is not None and new is not None and bool(set(old.objects) & set(new.objects))
