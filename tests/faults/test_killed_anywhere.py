"""kill -9 of web and worker at random effects of upload, build, withdrawal and reissue: afterwards all is sound.

A process counts its effects (commits, writes, deletions, steps) and dies before one of them; it is begun again as any
start does, may die once more, and the client goes on with what it was not told was done.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx2
import pytest

from app.db import Database
from tests.faults.apart import installation, must_be_sound_tomorrow, played_apart
from tests.faults.lives import SETTINGS, Round, Worlds, Zygote, played, worlds
from tests.faults.sound import Places, must_be_sound

pytestmark = pytest.mark.faults
# How many effects of each have been counted where nobody dies.
STEPS = {"build": 130, "withdrawal": 330, "upload": 60, "reissue": 300}
OF_THE_WEB = {
    "build": 12,
    "withdrawal": 25,
    "upload": 40,
    "reissue": 12,
}  # of these, where it is a process of its own
FIRST_OF_BOTH = 7  # draws deaths in the middle of each


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    return worlds(tmp_path_factory.mktemp("world"))


def test_the_one_process_of_a_small_installation(
    zygote: Zygote, embedded: Worlds, tmp_path: Path, rounds: int
) -> None:
    for number in range(rounds):
        chance, step = drawn(number, rounds)
        var = tmp_path / str(number)
        shutil.copytree(embedded.before if step in ("build", "upload") else embedded.after, var)
        settings = {**SETTINGS, "var": var, "chores_seconds": 3600}
        with played(Round(zygote, embedded, settings, ("embedded",), chance)) as round_:
            dies(round_, step)
            db = Database(f"sqlite:///{var / 'baekman.db'}")
            try:
                must_be_sound(db, Places.under(var), round_.told)
            finally:
                db.dispose()
        shutil.rmtree(var)


@pytest.mark.long
def test_web_and_worker_apart(zygote: Zygote, postgres_url: str, tmp_path: Path, rounds: int) -> None:
    with played_apart(postgres_url, tmp_path / "world") as (moments, world):
        for number in range(rounds):
            chance, step = drawn(number, rounds)
            moment = "before" if step in ("build", "upload") else "after"
            with installation(moments, world, moment, tmp_path / str(number)) as settings:
                with played(Round(zygote, world, settings, ("web", "worker"), chance)) as round_:
                    dies(round_, step)
                must_be_sound_tomorrow(settings, round_.told)


def drawn(number: int, rounds: int) -> tuple[Random, str]:
    """The chance of a round and what is done in it; `make test` draws the same every time."""
    seed = FIRST_OF_BOTH if rounds <= 3 else secrets.randbits(32)
    print(f"round {number}: seed {seed}")
    return Random(seed + number), list(STEPS)[number % len(STEPS)]


def dies(round_: Round, step: str) -> None:
    """Play a step with a death or two in it, at effects or at moments, until it is done and nothing is left to do."""
    chance = round_.chance
    victim = chance.choice(list(round_.roles))
    effects = OF_THE_WEB if victim == "web" else STEPS
    at = 1 + int(effects[step] * chance.random())
    by_moment = chance.random() < 0.2
    for role in round_.roles:
        round_.begin(role, at if role == victim and not by_moment else None)
    round_.sign_in()
    if step != "reissue":
        round_.arm()
    timer = threading.Timer(chance.uniform(0.0, 4.0), lambda: round_.kill_quietly(victim))
    if by_moment:
        timer.start()
    lives = 1
    try:
        while True:
            try:
                getattr(round_, step)()
                round_.until(round_.drained)
                break
            except httpx2.TransportError:
                dead = round_.buried()
                lives += 1
                if lives == 2 and chance.random() < 0.7:
                    round_.disarm()
                for role in dead:
                    again = 1 + int(effects[step] * chance.random() ** 2) if lives == 2 else None
                    round_.begin(role, again)
    finally:
        timer.cancel()
        if by_moment:
            timer.join()
    when = "at a moment" if by_moment else f"at effect {at}"
    print(f"{step}: {victim} died {when}, {lives} lives" if lives > 1 else f"{step}: {victim} came through")
