"""What ails an installation: every check is tried, and each that fails says what to do; nothing is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from sqlalchemy import func, select

from app.audit import newest, streams, verify
from app.audit.measures import newest_backup
from app.db import Database
from app.errors import Problem
from app.jobs.kinds import SERVES_WITHDRAWAL
from app.keyring import KeyringError, open_keyring, open_web_keyring
from app.models import Job, Withdrawal
from app.models.migrating import differences, is_current
from app.models.wrapped import OF_WEB, WRAPPED
from app.operating.production import objections, unaccepted
from app.operating.rewrapping import by_master
from app.settings import Settings
from app.storage.journal import Journal

State = Literal["ok", "warning", "failed"]
_LITTLE = 5 * 2**30  # bytes free
_LATE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and what to do where it is not well."""

    name: str
    state: State
    detail: str
    hint: str | None = None


def examine(
    settings: Settings, db: Database, probes: Mapping[str, Callable[[], object]], at: datetime
) -> list[Check]:
    """Every check in turn. `probes`: what else must answer, by name (stores, engine); a raise is a failure.

    A check that cannot be tried, because the database is down, is a failure of its own; the others still run.
    """
    found: list[Check] = [*_settings(settings)]
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        "database": partial(_database, db),
        "keys": partial(_keys, settings, db),
        "jobs": partial(_jobs, db, at),
        "audit": partial(_audit, db),
        "clock": partial(_clock, db, at),
        "journal": partial(_journal, settings, db),
        "backup": partial(_backup, settings, db, at),
        "disk": partial(_disk, settings),
        **{name: partial(_probe, name, probe) for name, probe in probes.items()},
    }
    for name, look in looks.items():
        try:
            found += look()
        except Problem as problem:
            found.append(Check(name, "failed", problem.detail))
        except KeyringError as error:
            found.append(Check(name, "failed", f"{error}."))
        except Exception as error:  # whatever a library says may hold hosts or values: its type must do
            found.append(Check(name, "failed", f"It could not be looked at ({type(error).__name__})."))
    return found


def _settings(settings: Settings) -> Iterator[Check]:
    web = settings.is_bare_web
    against, refused = objections(settings, web=web), unaccepted(settings, web=web)
    for finding in against:
        state: State = "failed" if settings.production and finding in refused else "warning"
        yield Check(f"production: {finding.pointer}", state, finding.detail, finding.hint)
    if not against:
        yield Check("production", "ok", "Nothing speaks against these settings.")


def _database(db: Database) -> Iterator[Check]:
    if not db.ping():
        yield Check("database", "failed", "The database does not answer.", "Look at BAEKMAN_DATABASE_URL.")
        return
    if not is_current(db):
        yield Check("database", "failed", "Migrations are missing.", "Run `baekman migrate`.")
        return
    if wrong := differences(db):
        yield Check("database", "failed", f"The schema differs from the models in {len(wrong)} places.")
        return
    yield Check("database", "ok", f"It answers and has every migration ({db.engine.dialect.name}).")


def _keys(settings: Settings, db: Database) -> Iterator[Check]:
    web = open_web_keyring(settings, alone=settings.is_bare_web)
    rings = dict.fromkeys(OF_WEB, web)
    if not settings.is_bare_web:  # else the master key is not here, and should not be
        rings |= dict.fromkeys(WRAPPED.keys() - OF_WEB, open_keyring(settings))
    unknown = older = total = 0
    for name, counted in by_master(db).items():
        if (ring := rings.get(name)) is None:
            continue
        for master, n in counted.items():
            total += n
            unknown += n if master not in ring.known else 0
            older += n if master in ring.known and master != ring.current else 0
    if unknown:
        yield Check(
            "keys", "failed", f"{unknown} keys were wrapped by a master key that is not here.",
            "Give it by BAEKMAN_OLDER_MASTER_KEYS_FILE, or run `baekman rewrap` where both kinds of keys are.",
        )  # fmt: skip
    elif older:
        yield Check(
            "keys",
            "warning",
            f"{older} keys are still wrapped by an older master key.",
            "Run `baekman rewrap`.",
        )
    else:
        for ring in set(rings.values()):
            ring.unwrap(ring.new())
        names = " and ".join(sorted({ring.current for ring in rings.values()}))
        yield Check("keys", "ok", f"The master key {names} opens all {total} keys.")


