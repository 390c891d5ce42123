"""Take a withdrawal in one transaction: consent, epoch and every extract that holds the person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.audit import PLATFORM, institution_stream, record
from app.auth import policy
from app.auth.policy import Actor
from app.clock import Clock
from app.consents import epochs, persons, register
from app.consents.forgetting import is_forgotten
from app.db import Database, new_id, retried
from app.errors import Problem, not_found
from app.jobs import JobContext, answers, enqueue
from app.jobs.answers import Once
from app.keyring import Keyring
from app.models import Cohort, Participant, Withdrawal
from app.schemas.register import DOMAINS, KINDS, NARROWED, UNLINKED, USUAL_KIND
from app.storage.journal import Journal
from app.withdrawals.closing import holding, holding_each, order_narrowing
from app.withdrawals.commitments import commitment, of_hash
from app.withdrawals.journal import Entry, Replayed, entry_of, replay
from app.withdrawals.watching import held_up

MOST_AT_ONCE = 1000  # people whom one job carries


@dataclass(frozen=True)
class WithdrawalService:
    """The verbs of withdrawals."""

    db: Database
    clock: Clock
    keyring: Keyring
    journal: Journal | None = None

    @retried
    def take(
        self,
        actor: Actor,
        cohort_id: str,
        participant: str,
        domains: Iterable[str],
        kind: str,
        once: Once | None = None,
        opening: str | None = None,
    ) -> dict[str, Any]:
        """Withdraw a participant, named by the institution's own identifier, from domains (empty: all).

        When this returns, no new extract holds the person and every extract that does is closed. `destroy` also takes
        their rows out of every version, once every extract is told. `opening` (64 hex digits that the participant
        keeps) is the key of the commitment to who it was; without one nobody has that key."""
        chosen = _chosen(domains, kind)
        now = self.clock()
        with self.db.unit_of_work() as session:
            if (answer := answers.earlier(session, once, now)) is not None:
                return answer
            cohort = session.get(Cohort, cohort_id, with_for_update=True, populate_existing=True)
            if cohort is None:
                raise not_found("cohort")
            policy.must_take_withdrawal(actor, policy.CohortFacts(institution_id=cohort.institution_id))
            key = register.find(session, self.keyring, cohort, participant)
            if key is None:
                raise not_found("participant")
            proof = commitment(opening, cohort_id, participant) if kind == "destroy" else None
            view = self._carry(session, cohort, key, chosen, kind, actor.subject, now, proof=proof)
            kept = answers.keep(session, once, 202, view)
            self._write_down(session, [view["id"]])
            return kept

    def leave(
        self,
        session: Session,
        cohort_id: str,
        kind: str,
        people: Sequence[tuple[int, list[str]]],
        at: datetime,
        *,
        ended: bool = False,
    ) -> None:
        """Who left by a register or one person's word, `(key, domains)` each, in the transaction of that word: the
        consents have changed already, but where they have `ended` by their date. When it commits, every extract that
        holds one of them is closed and the journal has them; a job does the rest."""
        purposes = register.purposes_of(session, people) if kind == NARROWED else {}
        said = {} if kind in (NARROWED, UNLINKED) or ended else register.withdrawn_on(session, people)
        query = select(Participant.key, Participant.identity).where(
            Participant.key.in_([k for k, _ in people])
        )
        identities = {row[0]: row[1] for row in session.execute(query)}
        leaving: list[list[Any]] = []
        lines = []
        for key, domains in people:
            proof = of_hash(cohort_id, identities[key]) if kind == "destroy" else None
            leaving.append([key, list(domains), new_id("wdr"), proof])
            lines.append(
                entry_of(leaving[-1][2], cohort_id, identities[key], domains, kind, at, commitment=proof,
                         purposes=purposes.get(key), said=said.get(key), ended=ended)
            )  # fmt: skip
        mark = new_id("lvg")
        for extract_id in holding(session, list(identities), kind):
            ledger.mark(session, extract_id, mark, reason=ledger.WITHDREW, at=at)
        arguments = {"withdrawn": leaving, "mark": mark}
        if kind != USUAL_KIND:
            arguments["kind"] = kind
        enqueue(session, "take_withdrawals", subject=cohort_id, arguments=arguments, at=at)
        session.flush()
        if self.journal is not None:
            self.journal.add(*lines)

    @retried
    def take_from_register(self, job: JobContext) -> None:
        """The rest of `leave`: a withdrawal for each, whose marks take the place of the one that closed everything.
        Each extract judges by its own purpose whether it loses the person."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            cohort = session.get_one(Cohort, job.subject, with_for_update=True)
            kind, old, closed = job.arguments.get("kind", USUAL_KIND), [], set[str]()
            withdrawn = job.arguments["withdrawn"]
            held = holding_each(session, {int(key) for key, *_ in withdrawn}, kind)
            for key, domains, *more in withdrawn:
                id_, proof = more or (new_id("wdr"), None)
                if session.get(Withdrawal, id_) is not None:
                    continue  # it ran before, or was replayed from the journal
                if is_forgotten(session, int(key)):
                    # Destruction waits for this job: whatever went wrong, the mark stays until somebody has looked.
                    if cohort.ended_at is None:
                        raise RuntimeError("somebody was destroyed before their extracts were told")
                    continue  # the whole cohort left, which reached every copy
                self._carry(
                    session, cohort, int(key), list(domains), kind, "platform", now, carried=True, id_=id_, proof=proof,
                    closing=held[int(key)],
                )  # fmt: skip
                closed.update(held[int(key)])
                old += [] if more else [id_]  # ordered before there were ids: not in the journal yet
            order_narrowing(session, closed, now)
            self._write_down(session, old)
            if (mark := job.arguments.get("mark")) is not None:
                ledger.lift(session, mark)

    def replay(self, restored: str | None = None) -> Replayed:
        """Take every withdrawal of the journal that the database has forgotten; called before anything is served.
        `restored`: the moment of the backup that was put back, for the platform's chain."""
        if self.journal is None:
            return Replayed(0, 0)
        done = replay(self.db, self.journal, self._again)
        if restored is not None or done.taken or done.unknown:
            now = self.clock()
            with self.db.unit_of_work() as session:
                record(
                    session, stream=PLATFORM, event="backup.restored", actor="platform", object_id="journal", at=now,
                    data={"made_at": restored, "replayed": done.taken, "unknown": done.unknown},
                )  # fmt: skip
        return done

    def end_by_date(self) -> int:
        """Consent that ends by its own date ends as a withdrawal does, in every copy; how many people it was.

        A minor who has come of age keeps what is there, and is in nothing new until their own word comes.
        """
        with self.db.read() as session:
            cohorts = register.cohorts_due(session, self.clock().date())
        people, failed = 0, list[Exception]()
        for cohort_id in cohorts:
            try:
                people += self._end_by_date(cohort_id)
            except Exception as error:  # the consents of the others end on their day all the same
                failed.append(error)
        if failed:
            raise failed[0]
        return people

    @retried
    def _end_by_date(self, cohort_id: str) -> int:
        with self.db.unit_of_work() as session:
            # Read under the lock: a register that was being loaded until now may have renewed them.
            cohort = epochs.lock(session, cohort_id)
            now = self.clock()
            if grown := register.of_age(session, cohort_id, now.date()):
                count = register.end(session, cohort, grown, "reconsent_due", at=now)
                self._note_ends(session, cohort, "consent.came_of_age", count, now)
            if people := register.ended(session, cohort_id, now.date()):
                leaving = sorted(people.items())
                for start in range(0, len(leaving), MOST_AT_ONCE):
                    self.leave(session, cohort_id, USUAL_KIND, leaving[start : start + MOST_AT_ONCE], now,
                               ended=True)  # fmt: skip
                count = register.end(session, cohort, people, "ended", at=now)
                self._note_ends(session, cohort, "consent.ended_by_date", count, now)
            return len(people)

    def get(self, actor: Actor, withdrawal_id: str) -> dict[str, Any]:
        """The receipt as it stands: counts and times, and no one's name."""
        with self.db.read() as session:
            row = session.get(Withdrawal, withdrawal_id)
            if row is None:
                raise not_found("withdrawal")
            cohort = session.get_one(Cohort, row.cohort_id)
            policy.must_read_withdrawal(actor, policy.CohortFacts(institution_id=cohort.institution_id))
            return {**view(row), "held_up": held_up(session, row)}

    def list_of(self, actor: Actor, cohort_id: str, after: str | None, limit: int) -> list[dict[str, Any]]:
        """The withdrawals of a cohort, newest first."""
        with self.db.read() as session:
            cohort = session.get(Cohort, cohort_id)
            if cohort is None:
                raise not_found("cohort")
            policy.must_take_withdrawal(actor, policy.CohortFacts(institution_id=cohort.institution_id))
            query = select(Withdrawal).where(Withdrawal.cohort_id == cohort_id)
            if after:
                query = query.where(Withdrawal.id < after)
            return [view(row) for row in session.scalars(query.order_by(Withdrawal.id.desc()).limit(limit))]

    def _again(self, session: Session, entry: Entry, key: int) -> None:
        now, domains, kind = self.clock(), list(entry["domains"]), str(entry["kind"])
        said = datetime.fromisoformat(entry["at"])
        cohort = session.get_one(Cohort, entry["cohort"], with_for_update=True, populate_existing=True)
        if kind == NARROWED and "purposes" in entry:
            since = register.said_since(session, key, said)
            left = {domain: codes for domain, codes in entry["purposes"].items() if domain not in since}
            # At its own moment: else the next line would take it for a later word.
            register.narrow(session, cohort, key, left, at=said)
        elif kind == UNLINKED:
            persons.say(
                session,
                cohort,
                key,
                linkage=None,
                may_link=False,
                deceased=None,
                at=now,
                actor="platform",
                moved=False,
            )
        else:
            # An old line knows no purposes: until the register comes again, who narrowed theirs has withdrawn.
            kind = USUAL_KIND if kind == NARROWED else kind
            if entry.get("ended"):
                register.end_again(session, cohort, key, domains, said=said, at=now)
            else:
                day = date.fromisoformat(entry["said"]) if "said" in entry else said.date()
                register.withdraw_again(session, cohort, key, domains, said=said, day=day, at=now, kind=kind)
        proof = entry.get("commitment")
        self._carry(
            session, cohort, key, domains, kind, "platform", now, carried=True, id_=entry["id"], proof=proof
        )

    def _write_down(self, session: Session, ids: Sequence[str]) -> None:
        """The last step before the commit: what the journal cannot take is not taken at all."""
        if self.journal is not None:
            rows = [session.get_one(Withdrawal, one) for one in ids]
            identities = {row.id: session.get_one(Participant, row.participant_key).identity for row in rows}
            self.journal.add(
                *(
                    entry_of(row.id, row.cohort_id, identities[row.id], row.domains, row.kind, row.taken_at,
                             commitment=row.commitment)
                    for row in rows
                )
            )  # fmt: skip

    def _carry(
        self,
        session: Session,
        cohort: Cohort,
        key: int,
        domains: list[str],
        kind: str,
        actor: str,
        now: datetime,
        *,
        carried: bool = False,
        id_: str | None = None,
        proof: str | None = None,
        closing: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        # `carried`: the register has taken the consents back already, so they no longer count as held; it is not
        # asked to do it again, for meanwhile the person may have given a new word. `closing`: the extracts that hold
        # them, where the caller knows and orders their narrowing for all at once.
        held = register.granted(session, key)
        if kind == "destroy":
            # All their rows go, so no extract keeps those of a domain that the word did not name.
            domains = list(DOMAINS)
            proof = proof or of_hash(cohort.id, session.get_one(Participant, key).identity)
        row = Withdrawal(
            id=id_ or new_id("wdr"),
            cohort_id=cohort.id,
            participant_key=key,
            domains=domains,
            kind=kind,
            state="taken",
            receipt={},
            taken_at=now,
            closed_at=None,
            commitment=proof,
        )
        session.add(row)
        if not carried or kind == "destroy":
            register.withdraw(session, cohort, key, domains, at=now, kind=kind)
        lost = [d for d in domains if d in held or carried]
        closed = holding(session, [key], kind) if closing is None else closing
        row.receipt = {"extracts_closed": len(closed), "taken_at": now.isoformat()}
        session.flush()
        ledger.mark_each(session, closed, row.id, lost, at=now)
        if closing is None:
            order_narrowing(session, closed, now)
        self._note(session, row, "withdrawal.taken", actor, now)
        if not closed:
            enqueue(session, "settle_withdrawal", subject=row.id, at=now)
        return view(row)

    def _note_ends(self, session: Session, cohort: Cohort, event: str, count: int, now: datetime) -> None:
        record(
            session, stream=institution_stream(cohort.institution_id), event=event, actor="platform",
            object_id=cohort.id, at=now, data={"changed": count, "epoch": cohort.epoch},
        )  # fmt: skip

    def _note(self, session: Session, row: Withdrawal, event: str, actor: str, now: datetime) -> None:
        cohort = session.get_one(Cohort, row.cohort_id)
        record(
            session,
            stream=institution_stream(cohort.institution_id),
            event=event,
            actor=actor,
            object_id=row.id,
            at=now,
            data={"kind": row.kind, "domains": row.domains, "commitment": row.commitment, **row.receipt},
        )


def _chosen(domains: Iterable[str], kind: str) -> list[str]:
    chosen = sorted(set(domains)) or list(DOMAINS)
    if kind not in KINDS:
        raise Problem("invalid_request", f"The kind of a withdrawal is one of {', '.join(KINDS)}.")
    if unknown := [d for d in chosen if d not in DOMAINS]:
        raise Problem("invalid_request", f"{len(unknown)} unknown domains; known: {', '.join(DOMAINS)}.")
    if kind == "destroy" and set(chosen) != set(DOMAINS):
        raise Problem(
            "invalid_request", "Destruction is of all domains; withdraw single ones by no_further_use."
        )
    return ["recontact"] if kind == "no_further_contact" else chosen


def view(row: Withdrawal) -> dict[str, Any]:
    """A withdrawal with its receipt as it stands."""
    return {
        "id": row.id,
        "cohort_id": row.cohort_id,
        "kind": row.kind,
        "domains": row.domains,
        "state": row.state,
        "receipt": row.receipt,
        "commitment": row.commitment,
        "taken_at": row.taken_at,
        "closed_at": row.closed_at,
    }
