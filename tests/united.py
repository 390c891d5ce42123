"""Two made-up institutions whose tables, codes and units differ, people in both, and the mapping that unites them."""

from __future__ import annotations

import atexit
import json
import secrets
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from sqlalchemy import inspect, select

from app.clock import Clock
from app.db import Database, new_id
from app.deid import pseudonyms, united
from app.deid.plan import draft
from app.engines import Limits, engine
from app.gate import Gate
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
    Integration,
    Participant,
    Permit,
    Project,
    VaultTable,
    VersionSource,
)  # fmt: skip
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan, Privacy, plan_hash
from app.settings import Settings
from app.storage.outbox import Outbox
from app.storage.vault import Vault
from tests.schema import copy_into, template, with_tables
from tests.world import NOW, fill_vault

PURPOSE: dict[str, Any] = {"use": "HMB"}
_ID: dict[str, Any] = {"role": {"kind": "participant_id"}}

HANBIT: dict[str, Any] = {
    "hierarchies": {"flat": {"kind": "flat"}, "yob": {"kind": "interval", "bounds": [1900, 2030], "widths": [10, 40]}},
    "tables": [
        {
            "name": "patients", "kind": "participant",
            "fields": [
                {"name": "chart", **_ID},
                {"name": "gender", "role": {"kind": "quasi_identifier", "hierarchy": "flat"}},
                {"name": "yob", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "yob"}},
                {"name": "weight", "type": "number", "unit": "kg", "role": {"kind": "number"}},
                {"name": "ward", "role": {"kind": "attribute"}},
            ],
        },
        {
            "name": "encounters", "kind": "event", "primary_key": ["no"],
            "fields": [
                {"name": "no", "type": "integer", "role": {"kind": "record_id", "of": "visit"}},
                {"name": "chart", **_ID},
                {"name": "day", "type": "date", "role": {"kind": "date", "mode": "month"}},
                {"name": "dx", "role": {"kind": "code", "vocabulary": "KCD", "version": "8"}},
            ],
        },
    ],
}  # fmt: skip
SAEBOM: dict[str, Any] = {
    "hierarchies": {"flat": {"kind": "flat"}, "born": {"kind": "interval", "bounds": [1900, 2030], "widths": [10, 40]}},
    "tables": [
        {
            "name": "person", "kind": "participant",
            "fields": [
                {"name": "pid", **_ID},
                {"name": "sex", "role": {"kind": "quasi_identifier", "hierarchy": "flat"}},
                {"name": "born", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "born"}},
                {"name": "wt", "type": "number", "unit_column": "wt_unit", "role": {"kind": "number"}},
                {"name": "wt_unit", "role": {"kind": "attribute"}},
            ],
        },
        {
            "name": "visit", "kind": "event", "primary_key": ["vid"],
            "fields": [
                {"name": "vid", "role": {"kind": "record_id", "of": "visit"}},
                {"name": "pid", **_ID},
                {"name": "on", "type": "date", "role": {"kind": "date", "mode": "month"}},
                {"name": "code", "role": {"kind": "code", "vocabulary": "KCD", "version": "9"}},
            ],
        },
    ],
}  # fmt: skip
UNITED: dict[str, Any] = {
    "title": {"ko": "두 병원", "en": "Two hospitals"},
    "hierarchies": {"sex": {"kind": "flat"}, "born": {"kind": "interval", "bounds": [1900, 2030], "widths": [10, 40]}},
    "tables": [
        {
            "name": "people", "kind": "participant",
            "fields": [
                {"name": "id", **_ID},
                {"name": "sex", "role": {"kind": "quasi_identifier", "hierarchy": "sex"},
                 "labels": {"F": {"ko": "여"}, "M": {"ko": "남"}}},
                {"name": "born", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "born"}},
                {"name": "weight", "type": "number", "unit": "kg", "role": {"kind": "number"}},
            ],
        },
        {
            "name": "visits", "kind": "event", "primary_key": ["visit"],
            "fields": [
                {"name": "visit", "role": {"kind": "record_id"}},
                {"name": "id", **_ID},
                {"name": "day", "type": "date", "role": {"kind": "date", "mode": "month"}},
                {"name": "code", "role": {"kind": "code", "vocabulary": "KCD", "version": "9"}},
            ],
        },
    ],
}  # fmt: skip

