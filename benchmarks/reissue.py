"""CPU of a reissue after one withdrawal against a whole build, as JSON: python -m benchmarks reissue FOLDER."""

import argparse
import random
import shutil
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._figures import figure, peak_mb, said
from benchmarks._house import House, make

GOAL = 0.1


def released(house: House, extract: str) -> dict[str, Any]:
    """One release: its CPU seconds (all threads) and wall, the way it was built, and which parts it wrote."""
    told: dict[str, Any] = {}
    started, spent = time.monotonic(), time.process_time()
    house.gate.release(extract, lambda **said: told.update(said))
    return {
        "cpu_s": time.process_time() - spent,
        "wall_s": time.monotonic() - started,
        "way": told["way"],
        "written": told["written"],
        "stay": told["stay"],
    }


def measure(house: House, withdrawals: int, seed: int) -> dict[str, Any]:
    """`withdrawals` reissues of an extract, each after one random person left; whole builds before, half way through
    and at the end (of another extract, which keeps no memory)."""
    extract, other, chosen = house.permit(), house.permit(), random.Random(seed)
    first, runs = released(house, extract), list[dict[str, Any]]()
    wholes, forgetful = [first], replace(house, gate=replace(house.gate, memory=None))
    for key in chosen.sample(house.keys, withdrawals):
        house.leave(key)
        runs.append(released(house, extract))
        sys.stderr.write(f"\r{len(runs)} of {withdrawals}")
        if len(runs) in (withdrawals // 2, withdrawals):
            wholes.append(released(forgetful, other))
    whole = {figure: statistics.mean(w[figure] for w in wholes) for figure in ("cpu_s", "wall_s")}
    ratios = sorted(run["cpu_s"] / whole["cpu_s"] for run in runs)
    tables = len(house.plan.tables)
    return {
        "parts": first["written"],
        "whole_build_cpu_s": [round(w["cpu_s"], 2) for w in wholes],
        "whole_build_wall_s": [round(w["wall_s"], 2) for w in wholes],
        "reissue_cpu_s_median": round(statistics.median(run["cpu_s"] for run in runs), 2),
        "reissue_wall_s_median": round(statistics.median(run["wall_s"] for run in runs), 2),
        "ratio_median": round(statistics.median(ratios), 4),
        "wall_ratio_median": round(statistics.median(run["wall_s"] for run in runs) / whole["wall_s"], 4),
        "ratio_p90": round(ratios[int(0.9 * (len(ratios) - 1))], 4),
        "more_than_one_part_of_a_table": round(sum(run["written"] > tables for run in runs) / len(runs), 3),
        "written_median": statistics.median(run["written"] for run in runs),
        "whole_builds_instead": sum(run["way"] != "changed_parts" for run in runs),
        "withdrawals": withdrawals,
    }


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="an empty folder for the house; wiped at the end")
    asked.add_argument("--people", type=int, default=200_000)
    asked.add_argument("--rows", type=int, default=5_000_000)
    asked.add_argument("--parts", type=int, default=32, help="parts of the larger table")
    asked.add_argument("--withdrawals", type=int, default=100)
    asked.add_argument("--seed", type=int, default=11)
    told = asked.parse_args()
    try:
        house = make(told.folder, told.people, told.rows, -(-told.rows // told.parts), told.seed)
        told_of = measure(house, told.withdrawals, told.seed)
    finally:
        shutil.rmtree(told.folder, ignore_errors=True)
    ours, whole = told_of["reissue_cpu_s_median"], statistics.mean(told_of["whole_build_cpu_s"])
    # The median of the ratios, each against the mean of the whole builds, is that of the medians.
    line = figure("reissue", ours, "cpu_s", baseline=whole, goal=GOAL, rows=told.rows, cpu_s=ours, rss_mb=peak_mb(),
                  wall_s=told_of["reissue_wall_s_median"], people=told.people, **told_of)  # fmt: skip
    said([line])


if __name__ == "__main__":
    main()
