"""Resident memory of processes over time, and whether it grows: told by what it gained after the first third."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._service import cpu_of

EACH = 2.0  # seconds between two looks
Samples = list[tuple[float, float]]


@dataclass(frozen=True)
class Growth:
    """`percent`: what the trend of all samples after the first third gains over that time, of the median of them.

    `minutes`: the median of each minute in MB.
    """

    percent: float
    middle: float
    minutes: list[int]


@dataclass
class Watched:
    """The web and the worker among the children of a process, looked at until they have done their work."""

    pids: dict[str, int]
    samples: dict[str, Samples] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    async def watch(self, until: float, told: Callable[[], str]) -> None:
        """A sample of each every two seconds until then; what goes on is written to the terminal."""
        begun, before = time.monotonic(), {name: cpu_of([pid]) for name, pid in self.pids.items()}
        while time.monotonic() < until:
            for name, pid in self.pids.items():
                self.samples.setdefault(name, []).append((time.monotonic() - begun, _resident_mb(pid)))
            sys.stderr.write(f"\r{time.monotonic() - begun:4.0f} s  {told()}  ")
            await asyncio.sleep(EACH)
        self.cpu_s = {name: cpu_of([pid]) - before[name] for name, pid in self.pids.items()}


def children(words: dict[str, str]) -> dict[str, int]:
    """Name -> the child of this process whose command line holds the words."""
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            line = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if parent == os.getpid():
            found |= {name: int(entry.name) for name, word in words.items() if word in line}
    if missing := set(words) - set(found):
        raise RuntimeError(f"no such process: {missing}")
    return found


def growth(samples: Samples) -> Growth:
    """The trend by Theil and Sen (the median of all slopes), which one large build does not move."""
    end = samples[-1][0]
    looked = [(at, mb) for at, mb in samples if at >= end / 3]
    thinned = looked[:: max(1, len(looked) // 200)]
    slopes = [
        (later - earlier) / (after - at)
        for number, (at, earlier) in enumerate(thinned)
        for after, later in thinned[number + 1 :]
    ]
    middle = statistics.median(mb for _, mb in looked)
    trend = statistics.median(slopes) if slopes else 0.0
    minutes = range(int(end // 60) + 1)
    by_minute = [[mb for at, mb in samples if int(at // 60) == minute] for minute in minutes]
    return Growth(
        100 * trend * (end - end / 3) / middle,
        middle,
        [round(statistics.median(one)) for one in by_minute if one],
    )


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
