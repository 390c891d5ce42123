"""Pictures of a report as inline SVG: text and rectangles only, colours by CSS classes, a title for who cannot see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 800
_ROW, _BAR, _LABEL, _ROOM = 26, 16, 268, 100


@dataclass(frozen=True)
class Bars:
    """One row of a bar chart: its label and, per series, a share of the width (0 to 1) and what is written there.

    `kinds` are CSS classes of its own, in place of those of the series.
    """

    label: str
    values: tuple[tuple[float, str], ...]
    kinds: tuple[str, ...] = ()


def rows(title: str, series: Sequence[str], bars: Sequence[Bars], classes: Sequence[str]) -> Markup:
    """Horizontal bars, a row per label and in it a bar per series; `classes` are the CSS classes of the series."""
    step = _BAR * len(series) + 12 if len(series) > 1 else _ROW
    height = step * len(bars) + 8
    space = WIDTH - _LABEL - _ROOM
    parts = [_grid(space, height)]
    for i, bar in enumerate(bars):
        top = i * step + 4
        middle = top + (step - 8) / 2
        parts.append(_text(_LABEL - 10, middle + 4, _short(bar.label), "label", "end", bar.label))
        for j, ((share, words), kind) in enumerate(zip(bar.values, bar.kinds or classes, strict=True)):
            y = top + j * _BAR + (0 if len(series) > 1 else (step - 8 - _BAR) / 2)
            wide = max(1.0 if share > 0 else 0.0, min(1.0, share) * space)
            parts.append(_rect(kind, _LABEL, y, wide, _BAR - 3))
            parts.append(_text(_LABEL + wide + 6, y + _BAR - 5, words, "figure"))
    return _svg(title, height, "".join(parts))


def columns(title: str, labels: Sequence[str], series: Sequence[Sequence[tuple[float, str]]],
            classes: Sequence[str], limit: tuple[int, str] | None = None) -> Markup:  # fmt: skip
    """Upright bars: for each label one bar per series, as shares of the height; `limit` draws a line before the
    column of that number, with its words."""
    height, base, left = 250, 206, 20
    step = (WIDTH - left - 10) / max(1, len(labels))
    wide = (step - 10) / max(1, len(series))
    parts = [f'<line class="axis" x1="{left}" x2="{WIDTH - 10}" y1="{base}" y2="{base}"/>']
    for i, label in enumerate(labels):
        x = left + i * step + 5
        for j, (values, kind) in enumerate(zip(series, classes, strict=True)):
            share, words = values[i]
            tall = max(1.0 if share > 0 else 0.0, share * 170)
            at = x + j * wide
            parts.append(_rect(kind, at, base - tall, wide - 2, tall))
            if words:
                parts.append(_text(at + wide / 2 - 1, base - tall - 5, words, "figure small", "middle"))
        parts.append(_text(x + (step - 10) / 2, base + 18, label, "label", "middle"))
    if limit is not None:
        at = left + limit[0] * step
        parts.append(f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="10" y2="{base}"/>')
        parts.append(_text(at + 5, 20, limit[1], "limit-words"))
    return _svg(title, height - 16, "".join(parts))


def _svg(title: str, height: float, inside: str) -> Markup:
    # The caller's texts are escaped where they are placed; everything else here is ours.
    return Markup(  # noqa: S704
        f'<svg role="img" viewBox="0 0 {WIDTH} {height:.0f}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{inside}</svg>"
    )


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'


def _grid(space: float, height: float) -> str:
    places = [f"{_LABEL + space * quarter / 4:.1f}" for quarter in range(5)]
    lines = "".join(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height:.0f}"/>' for x in places)
    return f"<g>{lines}</g>"


def _text(x: float, y: float, words: str, kind: str, anchor: str = "start", whole: str = "") -> str:
    title = f"<title>{escape(whole)}</title>" if whole and whole != words else ""
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{title}{escape(words)}</text>'
    )


def _short(words: str) -> str:
    # Korean letters are wider.
    room, kept = 36.0, ""
    for letter in words:
        room -= 1.7 if ord(letter) > 0x1100 else 1
        if room < 1:
            return kept + "…"
        kept += letter
    return kept
