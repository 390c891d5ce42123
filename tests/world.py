"""A small made-up world for tests of the gate: one cohort, its people, their consents, a vault, a permit."""

from __future__ import annotations

import atexit
import hashlib
import json
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import numpy as np
from sqlalchemy import func, inspect, select

from app.clock import Clock
from app.db import Database, new_id
from app.deid import pseudonyms
from app.engines import Limits, engine
from app.gate import Gate, Whereabouts
from app.keyring import Keyring
from app.models import (
    AccessRequest,
    Cohort,
    Consent,
    Dataset,
    DatasetVersion,
    DryRun,
    Extract,
    Institution,
    Participant,
    Permit,
    Project,
    VaultTable,
)
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan, plan_hash
from app.settings import Settings
from app.storage.memory import Memory
from app.storage.outbox import Outbox
from app.storage.vault import Vault
from tests.schema import copy_into, template, with_tables

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
PURPOSE: dict[str, Any] = {"use": "HMB"}
DOMAINS = ("clinical", "lifelog")

DICTIONARY: dict[str, Any] = {
    "hierarchies": {
        "age": {"kind": "interval", "bounds": [0, 100], "widths": [5, 10, 20, 40]},
        "flat": {"kind": "flat"},
        "block": {"kind": "prefix", "lengths": [3, 1]},
    },
    "tables": [
        {
            "name": "person",
            "kind": "participant",
            "participant": ["pid"],
            "primary_key": ["pid"],
            "fields": [
                {"name": "pid", "type": "integer", "role": {"kind": "participant_id"}},
                {"name": "age", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "age"}},
                {"name": "sex", "role": {"kind": "quasi_identifier", "hierarchy": "flat"}},
                {"name": "note", "role": {"kind": "attribute"}},
            ],
        },
        {
            "name": "visit",
            "kind": "event",
            "participant": ["pid"],
            "primary_key": ["vid"],
            "fields": [
                {"name": "vid", "type": "integer", "role": {"kind": "record_id", "of": "visit"}},
                {"name": "pid", "type": "integer", "role": {"kind": "participant_id"}},
                {"name": "day", "type": "date", "role": {"kind": "date", "mode": "shift"}},
                {
                    "name": "code",
                    "role": {"kind": "code", "vocabulary": "KCD", "version": "8", "roll_up": "block"},
                },
                {"name": "weight", "type": "number", "role": {"kind": "number", "round": 5.0}},
            ],
        },
        {
            "name": "steps",
            "kind": "event",
            "domain": "lifelog",
            "participant": ["pid"],
            "fields": [
                {"name": "pid", "type": "integer", "role": {"kind": "participant_id"}},
                {"name": "day", "type": "date", "role": {"kind": "date", "mode": "shift"}},
                {"name": "count", "type": "integer", "role": {"kind": "attribute"}},
            ],
        },
    ],
}

PLAN_TABLES: list[dict[str, Any]] = [
    {
        "name": "person",
        "columns": [
            {"name": "pid", "transform": "pseudonymise"},
            {"name": "age", "transform": "generalise"},
            {"name": "sex", "transform": "generalise"},
            {"name": "note", "transform": "keep"},
        ],
    },
    {
        "name": "visit",
        "columns": [
            {"name": "vid", "transform": "keyed_id", "params": {"space": "record:visit"}},
            {"name": "pid", "transform": "pseudonymise"},
            {"name": "day", "transform": "shift_date"},
            {"name": "code", "transform": "roll_up", "params": {"min_participants": 5, "hierarchy": "block"}},
            {"name": "weight", "transform": "round_number", "params": {"to": 5.0}},
        ],
    },
    {
        "name": "steps",
        "columns": [
            {"name": "pid", "transform": "pseudonymise"},
            {"name": "day", "transform": "shift_date"},
            {"name": "count", "transform": "keep"},
        ],
    },
]

