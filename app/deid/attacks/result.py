"""What one attack found: who attacked, with what knowledge, the figures, what was expected, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["held", "broken", "measured", "not_run"]

VERDICTS: dict[Verdict, tuple[str, str]] = {
    "held": ("막음", "held"),
    "broken": ("뚫림", "broken"),
    "measured": ("측정함 (보장 없음)", "measured (no promise)"),
    "not_run": ("해당 없음", "not run"),
}


@dataclass(frozen=True)
class Words:
    """One sentence in Korean and in English."""

    ko: str
    en: str


@dataclass(frozen=True)
class Result:
    """One attack. `held`: the figure is what was expected; `broken`: it is not, do not use the extract; `measured`:
    nothing is promised here and the board is told; `not_run`: the extract has nothing that it could attack."""

    name: str
    title: Words
    knows: Words
    expected: Words
    figures: dict[str, Any]
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; fractions to six digits."""
        said: dict[str, Any] = _rounded(asdict(self))
        return said


def judged(good: bool) -> Verdict:
    """`held` or `broken`."""
    return "held" if good else "broken"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value
