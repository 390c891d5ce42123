"""The store fails at random requests of the whole story: what was acknowledged holds, and nothing is half there."""

from __future__ import annotations

import secrets
import shutil
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.storage import s3 as s3_store
from tests.acceptance.second_cohort.cohort import second_cohort
from tests.faults.lives import SETTINGS
from tests.faults.proxy import Proxy, before
from tests.faults.story import Patient, sound_afterwards
from tests.s3 import Server

pytestmark = [pytest.mark.faults, pytest.mark.again]
SEED = 1
SHARE = 0.12  # of the requests to the store something begins to fail at


@pytest.fixture(scope="module")
def proxy(s3: Server) -> Iterator[Proxy]:
    with before(s3.port, 1.2) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library asks once more and waits a second, so that most faults reach us."""
    quick = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(milliseconds=20), "base": 2}
    patience = {"max_retries": 1, "retry_timeout": timedelta(seconds=5), "backoff": quick}
    monkeypatch.setattr(s3_store, "RETRY", patience)
    monkeypatch.setattr(s3_store, "CLIENT", {"connect_timeout": "1s", "timeout": "1s"})


@pytest.mark.usefixtures("impatient")
def test_the_whole_story_comes_through(s3: Server, proxy: Proxy, tmp_path: Path, rounds: int) -> None:
    cohort = second_cohort(people=160)
    met = asked_again = 0
    for number in range(1 if rounds <= 3 else rounds // 2):
        seed = SEED if rounds <= 3 else secrets.randbits(32)
        print(f"round {number}: seed {seed}")
        var = tmp_path / str(number) / "var"
        settings: dict[str, Any] = {**SETTINGS, **s3.settings(uuid.uuid4().hex), "var": var}
        through = {**settings, "s3_endpoint": proxy.endpoint}
        proxy.heal()
        service = Patient(var, proxy, **{k: v for k, v in through.items() if k != "var"})
        try:
            proxy.fail_at_random(Random(seed), SHARE)
            with capture_logs():
                service.play(cohort)
            met, asked_again = (
                met + sum(proxy.met.values()),
                asked_again + service.again + service.tried_again(),
            )
            proxy.heal()
            sound_afterwards(service, settings, s3, tmp_path / str(number) / "rooms")
        finally:
            proxy.heal()
            service.close()
        shutil.rmtree(tmp_path / str(number))
    assert met > 10, "the store did not fail"
    assert asked_again, "nothing had to be asked or done again"
    print(f"{met} requests failed, {asked_again} times something was asked or done again")