# Everyone has rows on two days far out. They are the edges of the observation and never leave; all others always do.
PEOPLE_SQL = """
SELECT key AS __participant, key * 7 AS pid, (hash(key) % 90)::BIGINT AS age,
       CASE WHEN hash(key + 1) % 2 = 0 THEN '여' ELSE '남' END AS sex, 'n' || (key % 3) AS note
FROM people ORDER BY key
"""
VISIT_SQL = """
SELECT key AS __participant, (key * 100 + n)::BIGINT AS vid, key * 7 AS pid,
       DATE '2020-01-01' + (hash(key * 31 + n) % 2000)::INTEGER AS day,
       ['E11', 'E12', 'I10', 'J45', 'C50'][
           1 + (hash(key * 17 + n) % (CASE WHEN key % 60 = 1 THEN 5 ELSE 4 END))::INTEGER
       ] AS code,
       (hash(key * 13 + n) % 1000)::DOUBLE / 10 AS weight
FROM people, range(3) r(n)
UNION ALL SELECT key, (key * 100 + 50 + n)::BIGINT, key * 7,
       CASE n WHEN 0 THEN DATE '2018-12-01' ELSE DATE '2026-07-01' END, 'E11', 60.0
FROM people, range(2) r(n) ORDER BY key, vid
"""
STEPS_SQL = """
SELECT key AS __participant, key * 7 AS pid, DATE '2024-01-01' + n::INTEGER AS day,
       (hash(key * 11 + n) % 20000)::BIGINT AS count
FROM people, range(2) r(n)
UNION ALL SELECT key, key * 7, CASE n WHEN 0 THEN DATE '2022-10-01' ELSE DATE '2025-04-01' END, 0
FROM people, range(2) r(n) ORDER BY key, day
"""


@dataclass
class World:
    """Everything a test of the gate needs, and verbs to change it."""

    db: Database
    gate: Gate
    keyring: Keyring
    cohort_id: str
    version_id: str
    keys: list[int]
    clock: Clock
    var: Path
    plan: Plan
    dictionary: Dictionary
    extras: dict[str, Any] = field(default_factory=dict)
    chance: Random = field(default_factory=lambda: Random(1))  # draws the keys of projects

    def permit(self, plan: Plan | None = None, holder: str = "client:researcher") -> str:
        """A new project with an active permit and an ordered extract; the extract's id."""
        chosen = plan or self.plan
        hash_ = plan_hash(chosen)
        with self.db.unit_of_work() as session:
            request = _request(self, chosen, holder)
            session.add(request)
            session.flush()
            dry = DryRun(id=new_id("dry"), request_id=request.id, plan_hash=hash_, state="ready", result=None,
                         created_at=NOW, finished_at=NOW)  # fmt: skip
            project = Project(id=new_id("prj"), request_id=request.id, holder=holder, institution_id=None,
                              key_wrapped=self.keyring.wrap(self.chance.randbytes(32)), created_at=NOW)  # fmt: skip
            session.add_all([dry, project])
            session.flush()
            permit = Permit(
                id=new_id("prm"), project_id=project.id, version_id=self.version_id, cohort_id=self.cohort_id,
                state="active", plan=chosen.model_dump(mode="json"), plan_hash=hash_, dry_run_id=dry.id,
                purpose=PURPOSE, conditions=[], delivery="download", valid_until=date(2027, 6, 30),
                agreement_text="", agreement_digest="0" * 64, agreed_by=holder, agreed_at=NOW, created_at=NOW,
            )  # fmt: skip
            session.add(permit)
            session.flush()
            extract = Extract(
                id=new_id("ext"), permit_id=permit.id, project_id=project.id, version_id=self.version_id,
                state="building", failure=None, generation=0, manifest=None, certificate=None,
                outcome_hash=None, epoch=0, earliest_consent_end=None, created_at=NOW, ready_at=None,
                expires_at=None,
            )  # fmt: skip
            session.add(extract)
            session.flush()
            return extract.id

    def release(self, extract_id: str) -> Any:
        """Run the gate on an extract."""
        return self.gate.release(extract_id, lambda **_: None)

    def set_consent(self, key: int, domain: str, state: str) -> None:
        """Change one consent and move the epoch."""
        with self.db.unit_of_work() as session:
            row = session.get_one(Consent, (key, domain))
            row.state = state
            session.get_one(Cohort, self.cohort_id).epoch += 1

    def whereabouts(self, extract_id: str, key: int, domains: Iterable[str]) -> Whereabouts:
        """What the gate tells of one who took these domains back."""
        return self.gate.recall(extract_id, {"wdr": (key, list(domains))})["wdr"]

    def key_of(self, extract_id: str) -> bytes:
        """The wrapped key of the extract's project."""
        with self.db.read() as session:
            found = session.get_one(Project, session.get_one(Extract, extract_id).project_id).key_wrapped
        assert found is not None
        return found

    def pseudonyms(self, extract_id: str) -> dict[int, str]:
        """Participant key -> pseudonym in the extract's project."""
        with self.db.read() as session:
            project = session.get_one(Project, session.get_one(Extract, extract_id).project_id)
            people = session.scalars(select(Participant).order_by(Participant.key)).all()
        ids = np.frombuffer(b"".join(p.random_id for p in people), dtype=np.uint8).reshape(-1, 16)
        names = pseudonyms.pseudonyms(self.keyring.unwrap(project.key_wrapped or b""), ids)
        return {p.key: name.decode() for p, name in zip(people, names, strict=True)}

    def rows(self, extract_id: str, table: str, query: str = "SELECT * FROM parts") -> list[Any]:
        """Query the published parts of one table, in the order of their positions, as a reader would see them."""
        with self.db.read() as session:
            manifest = session.get_one(Extract, extract_id).manifest
        assert manifest is not None
        parts = next(t["parts"] for t in manifest["tables"] if t["name"] == table)
        paths = [str(self.var / "outbox" / extract_id / p["name"]) for p in parts]
        con = duckdb.connect()
        con.execute(f"CREATE VIEW parts AS FROM read_parquet({paths!r})")
        return con.execute(query).fetchall()


