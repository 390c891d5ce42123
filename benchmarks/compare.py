"""Local and global recoding against anjana, k counted by pycanon: python -m benchmarks compare FOLDER [K ...].

FOLDER holds one table and hierarchies in ARX's format, all columns quasi-identifiers, every row another person. Ours is
`baekman deid run` from CSV to the verified release; anjana reads the same file and writes CSV; k of every result is
counted by pycanon, and a class below it breaks the measurement. Loss is ARX's with gs = 0.5 for all. CPU is user and
system of all threads, without imports. Keys begin with the name of the table: `anonymity_adult_...`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from app.deid.anonymity.ladder import costs
from app.deid.anonymity.loss import combine
from app.deid.hierarchies import fit, parse_arx
from app.workbench.drafting import draft
from app.workbench.preparing import Task
from app.workbench.running import run
from benchmarks._figures import figure, said, skipped

HERE = Path(__file__).parent
OTHERS = HERE.parent / ".venv-bench" / "bin" / "python"
SHARE = 0.05  # of the people that a global recoding may leave out, ours and anjana's
CPU_OF = 11  # the k whose CPU is told
# What UCI Adult is known to allow (the best local recoding found before; the exact optimum of the global).
KNOWN = {("local", 5): 0.062, ("local", 11): 0.098, ("local", 50): 0.182,
         ("global", 5): 0.24193, ("global", 11): 0.30328, ("global", 50): 0.40886}  # fmt: skip
LOWER, TIMES = 1.0, 5.0  # goals: less loss than anjana; at most so many times the plain group-by


def other(*arguments: str) -> dict[str, Any]:
    """What the other libraries say, in a process and an environment of their own."""
    done = subprocess.run(
        [str(OTHERS), str(HERE / "_others.py"), *arguments], capture_output=True, check=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def loss_of(folder: Path, table: Path, people: int) -> float:
    """ARX's loss of a full-domain result: one level a column, rows that are missing count as suppressed."""
    with table.open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file)
    losses = []
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        spec = parse_arx(next(folder.glob(f"*hierarchy_{name}.csv")).read_text(encoding="utf-8"))
        fitted = fit(spec, [row[0] for row in spec["levels"]], name)
        level = next(i for i, labels in enumerate(fitted.labels) if set(column) <= set(labels))
        cost = dict(zip(fitted.labels[level], costs(fitted, level), strict=True))
        losses.append((sum(cost[label] for label in column) + people - len(rows)) / people)
    return combine(np.array(losses))


def ours(task: Task, spill: Path, flat: Path, runs: int) -> tuple[dict[str, Any], float, float]:
    """The summary of a run, the CPU seconds of the first and of the best later one; the labels as CSV in `flat`."""
    seconds = []
    for i in range(1 + runs):
        started = time.process_time()
        done = run(task, spill / f"out{i}", lambda step: None)
        seconds.append(time.process_time() - started)
    parts = [str(path) for path in (spill / f"out{runs}").rglob("*.parquet")]
    duckdb.execute(
        f"COPY (SELECT * EXCLUDE (person) FROM read_parquet({parts})) TO '{flat}' (HEADER, NULLSTR '(missing)')"
    )
    return done, seconds[0], min(seconds[1:])


def fresh(task: Task, out: Path) -> tuple[float, float]:
    """CPU seconds and peak MB of `baekman deid run` in a new process, imports and all."""
    command = [sys.executable, "-m", "app.cli", "deid", "run", str(task.file), "--dictionary", str(task.dictionary),
               "--privacy", str(task.privacy), "--out", str(out), "--rows-are-people", "--json"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("the run was refused")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def yardstick(path: Path, runs: int) -> float:
    """CPU seconds of DuckDB to read the CSV, group it by all columns and write it as Parquet: the best run."""
    seconds = []
    for _ in range(runs):
        started = time.process_time()
        with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
            con.execute("SET threads = 2")
            con.execute(f"CREATE TABLE t AS FROM read_csv('{path}', delim = ';', header = true)")
            con.execute("CREATE TABLE g AS SELECT *, count(*) AS n FROM t GROUP BY ALL").fetchall()
            con.execute(f"COPY t TO '{folder}/t.parquet' (FORMAT parquet, COMPRESSION zstd)").fetchall()
        seconds.append(time.process_time() - started)
    return min(seconds)


def must_have(table: Path, k: int) -> None:
    """Break the measurement where pycanon finds a class below k."""
    seen = other("verify", str(table))["k"]
    if seen < k:
        raise RuntimeError(f"{table.stem}: pycanon counts {seen} people in a class, not {k}")


def measure(folder: Path, ks: list[int], runs: int) -> list[dict[str, Any]]:
    """Every k by both methods, beside anjana."""
    (path,) = [p for p in folder.glob("*.csv") if "hierarchy" not in p.name]
    name = f"anonymity_{path.stem}"
    if not OTHERS.exists():
        return [
            skipped(f"{name}_{one}", "anjana and pycanon") for one in (*(f"loss_k{k}" for k in ks), "cpu")
        ]
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        spill = Path(place)
        draft(path, spill / "draft", ";", "utf-8", folder, lambda step: None)
        base = yardstick(path, runs)
        for k in ks:
            theirs = spill / f"anjana{k}.csv"
            used = other("anonymise", str(folder), str(k), str(SHARE), str(theirs))
            must_have(theirs, k)
            for method in ("local", "global"):
                sys.stderr.write(f"\rk = {k}, {method} ")
                here = spill / f"{method}{k}"
                here.mkdir()
                privacy = {
                    "k": k,
                    "reserve": 0,
                    "method": method,
                    "max_suppression": SHARE * (method == "global"),
                }
                (here / "privacy.json").write_text(json.dumps(privacy), encoding="utf-8")
                task = Task(
                    path, spill / "draft/dictionary.json", here / "privacy.json", rows_are_people=True
                )
                done, first, warm = ours(task, here, here / "labels.csv", runs)
                must_have(here / "labels.csv", k)
                people = done["people"]["registered"]
                if method == "local":
                    found.append(figure(f"{name}_loss_k{k}", done["loss"], "loss", goal=LOWER, rows=people, cpu_s=warm,
                                        baseline=loss_of(folder, theirs, people)))  # fmt: skip
                goal = KNOWN.get((method, k)) if path.stem == "adult" else None
                found.append(
                    figure(f"{name}_{method}_k{k}", round(done["loss"], 5), "loss", goal=goal, rows=people)
                )
                if k == CPU_OF:
                    cpu, rss = fresh(task, here / "fresh")
                    found.append(figure(
                        f"{name}_cpu" if method == "local" else f"{name}_{method}_cpu", warm, "cpu_s", baseline=base,
                        goal=TIMES, rows=people, cpu_s=warm, rss_mb=round(rss), first_cpu_s=first,
                        new_process_cpu_s=cpu, anjana_cpu_s=used["cpu_s"], anjana_rss_mb=round(used["rss_mb"]),
                    ))  # fmt: skip
    return found


def main() -> None:
    """Measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path)
    asked.add_argument("k", type=int, nargs="*", default=[5, 11, 50])
    asked.add_argument("--runs", type=int, default=5)
    told = asked.parse_args()
    said(measure(told.folder, told.k, told.runs))


if __name__ == "__main__":
    main()
