"""CPU of a masked count with a filter against the bare count in DuckDB: python -m benchmarks counts FOLDER."""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import duckdb

from app.auth.policy import Actor
from app.schemas.counts import CountQuestion
from benchmarks._figures import alone, figure, in_steps, peak_mb, spent
from benchmarks._house import House, opened, stored

GOAL = 2
READER = Actor("client:r", "r", "researcher", None, frozenset({"catalog:read"}))


def asked(house: House, number: int) -> CountQuestion:
    """A question that was not asked before: people born in some twenty years, with a measurement of a code."""
    return CountQuestion.model_validate(
        {
            "version_id": house.version_id,
            "conditions": [
                {"table": "person", "column": "born", "level": 4, "values": [_band(number)]},
                {"table": "measurement", "column": "code", "level": 0, "values": [_code(number)]},
            ],
        }
    )  # fmt: skip


def _code(number: int) -> str:
    return f"{chr(65 + number % 4)}000"


def _band(number: int) -> str:
    first = 1940 + 20 * (number % 3)
    return f"[{first}, {first + 20})"


def count(folder: Path, number: int) -> dict[str, Any]:
    """One question, masked: consent, filter, cell key, ledger, audit; and another one by the same process."""
    house = opened(folder)
    told = spent(lambda: house.gate.count(asked(house, number), READER))
    after = spent(lambda: house.gate.count(asked(house, number + 6), READER))
    return {
        "next_cpu_s": after["cpu_s"],
        "next_wall_s": after["wall_s"],
        "cpu_s": told["cpu_s"],
        "wall_s": told["wall_s"],
        "rss_mb": peak_mb(),
        "value": told["answer"]["value"],
    }


def bare(folder: Path, number: int) -> dict[str, Any]:
    """The same people counted by DuckDB over the same files, without consent or mask."""
    house = opened(folder)
    with house.db.read() as session:
        objects = stored(session)
    con = duckdb.connect(config={"threads": 2, "memory_limit": "2GB"})
    person, measured = (folder / "vault" / objects[name] for name in ("person", "measurement"))
    first = 1940 + 20 * (number % 3)
    query = (
        f"SELECT count(DISTINCT pid) FROM read_parquet('{person}') WHERE born >= {first} AND born < {first + 20} "
        f"AND pid IN (SELECT pid FROM read_parquet('{measured}') WHERE code = '{_code(number)}')"
    )
    told = spent(lambda: con.execute(query).fetchall()[0][0])
    return {"cpu_s": told["cpu_s"], "wall_s": told["wall_s"], "value": told["answer"]}


def measure(folder: Path, people: int, rows: int, runs: int) -> list[dict[str, Any]]:
    """Masked and bare counts in turns, each in a process of its own; medians."""
    alone("extract", folder, "--step", "make", "--people", people, "--rows", rows)
    ours, theirs = list[dict[str, Any]](), list[dict[str, Any]]()
    for turn in range(runs):
        theirs.append(alone("counts", folder, "--step", "bare", "--number", turn))
        ours.append(alone("counts", folder, "--step", "count", "--number", turn))
        if abs((ours[-1]["value"] or 0) - theirs[-1]["value"]) > max(50, 0.01 * theirs[-1]["value"]):
            raise RuntimeError("the masked count is far from the count")
        sys.stderr.write(f"\r{turn + 1} of {runs}")
    bare_cpu = statistics.median(one["cpu_s"] for one in theirs)
    return [
        figure(
            key, cpu := statistics.median(one[f"{which}cpu_s"] for one in ours), "cpu_s", baseline=bare_cpu, goal=GOAL,
            rows=rows, people=people, rss_mb=max(one["rss_mb"] for one in ours), cpu_s=cpu, runs=runs,
            wall_s=statistics.median(one[f"{which}wall_s"] for one in ours),
        )
        for key, which in (("counts", ""), ("counts_next", "next_"))
    ]  # fmt: skip


def main() -> None:
    """Make the data, measure, print."""
    asked_for = argparse.ArgumentParser(description=__doc__)
    asked_for.add_argument("--people", type=int, default=1_000_000)
    asked_for.add_argument("--rows", type=int, default=10_000_000)
    asked_for.add_argument("--runs", type=int, default=5)
    asked_for.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    steps = {
        "count": lambda told: count(told.folder, told.number),
        "bare": lambda told: bare(told.folder, told.number),
    }
    in_steps(asked_for, steps, lambda told: measure(told.folder, told.people, told.rows, told.runs))


if __name__ == "__main__":
    main()
