"""Withdrawals over many live extracts until all copies have settled: python -m benchmarks withdrawal_stream FOLDER."""

import argparse
import random
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from app.errors import Problem
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.jobs import enqueue
from app.jobs.engine import DurableEngine
from app.ledger.parts import listed
from app.models import BlockMark, Extract, Job, Part, Withdrawal
from app.schemas.plan import Condition
from app.withdrawals.service import WithdrawalService
from app.withdrawals.settling import tasks as withdrawal_tasks
from benchmarks._figures import figure, peak_mb, said
from benchmarks._house import NOW, House, make

STEP = 1 << 20  # bytes between two looks at the database, as the route has it
PACE = 50 * STEP  # bytes a second that the line of the download carries at most
OLD = ("[1920, 1940)", "[1940, 1960)")  # those who are not among the leavers: the long download is of them


def downloading(house: House, extract: str, least: int, until: threading.Event, told: dict[str, Any]) -> None:
    """Read one part over and over, in steps as the route sends it and asking before each whether it may leave, until
    `least` bytes have come and all has settled. A step that has to wait is asked for again, as a client resumes."""
    service = ExtractService(house.db, lambda: NOW, house.gate.outbox)
    with house.db.read() as session:
        part = max(listed(session, extract), key=lambda p: p["bytes"])
    told.update(steps=0, waits=0, bytes=0, longest_check_s=0.0, cpu_s=0.0, ended="refused")
    name, offset = f"{extract}/{part['name']}", 0
    while told["bytes"] < least or not until.is_set():
        asked = time.monotonic()
        try:
            service.check_part(extract, part["name"])
        except Problem as problem:
            if problem.code != "part_checking":
                return
            told["waits"] += 1
            time.sleep(1)
            continue
        told["longest_check_s"] = max(told["longest_check_s"], round(time.monotonic() - asked, 3))
        size = min(STEP, part["bytes"] - offset)
        read = sum(len(chunk) for chunk in house.gate.outbox.chunks(name, offset, offset + size))
        if read != size:
            told["ended"] = "short"
            return
        offset = (offset + size) % part["bytes"]
        told["steps"], told["bytes"] = told["steps"] + 1, told["bytes"] + size
        told["cpu_s"] = round(time.thread_time(), 1)
        time.sleep(size / PACE)
    told["ended"] = "complete"


def unsettled(house: House, expected: int) -> dict[str, int]:
    """What is still to be done: marks that close whole extracts, closed parts, receipts that are open, jobs."""
    with house.db.read() as session:
        taken = session.scalar(select(func.count()).select_from(Withdrawal)) or 0
        closed = select(func.count()).select_from(Withdrawal).where(Withdrawal.state == "closed")
        return {
            "marks": session.scalar(
                select(func.count()).select_from(BlockMark).where(BlockMark.narrowed.is_(False))
            )
            or 0,
            "blocked": session.scalar(select(func.count()).select_from(Part).where(Part.state == "blocked"))
            or 0,
            "open": taken - (session.scalar(closed) or 0),
            "untaken": expected - taken,
            "jobs": session.scalar(
                select(func.count()).select_from(Job).where(Job.state.in_(("waiting", "queued", "running")))
            )
            or 0,
        }


