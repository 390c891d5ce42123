"""A service with two holders, an extract of each, real tokens, and hands to move its clock: for attacks on links."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.auth import credentials
from app.auth.policy import ROLE_SCOPES, Role
from app.extracts.links import LinkService
from app.models import Client, Part
from app.routers.house import House
from tests import doors
from tests.integration.destruction.house import make
from tests.issuer import Hands
from tests.schema import copy_into, copy_of
from tests.world import World

ASKERS: dict[str, tuple[Role, bool]] = {  # name -> role, whether of the institution that holds the data
    "researcher": ("researcher", False),
    "other": ("researcher", False),
    "steward": ("steward", False),
    "own steward": ("steward", True),
    "hospital": ("institution", True),
    "platform": ("platform", False),
    "inspector": ("inspector", True),
}
SECRET = "s" * 43


@dataclass
class Site:
    """`extract` is the researcher's, `others` the other researcher's."""

    app: FastAPI
    http: TestClient
    house: House
    world: World
    clock: Hands
    extract: str
    others: str
    names: list[str]
    held: sqlite3.Connection

    def token(self, who: str) -> str:
        """A fresh token of somebody, with all that their role allows."""
        answer = self.http.post(
            "/oauth/token", data={"grant_type": "client_credentials"}, auth=(who.replace(" ", "_"), SECRET)
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def ask(self, who: str, extract: str, body: Any = None) -> Response:
        """Ask for links."""
        return self.asked(self.token(who), extract, body)

    def asked(self, token: str, extract: str, body: Any = None) -> Response:
        """Ask for links by this token."""
        bearer = {"Authorization": f"Bearer {token}"}
        return self.http.post(f"/v1/extracts/{extract}/links", json=body, headers=bearer)

    def links(self, who: str = "researcher", extract: str | None = None) -> list[str]:
        """The URLs of somebody's parts."""
        answer = self.ask(who, extract or self.extract)
        assert answer.status_code == 200, answer.text
        return [file["url"] for file in answer.json()["files"]]

    def change(self, act: Callable[[Session], object]) -> None:
        """Do something to the database."""
        with self.world.db.unit_of_work() as session:
            act(session)

    def put_back(self) -> None:
        """As it was at the beginning."""
        copy_into(self.held, self.world.db)
        self.clock.now = self.clock.began  # type: ignore[attr-defined]


@contextmanager
def standing(folder: Path) -> Iterator[Site]:
    """The site, until the end of the block."""
    made, clock = make(folder, people=80), Hands()
    clock.began = clock.now  # type: ignore[attr-defined]
    built, world = made.built, made.world
    built.house.auth.bootstrap()
    others = world.permit(holder="client:other")
    world.release(others)
    auth, extracts = replace(built.house.auth, clock=clock), replace(built.house.extracts, clock=clock)
    links = LinkService(extracts, auth.links, auth.issuer)
    house = replace(built.house, auth=auth, extracts=extracts, links=links)
    app = doors.before(house)
    with world.db.unit_of_work() as session:
        for who, (role, home) in ASKERS.items():
            session.add(_client(who, role, made.actor.institution_id if home else None, clock))
        parts = select(Part.name).where(Part.extract_id == made.extract).order_by(Part.name)
        names = list(session.scalars(parts))
    http = TestClient(app, base_url=auth.issuer, raise_server_exceptions=False)
    yield Site(app, http, house, world, clock, made.extract, others, names, copy_of(world.db))
    http.close()
    doors.back(app)
    world.db.dispose()


def _client(who: str, role: Role, institution: str | None, clock: Hands) -> Client:
    return Client(
        id=who.replace(" ", "_"), name=who, secret_hash=credentials.digest(SECRET), jwks=None, public=False,
        grant_types=["client_credentials"], redirect_uris=[], scopes=sorted(map(str, ROLE_SCOPES[role])), role=role,
        institution_id=institution, active=True, created_at=clock(), valid_from=None, valid_until=None,
        owner_id=None, tokens_from=None,
    )  # fmt: skip


def parted(url: str) -> tuple[str, dict[str, str]]:
    """Path and query of a link."""
    split = urlsplit(url)
    return split.path, dict(parse_qsl(split.query))


def put_together(path: str, query: dict[str, str]) -> str:
    """The opposite of `parted`."""
    return f"{path}?{urlencode(query)}"
