"""Secrets are unreserved characters, passwords are argon2id, guessing is slowed down."""

import re
from types import SimpleNamespace

import pytest

from app.auth import credentials
from app.auth.throttle import Throttle
from app.errors import Problem


def test_secrets_need_no_encoding_and_are_kept_as_digests():
    made = {credentials.new_secret() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9._~-]{43}", secret) for secret in made)
    secret = made.pop()
    assert secret not in credentials.digest(secret)
    assert credentials.matches(secret, credentials.digest(secret))
    assert not credentials.matches(secret + "x", credentials.digest(secret))
    assert not credentials.matches("한글", credentials.digest(secret))


def test_passwords(passwords_that_are_cheap, monkeypatch):
    monkeypatch.setattr(credentials, "_hasher", passwords_that_are_cheap)  # as the product hashes them
    stored = credentials.hash_password("correct horse battery")
    costs = re.match(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=\d+\$", stored)
    assert costs
    assert int(costs[1]) >= 65536
    assert int(costs[2]) >= 3
    assert credentials.check_password("correct horse battery", stored)
    assert not credentials.check_password("correct horse batterx", stored)
    assert not credentials.check_password("x" * (credentials.MAX_PASSWORD + 1), stored)


def test_an_unknown_name_costs_a_hash_too(monkeypatch):
    verified = []

    def fits(password, stored):
        verified.append(stored)
        return True

    hasher = SimpleNamespace(hash=lambda password: "hash of nobody", verify=fits)
    monkeypatch.setattr(credentials, "_hasher", lambda: hasher)
    credentials._nobody.cache_clear()
    assert not credentials.check_password("anything", None)  # even though the hash would fit
    assert verified == ["hash of nobody"]
    credentials._nobody.cache_clear()


def test_password_tries_are_bounded_by_name_and_by_address():
    throttle = Throttle()
    for n in range(10):
        throttle.password_try("kim", f"10.0.0.{n}")
    with pytest.raises(Problem, match="too_many_requests") as slow:
        throttle.password_try("kim", "10.0.1.1")
    assert 0 < int(slow.value.headers["Retry-After"]) <= 301
    throttle.password_try("lee", "10.0.1.1")
    for n in range(59):
        throttle.password_try(f"name{n}", "10.0.2.2")
    throttle.password_try("name", "10.0.2.2")
    with pytest.raises(Problem, match="too_many_requests"):
        throttle.password_try("another", "10.0.2.2")


def test_only_failures_slow_a_token_client_down_and_only_from_there():
    throttle = Throttle()
    for _ in range(100):
        throttle.token_call("cli", "10.0.0.1")
    for _ in range(30):
        throttle.token_failure("cli", "10.0.0.1")
    with pytest.raises(Problem, match="too_many_requests"):
        throttle.token_call("cli", "10.0.0.1")
    throttle.token_call("cli", "10.0.0.2")
    throttle.token_call("other", "10.0.0.1")
