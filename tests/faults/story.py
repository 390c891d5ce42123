"""The whole story over a service whose store fails at random: a client that asks again, and jobs that are tried again.

Requests and jobs take turns in one thread, so that a seed tells which of the store's requests fails, and how.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from httpx2 import Response
from sqlalchemy import func, select

from app.jobs import Rules
from app.jobs.cancelling import ALIVE
from app.jobs.engine import InlineEngine
from app.main import build, sweep_half_stored
from app.models import Extract, Job, Upload
from app.settings import Settings
from app.storage.kinds import open_store
from tests.acceptance.second_cohort.cohort import SecondCohort
from tests.acceptance.service import Service
from tests.faults.lives import BYTES, KEPT, TABLES, TUS
from tests.faults.proxy import Proxy
from tests.faults.sound import ROOMS, Acknowledged, Places, must_be_sound
from tests.s3 import Server

PATIENCE = 60  # times that anything is asked again, or tried
WITHDRAWN = (410, 503)


class Patient(Service):
    """Whoever is told that the store does not answer asks again; a download that ended short is fetched again."""

    def __init__(self, folder: Path, proxy: Proxy, **settings: Any) -> None:
        super().__init__(folder, None, **settings)
        self.proxy, self.told, self.again = proxy, Acknowledged(), 0
        self.jobs = InlineEngine(self.db, self.now, self.jobs.tasks, Rules(most_tries=PATIENCE))

    def call(self, who: str | None, method: str, path: str, body: Any = None, **more: Any) -> Response:
        """The answer that is none of a store's silence, and whole."""
        for _ in range(PATIENCE):
            answer = super().call(who, method, path, body, **more)
            assert answer.status_code != 500, (method, path, answer.text)
            if answer.status_code == 401 and who is not None:  # the clock was moved past its token's end
                self.sign_in(who)
                continue
            announced = int(answer.headers.get("Content-Length", len(answer.content)))
            silent = answer.status_code == 503 and (  # an answer to HEAD has no words
                method == "HEAD" or answer.json()["code"] == "store_unavailable"
            )
            if silent:
                assert answer.headers["Retry-After"], path
            elif method == "HEAD" or announced == len(answer.content):
                return answer
            self.again += 1
            self.now.at += timedelta(seconds=30)
        raise AssertionError(f"{method} {path} never came through")

    def drain(self) -> None:
        """Run every job, and those that wait for another try at their time."""
        for _ in range(10 * PATIENCE):
            self.jobs.drain()
            with self.db.read() as session:
                left = session.execute(
                    select(func.count(), func.min(Job.not_before)).where(Job.state.in_(ALIVE))
                )
                count, due = left.one()
            if not count:
                assert not self.given_up(), self.given_up()
                return
            assert due is not None
            self.now.at = max(self.now.at, due)
        raise AssertionError("the queue does not drain")

    def given_up(self) -> list[Any]:
        """What was tried too often."""
        with self.db.read() as session:
            query = select(Job.kind, Job.state, Job.attempt, Job.failure)
            return [tuple(one) for one in session.execute(query.where(Job.state.in_(("parked", "failed"))))]

    def tried_again(self) -> int:
        """How many jobs were tried again."""
        with self.db.read() as session:
            return session.scalar(select(func.count()).where(Job.state == "retried")) or 0

    # -- the story

    def play(self, cohort: SecondCohort) -> None:
        """Register, upload, publish, ask, approve, build, download, withdraw, build anew, download."""
        self.open()
        dictionary = {**cohort.dictionary}
        dictionary["tables"] = [one for one in dictionary["tables"] if one["name"] in KEPT]
        self.register_cohort(dictionary, [{"term": "HMB"}])
        self.upload("consents", cohort.consents)
        for table in KEPT:
            self.send(table, cohort.files[table])
        self.drain()
        self.publish()
        extract = self.extract(self.approve(self.request(TABLES)))
        self.told.rows.append((Extract, extract))
        self.must_hold(extract, None)
        leaving, pseudonym = cohort.people[0], self.pseudonym(cohort.people[0])
        body = {"participant": leaving, "kind": "destroy"}
        taken = self.ok(
            "hospital", "POST", f"/v1/cohorts/{self.ids['cohort']}/withdrawals", body,
            headers={"Idempotency-Key": "paper-1"},
        )  # fmt: skip
        self.told.withdrawals.append(taken["id"])
        self.nothing_flows(extract, pseudonym)
        self.drain()
        self.must_hold(extract, pseudonym)
        assert not self.knows(leaving)

    def send(self, table: str, content: bytes) -> None:
        """A table by tus in two pieces; where a piece was not acknowledged it is asked how far it came."""
        said = {"purpose": "table", "version": self.ids["version"], "table": table}
        meta = ",".join(f"{k} {b64encode(v.encode()).decode()}" for k, v in said.items())
        headers = {**TUS, "Upload-Length": str(len(content)), "Upload-Metadata": meta}
        made = self.call("hospital", "POST", "/v1/uploads", headers=headers)
        assert made.status_code == 201, made.text
        place = made.headers["Location"]
        upload = place.rsplit("/", 1)[1]
        self.told.rows.append((Upload, upload))
        for _ in range(PATIENCE):
            stands = self.call("hospital", "HEAD", place, headers=TUS)
            at = int(stands.headers["Upload-Offset"])
            assert at >= self.told.received.get(upload, 0), "acknowledged bytes are lost"
            if at == len(content):
                return
            headers = {**BYTES, "Upload-Offset": str(at)}
            piece = content[at : at + -(-len(content) // 2)]
            done = super().call("hospital", "PATCH", place, headers=headers, content=piece)
            assert done.status_code in (204, 503), done.text
            if done.status_code == 204:
                self.told.received[upload] = int(done.headers["Upload-Offset"])
            else:
                self.again += 1
        raise AssertionError("the upload never came through")

    def nothing_flows(self, extract: str, pseudonym: str) -> None:
        """From the answer on no part that can be read holds them."""
        for part in self.ok("researcher", "GET", f"/v1/extracts/{extract}")["parts"]:
            answer = Service.call(self, "researcher", "GET", f"/v1/extracts/{extract}/files/{part['name']}")
            assert answer.status_code in (200, *WITHDRAWN), answer.text
            assert pseudonym.encode() not in answer.content

    def must_hold(self, extract: str, without: str | None) -> None:
        """The newest generation is there whole, each part with its digest; nobody who left is in it."""
        found = [content for parts in self.download(extract).values() for content in parts]
        assert found
        assert all(without is None or without.encode() not in content for content in found)


def sound_afterwards(service: Patient, settings: dict[str, Any], server: Server, folder: Path) -> None:
    """What the chores of a day sweep is swept; then everything holds, in the rows and in the rooms of the server."""
    built = build(Settings(_env_file=None, **settings), service.now)
    try:
        built.house.uploads.expire_due()
        built.house.extracts.sweep_half_published()
        sweep_half_stored(built, timedelta(seconds=-5))
        built.destruction.sweep(older_than=timedelta(seconds=-5))
        rooms = {room: mirrored(settings[f"{room}_url"], server, room, folder / room) for room in ROOMS}
        var = Path(settings["var"])
        must_be_sound(built.db, Places(rooms, (var / "spill",), var / "withdrawals.journal"), service.told)
    finally:
        built.db.dispose()


def mirrored(url: str, server: Server, room: str, folder: Path) -> Path:
    """What a room of the server holds, as a folder; of what lies half written there only the name."""
    store = open_store(url, server.access(room))
    names: Sequence[str] = [meta["path"] for batch in store._objects.list() for meta in batch]
    folder.mkdir(parents=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if name.startswith("staging/") else store.fetch(name, path)
    return folder
