"""A receipt as a page for stewards and institutions: what was done when, a picture and a table; it names no one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from app.withdrawals.proof import Receipt

_LANES: dict[str, tuple[str, ...]] = {
    "막음 · Blocked": ("withdrawal.taken",),
    "회수 · Recalled": ("part.blocked",),
    "재발행 · Reissued": ("recall.settled",),
    "파기 · Destroyed": ("withdrawal.destroyed",),
    "확인 · Attested": ("recall.attested", "recall.overdue", "recall.thawed"),
    "종결 · Closed": ("withdrawal.closed",),
}
_EVENTS = {
    "withdrawal.taken": "철회 접수, 모든 추출물 차단 · taken, every extract closed",
    "part.blocked": "해당 조각 차단, 보유자에게 통지 · the person's parts closed, the holder told",
    "recall.settled": "당사자 없이 배포, 또는 배포 중단 · handed out without the person, or not at all",
    "withdrawal.destroyed": "모든 버전에서 파기 · rows destroyed in every version",
    "recall.attested": "보유자 확인 · the holder attested",
    "recall.overdue": "보유자 확인 지연 · the holder is overdue",
    "recall.thawed": "동결 기한 종료 · the end of a freeze",
    "withdrawal.closed": "종결 · closed",
}
_ANSWERS = {
    "destroyed": "파기함 · destroyed",
    "retained": "법적 근거로 보관 · retained on a legal ground",
    "frozen": "기한까지 동결 · frozen until a date",
}
_STATES = {
    "taken": "접수 · taken",
    "blocked": "차단 · blocked",
    "destroying": "파기 중 · destroying",
    "closed": "종결 · closed",
    "open": "미확인 · open",
    **_ANSWERS,
}
_KINDS = {
    "no_further_contact": "연락 거부 · no further contact",
    "no_further_use": "추가 이용 철회 · no further use",
    "destroy": "파기 요청 · destroy",
    "narrowed": "목적 축소 · purposes narrowed",
    "unlinked": "연계 철회 · linked no more",
    "cohort_ended": "코호트 종료 · the cohort ended",
}
_FIGURES = {
    "taken_at": "접수 시각 · taken at",
    "extracts_closed": "막은 추출물 · extracts closed",
    "blocked_at": "모두 좁힌 시각 · all parts singled out at",
    "parts_closed": "막은 조각 · parts closed",
    "recalls": "회수 통지 · holders told",
    "reissued_at": "모두 재발행한 시각 · all reissued at",
    "destroyed_at": "파기 시각 · destroyed at",
}
_COUNTS = {
    "extracts_closed": "추출물 · extracts",
    "parts_closed": "조각 · parts",
    "recalls": "통지 · told",
    "generation": "세대 · generation",
    "notices": "통지 · recalls",
    "people": "참여자 · people",
    "rows": "행 · rows",
    "objects": "파일 · objects",
    "originals": "원본 · originals",
}
_MOST = 500  # steps of the table; the receipt itself has all of them

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 860, 170, 24, 34, 26
_TICKS = (
    (1, "1 s"),
    (60, "1 min"),
    (3600, "1 h"),
    (86_400, "1 d"),
    (7 * 86_400, "7 d"),
    (30 * 86_400, "30 d"),
    (365 * 86_400, "1 y"),
)


def page(receipt: Receipt) -> str:
    """The receipt as HTML that loads nothing, in Korean and English side by side."""
    steps: Sequence[Mapping[str, Any]] = receipt["steps"]
    figures = receipt.get("figures") or {}
    return _template().render(
        receipt=receipt, kind=_KINDS.get(receipt["kind"], receipt["kind"]),
        state=_STATES.get(receipt["state"], receipt["state"]), picture=timeline(steps),
        figures=[(words, _told(figures[name])) for name, words in _FIGURES.items() if name in figures],
        recalls=[(_STATES.get(one, one), count) for one, count in (receipt.get("recalls") or {}).items()],
        steps=[_row(step) for step in steps[:_MOST]], left_out=max(0, len(steps) - _MOST),
    )  # fmt: skip


def timeline(steps: Sequence[Mapping[str, Any]]) -> Markup:
    """The steps as an SVG: a lane for each thing that is done, and time since the first step to the right, by its
    logarithm, for seconds and months stand side by side."""
    moments = [datetime.fromisoformat(step["at"]) for step in steps]
    first = min(moments, default=None)
    since = [(moment - first).total_seconds() if first else 0.0 for moment in moments]
    longest = max([*since, 60.0])
    base = _TOP + _ROW * len(_LANES)
    parts = []
    for seconds, words in _TICKS:
        if seconds <= longest:
            x = _x(seconds, longest)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{base}"/>')
            parts.append(_text(x, base + 18, words, "middle"))
    for row, (lane, events) in enumerate(_LANES.items()):
        y = _TOP + _ROW * (row + 0.5)
        parts.append(f'<line class="lane" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 14, y + 4, lane, "end"))
        held = [(at, step) for at, step in zip(since, steps, strict=True) if step["event"] in events]
        if len(held) > 1:
            ends = _x(held[0][0], longest), _x(held[-1][0], longest)
            parts.append(
                f'<line class="span" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        for at, step in held:
            kind = "late" if step["event"] == "recall.overdue" else "step"
            told = f"{_moment(step['at'])} {_EVENTS[step['event']]}"
            parts.append(
                f'<circle class="{kind}" cx="{_x(at, longest):.1f}" cy="{y:.1f}" r="5">'
                f"<title>{escape(told)}</title></circle>"
            )
        if held:
            parts.append(_text(_WIDTH - _RIGHT, y - 6, f"{len(held):,}", "end"))
    title = "철회가 전달된 과정 · How the withdrawal was carried"
    # Every text that is not ours is escaped where it is placed; the rest is numbers.
    return Markup(  # noqa: S704
        f'<svg role="img" viewBox="0 0 {_WIDTH} {base + 30}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _x(seconds: float, longest: float) -> float:
    room = _WIDTH - _LEFT - _RIGHT - 40
    return _LEFT + 10 + room * math.log1p(max(0.0, seconds)) / math.log1p(longest)


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _row(step: Mapping[str, Any]) -> tuple[str, str, str]:
    counts = ", ".join(f"{_COUNTS.get(name, name)} {count:,}" for name, count in step["counts"].items())
    answer = _ANSWERS.get(step["answer"], step["answer"]) if step["answer"] else ""
    return (
        _moment(step["at"]),
        _EVENTS.get(step["event"], step["event"]),
        ", ".join(t for t in (answer, counts) if t),
    )


def _told(figure: Any) -> str:
    return f"{figure:,}" if isinstance(figure, int) else _moment(str(figure))


def _moment(at: str) -> str:
    return datetime.fromisoformat(at).strftime("%Y-%m-%d %H:%M:%S %Z")


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(
        (files("app.withdrawals") / "templates" / "receipt.html").read_text("utf-8")
    )
