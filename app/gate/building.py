"""Steps 2 to 4: fit the recoding, run the engine over the crosswalk, verify the staged bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from app import crosswalk
from app.consents.cohorts import behind
from app.deid import deceased, fitting, keyed, released, verify, window
from app.engines import Classes, Groups, Kept, Run, Source, StagedPart
from app.engines.ancestry import settled
from app.errors import Problem
from app.gate.reissuing import Last
from app.gate.sources import (
    Pinned,
    dictionary_of,
    forebears,
    linkage_of,
    united_tables,
    vault_objects,
)
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan
from app.settings import Settings
from app.storage.spill import held_folder

if TYPE_CHECKING:
    from app.gate.door import Gate

Progress = Callable[..., None]


@dataclass(frozen=True)
class Staged:
    """Everything a build made. Nothing of it has left."""

    plan: Plan
    dictionary: Dictionary
    crosswalk: crosswalk.Crosswalk
    groups: Groups
    fit: fitting.Fit
    parts: list[StagedPart]
    part_counts: dict[str, int]
    members: Any  # int32, the participant keys with a row in it, sorted
    people: dict[str, int]
    verdict: verify.VerifierReport
    rolled_up: dict[str, dict[str, int]]
    rows_in: dict[str, int]
    windows: window.Windows
    outside: dict[str, int]
    source: Source
    audience: pa.Table  # (key, pseudonym) of everyone with consent who passed the filter
    made_by: str  # engine and version
    kept: Kept | None  # what the next generation can go on from
    held: tuple[released.PartFacts, ...] = ()  # parts of the last generation that stay as they are


def build(
    gate: Gate,
    plan: Plan,
    purpose: Mapping[str, Any],
    project: tuple[str | None, bytes],
    pinned: Pinned | None,
    spill: Path,
    progress: Progress,
    last: Last | None = None,
) -> Staged:
    """Build and verify a release of `plan` in `spill`, for the project of this id (None: a dry run) and key; a Problem
    where the verifier refuses.

    With the `last` generation, only the parts that differ from it are written, and verified together with the evidence
    of the others; the bytes are those of a whole build. Raises NotLocal where that cannot be told."""
    progress(step="consent")
    rows, walk = source(gate, plan, purpose, project, spill, _known(last))
    if pinned and pinned.windows is not None:
        rows = replace(rows, windows=window.from_json(pinned.windows))
    dictionary, staging = rows.dictionary, spill / "staged"
    staging.mkdir()
    engine = gate.engine
    with engine.reopen(rows, last.remembered.kept, last.closed) if last else engine.open(rows) as run:
        progress(step="fit")
        groups, fit = _fitted(run, dictionary, plan, pinned)
        part_counts = dict(pinned.parts) if pinned else run.part_counts()
        progress(step="write", done=0, total=sum(part_counts.values()))
        parts = run.write(staging, part_counts, progress)
        members, eligible = run.members(), run.eligible()
        people = {t.name: run.people_of(t.name) for t in plan.tables}
        windows, outside = run.windows(), run.outside()
        rolled_up, rows_in = run.rolled_up(), run.rows_in()
        # Later generations are not laid on what was answered before: see `recording`.
        audience = walk.table.select(["key", "pseudonym"]).slice(0, 0) if last else run.audience()
        kept, made_by = run.kept(), run.made_by
        held = last.but(run.changed()) if last else ()
    progress(step="verify")
    evidence = last.remembered.evidence if last else None
    verdict = _verified(
        gate.settings, plan, dictionary, parts, eligible, groups, windows, walk.twins, spill, held, evidence
    )
    return Staged(
        plan=plan,
        dictionary=dictionary,
        crosswalk=walk,
        groups=groups,
        fit=fit,
        parts=parts,
        part_counts=part_counts,
        members=members,
        people=people,
        verdict=verdict,
        rolled_up=rolled_up,
        rows_in=rows_in,
        windows=windows,
        outside=outside,
        source=rows,
        audience=audience,
        made_by=made_by,
        kept=kept,
        held=held,
    )


def _fitted(
    run: Run, dictionary: Dictionary, plan: Plan, pinned: Pinned | None
) -> tuple[Groups, fitting.Fit]:
    """Groups and their classes, fitted again where a first fit does not hold.

    Whoever is suppressed takes rows of link tables with them, so that others must be counted anew. And k is counted in
    families, which do not add up over classes: where a class has k people and fewer families, k is raised for the fit.
    """
    linked = any(dictionary.table(t.name).kind == "link" for t in plan.tables)
    suppressed, privacy = 0, plan.privacy
    while True:
        groups = run.groups()
        fit = fitting.fit(
            dictionary,
            groups.names,
            groups.columns,
            groups.codes,
            groups.counts,
            groups.tables,
            groups.histograms,
            privacy,
            pinned.recoding if pinned else None,
        )
        run.classify(Classes(fit.of_tuple, fit.labels))
        suppressed += fit.suppressed
        smallest = run.smallest_group()
        if smallest is not None and smallest < plan.privacy.k:
            privacy = privacy.model_copy(update={"k": privacy.k + max(1, privacy.k // 2)})
        elif not (linked and fit.suppressed):
            return groups, replace(fit, suppressed=suppressed)


def facts_of(staged: Staged) -> released.Facts:
    """What the papers of a release are made of: counts, labels and digests."""
    return released.Facts(
        plan=staged.plan,
        dictionary=staged.dictionary,
        attrition={
            **staged.groups.attrition,
            "suppressed": staged.fit.suppressed,
            "released": staged.groups.attrition["filtered"] - staged.fit.suppressed,
        },
        rows_in=staged.rows_in,
        windows=staged.windows,
        outside=staged.outside,
        people=staged.people,
        parts=sorted([*map(_facts_of_part, staged.parts), *staged.held], key=lambda p: (p.table, p.position)),
        classes=staged.fit.classes,
        smallest=staged.fit.smallest,
        loss=staged.fit.loss,
        column_losses=staged.fit.column_losses,
        labels=[list(staged.fit.labels[c]) for c in sorted(staged.fit.labels)],
        quasi_identifiers=list(staged.groups.names),
        rolled_up=staged.rolled_up,
        k_reached=staged.verdict.k_reached,
        max_risk=staged.verdict.max_risk,
        epoch=staged.crosswalk.epoch,
        engine=staged.made_by,
    )


def _facts_of_part(part: StagedPart) -> released.PartFacts:
    schema = [{"name": f.name, "type": str(f.type)} for f in pq.read_schema(part.path)]
    return released.PartFacts(
        part.table, part.position, part.path.name, part.sha256, part.rows, part.bytes, schema
    )


@contextmanager
def spill_folder(var: Path) -> Iterator[Path]:
    """A private folder for one job, wiped at its end."""
    with held_folder(var / "spill") as folder:
        (folder / "engine").mkdir(mode=0o700)
        yield folder


def apart(spill: Path, name: str) -> Path:
    """A room of its own inside a job's folder, for a build that may be given up."""
    (spill / name / "engine").mkdir(parents=True, mode=0o700)
    return spill / name


