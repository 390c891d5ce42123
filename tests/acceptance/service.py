"""The whole service in this process, over its real routes, tokens, gate and folders; jobs run when a test says so."""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from httpx2 import Response
from sqlalchemy import select
from starlette.testclient import TestClient

from app.auth.policy import ROLE_SCOPES
from app.consents.register import find
from app.jobs import execute
from app.jobs.engine import InlineEngine
from app.main import build
from app.models import AuditLine, Cohort, Job, Participant, Permit, Project
from app.settings import Settings
from tests import doors
from tests.schema import with_migrations

FORM = {
    "version": "2.1",
    "language": "ko",
    "sha256": hashlib.sha256("동의서".encode()).hexdigest(),
    "domains": ["clinical", "genomic", "lifelog", "public", "recontact"],
}
PURPOSE = {"term": "HMB", "country": "KR", "irb": True, "commercial": False}


@dataclass
class Now:
    """A clock that stands still until it is moved; the second part of a test can so lie in next year."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at


class Service:
    """A house of its own under `folder`. `call` speaks as somebody who holds a real token of `client_credentials`."""

    def __init__(self, folder: Path, database_url: str | None = None, **settings: Any) -> None:
        self.settings = Settings(_env_file=None, var=folder, database_url=database_url, **settings)
        self.now = Now(datetime.now(UTC).replace(microsecond=0))
        built = build(self.settings, self.now)
        self.db, self.house = built.db, built.house
        with_migrations(self.db)
        self.app = doors.before(built.house)
        self.http = TestClient(self.app, base_url=self.settings.public_url, raise_server_exceptions=False)
        self.jobs = InlineEngine(built.db, self.now, built.tasks)
        self._secrets: dict[str, tuple[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        first = built.house.auth.bootstrap()
        assert first is not None
        self._secrets["platform"] = (first["client_id"], first["client_secret"])
        self.sign_in("platform")

    def close(self) -> None:
        """Give the database back."""
        self.http.close()
        self.db.dispose()
        doors.back(self.app)

    # -- who

    def sign_in(self, who: str, scopes: str | None = None) -> str:
        """A fresh token of somebody; everything their role allows, or `scopes`."""
        form = {"grant_type": "client_credentials", **({"scope": scopes} if scopes else {})}
        answer = self.http.post("/oauth/token", data=form, auth=self._secrets[who])
        assert answer.status_code == 200, answer.text
        self.tokens[who] = answer.json()["access_token"]
        return self.tokens[who]

    def identity(self, who: str, role: str, institution_id: str | None = None, **other: Any) -> None:
        """Register a client under the name `who` and sign it in."""
        body: dict[str, Any] = {
            "name": who,
            "role": role,
            "scopes": sorted(map(str, ROLE_SCOPES[role])),
            **other,
        }
        if institution_id:
            body["institution_id"] = institution_id
        made = self.ok("platform", "POST", "/v1/clients", body)
        self._secrets[who] = (made["id"], made["client_secret"])
        self.sign_in(who)

    def client_id(self, who: str) -> str:
        """The id of somebody's client."""
        return self._secrets[who][0]

    def open(self) -> None:
        """Two institutions, two stewards, two researchers: the second of each must not see what is the first's."""
        for who in ("hospital", "neighbour"):
            self.ids[who] = self.ok("platform", "POST", "/v1/institutions", {"name": who})["id"]
            self.identity(who, "institution", self.ids[who])
        self.identity("steward", "steward")
        self.identity("neighbour steward", "steward", self.ids["neighbour"])
        self.identity("researcher", "researcher")
        self.identity("other researcher", "researcher")

    # -- calls

    def call(self, who: str | None, method: str, path: str, body: Any = None, **more: Any) -> Response:
        """The answer to one request; `headers` and `content` may be given."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        return self.http.request(method, path, json=body, headers=headers, **more)

    def ok(self, who: str | None, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The JSON of an answer that must be one of success."""
        answer = self.call(who, method, path, body, **more)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def refused(
        self, status: int, code: str, who: str | None, method: str, path: str, body: Any = None, **more: Any
    ) -> dict[str, Any]:
        """The problem document of an answer that must be this refusal."""
        answer = self.call(who, method, path, body, **more)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        found: dict[str, Any] = answer.json()
        assert (answer.status_code, found["code"], found["status"]) == (status, code, status), answer.text
        return found

    def drain(self) -> None:
        """Run every job that waits, and those that they order."""
        self.jobs.drain()

    def run(self, kind: str) -> int:
        """Run only the jobs of a kind that wait now, and none that they order; how many there were."""
        with self.db.read() as session:
            waiting = select(Job.id).where(Job.state == "waiting", Job.kind == kind).order_by(Job.id)
            ids = list(session.scalars(waiting))
        for job_id in ids:
            execute(self.db, self.now, self.jobs.tasks, job_id)
        return len(ids)

    # -- the institution

    def register_cohort(self, dictionary: Mapping[str, Any], duo: Sequence[Mapping[str, Any]]) -> None:
        """A cohort, a dataset and a draft version with its dictionary."""
        cohort = {"name": "Cohort", "name_ko": "코호트", "consent_form": FORM, "duo": list(duo)}
        self.ids["cohort"] = self.ok("hospital", "POST", "/v1/cohorts", cohort)["id"]
        body = {"name": "Claims", "name_ko": "청구", "keywords": ["검사"]}
        self.ids["dataset"] = self.ok("hospital", "POST", f"/v1/cohorts/{self.ids['cohort']}/datasets", body)[
            "id"
        ]
        self.draft(dictionary)

    def draft(self, dictionary: Mapping[str, Any]) -> None:
        """A new draft version with its dictionary."""
        version = self.ok("hospital", "POST", f"/v1/datasets/{self.ids['dataset']}/versions")
        self.ids["version"] = version["id"]
        tag = {"If-Match": f'"{version["revision"]}"'}
        path = f"/v1/versions/{version['id']}/dictionary"
        self.ok("hospital", "PUT", path, dict(dictionary), headers=tag)

    def upload(self, table: str, content: bytes) -> str:
        """Send a table, or `consents`; the upload's URL. It is checked by the next `drain`."""
        path = f"/v1/versions/{self.ids['version']}/tables/{table}"
        if table == "consents":
            path = f"/v1/cohorts/{self.ids['cohort']}/consents"
        answer = self.call("hospital", "PUT", path, content=content)
        assert answer.status_code == 202, answer.text
        return str(answer.headers["Location"])

    def publish(self) -> dict[str, Any]:
        """Submit, let the checks run, hand in for review, publish; the report that the steward read."""
        version = f"/v1/versions/{self.ids['version']}"
        self.ok("hospital", "POST", f"{version}/submit")
        self.drain()
        checked = self.ok("hospital", "GET", version)
        assert checked["state"] == "ready", self.ok("hospital", "GET", f"{version}/report")
        self.ok("hospital", "POST", f"{version}/submit")
        report: dict[str, Any] = self.ok("steward", "GET", f"{version}/report")["report"]
        self.ok("steward", "POST", f"{version}/publish")
        return report

    # -- researcher and steward

    def asking(self, tables: Mapping[str, Sequence[str]], **other: Any) -> dict[str, Any]:
        """The body of an access request."""
        body = {
            "version_id": self.ids["version"],
            "title": "Smoking and glucose",
            "purpose": PURPOSE,
            "tables": {name: list(columns) for name, columns in tables.items()},
            "irb_reference": "IRB 2026-041",
            "end_date": (self.now().date() + timedelta(days=300)).isoformat(),
        }
        return {**body, **other}

    def request(self, tables: Mapping[str, Sequence[str]], **other: Any) -> str:
        """File and submit an access request; its id."""
        made = self.ok("researcher", "POST", "/v1/requests", self.asking(tables, **other))
        self.ids["request"] = made["id"]
        self.ok("researcher", "POST", f"/v1/requests/{made['id']}/submit")
        return str(made["id"])

    def review(self, request: str) -> None:
        """Claim a request and settle its boards."""
        path = f"/v1/requests/{request}"
        self.ok("steward", "POST", f"{path}/claim")
        for board, state in (("DRB", "approved"), ("IRB", "exempt")):
            self.ok("steward", "POST", f"{path}/reviews", {"board": board, "state": state, "note": "적정"})

    def dry_run(self, request: str) -> dict[str, Any]:
        """Order a dry run and let it run; what the steward sees."""
        self.ok("steward", "POST", f"/v1/requests/{request}/dry-run")
        self.drain()
        found: dict[str, Any] = self.ok("steward", "GET", f"/v1/requests/{request}/dry-run")
        assert found["state"] == "ready", self.failed_jobs()
        return found

    def approval(self, request: str) -> dict[str, Any]:
        """The body of an approval of the plan as it stands."""
        plan_hash = self.ok("steward", "GET", f"/v1/requests/{request}")["plan_hash"]
        return {"decision": "approve", "plan_hash": plan_hash, "note": "승인"}

    def approve(self, request: str) -> str:
        """Review, dry run, decision; the permit's id."""
        self.review(request)
        self.dry_run(request)
        decided = self.ok("steward", "POST", f"/v1/requests/{request}/decision", self.approval(request))
        self.ids["permit"] = decided["permit_id"]
        return str(decided["permit_id"])

    def accept(self, permit: str) -> None:
        """The researcher accepts the data use agreement."""
        digest = self.ok("researcher", "GET", f"/v1/permits/{permit}/agreement")["digest"]
        self.ok("researcher", "POST", f"/v1/permits/{permit}/agreement", {"digest": digest})

    def extract(self, permit: str) -> str:
        """Accept, order, build; the extract's id."""
        self.accept(permit)
        made = self.ok("researcher", "POST", "/v1/extracts", {"permit_id": permit})
        self.drain()
        found = self.ok("researcher", "GET", f"/v1/extracts/{made['id']}")
        assert found["state"] == "ready", found["failure"]
        self.ids["extract"] = made["id"]
        return str(made["id"])

    def parts(self, extract: str) -> dict[str, dict[str, Any]]:
        """The parts of the newest manifest by name, each with its table."""
        manifest = self.ok("researcher", "GET", f"/v1/extracts/{extract}/manifest")
        return {p["name"]: {**p, "table": t["name"]} for t in manifest["tables"] for p in t["parts"]}

    def fetch(self, extract: str, name: str) -> Response:
        """One part, or its refusal."""
        return self.call("researcher", "GET", f"/v1/extracts/{extract}/files/{name}")

    def download(self, extract: str) -> dict[str, list[bytes]]:
        """Every part of the newest generation by table, each checked against its sha-256."""
        found: dict[str, list[bytes]] = {}
        for name, part in self.parts(extract).items():
            answer = self.fetch(extract, name)
            assert answer.status_code == 200, answer.text
            assert hashlib.sha256(answer.content).hexdigest() == part["sha256"]
            found.setdefault(part["table"], []).append(answer.content)
        return found

    # -- what no API tells

    def key(self, source: str) -> int:
        """The participant key of the person whom the institution knows by `source`."""
        with self.db.read() as session:
            cohort = session.get_one(Cohort, self.ids["cohort"])
            found = find(session, self.house.withdrawals.keyring, cohort, source)
        assert found is not None
        return found

    def knows(self, source: str) -> bool:
        """Whether the person is a participant of the cohort; who was destroyed is none any more."""
        with self.db.read() as session:
            cohort = session.get_one(Cohort, self.ids["cohort"])
            return find(session, self.house.withdrawals.keyring, cohort, source) is not None

    def pseudonym(self, source: str) -> str:
        """How the holder of the permit in `ids` knows the person whom the institution knows by `source`.

        Computed anew from its definition: half of the id's block under AES-256 with a subkey of the project's key."""
        keyring = self.house.withdrawals.keyring
        key = self.key(source)
        with self.db.read() as session:
            project = session.get_one(Project, session.get_one(Permit, self.ids["permit"]).project_id)
            random_id = session.get_one(Participant, key).random_id
            secret = keyring.unwrap(project.key_wrapped or b"")
        subkey = hmac.digest(secret, b"baekman/1 pseudonym\x01", "sha256")
        return Cipher(algorithms.AES(subkey), modes.ECB()).encryptor().update(random_id)[:8].hex()

    # -- what the service said

    def failed_jobs(self) -> list[Any]:
        """The failures of all jobs, also of those that were tried again and ended well."""
        with self.db.read() as session:
            return [[job.kind, job.failure] for job in session.scalars(select(Job)) if job.failure]

    def streams(self) -> list[str]:
        """Every audit stream that was begun."""
        with self.db.read() as session:
            return sorted(session.scalars(select(AuditLine.stream).distinct()))


@contextmanager
def opened(folder: Path, database_url: str | None = None, **settings: Any) -> Iterator[Service]:
    """A service with its identities, closed at the end."""
    made = Service(folder, database_url, **settings)
    try:
        made.open()
        yield made
    finally:
        made.close()


def table_of(parts: Sequence[bytes]) -> pa.Table:
    """All parts of one table as one."""
    return pa.concat_tables(pq.read_table(io.BytesIO(part)) for part in parts)
