"""CPU of an upload's whole check against an unchecked load of the same file: python -m benchmarks ingest FOLDER."""

import argparse
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import duckdb

from benchmarks._figures import alone, figure, in_steps, peak_mb, spent
from benchmarks._rooms import rooms

GOAL = 2.5
WEAR = (
    "SELECT p * {each} + d AS rid, p AS pid, DATE '2015-01-01' + (hash(p * 5 + d) % 3000)::INTEGER AS day, "
    "['W1', 'W2', 'S1', 'R3'][1 + (hash(p * 7 + d) % 4)::INTEGER] AS kind, "
    "(hash(p * 31 + d) % 20000)::INTEGER AS steps, 50 + hash(p * 13 + d) % 1000 / 10 AS pulse "
    "FROM range({people}) b(p), range({each}) a(d) ORDER BY hash(p * 3 + d)"
)
TYPES = {
    "rid": "BIGINT",
    "pid": "BIGINT",
    "day": "DATE",
    "kind": "VARCHAR",
    "steps": "BIGINT",
    "pulse": "DOUBLE",
}


def make(folder: Path, people: int, rows: int) -> dict[str, Any]:
    """The same rows as CSV and as Parquet, in no order of the people, and the people."""
    folder.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(config={"memory_limit": "6GB", "temp_directory": str(folder / "tmp")})
    con.execute(f"CREATE TABLE wear AS {WEAR.format(people=people, each=max(1, rows // people))}")
    con.execute(f"COPY wear TO '{folder / 'wear.csv'}' (HEADER)")
    con.execute(f"COPY wear TO '{folder / 'wear.parquet'}' (FORMAT parquet, COMPRESSION zstd)")
    born = f"SELECT p AS pid, 1930 + hash(p) % 70 AS born FROM range({people}) t(p)"
    con.execute(f"COPY ({born}) TO '{folder / 'person.csv'}' (HEADER)")
    return {}


def load(folder: Path, form: str) -> dict[str, Any]:
    """DuckDB reads the file, typed as the dictionary says, and writes Parquet; nothing is checked."""
    con = duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": str(folder / "tmp")})
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in TYPES.items())
    file, out = folder / f"wear.{form}", folder / "loaded.parquet"
    read = f"read_csv('{file}', columns = {{{columns}}})" if form == "csv" else f"read_parquet('{file}')"
    told = spent(lambda: con.execute(f"COPY (FROM {read}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)"))
    out.unlink()
    return {"cpu_s": told["cpu_s"], "wall_s": told["wall_s"], "rss_mb": peak_mb()}


def check(folder: Path, form: str) -> dict[str, Any]:
    """The file is uploaded, checked, scanned, keyed, clustered and stored; the people were there before."""
    place = folder / "rooms"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    house = rooms(place)
    version = house.draft("ds_alone", form=form)
    house.send(version, "person", folder / "person.csv")
    told = spent(lambda: house.send(version, "wear", folder / f"wear.{form}"))
    shutil.rmtree(place)
    return {"cpu_s": told["cpu_s"], "wall_s": told["wall_s"], "rss_mb": peak_mb()}


def measure(folder: Path, people: int, rows: int, runs: int) -> list[dict[str, Any]]:
    """Checks and loads of both forms in turns, each in a process of its own; medians."""
    alone("ingest", folder, "--step", "make", "--people", people, "--rows", rows)
    figures = []
    for form in ("csv", "parquet"):
        bare, full = list[dict[str, Any]](), list[dict[str, Any]]()
        for turn in range(runs):
            bare.append(alone("ingest", folder, "--step", "load", "--form", form))
            full.append(alone("ingest", folder, "--step", "check", "--form", form))
            sys.stderr.write(f"\r{form}: {turn + 1} of {runs}")
        ours = statistics.median(one["cpu_s"] for one in full)
        figures.append(
            figure(
                f"ingest_{form}", ours, "cpu_s", baseline=statistics.median(one["cpu_s"] for one in bare), goal=GOAL,
                rows=rows, rss_mb=max(one["rss_mb"] for one in full), cpu_s=ours, people=people, runs=runs,
                wall_s=statistics.median(one["wall_s"] for one in full),
            )
        )  # fmt: skip
    return figures


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--people", type=int, default=1_000_000)
    asked.add_argument("--rows", type=int, default=10_000_000)
    asked.add_argument("--runs", type=int, default=3)
    asked.add_argument("--form", choices=("csv", "parquet"), default="csv", help=argparse.SUPPRESS)
    steps = {
        "make": lambda told: make(told.folder, told.people, told.rows),
        "load": lambda told: load(told.folder, told.form),
        "check": lambda told: check(told.folder, told.form),
    }
    in_steps(asked, steps, lambda told: measure(told.folder, told.people, told.rows, told.runs))


if __name__ == "__main__":
    main()
