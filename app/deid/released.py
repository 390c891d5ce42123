"""The papers of a release: dry run, manifest, certificate; and the limits that its outcome must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.deid import counts, window
from app.deid.codebook import codebook
from app.errors import Finding, Problem, refuse_all
from app.schemas.dictionary import Dictionary
from app.schemas.mapping import SOURCE
from app.schemas.plan import Plan

STEPS = ("registered", "consented", "filtered", "released")


@dataclass(frozen=True)
class PartFacts:
    """One part as the manifest lists it; `columns` are (name, Arrow type)."""

    table: str
    position: int
    name: str
    sha256: str
    rows: int
    bytes: int
    columns: list[dict[str, str]]


@dataclass(frozen=True)
class Facts:
    """What was measured on a staged release. Counts are exact here; papers for researchers mask them."""

    plan: Plan
    dictionary: Dictionary
    attrition: Mapping[str, int]
    rows_in: Mapping[str, int]
    people: Mapping[str, int]
    parts: list[PartFacts]
    classes: int
    smallest: int
    loss: float
    column_losses: Mapping[str, float]
    labels: list[list[str | None]]
    quasi_identifiers: list[str]
    rolled_up: Mapping[str, Mapping[str, int]]
    k_reached: int
    max_risk: float
    epoch: int
    windows: window.Windows = field(default_factory=dict)
    outside: Mapping[str, int] = field(default_factory=dict)
    engine: str = ""  # and its version

    @property
    def outcome(self) -> dict[str, Any]:
        """The labels found, in the order of their classes: hashed in the certificate."""
        return {"columns": self.quasi_identifiers, "labels": self.labels, "codes": dict(self.rolled_up)}

    @property
    def suppressed_share(self) -> float:
        """The share of the people who passed the filter that is left out."""
        return self.attrition["suppressed"] / max(1, self.attrition["filtered"])

    def outside_share(self, table: str) -> float:
        """Of the rows that would leave, the share that lies outside the windows of its dates."""
        outside = self.outside.get(table, 0)
        return outside / max(1, outside + self.rows_out(table))

    def rows_out(self, table: str) -> int:
        """The rows that leave of a table."""
        return sum(part.rows for part in self.parts if part.table == table)


def must_keep_limits(facts: Facts, reviewed: Mapping[str, Any]) -> None:
    """Refuse an outcome outside the plan's limits, or worse than the dry run by more than the tolerance."""
    limits = facts.plan.privacy
    found = []
    if facts.suppressed_share > limits.max_suppression:
        found.append(Finding("too_many_suppressed", "more people are left out than the plan allows"))
    if facts.k_reached < limits.k and facts.attrition["released"]:
        found.append(Finding("k_not_reached", "a class is smaller than k"))
    refuse_all("verification_failed", "The outcome lies outside the limits of the plan.", found)
    worse = facts.suppressed_share - float(reviewed.get("suppressed_share", 0.0)) > limits.tolerance
    coarser = facts.loss - float(reviewed.get("loss", 1.0)) > limits.tolerance
    if worse or coarser:
        raise Problem(
            "outcome_worse_than_reviewed",
            "More people are left out, or labels are coarser, than in the dry run that was approved; run it again.",
        )


def dry_run(facts: Facts) -> dict[str, Any]:
    """What a steward decides on: exact counts, for stewards only."""
    kept = facts.attrition["released"] / max(1, facts.attrition["consented"])
    return {
        "people": dict(facts.attrition),
        "kept_share_of_consenting": round(kept, 6),
        "suppressed_share": round(facts.suppressed_share, 6),
        "tables": {
            t.name: {
                "rows_in": facts.rows_in[t.name],
                "rows_out": facts.rows_out(t.name),
                "people": facts.people[t.name],
                "max_rows_per_person": t.max_rows_per_person,
                "outside_window": facts.outside.get(t.name, 0),
                "outside_window_share": round(facts.outside_share(t.name), 6),
            }
            for t in facts.plan.tables
        },
        "shift_weeks": facts.plan.privacy.shift_weeks if facts.windows else None,
        "windows": window.to_json(facts.windows),
        "k": facts.plan.privacy.k,
        "reserve": facts.plan.privacy.reserve,
        "classes": facts.classes,
        "smallest_class": facts.smallest,
        "k_reached": facts.k_reached,
        "max_risk": facts.max_risk,
        "loss": facts.loss,
        "column_losses": dict(facts.column_losses),
        "codes": {name: dict(found) for name, found in facts.rolled_up.items()},
        "parts": len(facts.parts),
        "bytes": sum(part.bytes for part in facts.parts),
        "verified": True,
        "consent_epoch": facts.epoch,
    }


def manifest(
    facts: Facts, extract_id: str, generation: int, plan_hash: str, project_id: str
) -> dict[str, Any]:
    """What the holder gets beside the parts: digests, rows and schema per part, codebook, masked attrition."""
    return {
        "profile": "baekman-manifest/1",
        "extract_id": extract_id,
        "project_id": project_id,
        "version_id": facts.plan.version_id,
        "generation": generation,
        "plan_hash": plan_hash,
        "engine": facts.engine,
        "tables": [_table(facts, t.name) for t in facts.plan.tables],
        "attrition": attrition(facts),
        "codebook": codebook(facts.plan, facts.dictionary, windows=facts.windows),
    }