def measure(
    house: House, folder: Path, extracts: int, withdrawals: int, gap: float, least: int, together: bool
) -> dict[str, Any]:
    """Build the extracts, let one person leave every `gap` seconds (`together`: all by one register), and wait for all
    copies to settle."""
    started, spent = time.monotonic(), time.process_time()
    old = house.plan.model_copy(
        update={"filter": (Condition(table="person", column="born", level=4, values=OLD),)}
    )
    long = house.permit(old)
    ids = [long, *(house.permit() for _ in range(extracts - 1))]
    for number, extract in enumerate(ids):
        house.gate.release(extract, lambda **_: None)
        sys.stderr.write(f"\r{number + 1} of {extracts} built")
    built = {"wall_s": round(time.monotonic() - started), "cpu_s": round(time.process_time() - spent)}
    tasks = {
        **extract_tasks(ExtractTasks(ExtractService(house.db, lambda: NOW, house.gate.outbox), house.gate)),
        **withdrawal_tasks(WithdrawalService(house.db, lambda: NOW, house.keyring)),
    }
    jobs = DurableEngine(
        house.db,
        lambda: NOW,
        tasks,
        system_url=f"sqlite:///{folder / 'jobs.db'}",
        executor_id="benchmark",
        poll=0.05,
    )
    until, download = threading.Event(), dict[str, Any]()
    reader = threading.Thread(target=downloading, args=(house, long, least, until, download))
    held = set(members(house, long))
    leaving = random.Random(7).sample([key for key in house.keys if key not in held], withdrawals)
    jobs.start()
    reader.start()
    started, spent = time.monotonic(), time.process_time()
    try:
        for keys in [leaving] if together else [[key] for key in leaving]:
            for key in keys:
                house.leave(key)
            with house.db.unit_of_work() as session:
                withdrawn = {"withdrawn": [[key, ["clinical"]] for key in keys]}
                enqueue(session, "take_withdrawals", subject=house.cohort_id, arguments=withdrawn, at=NOW)
            time.sleep(gap)
        opened = None
        while any((left := unsettled(house, withdrawals)).values()):
            if opened is None and not left["marks"] and not left["untaken"]:
                opened = time.monotonic() - started
            sys.stderr.write(f"\r{left}        ")
            time.sleep(0.5)
        wall, cpu = time.monotonic() - started, time.process_time() - spent
    finally:
        until.set()
        jobs.stop()
        reader.join()
    with house.db.read() as session:
        generations = sum(session.scalars(select(Extract.generation))) - extracts
        kinds = dict(session.execute(select(Job.kind, func.count()).group_by(Job.kind)).all())
        failed = session.scalar(select(func.count()).select_from(Job).where(Job.state == "failed"))
    return {
        "first_builds": built,
        "settled_wall_s": round(wall, 1),
        "settled_cpu_s": round(cpu - download["cpu_s"], 1),
        "last_mark_narrowed_after_s": None if opened is None else round(opened, 1),
        "generations_reissued": generations,
        "jobs": kinds,
        "jobs_failed": failed,
        "download": download,
    }


def members(house: House, extract: str) -> list[int]:
    """The keys of an extract's people."""
    from app import ledger

    with house.db.read() as session:
        return list(ledger.members(session, extract))


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="an empty folder for the house; wiped at the end")
    asked.add_argument("--people", type=int, default=3000)
    asked.add_argument("--rows", type=int, default=60_000)
    asked.add_argument("--extracts", type=int, default=200)
    asked.add_argument("--withdrawals", type=int, default=27)
    asked.add_argument("--gap", type=float, default=1.0, help="seconds between two withdrawals")
    asked.add_argument("--together", action="store_true", help="all at once, by one register")
    asked.add_argument("--download", type=float, default=10.0, help="least GB of the download")
    told = asked.parse_args()
    try:
        house = make(told.folder, told.people, told.rows, -(-told.rows // 8))
        least = int(told.download * 10**9)
        figures = measure(house, told.folder, told.extracts, told.withdrawals, told.gap, least, told.together)
    finally:
        shutil.rmtree(told.folder, ignore_errors=True)
    asked_for = {"people": told.people, "rows": told.rows, "extracts": told.extracts}
    complete = figures["download"]["ended"] == "complete" and not figures["jobs_failed"]
    line = figure("withdrawal_stream", figures["settled_wall_s"], "s until settled", goal=3600, rss_mb=peak_mb(),
                  cpu_s=figures["settled_cpu_s"], wall_s=figures["settled_wall_s"], **asked_for,
                  withdrawals=told.withdrawals, **figures)  # fmt: skip
    said([{**line, "met": line["met"] and complete}])


if __name__ == "__main__":
    main()
