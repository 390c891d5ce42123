"""The four kinds of clients of a load: who reads, uploads, extracts and withdraws, each as fast as it is answered."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx2

PATIENCE = 600.0  # seconds until what a client ordered must have ended, after its time is over too
PIECES = 3  # of an upload
POLL = 0.5
# Answers that are neither success nor too much: a part that holds somebody who left meanwhile.
CUT = "ended short, its part was withdrawn"
CLOSED = ("410 part_withdrawn", "503 part_checking", CUT)


@dataclass(frozen=True)
class Ground:
    """What the clients know: the service, tokens and ids by name, drafts to upload into, people who may leave."""

    url: str
    tokens: dict[str, str]
    ids: dict[str, str]
    drafts: list[str]
    table: bytes
    people: list[str]
    asking: dict[str, Any]
    taken: list[tuple[float, float]] = field(default_factory=list)
    """When each withdrawal was said, and answered."""

    def closed_a_part(self, begun: float, ended: float) -> bool:
        """Whether a withdrawal was taken in between: every extract that holds the person is closed at once, and opened
        again but for their parts."""
        return any(said < ended and begun < answered for said, answered in self.taken)


class Stopped(Exception):
    """A round was refused in the middle; what was refused is counted."""


class Closed(Stopped):
    """A withdrawal closed what was asked for: it may be asked for again."""


class Client(ABC):
    """One connection. `times`: seconds of single requests; `answers`: what came back; `rounds`: what was done whole."""

    kind: ClassVar[str]

    def __init__(self, ground: Ground, number: int) -> None:
        self.ground, self.number = ground, number
        self.times: list[float] = []
        self.answers: Counter[str] = Counter()
        self.rounds = 0
        self.took: list[float] = []
        self.chance = random.Random(f"{self.kind} {number}")
        self.until = 0.0

    async def play(self, until: float) -> None:
        """Round after round until then."""
        self.until = until
        async with httpx2.AsyncClient(base_url=self.ground.url, timeout=120, verify=False) as self.http:
            while time.monotonic() < until:
                begun = time.monotonic()
                try:
                    await self.round()
                except Stopped:
                    await asyncio.sleep(POLL)
                else:
                    self.rounds += 1
                    self.took.append(time.monotonic() - begun)

    @abstractmethod
    async def round(self) -> None:
        """What this kind of client does, once."""

    async def ask(
        self, who: str | None, method: str, path: str, body: Any = None, **more: Any
    ) -> httpx2.Response:
        """One request, timed and counted; `Stopped` where it was no success."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.ground.tokens[who]}"
        begun = time.perf_counter()
        try:
            answer = await self.http.request(method, path, json=body, headers=headers, **more)
        except httpx2.RemoteProtocolError as error:
            # A part that is closed while it is sent ends short; asked again it says whether it is closed still.
            ended = time.perf_counter()
            closed = "/files/" in path and (await self._again(path, headers)) in (410, 503)
            if closed or ("/files/" in path and self.ground.closed_a_part(begun, ended)):
                self.answers[CUT] += 1
                raise Closed from None
            self.answers[f"no answer: {type(error).__name__} {method} {_shape(path)}"] += 1
            raise Stopped from None
        except httpx2.HTTPError as error:
            self.answers[f"no answer: {type(error).__name__} {method} {_shape(path)}"] += 1
            raise Stopped from None
        self.times.append(time.perf_counter() - begun)
        if answer.status_code < 400:
            self.answers[str(answer.status_code)] += 1
            return answer
        told = answer.json() if answer.headers["content-type"] == "application/problem+json" else {}
        name = f"{answer.status_code} {told.get('code', '')}"
        self.answers[name if name in CLOSED else f"{name} {method} {_shape(path)}"] += 1
        raise Closed if name in CLOSED else Stopped

    async def _again(self, path: str, headers: dict[str, str]) -> int:
        try:
            return (await self.http.request("HEAD", path, headers=headers)).status_code
        except httpx2.HTTPError:
            return 0

    async def watched(self, who: str, path: str, ends: tuple[str, ...]) -> dict[str, Any]:
        """Ask until the state is one of these; what does not end is counted and `Stopped`."""
        while time.monotonic() < self.until + PATIENCE:
            found: dict[str, Any] = (await self.ask(who, "GET", path)).json()
            if found["state"] in ends:
                return found
            await asyncio.sleep(POLL)
        self.answers[f"never ended GET {_shape(path)}"] += 1
        raise Stopped


class Reading(Client):
    """Looks at what its role may see; every tenth round it downloads a part."""

    kind = "reading"

    async def round(self) -> None:
        """One page of somebody's."""
        ids = self.ground.ids
        extract = f"/v1/extracts/{ids['extract']}"
        if self.chance.random() < 0.1:
            manifest = (await self.ask("researcher", "GET", f"{extract}/manifest")).json()
            parts = [part["name"] for table in manifest["tables"] for part in table["parts"]]
            await self.ask("researcher", "GET", f"{extract}/files/{self.chance.choice(parts)}")
            return
        who, path = self.chance.choice(
            (
                (None, "/v1/progress"),
                ("researcher", "/v1/catalog?q=코호트"),
                ("researcher", "/v1/catalog/variables?q=혈당"),
                ("researcher", f"/v1/requests/{ids['request']}"),
                ("researcher", f"/v1/permits/{ids['permit']}"),
                ("researcher", extract),
                ("hospital", f"/v1/versions/{ids['version']}"),
                ("hospital", f"/v1/cohorts/{ids['cohort']}/datasets"),
                ("hospital", f"/v1/cohorts/{ids['cohort']}/uploads?limit=20"),
                ("hospital", f"/v1/cohorts/{ids['cohort']}/consents/summary"),
                ("steward", "/v1/requests?limit=20"),
                ("steward", f"/v1/versions/{ids['version']}/report"),
            )
        )
        await self.ask(who, "GET", path)


