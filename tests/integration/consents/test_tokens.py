"""Return tokens stand for one participant each and tell nothing; linkage tokens meet only where both people agree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import update

from app.consents import linkage, return_tokens
from app.db import Database
from app.deid.identifiers.linkage import refusal
from app.models import Participant, PlatformKey
from tests.integration.consents.world import FIRST, SECOND, RegisterWorld


@pytest.fixture
def world(database_url: str) -> Iterator[RegisterWorld]:
    db = Database(database_url)
    yield RegisterWorld(db)
    db.dispose()


def test_a_token_leads_to_its_participant_and_back(world: RegisterWorld) -> None:
    keys = world.enrol(f"P{n}" for n in range(30))
    with world.db.unit_of_work() as session:
        tokens = return_tokens.tokens_of(session, keys.values())
        asked = return_tokens.told(session, world.hasher(), FIRST, ["P3", "nobody", " P4 ", "P3"])
        assert asked == [tokens[keys["P3"]], None, tokens[keys["P4"]], tokens[keys["P3"]]]
        for key, token in tokens.items():
            assert return_tokens.find_by_token(session, FIRST, token) == key
            assert (
                return_tokens.find_by_token(session, SECOND, token) is None
            )  # another cohort knows no one by it
        with pytest.raises(LookupError):
            return_tokens.token_of(session, 10**6)
    by_key = [tokens[key] for key in sorted(tokens)]
    assert len(set(by_key)) == 30
    assert by_key != sorted(by_key)  # in the order of keys they come in no order


@pytest.mark.parametrize(
    "text", ["", "rt_", "rt_" + "0" * 25, "rt_" + "z" * 26, "rt_" + "u" * 25 + "0", "x" * 29]
)
def test_what_is_no_token_finds_nobody(world: RegisterWorld, text: str) -> None:
    with world.db.read() as session:
        assert return_tokens.find_by_token(session, FIRST, text) is None


@pytest.mark.parametrize("token", [b"\0" * 16, b"\xff" * 16, bytes(range(16))])
def test_every_token_is_read_as_it_was_told(token: bytes) -> None:
    assert return_tokens.read(return_tokens.text_of(token)) == token


def test_a_row_of_before_is_given_its_token_once(world: RegisterWorld) -> None:
    key = world.enrol(["P1"])["P1"]
    with world.db.unit_of_work() as session:
        session.execute(update(Participant).values(return_token=None))
    told = []
    for _ in range(2):
        with world.db.unit_of_work() as session:
            told.append(return_tokens.token_of(session, key))
    assert told[0] == told[1]


def test_the_same_person_in_two_cohorts_meets_only_where_both_agree(world: RegisterWorld) -> None:
    here, there = world.enrol(["A", "B", "C"]), world.enrol(["a", "b", "c"], SECOND)
    with world.db.unit_of_work() as session:
        hasher = linkage.hasher_of(session, world.keyring, world.clock())
        again = linkage.hasher_of(session, world.keyring, world.clock())
        assert hasher.digest("x") == again.digest("x")  # one key for the platform, made once
        for n, (one, other) in enumerate(zip(here.values(), there.values(), strict=True)):
            for key, agrees in ((one, True), (other, n != 1)):
                row = session.get_one(Participant, key)
                row.linkage, row.may_link = linkage.hashed(hasher, f"agency:{n:020}"), agrees
    with world.db.read() as session:
        found = linkage.linked(session, [FIRST, SECOND])
        alone = linkage.linked(session, [FIRST])
        assert session.get_one(PlatformKey, "linkage").key_wrapped
    who = dict(zip(found.keys.tolist(), found.person.tolist(), strict=True))
    met = [who[here[one]] == who[there[one.lower()]] for one in "ABC"]
    assert met == [True, False, True]
    assert (found.people, alone.people) == (4, 3)
    assert found.keys.dtype == found.person.dtype == np.dtype(np.int32)
    assert sorted(set(who.values())) == list(range(4))


RESIDENT = "9001011234567"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (RESIDENT, "identifier"), ("id-900101-1234567-x", "identifier"), ("someone@hospital.example.kr", "identifier"),
        ("A" * 86 + "==", "identifier"), ("MC0GCCqGSIb3DQIJAyEA" + "b" * 44, "identifier"),
        *((hashlib.new(name, RESIDENT.encode()).hexdigest(), "bare_digest")
          for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")),
        ("$2b$12$abcdefghijklmnopqrstuv", "bare_digest"), ("sha256:deadbeefdeadbeef", "bare_digest"),
        ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "bare_digest"), ("short", "bad_token"),
        ("agency:" + "x" * 90, "bad_token"), ("agency: with space 0000", "bad_token"),
        ("agency:7c1f0e52b1d94a3c8f", None), ("0d9f7c3a-5b1e-4f6a-9c2d-1e3f5a7b9c0d", None),
        ("01012345-6789-4010-8234-010112345678", None),
    ],
)  # fmt: skip
def test_a_token_that_could_be_made_from_a_number_is_refused(token: str, why: str | None) -> None:
    assert refusal(token) == why


def test_a_uuid_is_the_same_in_large_letters(world: RegisterWorld) -> None:
    with world.db.unit_of_work() as session:
        hasher = linkage.hasher_of(session, world.keyring, world.clock())
    one = "0d9f7c3a-5b1e-4f6a-9c2d-1e3f5a7b9c0d"
    assert linkage.hashed(hasher, one) == linkage.hashed(hasher, f" {one.upper()} ")
    assert linkage.hashed(hasher, "agency:abcdefghijk") != linkage.hashed(hasher, "agency:ABCDEFGHIJK")
