"""The sign-in page: Korean and English, no script, a closed policy, and a form that no other site can send."""

import re

import pytest

from app.auth.registered import KNOWN_SCOPES
from app.auth.throttle import Throttle
from app.portal.words import WORDS
from tests.issuer import PASSWORD, begin, hidden, make_issuer, returned


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("issuer")
    made = make_issuer(f"sqlite:///{folder / 'baekman.db'}", folder)
    made.person()
    yield made
    made.auth.db.dispose()


@pytest.fixture(autouse=True)
def nobody_tried_before(issuer):
    """Each test starts with counters at zero."""
    issuer.auth.throttle._limiter = Throttle()._limiter


@pytest.fixture
def flow(issuer):
    return begin(issuer, issuer.people_client())


def filled(page, **more):
    return hidden(page.text) | {"username": "kim", "password": PASSWORD, "decision": "approve"} | more


def test_the_page_is_closed_to_everything(issuer, flow):
    page = issuer.browser().get(flow.url)
    policy = page.headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert directives["form-action"] == "'self' http://127.0.0.1:9"
    nonce = directives["style-src"].removeprefix("'nonce-").removesuffix("'")
    assert len(nonce) > 20
    assert re.findall(r"<style[^>]*>", page.text) == [f'<style nonce="{nonce}">']
    assert "<script" not in page.text
    assert not re.search(r'\s(style|on\w+)="', page.text)
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-frame-options"] == "DENY"
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert issuer.browser().get(flow.url).headers["content-security-policy"] != policy


def test_names_are_text_and_never_markup(issuer, flow):
    page = issuer.browser().get(flow.url + "&extra=%22%3E%3Cb%3E").text
    assert "연구 포털 &lt;b&gt;" in page
    assert "<b>" not in page
    browser = issuer.browser()
    form = filled(browser.get(flow.url), username='"><b>', password="x" * 12)
    again = browser.post("/oauth/authorize", data=form)
    assert again.status_code == 403
    assert "<b>" not in again.text
    assert "x" * 12 not in again.text


@pytest.mark.parametrize(
    ("accepted", "locales", "lang", "words"),
    [
        ("ko-KR,ko;q=0.9,en;q=0.8", "", "ko", "로그인하고 허용"),
        ("en-US,en;q=0.9", "", "en", "Sign in and allow"),
        ("fr", "", "ko", "로그인하고 허용"),
        ("ko", "&ui_locales=fr+en-GB", "en", "Sign in and allow"),
    ],
)
def test_it_speaks_korean_and_english(issuer, flow, accepted, locales, lang, words):
    browser = issuer.browser()
    page = browser.get(flow.url + locales, headers={"Accept-Language": accepted})
    assert page.headers["content-language"] == lang
    assert f'<html lang="{lang}">' in page.text
    assert words in page.text
    again = browser.post("/oauth/authorize", data=filled(page, password="wrong password"))
    assert again.headers["content-language"] == lang


def test_every_scope_has_its_words():
    assert set(WORDS["ko"]) == set(WORDS["en"])
    assert set(WORDS["ko"]) >= KNOWN_SCOPES


def test_denying_needs_no_password_and_goes_back(issuer, flow):
    back = returned(flow.sign_in(username="", password="", decision="deny"))
    assert back["error"] == "access_denied"
    assert (back["state"], back["iss"]) == (flow.parameters["state"], issuer.auth.issuer)
    assert returned(flow.sign_in(decision=""))["error"] == "access_denied"


@pytest.mark.parametrize(
    ("name", "password"), [("kim", "wrong password"), ("nobody", PASSWORD), ("k\0m", PASSWORD)]
)
def test_a_wrong_name_or_password_says_the_same(issuer, flow, name, password):
    answer = flow.sign_in(name, password)
    assert answer.status_code == 403
    assert "사용자 이름 또는 비밀번호가 올바르지 않습니다." in answer.text


def test_names_do_not_depend_on_case_or_blanks(flow):
    assert "code" in returned(flow.sign_in(" KIM "))


def test_guessing_a_password_is_slowed_down(issuer, flow, monkeypatch):
    monkeypatch.setattr("app.auth.credentials.check_password", lambda password, stored: False)
    statuses = [flow.sign_in(password="wrong password").status_code for _ in range(11)]
    assert statuses == [403] * 10 + [429]
    slow = flow.sign_in(password="wrong password")
    assert int(slow.headers["retry-after"]) > 0
    assert "시도가 너무 많습니다" in slow.text


class TestForgery:
    """A form that this browser was not shown, for this very request, does nothing."""

    def test_without_the_cookie(self, issuer, flow):
        form = filled(issuer.browser().get(flow.url))
        answer = issuer.browser().post("/oauth/authorize", data=form)
        assert answer.status_code == 403
        assert "location" not in answer.headers

    @pytest.mark.parametrize("csrf", ["", "x", "한글", "0" * 64])
    def test_with_another_token(self, issuer, flow, csrf):
        browser = issuer.browser()
        form = filled(browser.get(flow.url), csrf=csrf)
        assert browser.post("/oauth/authorize", data=form).status_code == 403

    def test_with_the_token_of_another_request(self, issuer, flow):
        browser, other = issuer.browser(), begin(issuer, issuer.people_client())
        shown, swapped = filled(browser.get(flow.url)), filled(browser.get(other.url))
        form = shown | {"request": swapped["request"]}
        assert browser.post("/oauth/authorize", data=form).status_code == 403
        assert browser.post("/oauth/authorize", data=shown).status_code == 303

    def test_from_another_site(self, issuer, flow):
        browser = issuer.browser()
        form = filled(browser.get(flow.url))
        for site in ("cross-site", "same-site", "none"):
            answer = browser.post("/oauth/authorize", data=form, headers={"Sec-Fetch-Site": site})
            assert answer.status_code == 403
        ours = browser.post("/oauth/authorize", data=form, headers={"Sec-Fetch-Site": "same-origin"})
        assert ours.status_code == 303

    def test_with_a_body_that_is_none(self, issuer):
        for body in (b"", b"\xff", b"request=%ff", b"x=" + b"y" * 70_000, b"request=" + b"a%3Db%26" * 60):
            assert issuer.browser().post("/oauth/authorize", content=body).status_code == 400


def test_behind_https_the_cookie_is_the_hosts_alone(tmp_path):
    issuer = make_issuer(f"sqlite:///{tmp_path / 'b.db'}", tmp_path, "https://baekman.example/")
    assert issuer.auth.issuer == "https://baekman.example"
    client = issuer.people_client(redirect_uris=["com.example.app:/cb"])
    page = issuer.browser().get(begin(issuer, client, redirect_uri="com.example.app:/cb").url)
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-baekman-authorize=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "form-action 'self' com.example.app:;" in page.headers["content-security-policy"]
    issuer.auth.db.dispose()