class Uploading(Client):
    """Sends a table into a draft of its own by tus, in pieces, and waits for its checks."""

    kind = "uploading"

    async def round(self) -> None:
        """One upload."""
        content = self.ground.table
        told = {"purpose": "table", "version": self.ground.drafts[self.number], "table": "people"}
        meta = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in told.items())
        spoken = {"Tus-Resumable": "1.0.0"}
        made = await self.ask(
            "hospital", "POST", "/v1/uploads",
            headers={**spoken, "Upload-Length": str(len(content)), "Upload-Metadata": meta},
        )  # fmt: skip
        place, size = made.headers["Location"], -(-len(content) // PIECES)
        for offset in range(0, len(content), size):
            head = {**spoken, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
            await self.ask("hospital", "PATCH", place, headers=head, content=content[offset : offset + size])
        ended = await self.watched("hospital", place, ("accepted", "quarantined", "rejected", "expired"))
        if ended["state"] != "accepted":
            self.answers[f"upload {ended['state']}"] += 1


class Extracting(Client):
    """Asks, is reviewed, run dry and approved, orders, downloads everything; then the permit is revoked."""

    kind = "extracting"

    async def round(self) -> None:
        """One project from its request to its last part."""
        who = f"extractor {self.number}"
        made = (await self.ask(who, "POST", "/v1/requests", self.ground.asking)).json()
        path = f"/v1/requests/{made['id']}"
        await self.ask(who, "POST", f"{path}/submit")
        await self.ask("steward", "POST", f"{path}/claim")
        for board, state in (("DRB", "approved"), ("IRB", "exempt")):
            await self.ask(
                "steward", "POST", f"{path}/reviews", {"board": board, "state": state, "note": "적정"}
            )
        await self.ask("steward", "POST", f"{path}/dry-run")
        dry = await self.watched("steward", f"{path}/dry-run", ("ready", "failed"))
        if dry["state"] == "failed":
            self.answers["dry run failed"] += 1
            raise Stopped
        decision = {"decision": "approve", "plan_hash": dry["plan_hash"], "note": "승인"}
        permit = (await self.ask("steward", "POST", f"{path}/decision", decision)).json()["permit_id"]
        agreement = (await self.ask(who, "GET", f"/v1/permits/{permit}/agreement")).json()
        await self.ask(who, "POST", f"/v1/permits/{permit}/agreement", {"digest": agreement["digest"]})
        extract = (await self.ask(who, "POST", "/v1/extracts", {"permit_id": permit})).json()["id"]
        ready = await self.watched(who, f"/v1/extracts/{extract}", ("ready", "failed"))
        if ready["state"] == "failed":
            self.answers[f"extract failed {(ready['failure'] or {}).get('code')}"] += 1
            raise Stopped
        try:
            await self.whole(who, extract)
        finally:
            await self.ask("steward", "POST", f"/v1/permits/{permit}/revoke", {"note": "부하 시험"})

    async def whole(self, who: str, extract: str) -> None:
        """Every part of one generation, as a client does it that is told of parts which closed meanwhile: what it has
        it need not fetch again, what is not there any more it looks up anew."""
        had: set[str] = set()
        while time.monotonic() < self.until + PATIENCE:
            try:
                manifest = (await self.ask(who, "GET", f"/v1/extracts/{extract}/manifest")).json()
                parts = {part["name"] for table in manifest["tables"] for part in table["parts"]}
                for name in sorted(parts - had):
                    await self.ask(who, "GET", f"/v1/extracts/{extract}/files/{name}")
                    had.add(name)
            except Closed:
                await asyncio.sleep(POLL)
            else:
                return
        self.answers["never whole"] += 1
        raise Stopped


class Withdrawing(Client):
    """A participant takes everything back, one after the other, each when all copies have settled."""

    kind = "withdrawing"

    async def round(self) -> None:
        """One withdrawal until it is closed."""
        mine = self.ground.people[self.number :: 2]
        if self.rounds >= len(mine):
            await asyncio.sleep(POLL)
            return
        body = {"participant": mine[self.rounds], "kind": "no_further_use"}
        path = f"/v1/cohorts/{self.ground.ids['cohort']}/withdrawals"
        said = time.perf_counter()
        self.ground.taken.append((said, float("inf")))
        try:
            taken = (await self.ask("hospital", "POST", path, body)).json()
        finally:
            self.ground.taken.remove((said, float("inf")))
            self.ground.taken.append((said, time.perf_counter()))
        await self.watched("hospital", f"/v1/withdrawals/{taken['id']}", ("closed",))


KINDS: dict[str, type[Client]] = {one.kind: one for one in (Reading, Uploading, Extracting, Withdrawing)}


def is_error(name: str) -> bool:
    """Whether an answer is one that a load may not bring: no success, not `too many`, not what a withdrawal closed."""
    return not (name[:1] in "23" or name.startswith("429 ") or name in CLOSED)


def _shape(path: str) -> str:
    """The path without its ids."""
    kept = ("{}" if "_" in step or len(step) > 40 else step for step in path.partition("?")[0].split("/"))
    return "/".join(kept)
