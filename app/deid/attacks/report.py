"""The report that a review board reads: JSON, and Markdown in Korean and English."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.deid.attacks.result import VERDICTS, Result


def report(manifest: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """JSON-ready: which extract, how many attacks ended how, and each attack."""
    named = {
        name: manifest.get(name)
        for name in ("extract_id", "project_id", "version_id", "generation", "plan_hash")
    }
    return {
        "profile": "baekman-attack/1",
        "extract": named,
        "verdicts": {verdict: sum(r.verdict == verdict for r in results) for verdict in VERDICTS},
        "attacks": [result.to_json() for result in results],
    }


def markdown(document: Mapping[str, Any]) -> str:
    """The same as Markdown: one table, then the figures of each attack. It never says that data are anonymous."""
    extract, counts = document["extract"], document["verdicts"]
    lines = [
        "# 추출 자료 공격 시험 보고서 · Attacks on an extract",
        "",
        f"추출 · extract `{extract['extract_id']}`, 세대 · generation {extract['generation']}, "
        f"계획 · plan `{extract['plan_hash']}`",
        "",
        " · ".join(f"{VERDICTS[v][0]} · {VERDICTS[v][1]}: **{n}**" for v, n in counts.items()),
        "",
        "가명정보는 개인정보입니다. 아래 공격을 막았다는 것은 다른 공격까지 막는다는 뜻이 아닙니다. "
        "Pseudonymised data stay personal data; an attack that is not listed was not tried.",
        "",
        "| 공격 · attack | 공격자가 아는 것 · attacker knows | 기대 · expected | 결과 · verdict |",
        "|---|---|---|---|",
    ]
    for one in document["attacks"]:
        cells = (f"{one[part]['ko']}<br>{one[part]['en']}" for part in ("title", "knows", "expected"))
        lines.append(
            f"| {' | '.join(cells)} | **{VERDICTS[one['verdict']][0]}**<br>{VERDICTS[one['verdict']][1]} |"
        )
    for one in document["attacks"]:
        lines += ["", f"## {one['title']['ko']} · {one['title']['en']}", ""]
        lines += [
            f"- `{name}`: {json.dumps(value, ensure_ascii=False)}" for name, value in one["figures"].items()
        ]
        lines += ["", f"{VERDICTS[one['verdict']][0]} · {VERDICTS[one['verdict']][1]}"]
    return "\n".join(lines) + "\n"
