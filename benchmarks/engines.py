"""A whole release against the same on Spark, and its rows by hand in Polars: python -m benchmarks engines FOLDER."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.deid import pseudonyms
from app.engines import Limits, engine
from app.settings import Settings
from app.storage.vault import Vault
from benchmarks._figures import alone, figure, in_steps, peak_mb, skipped, spent
from benchmarks._house import make, opened, stored
from benchmarks._service import cpu_of, rss_of
from benchmarks.extract import release

HERE = Path(__file__).parent
POLARS = HERE.parent / ".venv-bench" / "bin" / "python"
GOAL = 1.0  # ours of theirs


def made(folder: Path, people: int, rows: int) -> dict[str, Any]:
    """The house; and beside it, under their names, what a hand in Polars is given."""
    house = make(folder, people, rows, 5_000_000)
    with house.db.read() as session:
        for table, name in stored(session).items():
            os.link(folder / "vault" / name, folder / f"{table}.parquet")
    random, key = np.random.default_rng(11), bytes(32)
    ids = random.integers(0, 256, (people, 16), dtype=np.uint8)
    names = pseudonyms.pseudonyms(key, ids).astype("U16")
    given = {
        "key": np.asarray(house.keys, np.int32),
        "pseudonym": names,
        "shift_days": pseudonyms.shift_days(key, ids),
    }
    pq.write_table(pa.table(given), folder / "crosswalk.parquet")
    return {}


def on_spark(folder: Path) -> dict[str, Any]:
    """One release built on Spark in this process and its Java, both counted."""
    house, settings = opened(folder), Settings(var=folder)
    limits = Limits(settings.engine_memory, settings.engine_threads, 5_000_000)
    gate = replace(house.gate, engine=engine("spark", limits, Vault.open(f"file://{folder}/vault")))
    extract, java = house.permit(), set[int]()

    def look(**_: Any) -> None:
        java.update(_children())

    told = spent(lambda: gate.release(extract, look))
    del told["answer"]
    living = [pid for pid in java if Path(f"/proc/{pid}").exists()]
    return {
        **told, "cpu_s": told["cpu_s"] + cpu_of(living), "rss_mb": peak_mb() + sum(map(rss_of, living)),
        "processes": len(living),
    }  # fmt: skip


def _children() -> set[int]:
    """Every living process that descends from this one."""
    found, new = set[int](), {os.getpid()}
    while new:
        asked = [Path(f"/proc/{pid}/task").glob("*/children") for pid in new]
        new = {int(child) for files in asked for file in files for child in file.read_text().split()} - found
        found |= new
    return found


def by_hand(folder: Path) -> dict[str, Any]:
    """The rows by hand in Polars, in a process and an environment of its own; two threads, as ours."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "2"}
    command = [str(POLARS), str(HERE / "_by_hand.py"), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for file in folder.glob("by_hand_*.parquet"):
        file.unlink()
    return told


def measure(folder: Path, people: int, rows: int, runs: int) -> list[dict[str, Any]]:
    """In turns, each in a process of its own; medians. Ours is the value, theirs the baseline."""
    alone("engines", folder, "--step", "make", "--people", people, "--rows", rows)
    others = {"spark": shutil.which("java"), "polars": POLARS if POLARS.exists() else None}
    taken: dict[str, list[dict[str, Any]]] = {
        "ours": [],
        **{name: [] for name, here in others.items() if here},
    }
    for turn in range(runs):
        for name, told in taken.items():
            told.append(by_hand(folder) if name == "polars" else alone("engines", folder, "--step", name))
            shutil.rmtree(folder / "outbox", ignore_errors=True)
        sys.stderr.write(f"\r{turn + 1} of {runs}")
    figures = []
    for name, program in (("spark", "java"), ("polars", "polars")):
        if name not in taken:
            figures.append(skipped(f"extract_{name}", program))
            continue
        for what, unit in (("cpu_s", "cpu_s"), ("rss_mb", "MB")):
            ours, theirs = (statistics.median(one[what] for one in taken[who]) for who in ("ours", name))
            key = f"extract_{name}" if what == "cpu_s" else f"extract_{name}_rss"
            about = {
                one: statistics.median(t[one] for t in taken["ours"]) for one in ("rss_mb", "cpu_s", "wall_s")
            }
            figures.append(
                figure(key, ours, unit, baseline=theirs, goal=GOAL, rows=rows, people=people, runs=runs, **about,
                       their_wall_s=statistics.median(one["wall_s"] for one in taken[name]))
            )  # fmt: skip
    return figures


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--people", type=int, default=200_000)
    asked.add_argument("--rows", type=int, default=10_000_000)
    asked.add_argument("--runs", type=int, default=3)
    steps = {
        "make": lambda told: made(told.folder, told.people, told.rows),
        "ours": lambda told: release(told.folder),
        "spark": lambda told: on_spark(told.folder),
    }
    in_steps(asked, steps, lambda told: measure(told.folder, told.people, told.rows, told.runs))


if __name__ == "__main__":
    main()
