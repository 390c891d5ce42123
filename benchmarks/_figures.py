"""One figure in one form; seconds and memory are taken in a process of its own, with its children and threads."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent


def figure(
    key: str,
    value: float,
    unit: str,
    *,
    baseline: float | None = None,
    goal: float | None = None,
    at_least: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """A result line. `ratio` is value over baseline of the same run; the goal is one of the ratio where there is a
    baseline and of the value elsewhere, a most or, with `at_least`, a least."""
    ratio = value / baseline if baseline else None
    judged = value if ratio is None else ratio
    met = None if goal is None else (judged >= goal if at_least else judged <= goal)
    line: dict[str, Any] = {
        "key": key, "value": _short(value), "unit": unit, "baseline": _short(baseline), "ratio": _short(ratio),
        "goal": goal, "met": met, "rows": None, "rss_mb": None, "cpu_s": None, "wall_s": None,
    }  # fmt: skip
    return line | {name: _short(v) if isinstance(v, float) else v for name, v in more.items()}


def skipped(key: str, name: str) -> dict[str, Any]:
    """A measurement that cannot be taken here, for want of the named program."""
    return {"key": key, "skipped": name}


def _short(value: float | None) -> float | None:
    return value if value is None else float(f"{value:.4g}")


def spent(act: Callable[[], Any]) -> dict[str, Any]:
    """CPU seconds (user and system, all threads) and wall seconds of one call, and its answer."""
    cpu, wall = time.process_time(), time.perf_counter()
    answer = act()
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "answer": answer,
    }


def peak_mb() -> int:
    """The peak resident memory of this process until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def alone(module: str, *arguments: object) -> dict[str, Any]:
    """What a measurement says of one step, done by a fresh process so that its memory is its own: the last line of its
    output, as JSON. Fails where the step did."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment, cwd=HERE)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def said(figures: Sequence[dict[str, Any]] | dict[str, Any]) -> None:
    """Print what was found: one line of JSON, the last of the output."""
    sys.stdout.write(json.dumps(figures, ensure_ascii=False) + "\n")


def in_steps(
    asked: argparse.ArgumentParser,
    steps: Mapping[str, Callable[[argparse.Namespace], dict[str, Any]]],
    measure: Callable[[argparse.Namespace], list[dict[str, Any]]],
) -> None:
    """The command line of a measurement whose steps run in processes of their own (`alone`): one step where `--step`
    names it, else the whole, after which its folder is wiped."""
    asked.add_argument("folder", type=Path, help="an empty folder for the data; wiped at the end")
    asked.add_argument("--step", choices=tuple(steps), help=argparse.SUPPRESS)
    told = asked.parse_args()
    if told.step:
        said(steps[told.step](told))
        return
    try:
        said(measure(told))
    finally:
        shutil.rmtree(told.folder, ignore_errors=True)
