"""The risk report of a dry run: raw rows against staged bytes, and against what other projects already hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.consents.cohorts import behind
from app.crosswalk import project_ids
from app.deid import pseudonyms, risk
from app.deid.report import page
from app.gate.building import Staged
from app.gate.keys import project_key
from app.ledger.parts import listed
from app.models import Extract, Permit
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan, plan_hash

if TYPE_CHECKING:
    from app.gate.door import Gate

MOST_OTHERS = 20  # the newest releases of other projects that a dry run is laid on


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


def _held_by_others(gate: Gate, staged: Staged, spill: Path) -> dict[str, pa.Table]:
    """Project -> (key, labels) of the newest releases of the same version that are still in someone's hands."""
    query = (
        select(Extract)
        .where(Extract.version_id == staged.plan.version_id, Extract.generation > 0)
        .order_by(Extract.id.desc())
        .limit(MOST_OTHERS)
    )
    found = {}
    with gate.db.read() as session:
        for extract in session.scalars(query):
            if (table := _labels_of(gate, session, extract, staged.dictionary, spill)) is not None:
                found[extract.project_id] = table
    return found


def _labels_of(
    gate: Gate, session: Session, extract: Extract, dictionary: Dictionary, spill: Path
) -> pa.Table | None:
    """Who is in an extract under which labels, read from its published parts; None where it has no labels or parts."""
    permit = session.get_one(Permit, extract.permit_id)
    columns = _label_columns(Plan.model_validate(permit.plan), dictionary)
    if columns is None:
        return None
    name, labels = columns
    parts = [p for p in listed(session, extract.id) if p["table"] == dictionary.people.name]
    held = [t for p in parts if (t := _read(gate, extract.id, p["name"], spill, [name, *labels])) is not None]
    if not held:
        return None
    rows = pa.concat_tables(held)
    keys = np.array(ledger.members(session, extract.id).to_array(), dtype=np.int32)
    ids = project_ids(session, behind(session, permit.version_id), extract.project_id, keys)
    secret = project_key(gate, session, extract.project_id)
    ids, first = np.unique(ids, axis=0, return_index=True)  # of a linked person one key stands for all
    names = pa.array(pseudonyms.pseudonyms(secret, ids), pa.binary()).cast(pa.string())
    place = pc.index_in(rows[name], value_set=names)
    known = pc.is_valid(place)
    rows_held = {
        "key": pa.array(keys[first]).take(place.filter(known)),
        **{c: rows[c].filter(known) for c in labels},
    }
    return _one_row_a_person(pa.table(rows_held))


def _one_row_a_person(table: pa.Table) -> pa.Table:
    """Linked people have a row a source, with the same labels but for the source: the first one stands for them."""
    _keys, first = np.unique(table["key"].to_numpy(), return_index=True)
    return table if len(first) == table.num_rows else table.take(pa.array(np.sort(first)))


def _label_columns(plan: Plan, dictionary: Dictionary) -> tuple[str, list[str]] | None:
    """The pseudonym column and the label columns of the participant table in a plan."""
    people = next((t for t in plan.tables if t.name == dictionary.people.name), None)
    if people is None:
        return None
    names = [c.name for c in people.columns if c.transform == "pseudonymise"]
    labels = [c.name for c in people.columns if c.transform == "generalise"]
    return (names[0], labels) if names and labels else None


def _read(gate: Gate, extract_id: str, name: str, spill: Path, columns: list[str]) -> pa.Table | None:
    """Some columns of a published part; None where its bytes are gone."""
    target = spill / f"other-{name}"
    try:
        with target.open("wb") as file:
            file.writelines(
                gate.outbox.chunks(f"{extract_id}/{name}", 0, gate.outbox.size(f"{extract_id}/{name}"))
            )
    except FileNotFoundError:
        return None
    return pq.read_table(target, columns=columns)
