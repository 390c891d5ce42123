"""A whole issuer for tests: its service, its routes in a small application, and the steps of a sign-in."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from app.auth.policy import Actor
from app.auth.registration import AccountOrder, ClientOrder
from app.auth.service import AuthService
from app.db import Database
from app.errors import Problem
from app.keyring import Keyring
from app.portal import authorize
from app.routers import clients, oauth
from app.settings import Settings
from tests.schema import with_tables

CALLBACK = "http://127.0.0.1:9/callback"
PASSWORD = "correct horse battery staple"
PUBLIC_URL = "http://127.0.0.1:8000"


class Hands:
    """A clock whose hands the test moves; it stands still otherwise."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **amount: float) -> None:
        self.now += timedelta(**amount)


@dataclass
class Issuer:
    """An issuer with its first platform client."""

    auth: AuthService
    app: FastAPI
    clock: Hands
    first: dict[str, str]

    @property
    def admin(self) -> Actor:
        return Actor("client:test", "test", "platform", None, frozenset({"platform:admin"}))

    def browser(self) -> TestClient:
        return TestClient(self.app, base_url=self.auth.issuer, follow_redirects=False)

    def machine(
        self, role: str = "researcher", scopes: list[str] | None = None, **more: Any
    ) -> dict[str, Any]:
        order = {
            "name": f"a {role}", "authentication": "client_secret", "role": role,
            "scopes": scopes or ["catalog:read"], **more,
        }  # fmt: skip
        return self.auth.register_client(self.admin, ClientOrder(**order))

    def people_client(self, **more: Any) -> dict[str, Any]:
        order = {
            "name": "연구 포털 <b>", "authentication": "none", "redirect_uris": [CALLBACK],
            "scopes": ["catalog:read", "requests:write", "openid", "profile"], **more,
        }  # fmt: skip
        return self.auth.register_client(self.admin, ClientOrder(**order))

    def person(self, username: str = "kim", role: str = "researcher", **more: Any) -> dict[str, Any]:
        order = AccountOrder(username=username, role=role, display_name="김연구", password=PASSWORD, **more)
        return self.auth.register_account(self.admin, order)

    def token(self, client: dict[str, Any], **form: str) -> Any:
        """POST /oauth/token by client_secret_basic, or with the client id alone where the client is public."""
        form = {"grant_type": "client_credentials", **form}
        auth: Any = None
        if secret := client.get("client_secret"):
            auth = (client.get("id") or client["client_id"], secret)
        else:
            form["client_id"] = client["id"]
        return self.browser().post("/oauth/token", data=form, auth=auth)

    def access_token(self, client: dict[str, Any], **form: str) -> str:
        answer = self.token(client, **form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@dataclass
class Flow:
    """One authorization of a person through a client, step by step."""

    issuer: Issuer
    client: dict[str, Any]
    verifier: str
    parameters: dict[str, str]

    @property
    def url(self) -> str:
        return f"/oauth/authorize?{urlencode(self.parameters)}"

    def sign_in(self, username: str = "kim", password: str = PASSWORD, decision: str = "approve") -> Any:
        browser = self.issuer.browser()
        page = browser.get(self.url)
        assert page.status_code == 200, page.text
        form = hidden(page.text) | {"username": username, "password": password, "decision": decision}
        return browser.post("/oauth/authorize", data=form)

    def code(self) -> str:
        answer = self.sign_in()
        assert answer.status_code == 303, answer.text
        return returned(answer)["code"]

    def redeem(self, code: str, **more: str) -> Any:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": self.verifier,
        }  # fmt: skip
        return self.issuer.token(self.client, **(form | more))

    def tokens(self) -> dict[str, Any]:
        answer = self.redeem(self.code())
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def make_issuer(database_url: str, folder: Path, public_url: str = PUBLIC_URL) -> Issuer:
    """An issuer over an empty database, with tables made and the first start done."""
    db = Database(database_url)
    with_tables(db)
    settings = Settings(var=folder, public_url=public_url)
    clock = Hands()
    auth = AuthService(db, clock, settings, Keyring(secrets.token_bytes(32)))
    first = auth.bootstrap()
    assert first is not None
    app = FastAPI(docs_url=None, redoc_url=None)
    app.state.house = SimpleNamespace(auth=auth)
    for router in (oauth.router, clients.router, authorize.router):
        app.include_router(router)

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return JSONResponse(error.to_dict(), error.status, error.headers)

    return Issuer(auth, app, clock, first)


def begin(issuer: Issuer, client: dict[str, Any], **changes: str | None) -> Flow:
    """An authorization request with S256; a change to None leaves the parameter out."""
    verifier = secrets.token_urlsafe(48)
    parameters: dict[str, str | None] = {
        "response_type": "code",
        "client_id": client["id"],
        "redirect_uri": CALLBACK,
        "scope": "catalog:read requests:write openid profile",
        "state": "st%te/&=한",
        "nonce": "n-1",
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        **changes,
    }
    return Flow(issuer, client, verifier, {k: v for k, v in parameters.items() if v is not None})


def challenge(verifier: str) -> str:
    """The S256 challenge of RFC 7636."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the page's form."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}


def returned(answer: Any) -> dict[str, str]:
    """What the redirect to the application carries."""
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


@contextmanager
def served(database_url: str, folder: Path) -> Iterator[Issuer]:
    """The issuer behind a real uvicorn on a free port of loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        issuer = make_issuer(database_url, folder, f"http://127.0.0.1:{listener.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(issuer.app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                threading.Event().wait(0.01)
            yield issuer
        finally:
            server.should_exit = True
            thread.join()
            issuer.auth.db.dispose()
