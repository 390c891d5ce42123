"""Two webs and two workers on one PostgreSQL, and everything asked of both at once: each thing is done once."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from app.db import Database
from app.models import AuditLine, Extract, RecallNotice, Upload, VaultTable, Withdrawal
from tests.faults.apart import Moments, installation, must_be_sound_tomorrow, played_apart
from tests.faults.lives import BYTES, TUS, Round, Worlds, Zygote, played
from tests.faults.test_killed_anywhere import zygote as zygote

pytestmark = [pytest.mark.faults, pytest.mark.long]
ROLES = ("web", "web2", "worker", "worker2")


@pytest.fixture(scope="module")
def world(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Moments, Worlds]]:
    with played_apart(postgres_url, tmp_path_factory.mktemp("world")) as made:
        yield made


class Both:
    """The clients of two webs."""

    def __init__(self, round_: Round) -> None:
        self.round, self.clients = round_, list[httpx2.Client]()
        for role in ROLES:
            round_.begin(role)
            if role.startswith("web"):
                self.clients.append(round_.http)
                round_.http = httpx2.Client()
        round_.http = self.clients[0]
        round_.sign_in()

    def ask(
        self, who: str, method: str, path: str, body: Any = None, times: int = 2, **more: Any
    ) -> list[Any]:
        """The answers of both, each asked so many times at once."""
        headers = {"Authorization": f"Bearer {self.round.tokens[who]}", **more.pop("headers", {})}
        ready, answers = threading.Barrier(2 * times), list[httpx2.Response]()

        def call(client: httpx2.Client) -> None:
            ready.wait(60)
            answers.append(client.request(method, path, json=body, headers=headers, **more))

        threads = [
            threading.Thread(target=call, args=(client,)) for client in self.clients for _ in range(times)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(180)
        assert len(answers) == 2 * times
        assert all(answer.status_code < 500 for answer in answers), [answer.text for answer in answers]
        return answers

    def close(self) -> None:
        """Let go of both."""
        for client in self.clients:
            client.close()


def at_both(
    zygote: Zygote,
    world: tuple[Moments, Worlds],
    moment: str,
    var: Path,
    play: Callable[[Both, Database], None],
) -> None:
    moments, played_world = world
    with installation(moments, played_world, moment, var) as settings:
        with played(Round(zygote, played_world, settings, ROLES, Random(1))) as round_:
            both, db = Both(round_), Database(settings["database_url"])
            try:
                play(both, db)
                round_.until(round_.drained)
            finally:
                both.close()
                db.dispose()
        must_be_sound_tomorrow(settings, round_.told)


def test_one_upload_is_finished_once_and_checked_once(
    zygote: Zygote, world: tuple[Moments, Worlds], tmp_path: Path
) -> None:
    def play(both: Both, db: Database) -> None:
        round_ = both.round
        content = round_.world.cohort.files["code_book"]

        said = {"purpose": "table", "version": round_.world.ids["version"], "table": "code_book"}
        meta = ",".join(f"{k} {b64encode(v.encode()).decode()}" for k, v in said.items())
        headers = {**TUS, "Upload-Length": str(len(content)), "Upload-Metadata": meta}
        place = round_.call("hospital", "POST", "/v1/uploads", headers=headers).headers["Location"]
        answers = both.ask(
            "hospital", "PATCH", place, headers={**BYTES, "Upload-Offset": "0"}, content=content
        )
        assert Counter(answer.status_code for answer in answers)[204] == 1
        assert {answer.json()["code"] for answer in answers if answer.status_code != 204} <= {
            "upload_locked", "upload_offset_mismatch", "conflict", "upload_gone",
        }  # fmt: skip
        round_.state["place"] = place
        round_.told.rows.append((Upload, round_.id))
        round_.told.received[round_.id] = len(content)
        round_.upload()
        with db.read() as session:
            of = select(func.count()).select_from(VaultTable).where(VaultTable.upload_id == round_.id)
            assert session.scalar(of) == 1

    at_both(zygote, world, "before", tmp_path / "var", play)


def test_one_extract_is_built_once(zygote: Zygote, world: tuple[Moments, Worlds], tmp_path: Path) -> None:
    def play(both: Both, db: Database) -> None:
        answers = both.ask(
            "researcher", "POST", "/v1/extracts", {"permit_id": both.round.world.ids["permit"]}
        )
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        both.round.state["extract"] = answers[0].json()["id"]
        both.round.told.rows.append((Extract, answers[0].json()["id"]))
        both.round.build()
        with db.read() as session:
            events = Counter(session.scalars(select(AuditLine.event)))
        assert (events["extract.ordered"], events["extract.recorded"], events["extract.built"]) == (1, 1, 1)

    at_both(zygote, world, "before", tmp_path / "var", play)


def test_one_withdrawal_is_taken_once(zygote: Zygote, world: tuple[Moments, Worlds], tmp_path: Path) -> None:
    def play(both: Both, db: Database) -> None:
        path = f"/v1/cohorts/{both.round.world.ids['cohort']}/withdrawals"
        body = {"participant": both.round.world.leaving, "kind": "destroy"}
        answers = both.ask("hospital", "POST", path, body, headers={"Idempotency-Key": "paper-1"})
        assert {answer.status_code for answer in answers} <= {202, 409}
        taken = {answer.json()["id"] for answer in answers if answer.status_code == 202}
        assert len(taken) == 1
        both.round.state["withdrawal"] = taken.pop()
        both.round.told.withdrawals.append(both.round.state["withdrawal"])
        both.round.withdrawal()
        with db.read() as session:
            assert session.scalar(select(func.count()).select_from(Withdrawal)) == 1
            assert session.scalar(select(func.count()).select_from(RecallNotice)) == 1
            events = Counter(session.scalars(select(AuditLine.event)))
        assert (events["withdrawal.taken"], events["withdrawal.destroyed"], events["withdrawal.closed"]) == (
            1,
            1,
            1,
        )

    at_both(zygote, world, "after", tmp_path / "var", play)