def nobody(domains: set[str]) -> pa.Table:
    """A crosswalk without people: for questions that read places and no rows."""
    columns: dict[str, Any] = {
        "key": pa.array([], pa.int32()),
        "rank": pa.array([], pa.int32()),
        "pseudonym": pa.array([], pa.string()),
        "slice": pa.array([], pa.uint32()),
        "shift_days": pa.array([], pa.int32()),
    }
    return pa.table({**columns, **{f"in_{d}": pa.array([], pa.bool_()) for d in sorted(domains)}})


def _known(last: Last | None) -> pa.Table | None:
    """The people as the last generation kept them; None where an earlier version of ours kept them in another form,
    which the engine will not go on from."""
    people = last.remembered.kept.tables.get("people") if last else None
    return (
        people if people is not None and {"key", "name", "shift_days"} <= set(people.column_names) else None
    )


def source(
    gate: Gate,
    plan: Plan,
    purpose: Mapping[str, Any],
    project: tuple[str | None, bytes],
    spill: Path,
    known: pa.Table | None,
) -> tuple[Source, crosswalk.Crosswalk]:
    """The rows that a build of the plan would read, and the crosswalk that every one of them has to pass."""
    project_id, project_key = project
    with gate.db.read() as session:
        dictionary = dictionary_of(session, plan.version_id)
        tables = vault_objects(session, plan, dictionary)
        earlier = forebears(session, plan.version_id)
        united = united_tables(session, plan, dictionary)
        domains = {dictionary.table(t.name).domain for t in plan.tables} | {dictionary.people.domain}
        walk = crosswalk.build(
            session,
            of=behind(session, plan.version_id),
            domains=domains,
            purpose=purpose,
            project_key=project_key,
            on=gate.clock().date(),
            shift_weeks=plan.privacy.shift_weeks,
            known=known,
            with_deceased=deceased.may_be_in(gate.settings.deceased, plan, dictionary),
            linkage=linkage_of(session, plan, project_id),
        )
    record_key = keyed.record_key(project_key)
    rows = Source(dictionary, plan, tables, walk.table, record_key, spill / "engine", earlier, united=united)
    return settled(gate.engine, rows), walk


def _verified(
    settings: Settings,
    plan: Plan,
    dictionary: Dictionary,
    parts: list[StagedPart],
    eligible: pa.Table,
    groups: Groups,
    windows: window.Windows,
    twins: pa.Table | None,
    spill: Path,
    held: tuple[released.PartFacts, ...],
    evidence: verify.Evidence | None,
) -> verify.VerifierReport:
    by_table: dict[str, list[Path]] = {t.name: [] for t in plan.tables}
    for part in parts:
        by_table[part.table].append(part.path)
    scratch = spill / "verify"
    scratch.mkdir()
    expectation = verify.Expectation(
        plan=plan,
        dictionary=dictionary,
        k=plan.privacy.k,
        eligible=eligible,
        twins=twins,
        people_before=groups.attrition["filtered"],
        recorded={p.path: verify.Recorded(p.sha256, p.rows, p.position) for p in parts},
        windows={place: (w.first, w.last) for place, w in windows.items()},
        standing={(p.table, p.position): verify.Recorded(p.sha256, p.rows) for p in held},
        held=evidence,
    )
    report = verify.verify(
        verify.Staged(by_table),
        expectation,
        spill=scratch,
        memory=settings.engine_memory,
        threads=settings.engine_threads,
    )
    if not report.ok:
        raise Problem(
            "verification_failed", "The verifier refused the staged release.", list(report.refusals)
        )
    return report
