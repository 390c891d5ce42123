"""Requests per CPU second of an object and of a list, against FastAPI's hello: python -m benchmarks api FOLDER."""

import argparse
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks._figures import figure, said, skipped
from benchmarks._service import bare, loaded, process_at, rss_of, told

GOAL = 0.2
CONNECTIONS = 8
LISTED = 20


def measure(folder: Path, seconds: int, runs: int) -> list[dict[str, Any]]:
    """Hello, an object, a list, in turns; medians of requests per CPU second of the serving process."""
    if shutil.which("wrk") is None:
        return [skipped("api_read", "wrk"), skipped("api_list", "wrk")]
    with told(folder) as story, bare("benchmarks._hello:app") as hello:
        url, token = story.server.url, str(story.institution.http.headers["Authorization"]).split()[1]
        cohort = f"/v1/cohorts/{story.ids['cohort']}"
        for number in range(LISTED):
            story.institution.post(f"{cohort}/datasets", {"name": f"Wave {number}", "keywords": ["OMOP"]})
        asked = {
            "api_read": f"{url}/v1/versions/{story.ids['version']}",
            "api_list": f"{url}{cohort}/datasets?limit=20",
        }
        rows = len(story.institution.get(f"{cohort}/datasets?limit=20")["items"])
        assert rows == LISTED, rows
        ours, theirs = process_at(url), process_at(hello)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ("hello", *asked)}
        for turn in range(runs):
            found["hello"].append(loaded(hello, [theirs], seconds, CONNECTIONS))
            for name, address in asked.items():
                found[name].append(loaded(address, [ours], seconds, CONNECTIONS, token))
            sys.stderr.write(f"\r{turn + 1} of {runs}")
        base = statistics.median(one["per_cpu_s"] for one in found["hello"])
        return [
            figure(
                name, statistics.median(one["per_cpu_s"] for one in found[name]), "requests per CPU s", baseline=base,
                goal=GOAL, at_least=True, rows=1 if name == "api_read" else rows, rss_mb=rss_of(ours), runs=runs,
                cpu_s=statistics.median(one["cpu_s"] for one in found[name]), connections=CONNECTIONS,
                wall_s=statistics.median(one["wall_s"] for one in found[name]),
                p99_ms=statistics.median(one["p99_ms"] for one in found[name]),
            )
            for name in asked
        ]  # fmt: skip


def main() -> None:
    """Start the service, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="an empty folder for the service; wiped at the end")
    asked.add_argument("--seconds", type=int, default=10)
    asked.add_argument("--runs", type=int, default=3)
    told_ = asked.parse_args()
    try:
        said(measure(told_.folder, told_.seconds, told_.runs))
    finally:
        shutil.rmtree(told_.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
