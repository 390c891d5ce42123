"""CPU of a month appended onto twelve against loading it alone, as JSON: python -m benchmarks append_month FOLDER."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from app.auth.policy import Actor
from app.cohorts.intake import IntakeService, check_when_complete
from app.cohorts.service import CohortService
from app.cohorts.upload_targets import Wanted
from app.cohorts.uploads import UploadService
from app.cohorts.validation import ValidationService
from app.db import Database
from app.engines.intake import Bounds, IntakeEngine, IntakeLimits
from app.jobs.engine import InlineEngine
from app.keyring import Keyring
from app.models import Base, Cohort, Dataset, Institution, Upload
from app.settings import Settings
from app.storage.inbox import Inbox
from app.storage.vault import Vault

GOAL = 1.2
INSTITUTION = Actor("client:h", "h", "institution", "ins_1", frozenset({"cohorts:write", "uploads:write"}))
STEWARD = Actor("account:s", "portal", "steward", "ins_1", frozenset({"datasets:publish"}))
PID = {"name": "pid", "type": "integer", "role": {"kind": "participant_id"}}
DICTIONARY: dict[str, Any] = {
    "hierarchies": {"block": {"kind": "prefix", "lengths": [1]}},
    "tables": [
        {"name": "person", "kind": "participant", "primary_key": ["pid"], "fields": [
            PID, {"name": "born", "type": "integer", "role": {"kind": "quasi_identifier"}}]},
        {"name": "wear", "kind": "event", "domain": "lifelog", "primary_key": ["rid"], "fields": [
            {"name": "rid", "type": "integer", "role": {"kind": "record_id"}}, PID,
            {"name": "day", "type": "date", "role": {"kind": "date", "mode": "shift"}},
            {"name": "kind", "role": {"kind": "code", "vocabulary": "own", "roll_up": "block"}},
            {"name": "steps", "type": "integer", "role": {"kind": "attribute"}},
            {"name": "pulse", "type": "number", "role": {"kind": "number", "round": 5.0}}]},
    ],
}  # fmt: skip


@dataclass
class Rooms:
    """The rooms that make a version, over one folder."""

    cohorts: CohortService
    uploads: UploadService
    jobs: InlineEngine
    db: Database

    def draft(self, dataset: str, made_from: str | None = None) -> str:
        """A draft of a dataset, empty or made from a version."""
        version = str(self.cohorts.new_version(INSTITUTION, dataset, made_from=made_from)["id"])
        if made_from is None:
            self.cohorts.set_dictionary(INSTITUTION, version, DICTIONARY, None)
        return version

    def send(self, version: str, table: str, path: Path, **laid: Any) -> None:
        """Upload a file and let it be checked."""
        wanted = Wanted("table", path.stat().st_size, version_id=version, table=table, **laid)
        upload = str(self.uploads.create(INSTITUTION, wanted)["id"])
        with path.open("rb") as file:
            self.uploads.append(INSTITUTION, upload, 0, iter(lambda: file.read(1 << 20), b""))
        self.jobs.drain()
        with self.db.read() as session:
            row = session.get_one(Upload, upload)
            if row.state != "accepted":
                raise SystemExit(f"the upload is {row.state}: {row.report}")

    def check(self, version: str) -> None:
        """Hand a draft to the check of the whole."""
        self.cohorts.submit(INSTITUTION, version)
        self.jobs.drain()
        if (state := self.cohorts.version(INSTITUTION, version)["state"]) != "ready":
            raise SystemExit(f"the version is {state}")


def rooms(folder: Path) -> Rooms:
    """An institution with a cohort and two datasets."""
    moment = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)

    def clock() -> datetime:
        nonlocal moment
        moment += timedelta(seconds=1)
        return moment

    db, settings, keyring = (
        Database(f"sqlite:///{folder / 'baekman.db'}"),
        Settings(var=folder),
        Keyring(b"k" * 32),
    )
    Base.metadata.create_all(db.engine)
    with db.unit_of_work() as session:
        session.add(Institution(id="ins_1", name="h", created_at=moment))
        session.flush()
        session.add(Cohort(id="coh_1", institution_id="ins_1", name="c", consent_form={}, duo=[],
                           identity_key_wrapped=keyring.new(), created_at=moment))  # fmt: skip
        session.flush()
        for name in ("year", "alone"):
            session.add(
                Dataset(id=f"ds_{name}", cohort_id="coh_1", name=name, keywords=[], created_at=moment)
            )
    inbox, vault = (
        Inbox.open((folder / "inbox").as_uri(), folder / "spill"),
        Vault.open((folder / "vault").as_uri()),
    )
    bounds = Bounds(settings.expansion_max_ratio, 1 << 40)
    limits = IntakeLimits(settings.engine_memory, settings.engine_threads, bounds, settings.quarantine_share)
    engine = IntakeEngine(vault, folder / "work", limits)
    uploads = UploadService(db, clock, settings, inbox, check_when_complete(clock))
    intake = IntakeService(db, clock, inbox, engine, keyring, uploads.remove_original)
    validation = ValidationService(db, clock, settings, engine)
    # What follows a publication is no part of an append.
    tasks = {"check_upload": intake.check_upload, "submit_version": validation.submit_version,
             "index_variables": lambda _job: None}  # fmt: skip
    return Rooms(CohortService(db, clock, settings, keyring), uploads, InlineEngine(db, clock, tasks), db)


def write(folder: Path, people: int, days: int, seed: int) -> tuple[Path, Path, Path]:
    """People, twelve months and the thirteenth as CSV files: a row a person and day, in the order of the days."""
    con = duckdb.connect()
    con.execute(f"SELECT setseed({seed / 1000})")
    wear = (
        f"SELECT d * {people} + p AS rid, p AS pid, DATE '2025-01-01' + d::INTEGER AS day, "
        "['W1', 'W2', 'S1', 'R3'][1 + (hash(p * 7 + d) % 4)::INTEGER] AS kind, hash(p * 31 + d) % 20000 AS steps, "
        "50 + hash(p * 13 + d) % 1000 / 10 AS pulse "
        f"FROM range({{first}}, {{last}}) a(d), range({people}) b(p)"
    )
    paths = folder / "person.csv", folder / "year.csv", folder / "month.csv"
    queries = (
        f"SELECT p AS pid, 1930 + hash(p) % 70 AS born FROM range({people}) t(p)",
        wear.format(first=0, last=12 * days), wear.format(first=12 * days, last=13 * days),
    )  # fmt: skip
    for path, query in zip(paths, queries, strict=True):
        con.execute(f"COPY ({query}) TO '{path}' (HEADER)")
    con.close()
    return paths


def measured(act: Any) -> tuple[float, float]:
    """CPU seconds (all threads) and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    act()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(folder: Path, people: int, days: int, runs: int, seed: int) -> dict[str, Any]:
    """Twelve months are published; then, in turns, the month alone in a new version, and appended to a draft of it."""
    person, year, month = write(folder, people, days, seed)
    house = rooms(folder)
    published = house.draft("ds_year")
    house.send(published, "person", person)
    house.send(published, "wear", year)
    house.check(published)
    house.cohorts.submit(INSTITUTION, published)
    house.cohorts.publish(STEWARD, published)
    first = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=12 * days)
    part = {
        "column": "day",
        "from": f"{first:%Y-%m-%d}",
        "before": f"{first + timedelta(days=days):%Y-%m-%d}",
    }
    alone: list[tuple[float, float]] = []
    onto: list[tuple[float, float]] = []
    for turn in range(runs):
        baseline = house.draft("ds_alone")
        house.send(baseline, "person", person)

        def load(version: str = baseline) -> None:
            house.send(version, "wear", month)
            house.check(version)

        def append() -> None:
            version = house.draft("ds_year", published)
            house.send(version, "wear", month, mode="append", partition=part)
            house.check(version)

        alone.append(measured(load))
        onto.append(measured(append))
        sys.stderr.write(f"\r{turn + 1} of {runs}")
    cpu, wall = (statistics.median(one[i] for one in onto) for i in (0, 1))
    base = statistics.median(one[0] for one in alone)
    ratio = statistics.median(a[0] / b[0] for a, b in zip(onto, alone, strict=True))
    return {
        "key": "append_month", "value": round(cpu, 2), "unit": "cpu_s", "baseline": round(base, 2),
        "ratio": round(ratio, 3), "goal": GOAL, "met": ratio <= GOAL, "rows": people * days,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2), "rows_there": 12 * people * days, "people": people, "runs": runs,
        "ratios": [round(a[0] / b[0], 3) for a, b in zip(onto, alone, strict=True)],
    }  # fmt: skip


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="an empty folder for the data; wiped at the end")
    asked.add_argument("--people", type=int, default=20_000)
    asked.add_argument("--days", type=int, default=30, help="of a month: rows of a person")
    asked.add_argument("--runs", type=int, default=5)
    asked.add_argument("--seed", type=int, default=11)
    told = asked.parse_args()
    told.folder.mkdir(parents=True, exist_ok=True)
    try:
        figures = measure(told.folder, told.people, told.days, told.runs, told.seed)
    finally:
        shutil.rmtree(told.folder, ignore_errors=True)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