def certificate(
    facts: Facts, plan_hash: str, outcome_hash: str, measured: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What was promised and measured. It never says anonymous: pseudonymised data stay personal data (PIPA 28-2)."""
    privacy = facts.plan.privacy
    return {
        "profile": "baekman-certificate/1",
        "plan_hash": plan_hash,
        "outcome_hash": outcome_hash,
        "engine": facts.engine,
        "k": privacy.k,
        "reserve": privacy.reserve,
        "method": privacy.method,
        "k_reached_at_least": privacy.k,
        "max_risk_at_most": round(1 / privacy.k, 6),
        "quasi_identifiers": facts.quasi_identifiers,
        "row_filter": [c.model_dump(mode="json") for c in facts.plan.filter],
        "codes": {
            name: {"rolled_up": bool(n["rolled_up"]), "dropped": bool(n["dropped"])}
            for name, n in facts.rolled_up.items()
        },
        "moved_dates": _moved_dates(facts),
        "max_rows_per_person": _caps(facts),
        "measured_in_the_dry_run": measured,
        **_sources(facts),
        "attacker": {
            "ko": "준식별자를 아는 공격자(검사 모형)에 대해 각 표의 모든 집단이 k명 이상임을 "
            "기록된 바이트에서 검증하였습니다. "
            "진료 사건의 순서를 아는 공격자에 대해서는 보장하지 않습니다.",
            "en": "Against an attacker who knows a person's quasi-identifiers (prosecutor model), every class in every "
            "table was verified on the written bytes to hold at least k people. An attacker who knows a person's "
            "sequence of events is not covered.",
        },
        "status": {
            "ko": "가명정보이며 개인정보입니다. 재식별을 시도해서는 안 됩니다.",
            "en": "Pseudonymised data: personal data still. Re-identification must not be attempted.",
        },
    }


def _caps(facts: Facts) -> dict[str, int]:
    """Table -> the most rows of a person, as verified on the written bytes."""
    return {t.name: t.max_rows_per_person for t in facts.plan.tables if t.max_rows_per_person is not None}


def _moved_dates(facts: Facts) -> dict[str, Any] | None:
    """The window of each column, and how many of the rows lie outside, in whole per cent: so nobody is told."""
    if not facts.windows:
        return None
    return {
        "shift_weeks": facts.plan.privacy.shift_weeks,
        "windows": window.to_json(facts.windows),
        "rows_outside_share": {
            t.name: round(facts.outside_share(t.name), 2)
            for t in facts.plan.tables
            if t.name in facts.outside
        },
        "ko": "옮긴 날짜는 누구의 이동 폭에 대해서도 자료가 온전한 기간 안에서만 제공됩니다. 수집 시작일과 마감일이 "
        "이동 폭을 드러내지 않도록 기간 밖의 행과 날짜는 제외하였습니다.",
        "en": "Moved dates leave only within the days that are complete whatever a person's shift, so that neither the "
        "first day nor the cut-off of the data tells it. Rows and dates outside are left out.",
    }


def _sources(facts: Facts) -> dict[str, Any]:
    """Of a united version: where the rows come from, and what of people who take part in several sources is known."""
    named = [
        c for t in facts.dictionary.tables if t.kind == "participant" for c in t.fields if c.name == SOURCE
    ]
    if SOURCE not in facts.dictionary.hierarchies or not named:
        return {}
    linked = {
        "ko": "여러 출처에 있는 같은 사람은, 모든 동의가 연계를 허용하는 경우 하나의 가명을 가집니다. "
        "출처별 행의 조합마다 k명 이상임을 검증하였습니다.",
        "en": "A person of several sources has one pseudonym where every consent of theirs allows linkage. Every "
        "combination of a person's rows was verified to be shared by at least k people.",
    }
    apart = {
        "ko": "연계가 승인되지 않아, 여러 출처에 있는 사람은 출처마다 다른 가명을 가집니다. k는 알려진 범위에서 "
        "사람 수로 세었습니다. 같은 사람의 두 가명이 내용으로 맞춰질 위험은 남으며 승인자가 받아들였습니다.",
        "en": "Linkage was not approved: a person of several sources has a pseudonym in each. k counts people, as far "
        "as the register knows them. That two pseudonyms of one person are matched by what they hold is a risk "
        "that remains and was accepted with the approval.",
    }
    return {
        "sources": sorted(named[0].labels),
        "linkage": facts.plan.linkage,
        "linkage_means": linked if facts.plan.linkage else apart,
    }


def attrition(facts: Facts) -> list[dict[str, Any]]:
    """Registered, consented, filtered, released people, and how many were suppressed on the way to the last; steps
    that would tell a few people apart are hidden."""
    limits = facts.plan.privacy
    steps = [(step, facts.attrition[step]) for step in STEPS]
    # Backwards, for the parts tell how many are released: what differs from that by a few is what must be hidden.
    shown = reversed(counts.mask_attrition(steps[::-1], limits.min_cell, limits.round_to))
    listed = [{"step": s.step, "people": s.people, "hidden": s.suppressed} for s in shown]
    lost = counts.mask_plain(facts.attrition["suppressed"], limits.min_cell, limits.round_to)
    return [*listed, {"step": "suppressed", "people": lost.value, "hidden": lost.suppressed}]


def _table(facts: Facts, name: str) -> dict[str, Any]:
    parts = [part for part in facts.parts if part.table == name]
    return {
        "name": name,
        "rows": facts.rows_out(name),
        "columns": parts[0].columns if parts else [],
        "parts": [
            {
                "name": part.name,
                "position": part.position,
                "sha256": part.sha256,
                "rows": part.rows,
                "bytes": part.bytes,
            }
            for part in parts
        ],
    }