def make(
    db: Database,
    var: Path,
    people: int = 400,
    *,
    rows_per_part: int = 300,
    clock: Clock | None = None,
    dictionary: dict[str, Any] | None = None,
    tables: list[dict[str, Any]] | None = None,
    queries: dict[str, str] | None = None,
    privacy: dict[str, Any] | None = None,
    keyring: Keyring | None = None,
) -> World:
    """A world of `people`: all consent to clinical data, every second to lifelog too, every twentieth to nothing.

    `dictionary`, the planned `tables`, the `queries` that fill them and `privacy` replace those of this file.
    What is random of people and projects is drawn from one seed: pseudonyms, shifts and noise are the same every time.
    On SQLite the second world of a kind in a process is a copy of what the first began with.
    """
    document = dictionary or DICTIONARY
    filled = queries or {"person": PEOPLE_SQL, "visit": VISIT_SQL, "steps": STEPS_SQL}
    if keyring is None and db.is_sqlite and not inspect(db.engine).get_table_names():
        founded = _copied(db, var, people, json.dumps([document, filled]))
    else:
        founded = _found(db, var, people, document, filled, keyring or Keyring(secrets.token_bytes(32)))
    tick: Clock = clock or (lambda: NOW)
    gate = gate_of(db, var, tick, founded.keyring, rows_per_part)
    target = privacy or {"k": 5, "reserve": 2}
    plan = Plan.model_validate_json(
        json.dumps({"version_id": founded.version_id, "tables": tables or PLAN_TABLES, "privacy": target})
    )
    known = Dictionary.model_validate_json(json.dumps(document))
    return World(
        db,
        gate,
        founded.keyring,
        founded.cohort_id,
        founded.version_id,
        [*founded.keys],
        tick,
        var,
        plan,
        known,
    )


def gate_of(db: Database, var: Path, clock: Clock, keyring: Keyring, rows_per_part: int = 300) -> Gate:
    """The gate of a world that lies in this database and folder."""
    vault, outbox = Vault.open(f"file://{var}/vault"), Outbox.open(f"file://{var}/outbox")
    limits = Limits("1GB", 2, rows_per_part)
    memory = Memory.open(f"file://{var}/memory")
    return Gate(db, clock, Settings(var=var), keyring, engine("duckdb", limits, vault), outbox, memory)


@dataclass(frozen=True)
class Founded:
    """What a database and a vault hold when a world begins."""

    keyring: Keyring
    cohort_id: str
    version_id: str
    keys: tuple[int, ...]


def _found(
    db: Database, var: Path, people: int, document: dict[str, Any], queries: dict[str, str], keyring: Keyring
) -> Founded:
    with_tables(db)
    chance = Random(2)
    cohort_id, version_id = _registered(db, keyring, document, chance)
    keys = _enrolled(db, cohort_id, people, chance)
    fill_vault(db, Vault.open(f"file://{var}/vault"), var, version_id, keys, queries)
    return Founded(keyring, cohort_id, version_id, tuple(keys))


