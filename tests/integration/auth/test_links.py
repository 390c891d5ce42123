"""Who asks with a signed link, on both databases: a person as well as a machine, with every way a token can end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from app.auth.links import SIGNATURE
from app.auth.policy import Actor
from app.errors import Problem
from app.keyring import Keyring
from app.models import SigningKey
from tests.issuer import Issuer, begin, make_issuer

FILE = ("ext_x", "part.parquet")


@pytest.fixture
def issuer(database_url: str, tmp_path: Path) -> Iterator[Issuer]:
    made = make_issuer(database_url, tmp_path)
    yield made
    made.auth.db.dispose()


def signed(issuer: Issuer, token: str) -> list[tuple[str, str]]:
    """The query of a link that was asked for with this token."""
    actor = issuer.auth.authenticate(token)
    with issuer.auth.db.read() as session:
        until = issuer.clock() + timedelta(minutes=5)
        _id, [query] = issuer.auth.links.sign(session, actor, until, [(*FILE, 3)])
    return parse_qsl(query)


def answer(issuer: Issuer, query: list[tuple[str, str]]) -> Actor | str:
    try:
        linked = issuer.auth.links.read(*FILE, query)
    except Problem as problem:
        return problem.code
    assert linked.link.generation == 3
    return linked.actor


def test_a_link_is_of_the_machine_that_asked_and_can_do_one_thing(issuer: Issuer) -> None:
    client = issuer.machine(scopes=["extracts:read", "extracts:write"])
    token = issuer.access_token(client)
    query = signed(issuer, token)
    asker = issuer.auth.authenticate(token)
    assert answer(issuer, query) == replace(asker, scopes=frozenset({"extracts:read"}))
    issuer.browser().post(
        "/oauth/revoke", data={"token": token}, auth=(client["id"], client["client_secret"])
    )
    assert answer(issuer, query) == "link_revoked"


def test_a_link_lives_no_longer_than_the_token(issuer: Issuer) -> None:
    asker = issuer.auth.authenticate(issuer.access_token(issuer.machine(scopes=["extracts:read"])))
    assert asker.by is not None
    late = issuer.clock() + timedelta(seconds=asker.by.expires_at - issuer.clock().timestamp() + 1)
    with issuer.auth.db.read() as session:
        for one, until in ((asker, late), (replace(asker, by=None), issuer.clock())):
            with pytest.raises(ValueError, match="no longer than"):
                issuer.auth.links.sign(session, one, until, [(*FILE, 1)])


PERSON: dict[str, Callable[[Issuer, Any, dict[str, Any], dict[str, Any]], object]] = {
    "the refresh token is used twice": lambda i, flow, person, tokens: [
        i.token(flow.client, grant_type="refresh_token", refresh_token=tokens["refresh_token"]) for _ in "12"
    ],
    "the account is switched off": lambda i, flow, person, tokens: i.auth.administration.deactivate_account(
        i.admin, person["id"]
    ),
    "the client is switched off": lambda i, flow, person, tokens: i.auth.administration.deactivate_client(
        i.admin, flow.client["id"]
    ),
}


@pytest.mark.parametrize("event", PERSON)
def test_a_persons_link_ends_with_all_that_ends_their_token(issuer: Issuer, event: str) -> None:
    person = issuer.person()
    flow = begin(issuer, issuer.people_client(scopes=["extracts:read"]), scope="extracts:read")
    tokens = flow.tokens()
    query = signed(issuer, tokens["access_token"])
    assert isinstance(found := answer(issuer, query), Actor)
    assert found.subject == f"account:{person['id']}"
    PERSON[event](issuer, flow, person, tokens)
    assert answer(issuer, query) == "link_revoked"


def test_keys_are_rotated_and_wrapped_anew_while_links_live(issuer: Issuer) -> None:
    query = signed(issuer, issuer.access_token(issuer.machine(scopes=["extracts:read"])))
    issuer.clock.pass_by(seconds=1)
    with issuer.auth.db.unit_of_work() as session:
        issuer.auth.administration._new_key(session, "client:platform", issuer.clock())
    assert isinstance(answer(issuer, query), Actor)
    # The master key is another, and what it wrapped is wrapped anew.
    both = Keyring(b"n" * 32, *issuer.auth.keyring._masters.values())
    with issuer.auth.db.unit_of_work() as session:
        for row in session.query(SigningKey):
            row.private_wrapped = both.rewrap(row.private_wrapped) or row.private_wrapped
    issuer.auth = replace(issuer.auth, keyring=Keyring(b"n" * 32))
    assert isinstance(answer(issuer, query), Actor)
    # A key that was retired longer ago than a link lives signs nothing that counts.
    short = replace(issuer.auth.links, life=timedelta(seconds=1))
    issuer.clock.pass_by(seconds=1)
    with pytest.raises(Problem) as refused:
        short.read(*FILE, query)
    assert refused.value.code == "link_invalid"


@pytest.mark.parametrize("name", ["link", SIGNATURE])
def test_a_strange_query_is_refused_before_the_database_is_asked(issuer: Issuer, name: str) -> None:
    query = dict(signed(issuer, issuer.access_token(issuer.machine(scopes=["extracts:read"]))))
    for other in ("", "\x00", "가", "x" * 3000, query[name] + "\n"):
        assert answer(issuer, [*{**query, name: other}.items()]) == "link_invalid"
