"""CPU and memory of a whole release against a plain copy of the same columns: python -m benchmarks extract FOLDER."""

import argparse
import shutil
import statistics
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb

from benchmarks._disk import watched
from benchmarks._figures import alone, figure, in_steps, peak_mb, skipped, spent
from benchmarks._house import is_made, make, opened, stored

GOALS = {10_000_000: 2.0, 100_000_000: 1.5}  # a wish of CPU over the copy's at these sizes
MOST_MB = 2048
# Of disk at its fullest: vault, rows laid aside, staged parts and outbox. 57.6 at 100 million rows (`disk_mb`).
BYTES_A_ROW = 60
GROWTH = 1.2  # most of the CPU a row takes at the smaller size


def made(folder: Path, people: int, rows: int) -> dict[str, Any]:
    """The house."""
    make(folder, people, rows, 5_000_000)
    return {}


def release(folder: Path) -> dict[str, Any]:
    """One release of a new project, in this process: seconds, peak memory, and the CPU seconds of its steps."""
    house = opened(folder)
    extract, steps = house.permit(), [("decide", time.process_time())]

    def progress(**told: Any) -> None:
        steps.append((told.get("step", steps[-1][0]), time.process_time()))

    told = spent(lambda: house.gate.release(extract, progress))
    del told["answer"]
    progress(step="end")
    taken = defaultdict[str, float](float)
    for (name, at), (_next, after) in pairwise(steps):
        taken[name] += after - at
    return {
        **told,
        "rss_mb": peak_mb(),
        "steps": {name: round(cpu, 2) for name, cpu in taken.items()},
    }


def copy(folder: Path) -> dict[str, Any]:
    """The same columns of the same files, read and written by DuckDB with two threads, in this process."""
    house = opened(folder)
    with house.db.read() as session:
        objects = stored(session)
    con = duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "preserve_insertion_order": True})

    def act() -> None:
        for table in house.plan.tables:
            columns = ", ".join(column.name for column in table.columns)
            file, out = folder / "vault" / objects[table.name], folder / f"copy_{table.name}.parquet"
            con.execute(f"COPY (SELECT {columns} FROM read_parquet('{file}')) TO '{out}' "
                        "(FORMAT parquet, COMPRESSION zstd)")  # fmt: skip

    told = spent(act)
    del told["answer"]
    for out in folder.glob("copy_*.parquet"):
        out.unlink()
    return {**told, "rss_mb": peak_mb()}


def measure(folder: Path, people: int, rows: int, runs: int) -> list[dict[str, Any]]:
    """Releases and copies in turns, each in a process of its own; medians. A house that stands already is taken as it
    is: a thousand million rows can be made beforehand (`--step make`), which no figure is of."""
    if not is_made(folder):
        alone("extract", folder, "--step", "make", "--people", people, "--rows", rows)
    copies, releases, disk = list[dict[str, Any]](), list[dict[str, Any]](), 0
    for turn in range(runs):
        copies.append(alone("extract", folder, "--step", "copy"))
        with watched(folder) as most:
            releases.append(alone("extract", folder, "--step", "release"))
        disk = max(disk, most[0])
        shutil.rmtree(folder / "outbox", ignore_errors=True)
        sys.stderr.write(f"\r{turn + 1} of {runs}")
    copies.append(alone("extract", folder, "--step", "copy"))
    base = statistics.median(one["cpu_s"] for one in copies)
    ours = statistics.median(one["cpu_s"] for one in releases)
    size = f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1000}k"
    peak = max(one["rss_mb"] for one in releases)
    return [
        figure(
            f"extract_{size}", ours, "cpu_s", baseline=base, goal=GOALS.get(rows, 2.0), rows=rows, people=people,
            rss_mb=peak, cpu_s=ours, wall_s=statistics.median(one["wall_s"] for one in releases),
            steps=releases[len(releases) // 2]["steps"], runs=runs, cpu_us_per_row=1e6 * ours / rows,
            baseline_wall_s=statistics.median(one["wall_s"] for one in copies), disk_mb=disk // 10**6,
        ),
        figure(f"extract_{size}_rss", peak, "MB", goal=MOST_MB, rows=rows, rss_mb=peak),
    ]  # fmt: skip


def beside(folder: Path, people: int, rows: int, smaller: int, runs: int) -> list[dict[str, Any]]:
    """CPU of a row at one size against that at a smaller size, where the disk allows the larger."""
    key = f"extract_{rows // 1_000_000_000}b"
    folder.mkdir(parents=True, exist_ok=True)
    needed = rows * BYTES_A_ROW
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if shutil.disk_usage(folder).free < needed - there:
        return [
            skipped(key, f"{needed // 10**9} GB of disk"),
            skipped(f"{key}_rss", f"{needed // 10**9} GB of disk"),
        ]
    small, _memory = measure(folder / "small", people, smaller, runs)
    shutil.rmtree(folder / "small")
    large, memory = measure(folder / "large", people, rows, runs)
    about = {name: large[name] for name in ("rows", "people", "rss_mb", "cpu_s", "wall_s", "steps", "runs")}
    cost, before = large["cpu_us_per_row"], small["cpu_us_per_row"]
    return [
        figure(key, cost, "CPU us per row", baseline=before, goal=GROWTH, **about),
        {**memory, "key": f"{key}_rss"},
    ]


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--people", type=int, default=1_000_000)
    asked.add_argument("--rows", type=int, default=10_000_000)
    asked.add_argument("--runs", type=int, default=3)
    asked.add_argument(
        "--beside", type=int, metavar="ROWS", help="compare a row's cost with that at fewer rows"
    )
    steps = {
        "make": lambda told: made(told.folder, told.people, told.rows),
        "copy": lambda told: copy(told.folder),
        "release": lambda told: release(told.folder),
    }

    def whole(told: argparse.Namespace) -> list[dict[str, Any]]:
        sizes = (told.folder, told.people, told.rows)
        return beside(*sizes, told.beside, told.runs) if told.beside else measure(*sizes, told.runs)

    in_steps(asked, steps, whole)


if __name__ == "__main__":
    main()