HANBIT_SQL = {
    "patients": """SELECT key AS __participant, CASE WHEN nth % 2 = 0 THEN 'M' ELSE 'F' END AS gender,
        (1940 + (nth % 4) * 10)::BIGINT AS yob, 50.0 + nth % 40 AS weight, 'w' || (nth % 3) AS ward FROM numbered""",
    "encounters": """SELECT key AS __participant, (nth * 10 + n)::BIGINT AS no,
        DATE '2024-01-01' + ((nth * 7 + n * 31) % 300)::INTEGER AS day,
        ['I10', 'E11.9', 'U07.1'][1 + ((nth + n) % 3)::INTEGER] AS dx FROM numbered, range(2) r(n)""",
}
SAEBOM_SQL = {
    "person": """SELECT key AS __participant, CASE WHEN nth % 2 = 0 THEN '1' ELSE '2' END AS sex,
        (1940 + (nth % 4) * 10)::BIGINT AS born,
        CASE WHEN nth % 5 = 0 THEN 60.0 ELSE 60000.0 END AS wt,
        CASE WHEN nth % 5 = 0 THEN 'kg' ELSE 'g' END AS wt_unit FROM numbered""",
    "visit": """SELECT key AS __participant, (nth * 10 + n)::VARCHAR AS vid,
        DATE '2024-01-01' + ((nth * 7 + n * 31) % 300)::INTEGER AS on,
        ['I10', 'E11.9', 'U07.1'][1 + ((nth + n) % 3)::INTEGER] AS code FROM numbered, range(2) r(n)""",
}


def mapping(hanbit: str, saebom: str) -> dict[str, Any]:
    """The whole mapping of the two versions."""
    return {
        "dictionary": UNITED,
        "sources": [
            {
                "version_id": hanbit, "name": "hanbit", "title": {"ko": "한빛", "en": "Hanbit"},
                "tables": {
                    "people": {
                        "from": "patients",
                        "columns": {
                            "sex": {"from": "gender"},
                            "born": {"from": "yob"},
                            "weight": {"from": "weight"},
                        },
                        "left_out": {"ward": "no ward at the other hospital"},
                    },
                    "visits": {
                        "from": "encounters",
                        "columns": {
                            "visit": {"from": "no"},
                            "day": {"from": "day"},
                            "code": {"from": "dx", "by": "vocabulary",
                                     "params": {"codes": {"U07.1": "U07.3"}, "others": "unchanged"}},
                        },
                    },
                },
            },
            {
                "version_id": saebom, "name": "saebom",
                "tables": {
                    "people": {
                        "from": "person",
                        "columns": {
                            "sex": {"from": "sex", "by": "recode", "params": {"values": {"1": "M", "2": "F"}}},
                            "born": {"from": "born"},
                            "weight": {"from": "wt", "by": "unit", "params": {"units": {"g": {}, "kg": {}}}},
                        },
                    },
                    "visits": {
                        "from": "visit",
                        "columns": {"visit": {"from": "vid"}, "day": {"from": "on"}, "code": {"from": "code"}},
                    },
                },
            },
        ],
    }  # fmt: skip


@dataclass
class Side:
    """One institution: its cohort, its version and its people in their order."""

    institution_id: str
    cohort_id: str
    version_id: str
    keys: list[int]


