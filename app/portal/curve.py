"""The way to the million as a picture: the curve so far, the goal, and the band in which it is expected to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT = 960, 380
_LEFT, _RIGHT, _TOP, _BASE = 74, 24, 26, 330


def curve(found: Mapping[str, Any], words: Mapping[str, Any]) -> Markup:
    """An SVG of `GET /v1/progress`; colours by CSS classes, a title for who cannot see it."""
    history: Sequence[Mapping[str, Any]] = found["history"]
    ahead, goal, goal_day = found["projection"], found["goal"], found["goal_date"]
    first = history[0]["day"] if history else found["as_of"].date()
    last = history[-1]["day"] if history else first
    end = max(goal_day, last)
    highest = max([goal, *(one["people"] for one in history), *([ahead["people_high"]] if ahead else [])])
    scale = _Scale(first, end, min(highest, 2 * goal) * 1.06)
    parts = [*_axes(scale, first, end), _goal(scale, goal, words)]
    if ahead and history:
        parts += _ahead(scale, history[-1], ahead, goal_day)
    if history:
        parts.append(_so_far(scale, history))
    title = f"{words['progress']}: {words['goal']} {goal:,}"
    # Every text that is not ours is escaped where it is placed; the rest is numbers.
    return Markup(  # noqa: S704
        f'<svg class="curve" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


class _Scale:
    def __init__(self, first: date, end: date, highest: float) -> None:
        self.first, self.days, self.highest = first, max(1, (end - first).days), highest

    def x(self, day: date) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(1.0, (day - self.first).days / self.days)

    def y(self, people: float) -> float:
        return _BASE - (_BASE - _TOP) * min(1.0, people / self.highest)


def _axes(scale: _Scale, first: date, end: date) -> list[str]:
    parts = []
    step = _step(scale.highest)
    people = 0.0
    while people <= scale.highest:
        y = scale.y(people)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{people:,.0f}", "end"))
        people += step
    years = [year for year in range(first.year, end.year + 2) if first <= date(year, 1, 1) <= end]
    every = -(-len(years) // 10) or 1
    for year in years[::every]:
        x = scale.x(date(year, 1, 1))
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{_BASE}" y2="{_BASE + 5}"/>')
        parts.append(_text(x, _BASE + 22, str(year), "middle"))
    return [*parts, f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{_BASE}" y2="{_BASE}"/>']


def _step(highest: float) -> float:
    step = 1.0
    while highest / step > 6:
        step *= 2.5 if str(step).startswith("2") else 2
    return step


def _goal(scale: _Scale, goal: int, words: Mapping[str, Any]) -> str:
    y = scale.y(goal)
    return f'<line class="goal" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>' + _text(
        WIDTH - _RIGHT, y - 7, f"{words['goal']} {goal:,}", "end", "goal-words"
    )


def _so_far(scale: _Scale, history: Sequence[Mapping[str, Any]]) -> str:
    """Figures stand until they move, so the curve goes in steps."""
    points: list[str] = []
    height = scale.y(history[0]["people"])
    for one in history:
        x = scale.x(one["day"])
        points.append(f"{x:.1f},{height:.1f}")
        height = scale.y(one["people"])
        points.append(f"{x:.1f},{height:.1f}")
    end, top = points[-1].split(",")
    line = f'<polyline class="so-far" points="{" ".join(points)}"/>'
    return f'{line}<circle class="today" cx="{end}" cy="{top}" r="4.5"/>'


def _ahead(scale: _Scale, today: Mapping[str, Any], ahead: Mapping[str, Any], goal_day: date) -> list[str]:
    x, y, end = scale.x(today["day"]), scale.y(today["people"]), scale.x(goal_day)
    low, usual, high = (scale.y(ahead[name]) for name in ("people_low", "people", "people_high"))
    return [
        f'<polygon class="band" points="{x:.1f},{y:.1f} {end:.1f},{high:.1f} {end:.1f},{low:.1f}"/>',
        f'<line class="ahead" x1="{x:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{usual:.1f}"/>',
    ]


def _text(x: float, y: float, words: str, anchor: str, kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
