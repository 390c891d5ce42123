"""CPU of a reissue after one withdrawal against a whole build, as JSON: python -m benchmarks reissue FOLDER."""

import argparse
import json
import random
import shutil
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._house import House, make


def released(house: House, extract: str) -> dict[str, Any]:
    """One release: its CPU seconds (all threads), the way it was built, and which parts it wrote."""
    told: dict[str, Any] = {}
    started = time.process_time()
    house.gate.release(extract, lambda **said: told.update(said))
    return {
        "cpu_s": time.process_time() - started,
        "way": told["way"],
        "written": told["written"],
        "stay": told["stay"],
    }


def measure(house: House, withdrawals: int, seed: int) -> dict[str, Any]:
    """A first build, `withdrawals` reissues, each after one random person left, and a whole rebuild at the end."""
    extract, chosen = house.permit(), random.Random(seed)
    first = released(house, extract)
    runs = []
    for key in chosen.sample(house.keys, withdrawals):
        house.leave(key)
        runs.append(released(house, extract))
        sys.stderr.write(f"\r{len(runs)} of {withdrawals}")
    house.gate = replace(house.gate, memory=None)
    last = released(house, extract)
    whole = statistics.mean([first["cpu_s"], last["cpu_s"]])
    ratios = sorted(run["cpu_s"] / whole for run in runs)
    tables = len(house.plan.tables)
    return {
        "parts": first["written"],
        "whole_build_cpu_s": [round(first["cpu_s"], 2), round(last["cpu_s"], 2)],
        "reissue_cpu_s_median": round(statistics.median(run["cpu_s"] for run in runs), 2),
        "ratio_median": round(statistics.median(ratios), 4),
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
        figures = {"people": told.people, "rows": told.rows, **measure(house, told.withdrawals, told.seed)}
    finally:
        shutil.rmtree(told.folder, ignore_errors=True)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
