"""A seeded house for measurements of the gate: one cohort, its vault filled by SQL, consents, permits and extracts."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from sqlalchemy import func, insert, literal, select, text
from sqlalchemy.orm import Session

from app.db import Database, new_id
from app.engines import Limits, engine
from app.gate import Gate
from app.keyring import Keyring
from app.models import (
    AccessRequest,
    Base,
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
from app.schemas.plan import Plan, plan_hash
from app.settings import Settings
from app.storage.memory import Memory
from app.storage.outbox import Outbox
from app.storage.vault import Vault

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
PURPOSE: dict[str, Any] = {"use": "HMB"}
SECRET = b"of a house that is made for one measurement"[:32]
BATCH = 50_000  # people held as Python objects at a time
CACHE_KB = 1_000_000  # of SQLite while a register is filled
PID = {"name": "pid", "type": "integer", "role": {"kind": "participant_id"}}

DICTIONARY: dict[str, Any] = {
    "hierarchies": {
        "born": {"kind": "interval", "bounds": [1920, 2020], "widths": [1, 5, 10, 20]},
        "region": {"kind": "prefix", "lengths": [2, 1]},
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
                PID,
                {
                    "name": "born",
                    "type": "integer",
                    "role": {"kind": "quasi_identifier", "hierarchy": "born"},
                },
                {"name": "sex", "role": {"kind": "quasi_identifier", "hierarchy": "flat"}},
                {"name": "region", "role": {"kind": "quasi_identifier", "hierarchy": "region"}},
            ],
        },
        {
            "name": "measurement",
            "kind": "event",
            "participant": ["pid"],
            "primary_key": ["mid"],
            "fields": [
                {"name": "mid", "type": "integer", "role": {"kind": "record_id", "of": "measurement"}},
                PID,
                {"name": "day", "type": "date", "role": {"kind": "date", "mode": "shift"}},
                {
                    "name": "code",
                    "role": {"kind": "code", "vocabulary": "LOINC", "version": "2.78", "roll_up": "block"},
                },
                {"name": "value", "type": "number", "role": {"kind": "number", "round": 0.5}},
                {"name": "unit", "role": {"kind": "attribute"}},
            ],
        },
    ],
}

TABLES: list[dict[str, Any]] = [
    {
        "name": "person",
        "columns": [
            {"name": "pid", "transform": "pseudonymise"},
            {"name": "born", "transform": "generalise"},
            {"name": "sex", "transform": "generalise"},
            {"name": "region", "transform": "generalise"},
        ],
    },
    {
        "name": "measurement",
        "columns": [
            {"name": "mid", "transform": "keyed_id", "params": {"space": "record:measurement"}},
            {"name": "pid", "transform": "pseudonymise"},
            {"name": "day", "transform": "shift_date"},
            {
                "name": "code",
                "transform": "roll_up",
                "params": {"min_participants": 11, "hierarchy": "block"},
            },
            {"name": "value", "transform": "round_number", "params": {"to": 0.5}},
            {"name": "unit", "transform": "keep"},
        ],
    },
]

# Ages as a pyramid, regions and codes by a steep tail: some codes belong to a few people only. Made in the order of the
# vault, so that nothing is sorted: 100 million rows are minutes.
QUERIES = {
    "person": """
SELECT key AS __participant, key AS pid,
       (1935 + floor(70 * sqrt((hash(key * 3) % 100000) / 100000)))::BIGINT AS born,
       CASE WHEN hash(key + 1) % 2 = 0 THEN 'F' ELSE 'M' END AS sex,
       lpad((floor(100 * pow((hash(key * 7) % 100000) / 100000, 3)))::INTEGER::VARCHAR, 2, '0') AS region
FROM (SELECT (i + {first})::INTEGER AS key FROM range({people}) r(i))""",
    "measurement": """
