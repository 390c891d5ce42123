"""The register for one person at a time: their word is entered, read as of any moment; tokens are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.auth import policy
from app.auth.policy import Actor, CohortFacts
from app.clock import Clock
from app.cohorts import queries
from app.cohorts.consent_intake import Leave
from app.consents import epochs, history, identities, linkage, minors, persons, register, return_tokens
from app.db import Database, retried
from app.deid.counts import mask_plain
from app.deid.identifiers import looks_like
from app.deid.identifiers.linkage import WHY, refusal
from app.errors import Finding, not_found, refuse_all
from app.jobs.answers import Once, earlier, keep
from app.keyring import Keyring
from app.models import Cohort
from app.schemas.register import DOMAINS, UNLINKED
from app.settings import Settings

_SHORTEST = 13  # characters; the institution's own ids that are shorter are only numbers of theirs
View = dict[str, Any]


@dataclass(frozen=True)
class ConsentService:
    """The verbs of the register besides its load (a job) and withdrawals (a room of their own)."""

    db: Database
    clock: Clock
    settings: Settings
    keyring: Keyring
    leave: Leave

    @retried
    def set_one(
        self, actor: Actor, cohort_id: str, body: Mapping[str, Any], once: Once | None = None
    ) -> View:
        """One person's consent, given or changed; whom the cohort does not know is enrolled.

        Problems: `invalid_request` with every finding, `conflict` where the word is not later than what it would undo.
        """
        now = self.clock()
        with self.db.unit_of_work() as session:
            cohort = _own(session, actor, cohort_id)
            if (answer := earlier(session, once, now)) is not None:
                return answer
            self._refuse(body)
            cohort = epochs.lock(session, cohort_id)
            said = self._statement(body)
            identity = register.hasher_of(self.keyring, cohort).digest(body["participant"])
            identities.enrol(session, cohort_id, [identity], now)
            key = register.find(session, self.keyring, cohort, body["participant"])
            if key is None:
                raise not_found("participant")
            before = cohort.epoch
            left = register.set_consent(
                session, cohort_id, key, body["domains"], said, at=now, actor=actor.subject
            )
            for kind, domains in left.items():
                self.leave(session, cohort_id, kind, [(key, domains)], now)
            linked = self._linkage(session, body.get("linkage_token"), now)
            apart = persons.unlinking(session, key, linked, body.get("may_link"))
            persons.say(
                session, cohort, key, linkage=linked, may_link=body.get("may_link"),
                deceased=body.get("deceased"), at=now, actor=actor.subject, moved=cohort.epoch > before,
            )  # fmt: skip
            if apart:
                self.leave(session, cohort_id, UNLINKED, [(key, list(DOMAINS))], now)
            token = return_tokens.token_of(session, key)
            return keep(session, once, 200, {
                "cohort_id": cohort_id, "return_token": token, "epoch": cohort.epoch,
                "changed": cohort.epoch > before,
            })  # fmt: skip

    def of_one(self, actor: Actor, cohort_id: str, participant: str, as_of: datetime | None) -> View:
        """What one person had said of each domain at a moment (now, where none is named)."""
        at = as_of or self.clock()
        with self.db.unit_of_work() as session:
            cohort = _own(session, actor, cohort_id)
            key = register.find(session, self.keyring, cohort, participant)
            if key is None:
                raise not_found("participant")
            may_link, deceased = history.person_as_of(session, key, at)
            view = {
                "cohort_id": cohort_id, "return_token": return_tokens.token_of(session, key), "as_of": at,
                "domains": list(history.of_person(session, cohort_id, key, at)),
                "may_link": may_link, "deceased": deceased,
            }  # fmt: skip
            _note(session, cohort, "consent.read", actor, self.clock(), {"people": 1})
            return view

    def tokens(self, actor: Actor, cohort_id: str, participants: Sequence[str]) -> View:
        """The return tokens of people by the institution's own identifiers, in the same order; null: unknown."""
        with self.db.unit_of_work() as session:
            cohort = _own(session, actor, cohort_id)
            hasher = register.hasher_of(self.keyring, cohort)
            found = return_tokens.told(session, hasher, cohort_id, participants)
            people = sum(token is not None for token in found)
            _note(session, cohort, "consent.tokens_told", actor, self.clock(), {"people": people})
            return {"tokens": found}

    def summary(self, actor: Actor, cohort_id: str, as_of: datetime | None) -> View:
        """How many people stood in which state of each domain at a moment; small numbers hidden, others rounded."""
        least, unit = self.settings.min_cell, self.settings.round_to
        at = as_of or self.clock()
        with self.db.read() as session:
            row = queries.cohort(session, cohort_id)
            policy.must_read_cohort(actor, CohortFacts(row.institution_id))
            domains: dict[str, View] = {name: {} for name in row.consent_form["domains"]}
            counted = (
                queries.consents_by_domain(session, cohort_id) if as_of is None
                else history.counts_as_of(session, cohort_id, at)
            )  # fmt: skip
            for domain, state, count in counted:
                domains.setdefault(domain, {})[state] = mask_plain(count, least, unit).value
            return {
                "cohort_id": cohort_id, "epoch": row.epoch, "as_of": at, "domains": domains, "fewer_than": least,
                "rounded_to": unit,
            }  # fmt: skip

    def _refuse(self, body: Mapping[str, Any]) -> None:
        found = []
        source, token = str(body["participant"]), body.get("linkage_token")
        if len(source.strip()) >= _SHORTEST and looks_like(source) is not None:
            found.append(
                Finding("identifier", "it looks like a resident number or the like", pointer="/participant")
            )
        if not source.strip():
            found.append(Finding("missing_value", "it must be there", pointer="/participant"))
        if token is not None and (why := refusal(token)) is not None:
            found.append(Finding(why, WHY[why], pointer="/linkage_token"))
        month = body.get("birth_month")
        born = minors.first_of(month) if month else None
        if month and born is None:
            found.append(Finding("bad_date", "a month is written YYYY-MM", pointer="/birth_month"))
        found += minors.findings(
            born=born, given_at=body.get("given_at"), by_proxy=body["by_proxy"], assent=body["assent"],
            adult=self.settings.adult_age, asked=self.settings.assent_age,
        )  # fmt: skip
        refuse_all("invalid_request", "The consent was not changed.", found)

    def _statement(self, body: Mapping[str, Any]) -> register.Statement:
        born = minors.first_of(body.get("birth_month") or "")
        due = minors.adult_due(born, body["given_at"], self.settings.adult_age, by_proxy=body["by_proxy"])
        purposes = tuple(sorted({code.strip().upper() for code in body["purposes"]}))
        return register.Statement(
            "granted", purposes, body["form_version"], body["given_at"], body["valid_until"], body["language"],
            body["by_proxy"], body["assent"], due,
        )  # fmt: skip

    def _linkage(self, session: Session, token: str | None, at: datetime) -> bytes | None:
        return None if token is None else linkage.hashed(linkage.hasher_of(session, self.keyring, at), token)


def _own(session: Session, actor: Actor, cohort_id: str) -> Cohort:
    row = session.get(Cohort, cohort_id)
    if row is None:
        raise not_found("cohort")
    policy.must_change_consents(actor, CohortFacts(institution_id=row.institution_id))
    return row


def _note(session: Session, cohort: Cohort, event: str, actor: Actor, at: datetime, data: View) -> None:
    record(
        session, stream=institution_stream(cohort.institution_id), event=event, actor=actor.subject,
        object_id=cohort.id, at=at, data=data,
    )  # fmt: skip
