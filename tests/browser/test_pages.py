"""The pages in a real browser: they are readable, load nothing from elsewhere, and signing in works without script."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from app.clock import utc_now
from app.db import Database
from app.models import Job
from tests.ports import free_port

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
# Again: what the pages hold and load is said by `tests/integration/auth/test_page.py`, without a browser.
pytestmark = [
    pytest.mark.again,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-sync",
]
VERIFIER = "v" * 50
PASSWORD = "correct horse battery"


@dataclass
class Site:
    """A running service and a client that people sign in through."""

    url: str
    client_id: str
    folder: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "BAEKMAN_VAR": str(folder), "BAEKMAN_PUBLIC_URL": url}
    shell = [sys.executable, "-m", "app.cli"]
    first = json.loads(
        subprocess.run(
            [*shell, "bootstrap", "--json"], env=environment, check=True, capture_output=True
        ).stdout
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*shell, "serve", "--port", str(port)], env=environment, stdout=log, stderr=log
        )
        try:
            _wait(url)
            yield Site(url, _register(url, first), folder)
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    yield opened
    context.close()


def test_the_front_page_says_what_to_do_first_and_loads_nothing_else(site: Site, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.url}/?lang=ko")
    assert page.locator("html").get_attribute("lang") == "ko"
    assert page.locator("h1").inner_text() == "백만"
    assert "아직 공개된 코호트가 없습니다" in page.locator("main").inner_text()
    assert page.locator(".role").count() == 3
    assert [u for u in asked if not u.endswith("favicon.ico")] == [f"{site.url}/?lang=ko"]
    page.get_by_text("English").click()
    assert page.locator("html").get_attribute("lang") == "en"


def test_the_api_page_names_the_scopes_of_a_route(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/docs?lang=en")
    route = page.locator(".route", has=page.get_by_text("/v1/extracts/{extract_id}/manifest", exact=True))
    assert "extracts:read" in route.inner_text()
    assert page.locator(".route").count() > 50


def test_a_person_signs_in_without_script_and_comes_back_with_a_code(site: Site, page: Page) -> None:
    page.route("http://127.0.0.1:9/**", lambda route: route.fulfill(status=200, body="back"))
    page.goto(_authorize(site))
    page.fill("#username", "minji")
    page.fill("#password", PASSWORD)
    page.click("button.main")
    page.wait_for_url("http://127.0.0.1:9/**")
    answer = parse_qs(urlsplit(page.url).query)
    assert answer["state"] == ["abc"]
    assert answer["iss"] == [site.url]
    form = {
        "grant_type": "authorization_code",
        "code": answer["code"][0],
        "redirect_uri": "http://127.0.0.1:9/cb",
        "client_id": site.client_id,
        "code_verifier": VERIFIER,
    }
    assert httpx.post(f"{site.url}/oauth/token", data=form, timeout=60).json()["scope"] == "catalog:read"


def test_a_wrong_password_is_told_without_saying_which_was_wrong(site: Site, page: Page) -> None:
    page.goto(_authorize(site) + "&ui_locales=en")
    page.fill("#username", "nobody")
    page.fill("#password", "x")
    page.click("button.main")
    assert "user name or the password is wrong" in page.get_by_role("alert").inner_text()


def test_the_operator_sees_a_job_that_was_given_up_and_lets_it_go(site: Site, page: Page) -> None:
    db = Database(f"sqlite:///{site.folder / 'baekman.db'}")
    now = utc_now()
    with db.unit_of_work() as session:
        session.add(
            Job(
                id="job_givenup", kind="dry_run", subject="dry_none", arguments={}, state="parked", attempt=1, deaths=5,
                progress={"step": "writing"}, failure={"code": "worker_lost", "step": "writing"},
                created_at=now, finished_at=now,
            )
        )  # fmt: skip
    page.goto(f"{site.url}/operations?lang=ko")
    page.fill("#username", "jisoo")
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="보기").click()
    row = page.get_by_role("row", name="job_givenup")
    assert "모의 실행" in row.inner_text()
    assert "worker_lost" in row.inner_text()
    page.fill("#password", PASSWORD)
    row.get_by_role("button", name="다시 시작").click()
    assert "다시 시작됩니다" in page.get_by_role("status").inner_text()
    assert page.get_by_role("row", name="job_givenup").count() == 0
    with db.read() as session:
        assert session.get_one(Job, "job_givenup").state == "retried"
    db.dispose()
    page.get_by_text("English").click()
    assert page.locator("h1").inner_text() == "The work"
    assert page.locator("#username").is_visible()  # nothing was left in the browser


def _authorize(site: Site) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": site.client_id,
        "redirect_uri": "http://127.0.0.1:9/cb",
        "scope": "catalog:read",
        "state": "abc",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{site.url}/oauth/authorize?{urlencode(asked)}"


def _register(url: str, first: dict[str, str]) -> str:
    form = {"grant_type": "client_credentials", "scope": "platform:admin"}
    token = httpx.post(
        f"{url}/oauth/token", data=form, auth=(first["client_id"], first["client_secret"]), timeout=60
    ).json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    client = {
        "name": "연구자 포털",
        "authentication": "none",
        "scopes": ["catalog:read"],
        "redirect_uris": ["http://127.0.0.1:9/cb"],
    }
    account = {"username": "minji", "role": "researcher", "password": PASSWORD}
    operator = {"username": "jisoo", "role": "platform", "password": PASSWORD}
    assert httpx.post(f"{url}/v1/accounts", json=operator, headers=headers, timeout=60).status_code == 201
    made = httpx.post(f"{url}/v1/clients", json=client, headers=headers, timeout=60).json()
    assert httpx.post(f"{url}/v1/accounts", json=account, headers=headers, timeout=60).status_code == 201
    return str(made["id"])


def _wait(url: str) -> None:
    end = time.monotonic() + 120
    with httpx.Client(timeout=2) as client:  # one: each reads the certificates of the machine anew
        while time.monotonic() < end:
            try:
                if client.get(f"{url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise TimeoutError(Path(url).name)