@dataclass
class Two:
    """Both institutions, the united version, and the gate over them."""

    db: Database
    gate: Gate
    vault: Vault
    keyring: Keyring
    hanbit: Side
    saebom: Side
    version_id: str
    dictionary: Dictionary
    var: Path

    @property
    def linked(self) -> list[tuple[int, int]]:
        """The people who brought the same token to both."""
        return list(zip(self.hanbit.keys, self.saebom.keys, strict=False))

    def plan(self, *, linkage: bool = False, k: int = 5, **other: Any) -> Plan:
        """Everything that may leave of both tables."""
        drafted = draft(self.dictionary, None, [], Privacy(k=k, min_cell=5), self.version_id)
        return drafted.model_copy(update={"linkage": linkage, **other})

    def plan_of(self, columns: dict[str, list[str]], k: int) -> Plan:
        """These columns, and nobody left out for want of a reserve."""
        privacy = Privacy(k=k, reserve=0, min_cell=5)
        return draft(self.dictionary, columns, [], privacy, self.version_id)

    def names(self, project_id: str) -> dict[int, str]:
        """Participant key -> the pseudonym that follows from its random id, of everyone in both cohorts."""
        with self.db.read() as session:
            secret = self.keyring.unwrap(session.get_one(Project, project_id).key_wrapped or b"")
            people = session.scalars(select(Participant).order_by(Participant.key)).all()
        ids = np.frombuffer(b"".join(p.random_id for p in people), dtype=np.uint8).reshape(-1, 16)
        found = pseudonyms.pseudonyms(secret, ids)
        return {p.key: name.decode() for p, name in zip(people, found, strict=True)}

    def permit(self, plan: Plan, holder: str = "client:researcher") -> str:
        """A new project with an active permit and an ordered extract; the extract's id."""
        hash_ = plan_hash(plan)
        with self.db.unit_of_work() as session:
            request = AccessRequest(
                id=new_id("req"), version_id=self.version_id, cohort_id=None, applicant=holder, title="t",
                purpose=PURPOSE, plan=plan.model_dump(mode="json"), plan_hash=hash_, irb_reference="i", notes=[],
                end_date=date(2027, 6, 30), state="approved", created_at=NOW, submitted_at=NOW, decided_at=NOW,
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
                id=new_id("prm"), project_id=project.id, version_id=self.version_id, cohort_id=None,
                state="active", plan=plan.model_dump(mode="json"), plan_hash=hash_, dry_run_id=dry.id,
                purpose=PURPOSE, conditions=[], delivery="download", valid_until=date(2027, 6, 30),
                agreement_text="", agreement_digest="0" * 64, agreed_by=holder, agreed_at=NOW, created_at=NOW,
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

    def release(self, extract_id: str) -> Any:
        return self.gate.release(extract_id, lambda **_: None)

    def rows(self, extract_id: str, table: str, query: str = "SELECT * FROM parts") -> list[Any]:
        """Query the published parts of one table."""
        with self.db.read() as session:
            manifest = session.get_one(Extract, extract_id).manifest or {}
        parts = next(t["parts"] for t in manifest["tables"] if t["name"] == table)
        paths = [str(self.var / "outbox" / extract_id / p["name"]) for p in parts]
        con = duckdb.connect()
        con.execute(f"CREATE VIEW parts AS FROM read_parquet({paths!r})")
        return con.execute(query).fetchall()

    def withdraw(self, side: Side, key: int) -> None:
        """Take back every consent of a participant of one cohort."""
        with self.db.unit_of_work() as session:
            session.get_one(Consent, (key, "clinical")).state = "withdrawn"
            session.get_one(Cohort, side.cohort_id).epoch += 1

    def move_epoch(self, side: Side) -> None:
        """As any change of a register does."""
        with self.db.unit_of_work() as session:
            session.get_one(Cohort, side.cohort_id).epoch += 1

    def may_not_be_linked(self, key: int) -> None:
        with self.db.unit_of_work() as session:
            session.get_one(Participant, key).may_link = False


def make(
    db: Database,
    var: Path,
    people: int = 120,
    both: int = 40,
    *,
    clock: Clock | None = None,
    keyring: Keyring | None = None,
) -> Two:
    """Two cohorts of so many people each; the first `both` of them are the same people. On SQLite the second world of a
    kind in a process is a copy of what the first began with, unless it has a keyring of its own."""
    if keyring is None and db.is_sqlite and not inspect(db.engine).get_table_names():
        founded, tables, vault_of = _template(
            people, both, json.dumps([HANBIT, SAEBOM, UNITED, HANBIT_SQL, SAEBOM_SQL])
        )
        copy_into(tables, db)
        shutil.copytree(vault_of, var / "vault", dirs_exist_ok=True)
    else:
        founded = _found(db, var, people, both, keyring or Keyring(secrets.token_bytes(32)))
    vault, outbox = Vault.open(f"file://{var}/vault"), Outbox.open(f"file://{var}/outbox")
    tick: Clock = clock or _now
    held = engine("duckdb", Limits("1GB", 2, 100), vault)
    gate = Gate(db, tick, Settings(var=var), founded.keyring, held, outbox)
    hanbit, saebom = (replace(side, keys=[*side.keys]) for side in (founded.hanbit, founded.saebom))
    return Two(db, gate, vault, founded.keyring, hanbit, saebom, founded.version_id, founded.dictionary, var)


@dataclass(frozen=True)
class Founded:
    """What a database and a vault hold when a world of two begins."""

    keyring: Keyring
    hanbit: Side
    saebom: Side
    version_id: str
    dictionary: Dictionary


@cache
def _template(people: int, both: int, _said: str) -> tuple[Founded, sqlite3.Connection, Path]:
    """Founded once for what the documents of this file say, which a test may change: nobody changes it. The folder goes
    when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="baekman-united-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made: list[Founded] = []
    keyring = Keyring(secrets.token_bytes(32))
    tables = template(lambda db: made.append(_found(db, folder, people, both, keyring)))
    return made[0], tables, folder / "vault"


def _found(db: Database, var: Path, people: int, both: int, keyring: Keyring) -> Founded:
    with_tables(db)
    vault = Vault.open(f"file://{var}/vault")
    tokens = [secrets.token_bytes(16) for _ in range(both)]
    hanbit = _side(db, keyring, "Hanbit", HANBIT, people, tokens)
    saebom = _side(db, keyring, "Saebom", SAEBOM, people, tokens)
    numbered = "(SELECT key, row_number() OVER (ORDER BY key) - 1 AS nth FROM people) numbered"
    for side, queries in ((hanbit, HANBIT_SQL), (saebom, SAEBOM_SQL)):
        made = {name: query.replace("FROM numbered", f"FROM {numbered}") for name, query in queries.items()}
        fill_vault(db, vault, var, side.version_id, side.keys, made)
    with db.unit_of_work() as session:
        for table in session.scalars(select(VaultTable)):
            table.people = people
    document = mapping(hanbit.version_id, saebom.version_id)
    dictionary = united.dictionary_of(united.read(document))
    version_id = _published(db, hanbit, saebom, document, dictionary)
    return Founded(keyring, hanbit, saebom, version_id, dictionary)


def _now() -> datetime:
    return NOW


def _side(
    db: Database, keyring: Keyring, name: str, dictionary: dict[str, Any], people: int, tokens: list[bytes]
) -> Side:
    with db.unit_of_work() as session:
        institution = Institution(id=new_id("ins"), name=name, created_at=NOW)
        session.add(institution)
        session.flush()
        cohort = Cohort(id=new_id("coh"), institution_id=institution.id, name=name, consent_form={},
                        duo=[{"term": "HMB"}], identity_key_wrapped=keyring.new(), epoch=0, created_at=NOW)  # fmt: skip
        session.add(cohort)
        session.flush()
        dataset = Dataset(id=new_id("ds"), cohort_id=cohort.id, name="data", keywords=[], created_at=NOW)
        session.add(dataset)
        session.flush()
        version = DatasetVersion(id=new_id("ver"), dataset_id=dataset.id, number=1, state="published",
                                 dictionary=Dictionary.model_validate(dictionary).model_dump(mode="json"),
                                 dictionary_digest="0" * 64, report=None, people=people, created_at=NOW,
                                 published_at=NOW)  # fmt: skip
        session.add(version)
        rows = [
            Participant(cohort_id=cohort.id, identity=secrets.token_bytes(32), random_id=secrets.token_bytes(16),
                        created_at=NOW, linkage=tokens[i] if i < len(tokens) else None, may_link=i < len(tokens))
            for i in range(people)
        ]  # fmt: skip
        for row in rows:
            session.add(row)
            session.flush()
        keys = [row.key for row in rows]
        for key in keys:
            session.add(Consent(participant_key=key, domain="clinical", cohort_id=cohort.id, state="granted",
                                purposes=[], given_at=None, valid_until=None, changed_at=NOW))  # fmt: skip
        return Side(institution.id, cohort.id, version.id, keys)


def _published(db: Database, one: Side, other: Side, document: dict[str, Any], dictionary: Dictionary) -> str:
    with db.unit_of_work() as session:
        dataset = Dataset(id=new_id("ds"), cohort_id=None, name="united", keywords=[], created_at=NOW)
        session.add(dataset)
        session.flush()
        version = DatasetVersion(id=new_id("ver"), dataset_id=dataset.id, number=1, state="published",
                                 dictionary=dictionary.model_dump(mode="json"), dictionary_digest="0" * 64,
                                 report=None, people=0, created_at=NOW, published_at=NOW)  # fmt: skip
        session.add(version)
        session.flush()
        for name, side in (("hanbit", one), ("saebom", other)):
            session.add(VersionSource(version_id=version.id, source_version_id=side.version_id, name=name))
        session.add(
            Integration(id=new_id("int"), institution_id=one.institution_id, dataset_id=dataset.id, number=1,
                        state="published", mapping=document, mapping_digest="0" * 64, report=None,
                        version_id=version.id, created_at=NOW, published_at=NOW)
        )  # fmt: skip
        return version.id