SELECT key AS __participant, (key * 1000 + n)::BIGINT AS mid, key AS pid,
       DATE '2012-01-01' + (hash(key * 31 + n) % 5000)::INTEGER AS day,
       chr((65 + c % 20)::INTEGER) || lpad((c // 20)::VARCHAR, 3, '0') AS code,
       (hash(key * 13 + n) % 2000)::DOUBLE / 10 AS value,
       ['mg/dL', 'mmol/L', 'g/L', 'U/L', '%'][1 + (c % 5)::INTEGER] AS unit
FROM (SELECT key, n, floor(900 * pow((hash(key * 17 + n) % 1000000) / 1000000, 6))::BIGINT AS c
      FROM (SELECT (i // {each} + {first})::INTEGER AS key, i % {each} AS n FROM range({rows}) r(i)))""",
}


@dataclass
class House:
    """A gate over a filled vault, and the verbs of a measurement."""

    db: Database
    gate: Gate
    keyring: Keyring
    cohort_id: str
    version_id: str
    keys: list[int]
    plan: Plan

    def permit(self, plan: Plan | None = None) -> str:
        """A project of its own with an active permit and an extract to build; the extract's id."""
        chosen = plan or self.plan
        hash_, holder = plan_hash(chosen), f"client:{secrets.token_hex(4)}"
        body = chosen.model_dump(mode="json")
        with self.db.unit_of_work() as session:
            request = AccessRequest(
                id=new_id("req"), version_id=self.version_id, cohort_id=self.cohort_id, applicant=holder, title="t",
                purpose=PURPOSE, plan=body, plan_hash=hash_, irb_reference="", notes=[], end_date=date(2027, 6, 30),
                state="approved", created_at=NOW, submitted_at=NOW, decided_at=NOW,
            )  # fmt: skip
            session.add(request)
            session.flush()
            dry = DryRun(id=new_id("dry"), request_id=request.id, plan_hash=hash_, state="ready", result=None,
                         created_at=NOW, finished_at=NOW)  # fmt: skip
            project = Project(id=new_id("prj"), request_id=request.id, holder=holder, institution_id=None,
                              key_wrapped=self.keyring.new(), created_at=NOW)  # fmt: skip
            session.add_all([dry, project])
            session.flush()
            permit = Permit(
                id=new_id("prm"), project_id=project.id, version_id=self.version_id, cohort_id=self.cohort_id,
                state="active", plan=body, plan_hash=hash_, dry_run_id=dry.id, purpose=PURPOSE, conditions=[],
                delivery="download", valid_until=date(2027, 6, 30), agreement_text="", agreement_digest="0" * 64,
                agreed_by=holder, agreed_at=NOW, created_at=NOW,
            )  # fmt: skip
            session.add(permit)
            session.flush()
            extract = Extract(
                id=new_id("ext"), permit_id=permit.id, project_id=project.id, version_id=self.version_id,
                state="building", failure=None, generation=0, manifest=None, certificate=None, outcome_hash=None,
                epoch=0, earliest_consent_end=None, created_at=NOW, ready_at=None, expires_at=None,
            )  # fmt: skip
            session.add(extract)
            session.flush()
            return extract.id

    def leave(self, key: int) -> None:
        """A person takes all consent back; the epoch moves."""
        with self.db.unit_of_work() as session:
            session.execute(
                text("UPDATE consents SET state = 'withdrawn' WHERE participant_key = :k"), {"k": key}
            )
            session.get_one(Cohort, self.cohort_id).epoch += 1


def make(var: Path, people: int, rows: int, rows_per_part: int, seed: int = 11) -> House:
    """A house of `people` who all consent, with `rows` measurements between them."""
    var.mkdir(parents=True, exist_ok=True)
    db, keyring = Database(f"sqlite:///{var / 'house.db'}"), Keyring(SECRET)
    Base.metadata.create_all(db.engine)
    cohort_id, version_id = _registered(db, keyring)
    keys = _enrolled(db, cohort_id, people, seed)
    _fill(db, Vault.open(f"file://{var}/vault"), var, version_id, keys, max(1, rows // people))
    about = {"cohort_id": cohort_id, "version_id": version_id, "rows_per_part": rows_per_part}
    (var / "house.json").write_text(json.dumps(about), "utf-8")
    return opened(var)


def is_made(var: Path) -> bool:
    """Whether a house stands there, whole."""
    return (var / "house.json").exists()


def opened(var: Path) -> House:
    """A house that was made before, by another process too."""
    about = json.loads((var / "house.json").read_text("utf-8"))
    db, settings = Database(f"sqlite:///{var / 'house.db'}"), Settings(var=var)
    limits = Limits(settings.engine_memory, settings.engine_threads, about["rows_per_part"])
    vault, outbox = Vault.open(f"file://{var}/vault"), Outbox.open(f"file://{var}/outbox")
    keyring, memory = Keyring(SECRET), Memory.open(f"file://{var}/memory")
    gate = Gate(db, lambda: NOW, settings, keyring, engine("duckdb", limits, vault), outbox, memory)
    with db.read() as session:
        keys = list(session.scalars(text("SELECT key FROM participants ORDER BY key")))
    document = {"version_id": about["version_id"], "tables": TABLES, "privacy": {"k": 11, "reserve": 2}}
    plan = Plan.model_validate_json(json.dumps(document))
    return House(db, gate, keyring, about["cohort_id"], about["version_id"], keys, plan)


def stored(session: Session) -> dict[str, str]:
    """Table -> its one object in the vault."""
    rows = session.execute(select(VaultTable.table_name, VaultTable.object_name))
    return {table: name for table, name in rows if name is not None}


def _registered(db: Database, keyring: Keyring) -> tuple[str, str]:
    with db.unit_of_work() as session:
        institution = Institution(id=new_id("ins"), name="hospital", created_at=NOW)
        session.add(institution)
        session.flush()
        cohort = Cohort(id=new_id("coh"), institution_id=institution.id, name="cohort", consent_form={}, duo=[],
                        identity_key_wrapped=keyring.new(), epoch=0, created_at=NOW)  # fmt: skip
        session.add(cohort)
        session.flush()
        dataset = Dataset(id=new_id("dat"), cohort_id=cohort.id, name="data", keywords=[], created_at=NOW)
        session.add(dataset)
        session.flush()
        version = DatasetVersion(id=new_id("ver"), dataset_id=dataset.id, number=1, state="published",
                                 dictionary=DICTIONARY, dictionary_digest="0" * 64, report=None, people=0,
                                 created_at=NOW, published_at=NOW)  # fmt: skip
        session.add(version)
        session.flush()
        return cohort.id, version.id


def _enrolled(db: Database, cohort_id: str, people: int, seed: int) -> range:
    """The keys. What is random of a person is the driver's to write, with room for its indexes in memory: through
    models, and with SQLite's own two megabytes, a million people took longer than a hundred million rows."""
    random = np.random.default_rng(seed)
    columns = ["cohort_id", "identity", "random_id", "return_token", "created_at"]
    into = f"INSERT INTO participants ({', '.join(columns)}) VALUES (?, ?, ?, ?, ?)"
    granted = select(Participant.key, literal("clinical"), Participant.cohort_id, literal("granted"),
                     literal([], Consent.purposes.type), Participant.created_at)  # fmt: skip
    consent = ["participant_key", "domain", "cohort_id", "state", "purposes", "changed_at"]
    with db.unit_of_work() as session:
        con = session.connection()
        con.exec_driver_sql(f"PRAGMA cache_size = -{CACHE_KB}")
        # One person by the model says how each column is written; the others are like them.
        session.add(Participant(cohort_id=cohort_id, identity=random.bytes(32), random_id=random.bytes(16),
                                created_at=NOW))  # fmt: skip
        session.flush()
        written = con.exec_driver_sql("SELECT created_at, key FROM participants").one()
        for begun in range(1, people, BATCH):
            rows = [
                (cohort_id, random.bytes(32), random.bytes(16), random.bytes(16), written.created_at)
                for _ in range(min(BATCH, people - begun))
            ]
            con.exec_driver_sql(into, rows)
        session.execute(insert(Consent).from_select(consent, granted))
        keys = range(written.key, written.key + people)
        if session.scalar(select(func.max(Participant.key))) != keys[-1]:
            raise RuntimeError("keys of a new register are not one after the other")
        return keys


def _fill(db: Database, vault: Vault, var: Path, version_id: str, keys: range, each: int) -> None:
    con = duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(var / "tmp")})
    con.execute("SET enable_progress_bar = false")
    for name, query in QUERIES.items():
        path = var / f"{name}.parquet"
        rows = query.format(first=keys[0], people=len(keys), each=each, rows=len(keys) * each)
        con.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        vault.put_file(path, f"{sha256}.parquet")
        with db.unit_of_work() as session:
            session.add(VaultTable(version_id=version_id, table_name=name, generation=1,
                                   object_name=f"{sha256}.parquet", upload_id=None, rows=0, people=0,
                                   bytes=path.stat().st_size, sha256=sha256, created_at=NOW))  # fmt: skip
        path.unlink()
