"""The risk report of a flat file: de-identified in a folder that is wiped, measured, shown; no row is kept."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from app.deid.report import page
from app.deid.risk import Bounds, RiskReport, measure, statement
from app.schemas.plan import plan_hash
from app.workbench.flat import text
from app.workbench.preparing import Say, Task
from app.workbench.running import made


def report(task: Task, out: Path, say: Say, seed: int = 1) -> dict[str, Any]:
    """Write `risk.json` and `risk.html` to `out`: exact counts, for those who decide. Returns what the shell shows."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".baekman-", dir=out) as folder:
        found = _measured(task, Path(folder), say, seed)
    document = found.to_json()
    (out / "risk.json").write_text(
        json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    (out / "risk.html").write_text(page(found), encoding="utf-8")
    return {
        "json": str(out / "risk.json"), "html": str(out / "risk.html"), "people": found.people,
        "released": found.released, "max_risk": document["uniqueness"]["after"]["max_risk"],
        "loss": document["loss"], "statement": statement(found),
    }  # fmt: skip


def _measured(task: Task, spill: Path, say: Say, seed: int) -> RiskReport:
    with made(task, spill, say) as done:
        table = done.prepared.table.name
        raw = spill / "raw.parquet"
        done.prepared.con.execute(f"COPY flat TO {text(str(raw))} (FORMAT parquet)")
        return measure(
            {table: [raw]}, {table: done.paths}, done.crosswalk, done.prepared.dictionary, done.prepared.plan,
            Bounds(spill, task.memory, task.threads, seed), plan_hash=plan_hash(done.prepared.plan),
            progress=lambda **step: say(str(step["step"])),
        )  # fmt: skip
