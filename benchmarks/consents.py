"""CPU of a register's load on PostgreSQL, ours and the server's, against COPY: python -m benchmarks consents FOLDER."""

import argparse
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from benchmarks._figures import alone, figure, in_steps, peak_mb, skipped, spent
from benchmarks._rooms import rooms
from tests.postgres import NoPostgres, start_server

GOAL = 5
TABLE = (
    "CREATE TABLE copied (participant_id text, domain text, state text, purposes text, form_version text, "
    "language text, given_at date, valid_until date, PRIMARY KEY (participant_id, domain))"
)

SIZE = (
    "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = 'public' AND c.relkind = 'r'"
)


def make(folder: Path, lines: int) -> None:
    """A register: everyone's consent to one domain."""
    folder.mkdir(parents=True, exist_ok=True)
    register = (
        "SELECT 'P' || lpad(p::VARCHAR, 9, '0') AS participant_id, 'clinical' AS domain, 'granted' AS state, "
        "'HMB' AS purposes, '2.1' AS form_version, 'ko' AS language, "
        "DATE '2020-01-01' + (hash(p) % 1500)::INTEGER AS given_at, DATE '2045-01-01' AS valid_until "
        f"FROM range({lines}) t(p)"
    )
    duckdb.execute(f"COPY ({register}) TO '{folder / 'consents.csv'}' (HEADER)")


def server_cpu(data: Path) -> float:
    """CPU seconds of all processes of the server whose data lie in a folder, the ended ones too."""
    keeper = int((data / "postmaster.pid").read_text().splitlines()[0])
    clock = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == keeper:
            total += sum(map(int, fields[11:15])) / clock  # with children that have ended
        elif int(fields[1]) == keeper:
            total += sum(map(int, fields[11:13])) / clock
    return total


def both(url: str, act: Any) -> dict[str, Any]:
    """CPU seconds of this process and of the server while `act` runs."""
    data = Path(url.partition("host=")[2]) / "data"
    before = server_cpu(data)
    told = spent(act)
    server = server_cpu(data) - before
    return {
        "cpu_s": told["cpu_s"] + server,
        "server_cpu_s": server,
        "wall_s": told["wall_s"],
        "rss_mb": peak_mb(),
    }


def copy(folder: Path, url: str) -> dict[str, Any]:
    """COPY of the lines into a table with their primary key."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as con:
        con.execute("DROP TABLE IF EXISTS copied")
        con.execute(TABLE)

        def act() -> None:
            with (
                con.cursor().copy("COPY copied FROM STDIN (FORMAT csv, HEADER)") as into,
                (folder / "consents.csv").open("rb") as file,
            ):
                while piece := file.read(1 << 20):
                    into.write(piece)

        return both(url, act)


def load(folder: Path, url: str) -> dict[str, Any]:
    """The register arrives, is checked, hashed and loaded into an empty database: people, consents, history."""
    place = folder / "rooms"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as con:
        con.execute("DROP SCHEMA public CASCADE")
        con.execute("CREATE SCHEMA public")
    house = rooms(place, url)
    told = both(url, lambda: house.register(folder / "consents.csv"))
    house.db.dispose()
    return told


def measure(folder: Path, lines: int, runs: int) -> list[dict[str, Any]]:
    """Loads and copies in turns, each in a process of its own; medians."""
    make(folder, lines)
    try:
        url = start_server(os.getpid())
    except NoPostgres:
        return [skipped("consents_1m", "PostgreSQL")]
    bare, full = list[dict[str, Any]](), list[dict[str, Any]]()
    for turn in range(runs):
        bare.append(alone("consents", folder, "--step", "copy", "--url", url))
        full.append(alone("consents", folder, "--step", "load", "--url", url))
        sys.stderr.write(f"\r{turn + 1} of {runs}")
    ours, base = (statistics.median(one["cpu_s"] for one in each) for each in (full, bare))
    with psycopg.connect(url.replace("+psycopg", "")) as con:
        ((held,),) = con.execute(SIZE).fetchall()
    return [
        figure(
            "consents_1m", ours, "cpu_s", baseline=base, goal=GOAL, rows=lines, cpu_s=ours, runs=runs,
            rss_mb=max(one["rss_mb"] for one in full), wall_s=statistics.median(one["wall_s"] for one in full),
            server_cpu_s=statistics.median(one["server_cpu_s"] for one in full),
            bytes_per_person=round(int(held or 0) / lines),
        )
    ]  # fmt: skip


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--lines", type=int, default=1_000_000)
    asked.add_argument("--runs", type=int, default=3)
    asked.add_argument("--url", default="", help=argparse.SUPPRESS)
    steps = {
        "copy": lambda told: copy(told.folder, told.url),
        "load": lambda told: load(told.folder, told.url),
    }
    in_steps(asked, steps, lambda told: measure(told.folder, told.lines, told.runs))


if __name__ == "__main__":
    main()