def _jobs(db: Database, at: datetime) -> Iterator[Check]:
    with db.read() as session:
        waiting = select(func.count(), func.min(Job.created_at)).where(
            Job.state.in_(("waiting", "queued")), (Job.not_before.is_(None)) | (Job.not_before <= at)
        )
        count, oldest = session.execute(waiting).one()
        failed = session.scalar(select(func.count()).where(Job.state == "failed")) or 0
        given_up = list(session.scalars(select(Job.kind).where(Job.state == "parked")))
    if given_up:
        urgent = sum(kind in SERVES_WITHDRAWAL for kind in given_up)
        yield Check(
            "parked jobs", "failed" if urgent else "warning",
            f"{len(given_up)} jobs were given up" + (f", {urgent} of which carry withdrawals." if urgent else "."),
            "See `baekman jobs list --state parked`; mend the cause, then `baekman jobs release`.",
        )  # fmt: skip
    if count and at - oldest > _LATE:
        minutes = int((at - oldest).total_seconds() // 60)
        yield Check(
            "jobs", "warning", f"{count} jobs wait, the oldest for {minutes} minutes.",
            "Is the service, or a worker, running?",
        )  # fmt: skip
    elif failed:
        yield Check("jobs", "warning", f"{failed} jobs failed; what they were for says so where it is shown.")
    else:
        yield Check("jobs", "ok", f"{count} jobs wait.")


def _audit(db: Database) -> Iterator[Check]:
    lines = 0
    with db.read() as session:
        held = streams(session)
        for stream in held:
            read, broken = verify(session, stream)
            lines += read
            if broken is not None:
                yield Check("audit", "failed", f"The chain {stream} is broken.", "See GET /v1/audit/verify.")
                return
    yield Check("audit", "ok", f"{len(held)} chains of {lines} lines hold.")


def _clock(db: Database, at: datetime) -> Iterator[Check]:
    with db.read() as session:
        last = newest(session)
    if last is not None and last - at > timedelta(minutes=1):
        minutes = int((last - at).total_seconds() // 60)
        yield Check(
            "clock", "failed", f"This machine's clock is {minutes} minutes behind the last line of the audit chains.",
            "Set the clock; where it ran ahead before and is right now, start once with BAEKMAN_CLOCK_MAY_GO_BACK.",
        )  # fmt: skip
    else:
        yield Check("clock", "ok", "It is not behind what was written here.")


def _journal(settings: Settings, db: Database) -> Iterator[Check]:
    path = settings.journal_path
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        yield Check(
            "journal", "failed", "The journal of withdrawals cannot be written.", "Look at BAEKMAN_JOURNAL."
        )
        return
    if not _has_newest(Journal(path), db):
        yield Check(
            "journal", "failed", "The journal lacks the newest withdrawal of the database: after a restore it would be"
            " forgotten.",
            "Web and workers must write one file; if it was lost, make a backup now.",
        )  # fmt: skip
    elif settings.journal is None:
        yield Check(
            "journal", "warning", "The journal of withdrawals lies beside the database that it is to correct.",
            "Set BAEKMAN_JOURNAL to a file on another disk.",
        )  # fmt: skip
    else:
        yield Check(
            "journal", "ok", "The journal of withdrawals can be written, and has the newest of the database."
        )


def _has_newest(journal: Journal, db: Database) -> bool:
    """Whether this process reads the file that the others write. What is younger than the newest backup is asked for:
    whatever is older is in the backup."""
    with db.read() as session:
        last = session.scalar(
            select(Withdrawal.id).order_by(Withdrawal.taken_at.desc(), Withdrawal.id.desc()).limit(1)
        )
        taken = session.scalar(select(Withdrawal.taken_at).where(Withdrawal.id == last))
        made = newest_backup(session)
    if last is None or (made is not None and taken is not None and taken < made.at):
        return True
    return any(
        entry.get("id") == last or last in entry.get("withdrawals", {}).values()
        for entry in journal.entries()
    )


def _backup(settings: Settings, db: Database, at: datetime) -> Iterator[Check]:
    with db.read() as session:
        made = newest_backup(session)
    again = "Run `baekman backup`, and see to it that it is run every day."
    if made is None:
        yield Check("backup", "warning", "No backup was ever made.", again)
        return
    hours = int((at - made.at).total_seconds() // 3600)
    if missing := made.data.get("missing"):
        yield Check(
            "backup", "failed", f"The newest backup lacks {missing} objects that the database names.",
            "They are lost in vault or outbox; `baekman backups` names them, an older backup may hold them.",
        )  # fmt: skip
    elif settings.backup_hours and hours >= settings.backup_hours:
        yield Check("backup", "warning", f"The newest backup is {hours} hours old.", again)
    else:
        yield Check("backup", "ok", f"The newest backup is {hours} hours old.")


def _disk(settings: Settings) -> Iterator[Check]:
    free = shutil.disk_usage(settings.var).free
    state: State = "warning" if free < _LITTLE else "ok"
    yield Check(
        "disk", state, f"{free // 2**30} GiB are free under `var`.", "Spills of builds need room there."
    )


def _probe(name: str, probe: Callable[[], object]) -> Iterator[Check]:
    probe()
    yield Check(name, "ok", "It keeps its promises.")


def worst(checks: list[Check]) -> State:
    """`failed` where any check failed, else `warning` where any warns, else `ok`."""
    states = {check.state for check in checks}
    return "failed" if "failed" in states else "warning" if "warning" in states else "ok"
