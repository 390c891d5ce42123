"""The risk report of a dry run: raw rows against staged bytes, and against what other projects already hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app import ledger
from app.consents.cohorts import behind
from app.crosswalk import project_ids
from app.deid import pseudonyms, risk
from app.deid.report import page
from app.gate.building import Staged
from app.gate.keys import project_key
from app.ledger.parts import listed
from app.permits.others import Held, in_hands
from app.schemas.plan import plan_hash

if TYPE_CHECKING:
    from app.gate.door import Gate

MOST_OTHERS = 20  # the newest releases of other projects that a dry run is laid on; the report names the rest


def measured(gate: Gate, staged: Staged, spill: Path, progress: Callable[..., None]) -> dict[str, Any]:
    """`risk` (exact, for stewards), `statement` (what a certificate may say), `page` (HTML with pictures)."""
    released: dict[str, list[Path]] = {}
    for part in staged.parts:
        released.setdefault(part.table, []).append(part.path)
    raw = gate.engine.files(staged.source)
    scratch = spill / "risk"
    scratch.mkdir()
    bounds = risk.Bounds(scratch, memory=gate.settings.engine_memory, threads=gate.settings.engine_threads)
    report = risk.measure(
        raw,
        released,
        staged.audience,
        staged.dictionary,
        staged.plan,
        bounds,
        twins=staged.crosswalk.twins,
        plan_hash=plan_hash(staged.plan),
        earlier=_held_by_others(gate, staged, spill),
        progress=progress,
    )
    return {"risk": report.to_json(), "statement": risk.statement(report), "page": page(report)}


def _held_by_others(gate: Gate, staged: Staged, spill: Path) -> Iterator[tuple[str, pa.Table | None]]:
    """Project -> (key, labels) of its release of the same version that is in someone's hands, one after the other and
    the newest first; None of what lies beyond MOST_OTHERS, and where no bytes can be read."""
    with gate.db.read() as session:
        others = in_hands(session, staged.plan.version_id)
    laid = 0
    for held in others:
        table = _labels_of(gate, held, staged.plan.version_id, spill) if laid < MOST_OTHERS else None
        laid += table is not None
        yield held.project_id, table


def _labels_of(gate: Gate, release: Held, version_id: str, spill: Path) -> pa.Table | None:
    """Who is in a release under which labels, read from its published parts; None where they cannot be read."""
    columns = [release.pseudonym, *release.labels]
    with gate.db.read() as session:
        parts = [p for p in listed(session, release.extract_id) if p["table"] == release.table]
        keys = np.array(ledger.members(session, release.extract_id).to_array(), dtype=np.int32)
        ids = project_ids(session, behind(session, version_id), release.project_id, keys)
        secret = project_key(gate, session, release.project_id)
    held = [t for p in parts if (t := _read(gate, release.extract_id, p["name"], spill, columns)) is not None]
    if not held:
        return None
    # Each key of a linked person has all rows of the pseudonym that they share: the holder knows them as one.
    ids, place = np.unique(ids, axis=0, return_inverse=True)
    names = pa.array(pseudonyms.pseudonyms(secret, ids)[place.ravel()], pa.binary()).cast(pa.string())
    numbered = [f"label_{n}" for n in range(len(release.labels))]
    rows = pa.concat_tables(held).select(columns).rename_columns(["name", *numbered])
    return rows.join(pa.table({"key": keys, "name": names}), "name", join_type="inner").drop_columns(["name"])


def _read(gate: Gate, extract_id: str, name: str, spill: Path, columns: list[str]) -> pa.Table | None:
    """Some columns of a published part, of which no copy stays; None where its bytes are gone."""
    target = spill / f"other-{name}"
    try:
        with target.open("wb") as file:
            file.writelines(
                gate.outbox.chunks(f"{extract_id}/{name}", 0, gate.outbox.size(f"{extract_id}/{name}"))
            )
        return pq.read_table(target, columns=columns)
    except FileNotFoundError:
        return None
    finally:
        target.unlink(missing_ok=True)
