"""Ranges of a MiB through nginx, sent by it once the gate was asked, or by the web: benchmarks ranges FOLDER."""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks._figures import figure, said, skipped
from benchmarks._service import cpu_of, process_at, rss_of, told
from benchmarks.download import PIECE, grown
from tests.proxy import MARK, running

KEY = "ranges_handed"


def ranged(folder: Path, url: str, bearer: str, ranges: int) -> None:
    """Each MiB of the part by a request of its own, over one connection. By curl: Python would cost more."""
    lines = [
        f'url = "{url}"\nrange = {first}-{first + PIECE - 1}\noutput = {os.devnull}\n'
        f'header = "Authorization: {bearer}"\nfail\nsilent\nwrite-out = "%{{size_download}} "\n'
        for first in range(0, ranges * PIECE, PIECE)
    ]
    (folder / "asked").write_text("next\n".join(lines), "utf-8")
    command = ["curl", "-K", str(folder / "asked")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if done.stdout.split() != [str(PIECE)] * ranges:
        raise RuntimeError("a range was cut short")


def measure(folder: Path, ranges: int, runs: int) -> list[dict[str, Any]]:
    """CPU seconds of the web for 1,000 ranges, with and without the hand-over in turns (ADR 65); medians."""
    if missing := next((name for name in ("nginx", "curl") if shutil.which(name) is None), None):
        return [skipped(KEY, missing)]
    os.environ["BAEKMAN_PROXY_MARK"] = MARK
    cpu: dict[str, list[float]] = {"handed": [], "streamed": []}
    with told(folder) as story:
        path, _file = grown(story, folder, (ranges + 1) * PIECE)
        web, bearer = story.server.url, str(story.researcher.http.headers["Authorization"])
        process, outbox = process_at(web), folder / "outbox"
        with (
            running(folder / "with", web, outbox) as handed,
            running(folder / "without", web, outbox, mark="another") as streamed,
        ):
            for turn in range(runs):
                for name, base in (("handed", handed), ("streamed", streamed)):
                    before = cpu_of([process])
                    ranged(folder, f"{base}{path}", bearer, ranges)
                    cpu[name].append((cpu_of([process]) - before) * 1000 / ranges)
                sys.stderr.write(f"\r{turn + 1} of {runs}")
        value, baseline = (statistics.median(each) for each in cpu.values())
        return [
            figure(
                KEY, value, "CPU s per 1,000", baseline=baseline, rss_mb=rss_of(process),
                cpu_s=sum(cpu["handed"]) * ranges / 1000, ranges=ranges, runs=runs, all=cpu,
            )
        ]  # fmt: skip


def main() -> None:
    """Start the service, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="an empty folder for the service; wiped at the end")
    asked.add_argument("--ranges", type=int, default=512)
    asked.add_argument("--runs", type=int, default=5)
    given = asked.parse_args()
    try:
        said(measure(given.folder, given.ranges, given.runs))
    finally:
        shutil.rmtree(given.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
