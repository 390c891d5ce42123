"""What an extract will cost: rows, bytes, minutes, from the permit's dry run and earlier builds, and how sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.auth import policy
from app.auth.policy import Actor
from app.models import DatasetVersion, DryRun, Extract, Job, Part, Permit, VaultTable
from app.requests import queries
from app.schemas.plan import Plan

MEASURED = 50  # of the newest builds
FEW = 3
"""With fewer builds to learn from nothing is known of their spread: then these factors stand for it."""
_UNKNOWN = {"rows": 1.25, "bytes": 3.0, "minutes": 3.0}


def quote(session: Session, actor: Actor, permit_id: str) -> dict[str, Any]:
    """`{rows, bytes, minutes: {low, expected, high}, builds}`, to two digits; nine of ten builds so far lay between low
    and high. Rows are those of the dry run times what builds gave beside theirs; minutes run from order to ready, the
    waiting in the queue too; bytes are those a cell of earlier builds, else of the vault's tables."""
    row, project, of = queries.permit(session, permit_id)
    policy.must_read_permit(actor, queries.permit_facts(project, of))
    run = session.get_one(DryRun, row.dry_run_id)
    rows, cells = _planned(row, run)
    learned = [
        one for one in (_measured(session, extract) for extract in _builds(session)) if one is not None
    ]
    seconds = _seconds(run)
    per_cell = [one["bytes_a_cell"] for one in learned] or [_vault_bytes_a_cell(session, row)]
    return {
        "permit_id": row.id, "builds": len(learned),
        "rows": _range("rows", rows, [one["rows"] for one in learned]),
        "bytes": _range("bytes", cells, per_cell, len(learned)),
        "minutes": _range("minutes", seconds / 60, [one["seconds"] for one in learned]),
    }  # fmt: skip


def _planned(permit: Permit, run: DryRun) -> tuple[int, int]:
    """Rows and cells that the dry run would have released."""
    tables = (run.result or {}).get("tables", {})
    rows = {name: int(one["rows_out"]) for name, one in tables.items()}
    width = {table.name: len(table.columns) for table in Plan.model_validate(permit.plan).tables}
    return sum(rows.values()), sum(count * width.get(name, 1) for name, count in rows.items())


def _builds(session: Session) -> Sequence[Extract]:
    query = select(Extract).where(Extract.generation > 0).order_by(Extract.ready_at.desc(), Extract.id.desc())
    return session.scalars(query.limit(MEASURED)).all()


def _measured(session: Session, extract: Extract) -> dict[str, float] | None:
    """A first build beside its own dry run: how many times its rows and its seconds; and its bytes a cell."""
    permit = session.get_one(Permit, extract.permit_id)
    run = session.get_one(DryRun, permit.dry_run_id)
    planned, cells = _planned(permit, run)
    first = (Part.extract_id == extract.id, Part.generation == 1)
    rows, size = session.execute(select(func.sum(Part.rows), func.sum(Part.bytes)).where(*first)).one()
    job = session.scalar(
        select(Job)
        .where(Job.subject == extract.id, Job.kind == "build_extract", Job.state == "done")
        .limit(1)
    )
    if not rows or not planned or job is None or job.finished_at is None:
        return None
    took = (job.finished_at - job.created_at).total_seconds()
    return {
        "rows": rows / planned, "bytes_a_cell": float(size) / max(1.0, cells * rows / planned),
        "seconds": took / _seconds(run),
    }  # fmt: skip


def _seconds(run: DryRun) -> float:
    return max(1.0, ((run.finished_at or run.created_at) - run.created_at).total_seconds())


def _vault_bytes_a_cell(session: Session, permit: Permit) -> float:
    """Of the tables that the plan reads, as they are kept; 8 where nothing is known, as of a united version."""
    dictionary = session.get_one(DatasetVersion, permit.version_id).dictionary or {}
    width = {table["name"]: len(table["fields"]) for table in dictionary.get("tables", ())}
    tables = [table.name for table in Plan.model_validate(permit.plan).tables]
    query = select(VaultTable.table_name, VaultTable.bytes, VaultTable.rows).where(
        VaultTable.version_id == permit.version_id, VaultTable.table_name.in_(tables)
    )
    kept = session.execute(query).all()
    cells = sum(rows * width.get(name, 1) for name, _size, rows in kept)
    return sum(size for _name, size, _rows in kept) / cells if cells else 8.0


def _range(what: str, base: float, factors: Sequence[float], builds: int | None = None) -> dict[str, float]:
    """Low, expected and high of `base` times the factors."""
    known = sorted(factors)
    if (len(known) if builds is None else builds) < FEW:
        middle = base * (known[len(known) // 2] if known else 1.0)
        low, high = middle / _UNKNOWN[what], middle * _UNKNOWN[what]
    else:
        low, middle, high = (base * _quantile(known, at) for at in (0.05, 0.5, 0.95))
    return {"low": _digits(low), "expected": _digits(middle), "high": _digits(high)}


def _quantile(known: Sequence[float], at: float) -> float:
    """Between the two nearest, on a line."""
    place = at * (len(known) - 1)
    below = math.floor(place)
    above = min(below + 1, len(known) - 1)
    return known[below] + (known[above] - known[below]) * (place - below)


def _digits(value: float) -> float:
    """Two digits that count."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(round(value / step) * step, 6)
