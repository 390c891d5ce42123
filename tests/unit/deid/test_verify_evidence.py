"""Evidence of parts that stay: judged with the staged ones, bound to their digests, refused where it differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from app.deid.verify import Evidence, Expectation, Recorded, Staged, VerifierReport, verify
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan
from tests.attack.release import Release, lawful

STAYS = ("person", 0)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A lawful release, whose rows are all traced by a pseudonym of their own."""
    made = lawful(tmp_path)
    made.plan["tables"] = [t for t in made.plan["tables"] if t["name"] != "lab"]
    return made


def _again(
    release: Release,
    held: Evidence | None,
    eligible: pa.Table | None = None,
    stays: tuple[str, int] = STAYS,
) -> VerifierReport:
    """A second verdict: one part is released already and stays, all others are staged."""
    paths = {t: list(of) for t, of in release.paths.items()}
    recorded = {
        path: replace(release.recorded[path], position=n)
        for of in paths.values()
        for n, path in enumerate(of)
    }
    standing = recorded[paths[stays[0]].pop(stays[1])]
    spill = release.folder / "again"
    spill.mkdir(exist_ok=True)
    expectation = Expectation(
        plan=Plan.model_validate(release.plan),
        dictionary=Dictionary.model_validate(release.dictionary),
        k=11,
        eligible=release.eligible if eligible is None else eligible,
        people_before=release.people_before,
        recorded=recorded,
        standing={stays: Recorded(standing.sha256, standing.rows)},
        held=held,
        windows=release.windows,
    )
    return verify(Staged(paths), expectation, spill=spill)


def _codes(report: VerifierReport) -> set[str]:
    return {found.code for found in report.refusals}


def test_parts_that_stay_and_staged_ones_are_judged_as_one_release(release: Release) -> None:
    whole = release.verdict()
    assert whole.ok
    both = _again(release, whole.evidence)
    assert both.refusals == ()
    for told in ("k_reached", "classes", "people", "suppressed", "gains"):
        assert getattr(both, told) == getattr(whole, told)
    assert whole.evidence is not None
    assert both.evidence is not None
    key = [("position", "ascending"), ("p", "ascending")]
    assert both.evidence.tables["seen/person"].sort_by(key) == whole.evidence.tables["seen/person"].sort_by(
        key
    )


def test_without_the_evidence_of_its_bytes_no_part_stays(release: Release) -> None:
    held = release.verdict().evidence
    assert held is not None
    other = replace(held, parts=tuple(replace(p, sha256="0" * 64) for p in held.parts))
    assert _codes(_again(release, None)) == {"evidence_differs"}
    assert _codes(_again(release, other)) == {"evidence_differs"}
    assert _codes(_again(release, Evidence((), held.tables))) == {"evidence_differs"}


def test_who_is_no_longer_eligible_is_found_in_a_part_that_stays(release: Release) -> None:
    held = release.verdict().evidence
    assert held is not None
    assert release.eligible is not None
    seen = held.tables["seen/person"]
    gone = f"{seen.filter(pc.equal(seen['position'], 0))['p'][0].as_py():016x}"
    left = release.eligible.filter(pc.not_equal(release.eligible["pseudonym"], gone))
    found = _again(release, held, left).refusals
    assert ("not_eligible", "person", 1) in {(f.code, f.table, f.count) for f in found}


def test_a_class_is_counted_over_parts_that_stay(release: Release) -> None:
    """A planted fault: one class of the part that stays is told to be another."""
    held = release.verdict().evidence
    assert held is not None
    roster = held.tables["roster/person"]
    strange = pc.if_else(pc.equal(roster["p"], roster["p"][0]), 9999, roster["class"])
    tables = {
        **held.tables,
        "roster/person": roster.set_column(
            roster.column_names.index("class"), "class", strange.cast(roster.schema.field("class").type)
        ),
    }
    assert "class_below_k" in _codes(_again(release, Evidence(held.parts, tables)))


def test_rare_codes_are_counted_over_parts_that_stay(release: Release) -> None:
    """A planted fault: the part that stays is told to lack so many people that ten are left of each code."""
    held = release.verdict().evidence
    assert held is not None
    stays, codes = ("visit", 0), held.tables["codes/visit/code"]
    assert _again(release, held, stays=stays).ok
    others = codes.filter(pc.equal(codes["position"], 1)).to_pylist()
    least = pa.array([10 - row["n"] for row in others], codes.schema.field("n").type)
    few = pa.table({"position": pa.array([0, 0], pa.uint16()), "v": [row["v"] for row in others], "n": least})
    tables = {**held.tables, "codes/visit/code": few.cast(codes.schema)}
    assert _codes(_again(release, Evidence(held.parts, tables), stays=stays)) == {"rare_label"}


def test_parts_that_stay_and_staged_ones_must_not_overlap(release: Release) -> None:
    held = release.verdict().evidence
    assert held is not None
    wide = tuple(replace(p, high="f" * 16) if (p.table, p.position) == STAYS else p for p in held.parts)
    assert "parts_overlap" in _codes(_again(release, Evidence(wide, held.tables)))


def test_rows_that_only_another_table_traces_leave_no_evidence(tmp_path: Path) -> None:
    report = lawful(tmp_path).verdict()
    assert report.ok
    assert report.evidence is None
