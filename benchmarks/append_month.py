"""CPU of a month appended onto twelve against loading it alone, as JSON: python -m benchmarks append_month FOLDER."""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from benchmarks._figures import said
from benchmarks._rooms import INSTITUTION, STEWARD, rooms

GOAL = 1.2


def write(folder: Path, people: int, days: int, seed: int) -> tuple[Path, Path, Path]:
    """People, twelve months and the thirteenth as CSV files: a row a person and day, in the order of the days."""
    con = duckdb.connect()
    con.execute(f"SELECT setseed({seed / 1000})")
    wear = (
        f"SELECT d * {people} + p AS rid, p AS pid, DATE '2025-01-01' + d::INTEGER AS day, "
        "['W1', 'W2', 'S1', 'R3'][1 + (hash(p * 7 + d) % 4)::INTEGER] AS kind, hash(p * 31 + d) % 20000 AS steps, "
        "50 + hash(p * 13 + d) % 1000 / 10 AS pulse "
        f"FROM range({{first}}, {{last}}) a(d), range({people}) b(p)"
    )
    paths = folder / "person.csv", folder / "year.csv", folder / "month.csv"
    queries = (
        f"SELECT p AS pid, 1930 + hash(p) % 70 AS born FROM range({people}) t(p)",
        wear.format(first=0, last=12 * days), wear.format(first=12 * days, last=13 * days),
    )  # fmt: skip
    for path, query in zip(paths, queries, strict=True):
        con.execute(f"COPY ({query}) TO '{path}' (HEADER)")
    con.close()
    return paths


def measured(act: Any) -> tuple[float, float]:
    """CPU seconds (all threads) and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    act()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(folder: Path, people: int, days: int, runs: int, seed: int) -> dict[str, Any]:
    """Twelve months are published; then, in turns, the month alone in a new version, and appended to a draft of it."""
    person, year, month = write(folder, people, days, seed)
    house = rooms(folder)
    published = house.draft("ds_year")
    house.send(published, "person", person)
    house.send(published, "wear", year)
    house.check(published)
    house.cohorts.submit(INSTITUTION, published)
    house.cohorts.publish(STEWARD, published)
    first = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=12 * days)
    part = {
        "column": "day",
        "from": f"{first:%Y-%m-%d}",
        "before": f"{first + timedelta(days=days):%Y-%m-%d}",
    }
    alone: list[tuple[float, float]] = []
    onto: list[tuple[float, float]] = []
    for turn in range(runs):
        baseline = house.draft("ds_alone")
        house.send(baseline, "person", person)

        def load(version: str = baseline) -> None:
            house.send(version, "wear", month)
            house.check(version)

        def append() -> None:
            version = house.draft("ds_year", published)
            house.send(version, "wear", month, mode="append", partition=part)
            house.check(version)

        alone.append(measured(load))
        onto.append(measured(append))
        sys.stderr.write(f"\r{turn + 1} of {runs}")
    cpu, wall = (statistics.median(one[i] for one in onto) for i in (0, 1))
    base = statistics.median(one[0] for one in alone)
    ratio = statistics.median(a[0] / b[0] for a, b in zip(onto, alone, strict=True))
    return {
        "key": "append_month", "value": round(cpu, 2), "unit": "cpu_s", "baseline": round(base, 2),
        "ratio": round(ratio, 3), "goal": GOAL, "met": ratio <= GOAL, "rows": people * days,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2), "rows_there": 12 * people * days, "people": people, "runs": runs,
        "ratios": [round(a[0] / b[0], 3) for a, b in zip(onto, alone, strict=True)],
    }  # fmt: skip


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="an empty folder for the data; wiped at the end")
    asked.add_argument("--people", type=int, default=20_000)
    asked.add_argument("--days", type=int, default=30, help="of a month: rows of a person")
    asked.add_argument("--runs", type=int, default=5)
    asked.add_argument("--seed", type=int, default=11)
    told = asked.parse_args()
    told.folder.mkdir(parents=True, exist_ok=True)
    try:
        figures = measure(told.folder, told.people, told.days, told.runs, told.seed)
    finally:
        shutil.rmtree(told.folder, ignore_errors=True)
    said([figures])


if __name__ == "__main__":
    main()
