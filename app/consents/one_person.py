"""One person's word, row by row: the same rules as a load (`changes`), for the few rows that one person has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from sqlalchemy.orm import Session

from app.consents import epochs
from app.consents.changes import held_back
from app.consents.purposes import may_be_agreed
from app.consents.staging import SAID
from app.consents.states import HOLDING, verb_of
from app.deid.identifiers import looks_like
from app.errors import Finding, refuse_all
from app.models import Cohort, Consent, ConsentChange
from app.schemas.register import DOMAINS, KINDS, LANGUAGE, MOST_TEXT, USUAL_KIND
from app.schemas.register import SAID as STATES


@dataclass(frozen=True, slots=True)
class Statement:
    """What a person says of one domain. `kind` is that of a withdrawal; `adult_due` see `Consent`."""

    state: str
    purposes: tuple[str, ...] = ()
    form_version: str = ""
    given_at: date | None = None
    valid_until: date | None = None
    language: str = ""
    by_proxy: bool = False
    assent: str = ""
    adult_due: date | None = None
    kind: str = ""


class Writer:
    """Writes what differs from the register, with its history. The cohort is locked; its epoch moves at most once."""

    def __init__(self, session: Session, cohort: Cohort, at: datetime) -> None:
        self.session, self.cohort, self.at = session, cohort, at
        self.count = 0
        self.withdrawn: dict[int, list[str]] = {}
        self.narrowed: dict[int, list[str]] = {}

    def apply(self, wanted: Mapping[tuple[int, str], Statement], *, same_day: bool = True) -> dict[str, int]:
        """Make the register say this; by reason how many statements were held back.

        `same_day`: a word of the day of a withdrawal counts as later, for someone stands there and says it now.
        """
        held: dict[str, int] = {}
        for (key, domain), given in sorted(wanted.items(), key=lambda one: one[0]):
            said = self._plain(given)
            row = self.session.get(Consent, (key, domain), populate_existing=True)
            if row is not None and not _differs(row, said):
                continue
            if said.state == "granted" and row is not None and (why := self._why_not(row, said, same_day)):
                held[why] = held.get(why, 0) + 1
                continue
            if row is not None and row.state in HOLDING and said.state == "withdrawn":
                self.withdrawn.setdefault(key, []).append(domain)
            if row is not None and row.state in HOLDING and said.purposes and _narrows(row, said):
                self.narrowed.setdefault(key, []).append(domain)
            self._write(row, key, domain, said)
        self.session.flush()
        return held

    def move(self, key: int, domains: Iterable[str], state: str) -> None:
        """Bring a person's domains into a state, with all else that was said left as it is."""
        for domain in sorted(domains):
            row = self.session.get_one(Consent, (key, domain), populate_existing=True)
            self._write(row, key, domain, _said(row), state)
        self.session.flush()

    def name_purposes(self, key: int, domain: str, purposes: tuple[str, ...]) -> None:
        """Let a person's consent name these purposes, with all else that was said left as it is."""
        row = self.session.get_one(Consent, (key, domain), populate_existing=True)
        if tuple(row.purposes) != purposes:
            self._write(row, key, domain, replace(_said(row), purposes=purposes))
        self.session.flush()

    def _plain(self, said: Statement) -> Statement:
        if said.state != "withdrawn":
            return said
        # Nothing but the word itself, its day and its kind is left of a withdrawn consent.
        day = said.given_at or self.at.date()
        return Statement(
            "withdrawn", form_version=said.form_version, given_at=day, kind=said.kind or USUAL_KIND
        )

    def _why_not(self, row: Consent, said: Statement, same_day: bool) -> str | None:
        since = row.given_at
        if same_day and since is not None:
            since -= timedelta(days=1)
        return held_back(
            was=row.state,
            kind=row.kind,
            since=since,
            due=row.adult_due,
            given_at=said.given_at,
            by_proxy=said.by_proxy,
        )

    def _write(
        self, row: Consent | None, key: int, domain: str, said: Statement, state: str | None = None
    ) -> None:
        after = state or said.state
        if verb_of(row.state if row else None, after, said.kind) is None:
            raise ValueError("a change that the table of transitions does not know")
        if not self.count:
            epochs.advance(self.cohort)
        self.count += 1
        if row is None:
            row = Consent(participant_key=key, domain=domain, cohort_id=self.cohort.id)
            self.session.add(row)
        values = {name: getattr(said, name) for name in SAID} | {
            "state": after,
            "purposes": list(said.purposes),
        }
        for name, value in values.items():
            setattr(row, name, value)
        row.changed_at = self.at
        change = ConsentChange(
            participant_key=key, domain=domain, epoch=self.cohort.epoch, at=self.at, **values
        )
        self.session.add(change)


def _narrows(row: Consent, said: Statement) -> bool:
    """Whether a purpose that was agreed to, or any, may no longer be among those that are named now."""
    return not row.purposes or not set(row.purposes) <= set(said.purposes)


def check(domains: Sequence[str], said: Statement, today: date) -> None:
    """Refuse what cannot be said, all of it at once: `invalid_request`."""
    refuse_all("invalid_request", "The consent was not changed.", _findings(domains, said, today))


def _findings(domains: Sequence[str], said: Statement, today: date) -> Iterator[Finding]:
    if unknown := [domain for domain in domains if domain not in DOMAINS]:
        yield Finding("bad_domain", f"a domain is one of {', '.join(DOMAINS)}", count=len(unknown))
    if said.state not in STATES:
        yield Finding("bad_state", "a consent is granted or withdrawn")
    if said.given_at and said.valid_until and said.valid_until < said.given_at:
        yield Finding("bad_date", "a consent ends before it was given", pointer="/valid_until")
    if said.given_at and said.given_at > today + timedelta(days=1):  # it may be tomorrow in Korea
        yield Finding("bad_date", "a consent was not given in the future", pointer="/given_at")
    if wrong := [code for code in said.purposes if not may_be_agreed(code)]:
        yield Finding("bad_purpose", "purposes are DUO permissions", pointer="/purposes", count=len(wrong))
    if len(said.form_version) > MOST_TEXT:
        yield Finding("bad_form_version", f"a form version has at most {MOST_TEXT} characters")
    elif looks_like(said.form_version) is not None:
        yield Finding(
            "identifier", "a form version looks like an identifier of a person", pointer="/form_version"
        )
    if said.language and re.search(LANGUAGE, said.language) is None:
        yield Finding("bad_language", "a language is written as ko or en-GB", pointer="/language")
    if said.kind and (said.state != "withdrawn" or said.kind not in KINDS):
        yield Finding("bad_withdrawal", f"a withdrawal is one of {', '.join(KINDS)}", pointer="/withdrawal")
    elif said.kind == "no_further_contact" and set(domains) != {"recontact"}:
        yield Finding(
            "bad_withdrawal", "no further contact is a word on recontact alone", pointer="/withdrawal"
        )
    if said.state == "granted" and said.assent == "refused":
        yield Finding("assent_refused", "a child who refuses is not in", pointer="/assent")


def _differs(row: Consent, said: Statement) -> bool:
    if row.state == said.state == "withdrawn":
        # Withdrawn is withdrawn: a later line that says so again changes nothing, but destruction may be asked for.
        return said.kind == "destroy" and row.kind != "destroy"
    if said.state == "withdrawn" or row.state == "withdrawn":
        return True
    held = _said(row)
    return any(getattr(held, name) != getattr(said, name) for name in SAID if name not in ("state", "kind"))


def _said(row: Consent) -> Statement:
    return Statement(**{name: getattr(row, name) for name in SAID} | {"purposes": tuple(row.purposes)})
