"""A service that dies and is begun again, and a client that goes on where it stood; each round over a copied world."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2
from sqlalchemy import select

from app.db import Database
from app.jobs.cancelling import ALIVE
from app.models import Extract, Job, Upload
from tests.acceptance.second_cohort.cohort import SecondCohort, second_cohort
from tests.acceptance.service import Service
from tests.faults.sound import Acknowledged

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
TABLES = {"people": ["성별", "흡연"], "lab": ["검사코드", "결과값"]}
KEPT = ("people", "lab", "code_book")  # of the cohort's tables; the others would cost time alone
SETTINGS: dict[str, Any] = {"rows_per_part": 100, "jobs_poll_seconds": 0.02, "engine_threads": 1}
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}


class Zygote:
    """The process that lives are forked from."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": ".", "OPENBLAS_NUM_THREADS": "1"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, **said: Any) -> dict[str, Any]:
        """Its answer to one order."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(said, default=str) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it, and whatever life is left of it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass
class Worlds:
    """Two moments of one story to begin rounds from: nothing ordered yet, and an extract that is handed out."""

    cohort: SecondCohort
    before: Path
    after: Path
    ids: dict[str, str]
    secrets: dict[str, tuple[str, str]]
    pseudonym: str
    leaving: str


def worlds(folder: Path, database_url: Callable[[str], str] | None = None) -> Worlds:
    """Play the story once. `database_url`: of the database of each moment, where it is no file in the folder."""
    cohort, var = second_cohort(people=160), folder / "var"
    leaving = cohort.people[0]
    url = database_url("playing") if database_url else None
    service = Service(var, url, **SETTINGS)
    try:
        service.open()
        cohort.dictionary["tables"] = [one for one in cohort.dictionary["tables"] if one["name"] in KEPT]
        service.register_cohort(cohort.dictionary, [{"term": "HMB"}])
        for table in ("consents", *KEPT):
            service.upload(table, cohort.consents if table == "consents" else cohort.files[table])
        service.drain()
        service.publish()
        permit = service.approve(service.request(TABLES))
        service.accept(permit)
        service.draft(cohort.dictionary)
        service.db.dispose()
        shutil.copytree(var, folder / "before")
        if database_url:
            database_url("before")
        service.extract(permit)
        pseudonym = service.pseudonym(leaving)
        service.db.dispose()
        shutil.copytree(var, folder / "after")
        if database_url:
            database_url("after")
        return Worlds(
            cohort,
            folder / "before",
            folder / "after",
            dict(service.ids),
            dict(service._secrets),
            pseudonym,
            leaving,
        )
    finally:
        service.close()


@dataclass
class Round:
    """One installation: its processes, its client, and what the client was told."""

    zygote: Zygote
    world: Worlds
    settings: dict[str, Any]
    roles: Sequence[str]
    chance: Random
    told: Acknowledged = field(default_factory=Acknowledged)
    state: dict[str, Any] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    http: httpx2.Client = field(default_factory=httpx2.Client)

    @property
    def var(self) -> Path:
        """The folder of the installation."""
        return Path(self.settings["var"])

    # -- lives

    def begin(self, role: str, die_at: int | None = None) -> None:
        """One process of the installation; it may die while it starts, and then it is begun again without a death."""
        for at in (die_at, None):
            told = self.zygote.ask(
                settings={**self.settings, "jobs": "embedded" if role == "embedded" else "separate"},
                role=role, die_at=at, log=str(self.var / "log"),
            )  # fmt: skip
            if told["port"] is not None:
                break
            assert self.zygote.ask(wait=told["pid"])["status"] == -signal.SIGKILL, self.log()
        self.pids[role] = told["pid"]
        if not role.startswith("worker"):
            self.http.close()
            self.http = httpx2.Client(base_url=f"http://127.0.0.1:{told['port']}", timeout=60)

    def buried(self) -> list[str]:
        """The roles whose processes have died; any end but by kill -9 is a failure."""
        end = time.monotonic() + 10  # a broken connection is seen a little before the process is gone
        while not (dead := [role for role, pid in self.pids.items() if _gone(pid)]):
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)
        for role in dead:
            assert self.zygote.ask(wait=self.pids.pop(role))["status"] == -signal.SIGKILL, self.log()
        return dead

    def kill(self, role: str) -> None:
        """kill -9."""
        os.kill(self.pids[role], signal.SIGKILL)
        self.zygote.ask(wait=self.pids.pop(role))

    def kill_quietly(self, role: str) -> None:
        """kill -9, wherever it is; who plays finds it dead."""
        if (pid := self.pids.get(role)) is not None:
            os.kill(pid, signal.SIGKILL)

    def arm(self) -> None:
        """From now on effects count."""
        (self.var / "armed").touch()

    def disarm(self) -> None:
        """Effects count no more."""
        (self.var / "armed").unlink(missing_ok=True)

    def log(self) -> str:
        """The end of what the processes said."""
        path = self.var / "log"
        return path.read_text()[-3000:] if path.exists() else ""

    # -- the client

    def sign_in(self) -> None:
        """Tokens of those who act."""
        for who in ("hospital", "researcher"):
            answer = self.http.post(
                "/oauth/token", data={"grant_type": "client_credentials"}, auth=self.world.secrets[who]
            )
            assert answer.status_code == 200, answer.text
            self.tokens[who] = answer.json()["access_token"]

    def call(self, who: str, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        """The answer to one request that may be repeated; a problem on our side is none."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}", **more.pop("headers", {})}
        answer = self.http.request(method, path, json=body, headers=headers, **more)
        assert answer.status_code != 500, (method, path, answer.text, self.log())
        return answer

    def ok(self, who: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The JSON of an answer of success."""
        answer = self.call(who, method, path, body, **more)
        assert answer.status_code < 300, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def until(self, look: Callable[[], Any]) -> Any:
        """What `look` finds, once it finds something; a process that died meanwhile is a broken connection."""
        end = time.monotonic() + PATIENCE
        while not (found := look()):
            assert time.monotonic() < end, f"it did not happen in time\n{self.log()}"
            if any(_gone(pid) for pid in self.pids.values()):
                raise httpx2.ReadError("a process has died")
            time.sleep(0.05)
        return found

    # -- what is done meanwhile: each goes on where it stood

    def upload(self) -> None:
        """A table by tus, in two pieces, until its check has an outcome."""
        content, length = self.world.cohort.files["code_book"], len(self.world.cohort.files["code_book"])
        if "place" not in self.state:
            said = {"purpose": "table", "version": self.world.ids["version"], "table": "code_book"}
            meta = ",".join(f"{k} {b64encode(v.encode()).decode()}" for k, v in said.items())
            headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": meta}
            made = self.call("hospital", "POST", "/v1/uploads", headers=headers)
            assert made.status_code == 201, made.text
            self.state["place"] = made.headers["Location"]
            self.told.rows.append((Upload, self.id))
            self.told.received[self.id] = 0
        stands = self.call("hospital", "HEAD", self.state["place"], headers=TUS)
        assert stands.status_code == 200, stands.text
        at = int(stands.headers["Upload-Offset"])
        assert at >= self.told.received[self.id], "acknowledged bytes are lost"
        while at < length:
            piece = content[at : at + -(-length // 2)]
            headers = {**BYTES, "Upload-Offset": str(at)}
            done = self.call("hospital", "PATCH", self.state["place"], headers=headers, content=piece)
            assert done.status_code == 204, done.text
            self.told.received[self.id] = at = int(done.headers["Upload-Offset"])
        ends = ("accepted", "quarantined", "rejected", "expired")
        view = self.until(lambda: _in(self.ok("hospital", "GET", self.state["place"]), ends))
        assert (view["state"], view["sha256"]) == ("accepted", hashlib.sha256(content).hexdigest()), view

    @property
    def id(self) -> str:
        """The upload of this round."""
        return str(self.state["place"]).rsplit("/", 1)[1]

    def build(self) -> None:
        """An order, until the extract can be fetched; every byte of it."""
        if "extract" not in self.state:
            body = {"permit_id": self.world.ids["permit"]}
            made = self.ok("researcher", "POST", "/v1/extracts", body, headers={"Idempotency-Key": "order-1"})
            self.state["extract"] = made["id"]
            self.told.rows.append((Extract, made["id"]))
        self.until(
            lambda: _in(self.ok("researcher", "GET", f"/v1/extracts/{self.state['extract']}"), ("ready",))
        )
        self.fetch_all()

    def withdrawal(self) -> None:
        """Somebody leaves for good: from the answer on no byte of theirs flows, and the next generation is without."""
        if "withdrawal" not in self.state:
            path = f"/v1/cohorts/{self.world.ids['cohort']}/withdrawals"
            body = {"participant": self.world.leaving, "kind": "destroy"}
            taken = self.ok("hospital", "POST", path, body, headers={"Idempotency-Key": "paper-1"})
            self.state["withdrawal"] = taken["id"]
            self.told.withdrawals.append(taken["id"])
        if self.state.get("arm later"):
            self.arm()
        self.nothing_of_them_flows()
        path = f"/v1/withdrawals/{self.state['withdrawal']}"
        self.until(lambda: _in(self.ok("hospital", "GET", path), ("closed",)))
        for content in self.fetch_all():
            assert self.world.pseudonym.encode() not in content

    def reissue(self) -> None:
        """The same; the process dies only after the answer."""
        self.state["arm later"] = True
        self.withdrawal()

    def nothing_of_them_flows(self) -> None:
        """No part, of any generation, that can be read now holds them."""
        extract = self.world.ids["extract"]
        view = self.ok("researcher", "GET", f"/v1/extracts/{extract}")
        for part in view["parts"]:
            answer = self.call("researcher", "GET", f"/v1/extracts/{extract}/files/{part['name']}")
            assert answer.status_code in (200, 410, 503), answer.text
            assert answer.status_code != 200 or self.world.pseudonym.encode() not in answer.content

    def fetch_all(self) -> list[bytes]:
        """Every part of the newest manifest, each checked against its digest."""
        extract, found = self.state.get("extract", self.world.ids["extract"]), []

        def manifest() -> list[Any]:
            said = self.ok("researcher", "GET", f"/v1/extracts/{extract}/manifest")
            return [part for table in said["tables"] for part in table["parts"]]

        for part in manifest():
            answer = self.call("researcher", "GET", f"/v1/extracts/{extract}/files/{part['name']}")
            assert answer.status_code == 200, answer.text
            assert hashlib.sha256(answer.content).hexdigest() == part["sha256"]
            found.append(answer.content)
        assert found
        return found

    # -- the end

    def drained(self) -> bool:
        """Whether no job is left."""
        db = Database(self.settings.get("database_url") or f"sqlite:///{self.var / 'baekman.db'}")
        try:
            with db.read() as session:
                return session.scalar(select(Job.id).where(Job.state.in_(ALIVE)).limit(1)) is None
        finally:
            db.dispose()

    def close(self) -> None:
        """End every life."""
        self.http.close()
        for role in list(self.pids):
            self.kill(role)


@contextmanager
def played(round_: Round) -> Iterator[Round]:
    """The round, closed at its end."""
    try:
        yield round_
    finally:
        round_.close()


def _gone(pid: int) -> bool:
    """Whether the process has ended; the zygote has not collected it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _in(view: dict[str, Any], states: Sequence[str]) -> dict[str, Any] | None:
    assert view["state"] != "failed", view
    return view if view["state"] in states else None
