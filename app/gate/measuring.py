"""The risk report of a dry run: raw rows against staged bytes, and against what other projects already hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
    rows = pa.concat_tables(held)
    ids, first = np.unique(ids, axis=0, return_index=True)  # of a linked person one key stands for all
    names = pa.array(pseudonyms.pseudonyms(secret, ids), pa.binary()).cast(pa.string())
    place = pc.index_in(rows[release.pseudonym], value_set=names)
    known = pc.is_valid(place)
    rows_held = {
        "key": pa.array(keys[first]).take(place.filter(known)),
        **{c: rows[c].filter(known) for c in release.labels},
    }
    return _one_row_a_person(pa.table(rows_held))


def _one_row_a_person(table: pa.Table) -> pa.Table:
    """Linked people have a row a source, with the same labels but for the source: the first one stands for them."""
    _keys, first = np.unique(table["key"].to_numpy(), return_index=True)
    return table if len(first) == table.num_rows else table.take(pa.array(np.sort(first)))


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
