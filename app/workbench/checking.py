"""Re-check a release folder: the independent verifier over its bytes, and every paper against them."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from app.deid import verify
from app.errors import Finding, Problem, refuse_all
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan, Privacy, plan_hash
from app.workbench.preparing import Say, read_json

Parts = dict[str, list[tuple[Path, verify.Recorded]]]


def recheck(folder: Path, dictionary: Path | None, privacy: Path | None, say: Say) -> dict[str, Any]:
    """Verify every part that the manifest lists, by the dictionary given, else the folder's own, at the stricter k of
    the plan and `privacy`.

    Consent cannot be re-checked from a folder: everyone in it counts as eligible. Raises
    `Problem("verification_failed")` with every finding.
    """
    papers = {name: read_json(folder / f"{name}.json") for name in ("plan", "manifest", "certificate")}
    try:
        plan = Plan.model_validate(papers["plan"])
        words = Dictionary.model_validate(read_json(dictionary or folder / "dictionary.json"))
        asked = Privacy.model_validate(read_json(privacy)) if privacy else plan.privacy
        parts = _parts(folder, papers["manifest"])
        windows = _windows(papers["manifest"])
    except (ValidationError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise Problem("invalid_request", "The papers of the release cannot be read.") from error
    findings = list(_paper_findings(folder, plan, asked, papers, parts))
    say("verifying the bytes")
    everyone = _everyone(plan, words, parts)
    with tempfile.TemporaryDirectory(prefix="baekman-") as spill:
        report = verify.verify(
            verify.Staged({table: [path for path, _ in listed] for table, listed in parts.items()}),
            verify.Expectation(
                plan=plan, dictionary=words, k=asked.k, eligible=everyone,
                people_before=int(pc.count_distinct(everyone["pseudonym"]).as_py()),
                recorded={path: fact for listed in parts.values() for path, fact in listed},
                windows=windows,
            ),
            spill=Path(spill),
        )  # fmt: skip
    refuse_all(
        "verification_failed", "The release is not what its papers promise.", [*findings, *report.refusals]
    )
    return {
        "verified": True, "k_reached": report.k_reached, "classes": report.classes, "max_risk": report.max_risk,
        "rows": dict(report.rows), "people": dict(report.people), "plan_hash": plan_hash(plan),
        "gains": {name: round(guess.gain, 6) for name, guess in report.gains.items()},
        "not_checked": ["consent", "suppression before the release"],
    }  # fmt: skip


def _parts(folder: Path, manifest: Any) -> Parts:
    found: Parts = {}
    for table in manifest["tables"]:
        listed = sorted(table["parts"], key=lambda part: int(part["position"]))
        for part in listed:
            # Only the name: a manifest must not lead out of its folder.
            path = folder / Path(str(table["name"])).name / Path(str(part["name"])).name
            recorded = verify.Recorded(str(part["sha256"]), int(part["rows"]))
            found.setdefault(str(table["name"]), []).append((path, recorded))
    return found


def _windows(manifest: Any) -> dict[tuple[str, str], tuple[date, date]]:
    """The days that the codebook says moved dates leave by."""
    return {
        (str(table["name"]), str(column["name"])): (
            date.fromisoformat(column["window"][0]), date.fromisoformat(column["window"][1]),
        )
        for table in manifest.get("codebook", {}).get("tables", ())
        for column in table["columns"]
        if "window" in column
    }  # fmt: skip


def _paper_findings(
    folder: Path, plan: Plan, asked: Privacy, papers: dict[str, Any], parts: Parts
) -> list[Finding]:
    found = []
    for name in ("manifest", "certificate"):
        if papers[name].get("plan_hash") != plan_hash(plan):
            found.append(Finding("plan_differs", f"the plan is not the one that the {name} names"))
    if asked.max_suppression < plan.privacy.max_suppression:
        found.append(
            Finding("weaker_than_asked", "the plan allows more suppression", pointer="/max_suppression")
        )
    listed = {path for held in parts.values() for path, _ in held}
    strangers = [path for path in folder.rglob("*.parquet") if path not in listed]
    if strangers:
        found.append(
            Finding("table_unexpected", "files that the manifest does not list", count=len(strangers))
        )
    return found


def _everyone(plan: Plan, dictionary: Dictionary, parts: Parts) -> pa.Table:
    """(table, pseudonym) of all who are in the parts; what cannot be read is the verifier's to refuse."""
    tables, names = [pa.array([], pa.string())], [pa.array([], pa.string())]
    for planned in plan.tables:
        known = next((t for t in dictionary.tables if t.name == planned.name), None)
        for person in known.of_role("participant_id") if known else []:
            for path, _ in parts.get(planned.name, []):
                held = _column(path, person.name)
                names.append(held)
                tables.append(pa.array([planned.name] * len(held), pa.string()))
    return pa.table({"table": pa.chunked_array(tables), "pseudonym": pa.chunked_array(names)})


def _column(path: Path, name: str) -> pa.Array:
    try:
        return pc.unique(pq.read_table(path, columns=[name], partitioning=None)[name].cast(pa.string()))
    except (OSError, KeyError, pa.ArrowException):
        return pa.array([], pa.string())
