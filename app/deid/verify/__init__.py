"""The independent verifier: it re-reads the staged bytes and refuses. It shares no code with whatever chose the labels.

It imports nothing of anonymity, transforms, hierarchies or the engines, and trusts neither their counts nor the
footers of the files. What it promises is listed in `REFUSALS`, one code a reason.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa

from app.deid.verify.caps import check_caps
from app.deid.verify.cells import Cells
from app.deid.verify.evidence import (
    REFUSALS,
    Evidence,
    Expectation,
    Guess,
    PartEvidence,
    Recorded,
    Staged,
    VerifierReport,
    refusal,
)
from app.deid.verify.gathered import Gathered, check_standing
from app.deid.verify.identifiers import is_identifier_like
from app.deid.verify.order import check_order, ends
from app.deid.verify.parts import Part, read_parts
from app.deid.verify.people import check_people
from app.deid.verify.rare import check_rare
from app.deid.verify.reader import reader
from app.deid.verify.scope import Leaving, leaving
from app.deid.verify.survey import survey

__all__ = [
    "REFUSALS",
    "Evidence",
    "Expectation",
    "Guess",
    "PartEvidence",
    "Recorded",
    "Staged",
    "VerifierReport",
    "is_identifier_like",
    "verify",
]


# Without readable parts of the planned shape, whose rows can be traced, the other questions cannot be put.
HOPELESS = frozenset(
    {
        "columns_differ",
        "evidence_differs",
        "part_missing",
        "part_unreadable",
        "table_unexpected",
        "unknown_column",
        "untraceable",
    }
)

# Mistakes and limits of ours: no verdict on the bytes.
OURS = (duckdb.BinderException, duckdb.CatalogException, duckdb.OutOfMemoryException, duckdb.ParserException)


def verify(
    staged: Staged, expectation: Expectation, *, spill: Path, memory: str = "1GB", threads: int = 2
) -> VerifierReport:
    """Judge the staged bytes; every refusal at once, except that tables of unreadable shape stop after their bytes.

    `spill` is a folder for what outgrows `memory` (such as `1GB`); the caller wipes it. Findings name tables, columns,
    positions and counts, never a value. Raises a duckdb.Error where memory runs
    out, which is no verdict: do not release.
    """
    tables, findings = leaving(expectation.plan, expectation.dictionary)
    parts, found = read_parts(staged, tables, expectation)
    findings += found
    hashes = {table: tuple(p.sha256 for p in read) for table, read in parts.items()}
    rows = {table: sum(p.rows for p in read) for table, read in parts.items()}
    findings += check_standing(tables, parts, expectation)
    if any(found.code in HOPELESS for found in findings):
        return VerifierReport(ok=False, refusals=tuple(findings), rows=rows, sha256=hashes)
    try:
        report = _judge(tables, parts, expectation, spill, memory, threads)
    except OURS:
        raise
    except duckdb.Error:  # of the bytes, then; the library's words may quote them and go no further
        report = VerifierReport(ok=False, refusals=(refusal("part_unreadable"),))
    refusals = (*findings, *report.refusals)
    return replace(report, ok=not refusals, refusals=refusals, rows=rows, sha256=hashes)


def _judge(
    tables: list[Leaving],
    parts: dict[str, list[Part]],
    expectation: Expectation,
    spill: Path,
    memory: str,
    threads: int,
) -> VerifierReport:
    with reader(spill, memory, threads) as questions:
        gathered = Gathered(questions, parts, expectation)
        surveys = {table.name: survey(questions, table, parts[table.name]) for table in tables}
        findings = check_order(questions, tables, parts, surveys, gathered)
        census = check_people(questions, tables, parts, gathered, surveys, expectation)
        findings += census.findings
        if expectation.forbidden:
            questions.load("forbidden", pa.table({"v": pa.array(list(expectation.forbidden), pa.string())}))
        for number, table in enumerate(tables):
            findings += check_rare(questions, table, number, gathered, surveys[table.name], expectation)
            findings += check_caps(questions, table, number, parts[table.name], expectation)
            if parts[table.name]:
                findings += Cells(
                    questions, table, number, parts[table.name], surveys[table.name], expectation
                ).check()
        evidence = None
        if expectation.twins is None and not any(table.via for table in tables):
            evidence = gathered.evidence([e for t in tables for e in ends(t, parts[t.name], surveys[t.name])])
    return VerifierReport(
        ok=not findings,
        refusals=tuple(findings),
        k_reached=census.k_reached or 0,
        classes=census.classes,
        people=census.people,
        max_risk=1 / census.k_reached if census.k_reached else 0.0,
        suppressed=census.suppressed,
        gains=census.gains,
        evidence=evidence,
    )
