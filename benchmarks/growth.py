"""Cost per row of a whole release at growing numbers of people, ten rows each: python -m benchmarks growth FOLDER."""

import argparse
import shutil
from pathlib import Path
from typing import Any

from benchmarks._figures import figure, said
from benchmarks.extract import measure as released

GOAL = 1.2
EACH = 10


def measure(folder: Path, sizes: list[int], runs: int) -> list[dict[str, Any]]:
    """CPU microseconds per row at each size against the smallest's."""
    figures, first = list[dict[str, Any]](), 0.0
    for people in sizes:
        (whole, _memory) = released(folder / str(people), people, EACH * people, runs)
        shutil.rmtree(folder / str(people), ignore_errors=True)
        cost = whole["cpu_us_per_row"]
        first = first or cost
        figures.append(
            figure(
                f"extract_growth_{people // 1000}k", cost, "CPU us per row", baseline=first, goal=GOAL,
                rows=EACH * people, people=people, rss_mb=whole["rss_mb"], cpu_s=whole["cpu_s"],
                wall_s=whole["wall_s"], runs=runs,
            )
        )  # fmt: skip
    return figures


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="an empty folder for the houses; wiped at the end")
    asked.add_argument("--people", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    asked.add_argument("--runs", type=int, default=3)
    told = asked.parse_args()
    try:
        said(measure(told.folder, told.people, told.runs))
    finally:
        shutil.rmtree(told.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
