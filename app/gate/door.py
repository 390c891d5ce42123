"""The steps of a release in their order: decide, fit, run, verify, record, publish. There is no other way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from prometheus_client import Counter

from app.auth.policy import Actor
from app.clock import Clock
from app.consents.cohorts import behind, unusable
from app.consents.feeds import must_not_be_silent
from app.db import Database
from app.deid import released
from app.engines import Engine, NotLocal
from app.errors import Problem, not_found
from app.gate import counting, recording, remembering
from app.gate.building import Staged, apart, build, facts_of, spill_folder
from app.gate.keys import key_to_release
from app.gate.looking import Looked, look
from app.gate.measuring import measured
from app.gate.origins import Origin, origins
from app.gate.recalling import Leaving, Whereabouts, recall
from app.gate.reissuing import last_generation
from app.gate.sources import Pinned
from app.gate.tracing import Traced, people_of, trace
from app.keyring import Keyring
from app.ledger.parts import pinned_recoding
from app.models import DryRun, Extract
from app.permits import LivePermit, must_be_live
from app.schemas.counts import CountQuestion
from app.schemas.plan import Plan, plan_hash
from app.settings import Settings
from app.storage.memory import Memory
from app.storage.outbox import Outbox

Progress = Callable[..., None]
BUILDS = Counter(
    "baekman_builds",
    "Releases built, by way: changed_parts (the rest stays), or why the whole was built.",
    ["way"],
)
REBUILDS = 5  # how often a build starts again because someone in it left while it ran


@dataclass(frozen=True, slots=True)
class Released:
    """The proof that a generation passed every step; only the gate makes one."""

    extract_id: str
    generation: int
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Gate:
    """The only object that turns rows of the vault into bytes of the outbox."""

    db: Database
    clock: Clock
    settings: Settings
    keyring: Keyring
    engine: Engine
    outbox: Outbox
    memory: Memory | None = None  # without one, every build is a whole one

    def release(self, extract_id: str, progress: Progress) -> Released:
        """Build the next generation of an extract under its permit, and hand it out only once it is recorded."""
        for _attempt in range(REBUILDS):
            permit, pinned = self._decide(extract_id)
            with spill_folder(self.settings.var) as spill:
                key = key_to_release(self, permit.project_id)
                staged = self._stage(extract_id, permit, pinned, key, spill, progress)
                self._judge(staged, permit)
                try:
                    generation = recording.record_generation(self, extract_id, permit, staged)
                except recording.SomeoneLeft:
                    progress(step="rebuild")
                    continue
                published = self._publish(extract_id, permit, staged, generation, progress)
                remembering.remember(self, extract_id, generation, staged, key, spill)
                return published
        raise Problem("conflict", "People kept leaving while the extract was built; order it again.")

    def dry_run(self, plan: Plan, purpose: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """What the plan would release now: built and verified like a release, under a throw-away key, then wiped.

        `basis` says over whom (see `Crosswalk.basis`): it is to be kept, never shown."""
        with spill_folder(self.settings.var) as spill:
            key = self.keyring.unwrap(self.keyring.new())
            staged = build(self, plan, purpose, (None, key), None, spill, progress)
            told = {**released.dry_run(facts_of(staged)), **measured(self, staged, spill, progress)}
            return {**told, "basis": staged.crosswalk.basis()}

    def count(self, question: CountQuestion, reader: Actor) -> dict[str, Any]:
        """A masked number of consenting people who meet all conditions; the same question has the same answer."""
        with spill_folder(self.settings.var) as spill:
            return counting.answer(self, question, reader, spill)

    def recall(self, extract_id: str, leaving: Leaving) -> dict[str, Whereabouts]:
        """By withdrawal, where the person's rows are as far as consent does not cover them any more; all are looked for
        together."""
        return recall(self, extract_id, leaving)

    def returned_people(self, extract_id: str, domains: Sequence[str], names: Iterable[pa.Array]) -> pa.Table:
        """(source, key) of the pseudonyms that are people of the extract, while consent covers all these domains."""
        return people_of(self, extract_id, domains, names)

    def trace(self, extract_id: str, pseudonym: str) -> Traced | None:
        """Who stands behind a pseudonym of the extract, while their consent covers it; None for all others alike."""
        return trace(self, extract_id, pseudonym)

    def origins(self, words: Sequence[str]) -> Iterator[Origin]:
        """Which extracts a leaked file may be from: those that know any of its words as a pseudonym."""
        return origins(self, words)

    def look(self) -> Looked:
        """For the daily monitor: whom a count, a build and a trace of today would hold though they have left."""
        return look(self)

    def forget(self, extract_id: str) -> None:
        """Remove what is remembered of an extract's generations; nothing of it is ever released."""
        if self.memory is not None:
            self.memory.forget(extract_id)

    def _decide(self, extract_id: str) -> tuple[LivePermit, Pinned | None]:
        """Step 1: the permit is live, the plan is the approved one, the version may still be used."""
        with self.db.read() as session:
            extract = session.get(Extract, extract_id)
            if extract is None:
                raise not_found("extract")
            now = self.clock()
            permit = must_be_live(session, extract.permit_id, now.date())
            if extract.generation == 0:  # later generations only take people out
                most = self.settings.silent_feed_stops_after_days
                for cohort_id in behind(session, permit.version_id).ids:
                    must_not_be_silent(session, cohort_id, now, most)
            if plan_hash(permit.plan) != permit.plan_hash:
                raise Problem("precondition_failed", "The plan is not the one that was approved.")
            if unusable(session, permit.version_id):
                raise Problem("version_not_ready", "The dataset version has been withdrawn.")
            return permit, pinned_recoding(session, permit.project_id, permit.version_id)

    def _stage(
        self,
        extract_id: str,
        permit: LivePermit,
        pinned: Pinned | None,
        key: bytes,
        spill: Path,
        progress: Progress,
    ) -> Staged:
        """Steps 2 to 4: the parts that differ from the last generation where that can be told, else all of them."""
        asked = (self, permit.plan, permit.purpose, (permit.project_id, key), pinned)
        try:
            last = last_generation(self, extract_id, key)
            staged = build(*asked, apart(spill, "again"), progress, last)
            way = "changed_parts"
        except NotLocal as cause:
            way = cause.reason
        except Problem as refused:
            if refused.code != "verification_failed":
                raise
            way = "verifier_refused"  # what is remembered may be at fault: nothing of it enters a whole build
        except Exception:
            self.forget(extract_id)  # a fault of ours must not meet the same memory again
            raise
        BUILDS.labels(way).inc()
        if way != "changed_parts":
            staged = build(*asked, spill, progress)
        progress(way=way, written=len(staged.parts), stay=len(staged.held))
        return staged

    def _judge(self, staged: Staged, permit: LivePermit) -> None:
        """The end of step 4: the outcome lies inside the plan's limits and is not worse than what was reviewed."""
        with self.db.read() as session:
            reviewed = session.get_one(DryRun, permit.dry_run_id).result or {}
        released.must_keep_limits(facts_of(staged), reviewed)

    def _publish(
        self, extract_id: str, permit: LivePermit, staged: Staged, generation: int, progress: Progress
    ) -> Released:
        """Step 6: the bytes go to the outbox, and only then is the generation the one that is handed out."""
        progress(step="publish")
        for part in staged.parts:
            self.outbox.put_file(part.path, f"{extract_id}/{part.path.name}")
        names = tuple(
            sorted({*(part.path.name for part in staged.parts), *(part.name for part in staged.held)})
        )
        recording.publish_generation(self, extract_id, permit, staged, generation, set(names))
        return Released(extract_id, generation, names)
