"""Every measurement in one run, each in a process of its own: results as JSON, and one table in Markdown."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks._figures import figure

HERE = Path(__file__).parent
RESULTS = HERE / "results"
FIELDS = frozenset(figure("", 0.0, ""))
SHOWN = ("duckdb", "pyarrow", "sqlalchemy", "fastapi", "uvicorn", "numpy")


@dataclass(frozen=True)
class Measurement:
    """One module of this folder with the arguments of its full and its quick form, in which `{folder}` and `{data}` are
    filled in; None: there is no such form. `data` is a folder with a table and hierarchies in ARX's format."""

    module: str
    full: str | None
    quick: str | None
    size: str = ""

    @property
    def name(self) -> str:
        """What its results are called."""
        return f"{self.module}_{self.size}" if self.size else self.module


MEASUREMENTS = (
    Measurement("extract", "{folder}", "{folder} --people 50000 --rows 500000 --runs 1"),
    Measurement("extract", "{folder} --rows 100000000 --runs 1", None, "100m"),
    Measurement("extract", "{folder} --rows 1000000000 --beside 100000000 --runs 1", None, "1b"),
    Measurement("growth", "{folder}", "{folder} --people 5000 20000 --runs 1"),
    Measurement(
        "reissue", "{folder} --people 100000 --rows 2500000",
        "{folder} --people 20000 --rows 400000 --parts 8 --withdrawals 5",
    ),
    Measurement("ingest", "{folder}", "{folder} --people 20000 --rows 400000 --runs 1"),
    Measurement("append_month", "{folder}", "{folder} --people 4000 --runs 1"),
    Measurement("consents", "{folder}", "{folder} --lines 100000 --runs 1"),
    Measurement("engines", "{folder}", None),
    Measurement("utility", "{folder}", "{folder}"),
    Measurement("counts", "{folder}", "{folder} --people 50000 --rows 500000 --runs 3"),
    Measurement("api", "{folder}", "{folder} --seconds 3 --runs 1"),
    Measurement("download", "{folder}", "{folder} --megabytes 200 --runs 1"),
    Measurement("ranges", "{folder}", None),
    Measurement("withdrawal_stream", "{folder}", None),
    Measurement("load", "{folder}", None),
    Measurement("compare", "{data}", None),
    Measurement("anonymity", "{folder} --data {data}", None),
)  # fmt: skip


def run_all(
    *,
    quick: bool,
    only: list[str],
    data: Path | None,
    once: bool = False,
    folder: Path | None = None,
    results: Path = RESULTS,
) -> int:
    """Take every measurement of the form asked for, or those named, with `once` in a single turn where it would take
    several, their data in `folder` (else a temporary one); write what was found. 1 where one is broken."""
    failed = 0
    results.mkdir(exist_ok=True)
    for one in MEASUREMENTS:
        arguments = one.quick if quick else one.full
        if arguments is None or (only and one.name not in only) or ("{data}" in arguments and data is None):
            continue
        if once and "--runs" not in arguments and "--runs" in (HERE / f"{one.module}.py").read_text("utf-8"):
            arguments += " --runs 1"
        begun = time.monotonic()
        figures = _taken(one, arguments, data, folder)
        sys.stderr.write(f"\r{one.name}: {time.monotonic() - begun:.0f} s" + " " * 20 + "\n")
        if figures is None:
            failed = 1
            continue
        about = {**_machine(), "form": "quick" if quick else "full", "command": f"{one.module} {arguments}"}
        place = results / f"{one.name}{'.quick' if quick else ''}.json"
        place.write_text(
            json.dumps({"about": about, "figures": figures}, indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
    (results / "README.md").write_text(table(results), "utf-8")
    return failed


def _taken(
    one: Measurement, arguments: str, data: Path | None, folder: Path | None
) -> list[dict[str, Any]] | None:
    with tempfile.TemporaryDirectory(prefix="baekman-bench-") as place:
        given = arguments.format(folder=folder or Path(place) / "data", data=data).split()
        command = [sys.executable, "-m", f"benchmarks.{one.module}", *given]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, cwd=HERE.parent)
    if done.returncode:
        sys.stderr.write(f"{one.name} is broken\n")
        return None
    found: list[dict[str, Any]] = json.loads(done.stdout)
    if any(not (set(line) >= FIELDS or "skipped" in line) for line in found):
        sys.stderr.write(f"{one.name} says something that is no result\n")
        return None
    return found


def _machine() -> dict[str, Any]:
    said = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in said if "model name" in line)
    model = next(models, platform.processor())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} x {model}",
        "load_at_the_end": round(os.getloadavg()[1], 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in SHOWN},
    }


def table(results: Path) -> str:
    """All results of a folder as one page."""
    lines = [
        "# Results of `make bench`",
        "",
        "Written by `make bench` and `make bench-quick` (smaller data); each row is a median against a baseline of the",
        "same run, in processes of their own. Load is the machine's over five minutes when a measurement ended: above",
        "the number of cores others were at work, and seconds are longer than they would be alone, ratios hardly.",
        "",
        "| key | value | baseline | ratio | goal | met | rows | RSS MB | CPU s | wall s | load | taken |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    about: dict[str, Any] = {}
    machines: dict[str, list[str]] = {}
    for place in sorted(results.glob("*.json")):
        told = json.loads(place.read_text("utf-8"))
        about = max(about, told["about"], key=lambda one: one.get("date", ""))
        machines.setdefault(told["about"]["machine"], []).append(told["about"]["date"])
        for one in told["figures"]:
            lines.append(_row(one, told["about"]))
    if not about:
        lines[-2:] = ["Nothing was taken on a quiet machine yet: docs/performance.md has the first figures."]
    else:
        versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
        taken = "; ".join(
            f"{name} ({min(dates)} to {max(dates)})" for name, dates in sorted(machines.items())
        )
        lines += ["", f"Machine: {taken}. Of the newest: Python {about['python']}; {versions}."]
    return "\n".join(lines) + "\n"


def _row(one: dict[str, Any], about: dict[str, Any]) -> str:
    if "skipped" in one:
        return f"| {one['key']} | skipped: {one['skipped']} | " + " | " * 9 + f"{about['date']} |"
    met = {None: "", True: "yes", False: "**no**"}[one["met"]]
    unit, form = one["unit"], "quick, " if about["form"] == "quick" else ""
    cells = (
        one["key"], f"{_said(one['value'])} {unit}", _said(one["baseline"]), _said(one["ratio"]), _said(one["goal"]),
        met, _said(one["rows"]), _said(one["rss_mb"]), _said(one["cpu_s"]), _said(one["wall_s"]),
        _said(about["load_at_the_end"]), f"{form}{about['date']}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _said(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
