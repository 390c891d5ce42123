"""A receipt that proves itself: its lines are lines of the audit chain, and every figure in it follows from them; pure.

Alone, a receipt shows that it was not altered since it was written by whoever can compute digests; held against the
chain (`receipts.py`) it shows that nothing was made up and nothing left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.audit.chain import line_digest
from app.errors import Finding
from app.schemas.plan import digest

Receipt = dict[str, Any]
ABOUT_PROJECTS = ("part.blocked", "recall.settled", "recall.attested", "recall.overdue", "recall.thawed")
# In the order in which they come.
ABOUT_ITSELF = ("withdrawal.taken", "withdrawal.destroyed", "withdrawal.closed")
_FIGURES = (
    "extracts_closed",
    "taken_at",
    "parts_closed",
    "recalls",
    "blocked_at",
    "destroyed_at",
    "reissued_at",
)


def concerns(withdrawal_id: str, event: str, object_id: str, data: Mapping[str, Any]) -> bool:
    """Whether an audit line speaks of a withdrawal."""
    if event in ABOUT_ITSELF:
        return object_id == withdrawal_id
    return data.get("withdrawal") == withdrawal_id or withdrawal_id in data.get("withdrawals", ())


def written(head: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Receipt:
    """The receipt of these lines (as `receipts.py` reads them): head, steps, figures, and its own digest."""
    body: Receipt = {**head, "steps": steps(lines), "lines": [dict(line) for line in lines]}
    return {**body, "digest": digest(body)}


def steps(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What happened, in the order of time: when, what, and the counts that the line tells."""
    told = []
    for line in sorted(lines, key=lambda line: (line["at"], line["stream"], line["number"])):
        counts = {k: v for k, v in line["data"].items() if isinstance(v, int) and not isinstance(v, bool)}
        if isinstance(line["data"].get("destroyed"), Mapping):
            counts |= {k: v for k, v in line["data"]["destroyed"].items() if isinstance(v, int)}
        told.append(
            {"at": line["at"], "event": line["event"], "counts": counts, "answer": line["data"].get("answer")}
        )
    return told


def faults(receipt: Mapping[str, Any]) -> list[Finding]:
    """Everything in a receipt that does not follow from its own lines; empty where it holds together."""
    found: list[Finding] = []
    body = {k: v for k, v in receipt.items() if k != "digest"}
    lines = receipt.get("lines")
    if not isinstance(lines, list) or not all(_is_line(line) for line in lines):
        return [Finding("receipt_unreadable", "the receipt has no lines that can be read", pointer="/lines")]
    if receipt.get("digest") != digest(body):
        found.append(Finding("receipt_altered", "the digest is not that of the receipt", pointer="/digest"))
    for i, line in enumerate(lines):
        if line["digest"] != _recomputed(line):
            found.append(Finding("line_altered", "the digest is not that of the line", pointer=f"/lines/{i}"))
        if not concerns(str(receipt.get("id")), line["event"], line["object_id"], line["data"]):
            found.append(
                Finding("line_foreign", "the line is not about this withdrawal", pointer=f"/lines/{i}")
            )
    if receipt.get("steps") != steps(lines):
        found.append(Finding("steps_altered", "the steps do not follow from the lines", pointer="/steps"))
    return [*found, *_figures(receipt, lines)]


def _figures(receipt: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """The figures of the head are those that the newest line about the withdrawal itself tells."""
    own = [line for line in lines if line["event"] in ABOUT_ITSELF]
    if not own:
        if receipt.get("of_project"):
            return []
        return [Finding("line_missing", "no line tells that the withdrawal was taken", pointer="/lines")]
    told: dict[str, Any] = {}
    # An institution that took the cohort over goes on in its own stream, with numbers of its own.
    own.sort(key=lambda line: (line["at"], ABOUT_ITSELF.index(line["event"]), int(line["number"])))
    for line in own:
        told |= line["data"]
    if receipt["state"] == "closed" and own[-1]["event"] != "withdrawal.closed":
        return [Finding("line_missing", "no line tells that the withdrawal was closed", pointer="/state")]
    figures = receipt.get("figures", {})
    return [
        Finding("figure_altered", "the figure is not the one that the lines tell", pointer=f"/figures/{name}")
        for name in _FIGURES
        if name in told and figures.get(name) != told[name]
    ]


def _recomputed(line: Mapping[str, Any]) -> str:
    at = datetime.fromisoformat(line["at"]).astimezone(UTC)
    return line_digest(
        bytes.fromhex(line["previous"]), line["stream"], line["number"], at, line["event"], line["actor"],
        line["object_id"], line["data"],
    ).hex()  # fmt: skip


def _is_line(line: Any) -> bool:
    texts = ("stream", "at", "event", "actor", "object_id", "previous", "digest")
    if not isinstance(line, Mapping) or not all(isinstance(line.get(name), str) for name in texts):
        return False
    try:
        bytes.fromhex(line["previous"])
        readable = datetime.fromisoformat(line["at"]).tzinfo is not None
    except ValueError:
        return False
    return readable and isinstance(line.get("number"), int) and isinstance(line.get("data"), Mapping)
