"""Readers, uploads, extracts and withdrawals at once, for minutes: python -m benchmarks load [FOLDER] --minutes 10.

Web and worker are processes of their own over PostgreSQL, on the loopback. Every client asks again as soon as it is
answered. Told are percentiles by kind of client, every answer that was no success, and resident memory over time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks._clients import KINDS, Client, Ground, is_error
from benchmarks._figures import figure, said
from benchmarks._memory import Watched, children, growth
from tests.acceptance.apart import Apart, apart
from tests.acceptance.second_cohort.cohort import SecondCohort, second_cohort
from tests.postgres import fresh_database, start_server

FLAT = 5.0  # percent that memory may grow in the last two thirds
CLIENTS = {"reading": 64, "uploading": 8, "extracting": 4, "withdrawing": 2}
WANTED = {"people": ["성별", "시도", "흡연"], "lab": ["검사코드", "결과값"]}
PROCESSES = {"web": "app.cli serve", "worker": "app.cli worker"}
SETTINGS = {"rows_per_part": 400, "access_token_seconds": 86_400, "jobs_at_once": 2, "chores_seconds": 5}


def measure(folder: Path, minutes: float, people: int) -> list[dict[str, Any]]:
    """Found the service, let the clients at it, wait until all that was ordered has ended; the figures."""
    cohort = second_cohort(people=people)
    folder.mkdir(parents=True, exist_ok=True)
    rooms = {
        f"{room}_url": (folder.resolve() / room).as_uri() for room in ("inbox", "outbox")
    }  # of both processes
    with fresh_database(start_server(os.getpid())) as url, apart(folder, url, **SETTINGS, **rooms) as service:
        ground = _founded(service, cohort)
        watched = Watched(children(PROCESSES))
        clients = [KINDS[kind](ground, number) for kind, many in CLIENTS.items() for number in range(many)]
        begun = time.monotonic()
        asyncio.run(_play(clients, watched, minutes * 60))
        service.drain()
        wall, failed = time.monotonic() - begun, _failed(service, folder / "log")
    return [*_of_clients(clients, wall, failed), *_of_memory(watched, wall)]


def _founded(service: Apart, cohort: SecondCohort) -> Ground:
    """A published version with an extract to read, a draft for each uploader, a name for each extractor."""
    service.register_cohort(cohort.dictionary, [{"term": "HMB"}])
    service.upload("consents", cohort.consents)
    for table in cohort.ORDER:
        service.upload(table, cohort.files[table])
    service.drain()
    service.publish()
    service.extract(service.approve(service.request(WANTED)))
    asking, published, drafts = service.asking(WANTED), service.ids["version"], []
    for number in range(CLIENTS["uploading"]):
        body = {"name": f"Wave {number}", "keywords": ["검사"]}
        made = service.ok("hospital", "POST", f"/v1/cohorts/{service.ids['cohort']}/datasets", body)
        service.ids["dataset"] = made["id"]
        service.draft(cohort.dictionary)
        drafts.append(service.ids["version"])
    for number in range(CLIENTS["extracting"]):
        service.identity(f"extractor {number}", "researcher")
    return Ground(
        url=str(service.http.base_url), tokens=dict(service.tokens), ids={**service.ids, "version": published},
        drafts=drafts, table=cohort.files["people"], asking=asking,
        people=[one for i, one in enumerate(cohort.people) if i % 10 not in (7, 9)],
    )  # fmt: skip


def _failed(service: Apart, log: Path) -> Counter[str]:
    """What jobs said when they failed, and every line of the log by which something broke inside, without its ids."""
    told = Counter(f"job {kind} {(failure or {}).get('code')}" for kind, failure in service.failed_jobs())
    for line in log.read_text("utf-8", "replace").splitlines():
        if "[error" in line or "[critical" in line:
            told[re.sub(r"^\S+ \S+ |[a-z]{3}_[0-9a-z]{20,}|request_id=\S+", "", line)] += 1
    return told


async def _play(clients: list[Client], watched: Watched, seconds: float) -> None:
    until = time.monotonic() + seconds

    def told() -> str:
        rounds = {kind: sum(one.rounds for one in clients if one.kind == kind) for kind in KINDS}
        wrong = sum(n for one in clients for name, n in one.answers.items() if is_error(name))
        return " ".join(f"{kind} {n}" for kind, n in rounds.items()) + f" errors {wrong}"

    await asyncio.gather(watched.watch(until, told), *(client.play(until) for client in clients))


def _of_clients(clients: list[Client], wall: float, failed: Counter[str]) -> list[dict[str, Any]]:
    found, wrong = [], Counter(failed)
    for kind in KINDS:
        ours = [client for client in clients if client.kind == kind]
        times = sorted(took for client in ours for took in client.times)
        rounds = sorted(took for client in ours for took in client.took)
        answers = sum((client.answers for client in ours), Counter[str]())
        wrong += Counter({f"{kind}: {name}": n for name, n in answers.items() if is_error(name)})
        found.append(
            figure(
                f"load_{kind}", _at(times, 0.99) * 1000, "ms p99", clients=len(ours), rows=len(times), wall_s=wall,
                p50_ms=_at(times, 0.5) * 1000, p95_ms=_at(times, 0.95) * 1000, most_ms=_at(times, 1) * 1000,
                rounds=len(rounds), round_s=statistics.median(rounds) if rounds else None,
                answers=dict(sorted(answers.items())),
            )
        )  # fmt: skip
    return [
        *found,
        figure("load_errors", sum(wrong.values()), "answers", goal=0, wall_s=wall, which=dict(wrong)),
    ]


def _of_memory(watched: Watched, wall: float) -> list[dict[str, Any]]:
    found = []
    for name, samples in watched.samples.items():
        grown = growth(samples)
        found.append(
            figure(
                f"load_{name}_memory", grown.percent, "% growth", goal=FLAT, wall_s=wall, cpu_s=watched.cpu_s[name],
                rss_mb=round(max(mb for _, mb in samples)), middle_mb=grown.middle, mb_by_minute=grown.minutes,
            )
        )  # fmt: skip
    return found


def _at(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def _shown(figures: list[dict[str, Any]]) -> str:
    lines = [""]
    for one in figures:
        told = {
            k: v for k, v in one.items() if v is not None and k not in ("key", "value", "unit", "answers")
        }
        lines.append(f"{one['key']}: {one['value']} {one['unit']}  {told}")
        lines += [f"    {n:>8} {name}" for name, n in one.get("answers", {}).items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print; answers that were errors are a figure, with a goal of none."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, nargs="?", help="an empty folder for the data; wiped at the end")
    asked.add_argument("--minutes", type=float, default=10)
    asked.add_argument("--people", type=int, default=1500)
    told = asked.parse_args()
    folder = told.folder or Path(tempfile.mkdtemp(prefix="baekman-load-"))
    try:
        figures = measure(folder, told.minutes, told.people)
    except BaseException:
        sys.stderr.write((folder / "log").read_text("utf-8", "replace")[-4000:])
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stderr.write(_shown(figures))
    said(figures)


if __name__ == "__main__":
    main()