def _copied(db: Database, var: Path, people: int, said: str) -> Founded:
    """A world like one that was founded before in this process, in a database and a folder of its own."""
    founded, tables, vault = _template(people, said)
    copy_into(tables, db)
    shutil.copytree(vault, var / "vault", dirs_exist_ok=True)
    return founded


@cache
def _template(people: int, said: str) -> tuple[Founded, sqlite3.Connection, Path]:
    """Founded once: nobody changes it. The folder goes when the process ends."""
    document, queries = json.loads(said)
    folder = Path(tempfile.mkdtemp(prefix="baekman-world-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made: list[Founded] = []
    keyring = Keyring(secrets.token_bytes(32))
    tables = template(lambda db: made.append(_found(db, folder, people, document, queries, keyring)))
    return made[0], tables, folder / "vault"


def fill_vault(
    db: Database,
    vault: Vault,
    var: Path,
    version_id: str,
    keys: list[int],
    queries: dict[str, str],
    place: str = "",
) -> None:
    """Write tables into the vault as ingestion would, under a place; each is the next generation of its table."""
    con = duckdb.connect()
    con.execute("CREATE TABLE people AS SELECT unnest(?)::INTEGER AS key", [keys])
    for name, query in queries.items():
        path = var / f"{name}.parquet"
        con.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        object_name = f"{place}/{sha256}.parquet" if place else f"{sha256}.parquet"
        vault.put_file(path, object_name)
        with db.unit_of_work() as session:
            held = select(func.count()).where(
                VaultTable.version_id == version_id, VaultTable.table_name == name
            )
            session.add(
                VaultTable(
                    version_id=version_id,
                    table_name=name,
                    generation=1 + (session.scalar(held) or 0),
                    object_name=object_name,
                    upload_id=None,
                    rows=0,
                    people=0,
                    bytes=path.stat().st_size,
                    sha256=sha256,
                    created_at=NOW,
                )
            )
        path.unlink()


def _registered(
    db: Database, keyring: Keyring, dictionary: dict[str, Any], chance: Random
) -> tuple[str, str]:
    with db.unit_of_work() as session:
        institution = Institution(id=new_id("ins"), name=f"hospital {secrets.token_hex(4)}", created_at=NOW)
        session.add(institution)
        session.flush()
        cohort = Cohort(
            id=new_id("coh"), institution_id=institution.id, name="cohort", consent_form={}, duo=[],
            identity_key_wrapped=keyring.wrap(chance.randbytes(32)), epoch=0, created_at=NOW,
        )  # fmt: skip
        session.add(cohort)
        session.flush()
        dataset = Dataset(id=new_id("dat"), cohort_id=cohort.id, name="data", keywords=[], created_at=NOW)
        session.add(dataset)
        session.flush()
        version = DatasetVersion(
            id=new_id("ver"), dataset_id=dataset.id, number=1, state="published", dictionary=dictionary,
            dictionary_digest="0" * 64, report=None, people=0, created_at=NOW, published_at=NOW,
        )  # fmt: skip
        session.add(version)
        session.flush()
        return cohort.id, version.id


def _enrolled(db: Database, cohort_id: str, people: int, chance: Random) -> list[int]:
    with db.unit_of_work() as session:
        rows = [
            Participant(cohort_id=cohort_id, identity=chance.randbytes(32), random_id=chance.randbytes(16),
                        created_at=NOW)
            for _ in range(people)
        ]  # fmt: skip
        session.add_all(rows)
        session.flush()
        keys = sorted(row.key for row in rows)
        for position, key in enumerate(keys):
            for domain in DOMAINS:
                granted = position % 20 != 0 and (domain == "clinical" or position % 2 == 0)
                session.add(
                    Consent(participant_key=key, domain=domain, cohort_id=cohort_id,
                            state="granted" if granted else "withdrawn", purposes=[], given_at=None,
                            valid_until=None, changed_at=NOW)
                )  # fmt: skip
        return keys


def _request(world: World, plan: Plan, holder: str) -> AccessRequest:
    return AccessRequest(
        id=new_id("req"), version_id=world.version_id, cohort_id=world.cohort_id, applicant=holder, title="t",
        purpose=PURPOSE, plan=plan.model_dump(mode="json"), plan_hash=plan_hash(plan), irb_reference="i", notes=[],
        end_date=date(2027, 6, 30), state="approved", created_at=NOW, submitted_at=NOW, decided_at=NOW,
    )  # fmt: skip
