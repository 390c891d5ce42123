"""/v1/clients and /v1/accounts: only the platform, secrets once, strict bodies, pages, and audit lines."""

import pytest

from app.audit import PLATFORM, verify
from app.errors import Problem
from app.models import Account, AuditLine, Client, Institution, SigningKey
from tests.issuer import make_issuer

NEW_CLIENT = {
    "name": "등록 도구",
    "scopes": ["uploads:write"],
    "role": "institution",
    "institution_id": "ins_a",
}
NEW_ACCOUNT = {"username": "lee", "role": "steward", "password": "correct horse battery"}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("issuer")
    made = make_issuer(f"sqlite:///{folder / 'baekman.db'}", folder)
    with made.auth.db.unit_of_work() as session:
        session.add(Institution(id="ins_a", name="가나다병원", created_at=made.clock()))
    yield made
    made.auth.db.dispose()


@pytest.fixture(scope="module")
def call(issuer):
    bearer = {"Authorization": f"Bearer {issuer.access_token(issuer.first)}"}
    return lambda method, path, **more: issuer.browser().request(method, path, headers=bearer, **more)


def test_a_client_is_registered_and_its_secret_shown_once(issuer, call):
    made = call("POST", "/v1/clients", json=NEW_CLIENT)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    body = made.json()
    actor = issuer.auth.authenticate(issuer.access_token(body))
    assert (actor.role, actor.institution_id, actor.scopes) == ("institution", "ins_a", {"uploads:write"})
    assert all("client_secret" not in each for each in call("GET", "/v1/clients").json()["items"])
    with issuer.auth.db.read() as session:
        row = session.get(Client, body["id"])
        assert body["client_secret"] not in str(vars(row))
        line = session.query(AuditLine).filter_by(event="client.registered", object_id=body["id"]).one()
        assert (line.actor, line.data) == (f"client:{issuer.first['client_id']}", {"role": "institution"})


def test_an_account_is_registered_and_a_made_password_shown_once(issuer, call):
    assert "password" not in call("POST", "/v1/accounts", json=NEW_ACCOUNT).json()
    without = {k: v for k, v in NEW_ACCOUNT.items() if k != "password"}
    made = call("POST", "/v1/accounts", json=without | {"username": "lee2"}).json()
    assert len(made["password"]) == 43
    taken = call("POST", "/v1/accounts", json=NEW_ACCOUNT)
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
    items = call("GET", "/v1/accounts").json()["items"]
    assert [each["username"] for each in items] == ["lee", "lee2"]
    assert all("password" not in each for each in items)
    with issuer.auth.db.read() as session:
        assert session.get(Account, made["id"]).password_hash.startswith("$argon2id$")


@pytest.mark.parametrize(
    ("path", "base", "change", "places"),
    [
        ("clients", NEW_CLIENT, {"institution_id": "ins_nobody"}, {"/institution_id"}),
        (
            "clients",
            NEW_CLIENT,
            {"scopes": ["x", "audit:read", "platform:admin"]},
            {"/scopes/0", "/scopes/2"},
        ),
        ("accounts", NEW_ACCOUNT, {"username": "대문자", "password": "x"}, {"/username", "/password"}),
    ],
)
def test_all_faults_come_at_once(call, path, base, change, places):
    answer = call("POST", f"/v1/{path}", json=base | change)
    assert answer.status_code == 422
    assert {problem["pointer"] for problem in answer.json()["problems"]} == places


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clients", NEW_CLIENT | {"surprise": 1}),
        ("clients", NEW_CLIENT | {"name": 7}),
        ("clients", NEW_CLIENT | {"name": "a\0b"}),
        ("clients", NEW_CLIENT | {"institution_id": "\0"}),
        ("clients", NEW_CLIENT | {"role": "people"}),
        ("accounts", NEW_ACCOUNT | {"display_name": "a\0"}),
        ("accounts", NEW_ACCOUNT | {"role": None}),
    ],
)
def test_bodies_are_strict(call, path, body):
    assert call("POST", f"/v1/{path}", json=body).status_code == 422


def test_nobody_else_administers(issuer):
    steward = issuer.machine("steward", ["audit:read"])
    bearer = {"Authorization": f"Bearer {issuer.access_token(steward)}"}
    for method, path in [("GET", "/v1/clients"), ("POST", "/v1/accounts"), ("DELETE", "/v1/clients/x")]:
        answer = issuer.browser().request(method, path, headers=bearer, json=NEW_ACCOUNT)
        assert answer.status_code == 403
        assert 'scope="platform:admin"' in answer.headers["www-authenticate"]
    actor = issuer.auth.authenticate(issuer.access_token(steward))
    with pytest.raises(Problem, match="forbidden"):
        issuer.auth.administration.rotate_key(actor)


def test_pages_follow_the_cursor(issuer, call):
    for _ in range(5):
        issuer.machine()
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = call("GET", f"/v1/clients?limit=2&cursor={cursor}").json()
        seen += [each["id"] for each in page["items"]]
        cursor = page.get("next_cursor")
    assert seen == sorted(set(seen))
    assert len(seen) >= 6


def test_switching_off(issuer, call):
    client = issuer.machine()
    assert call("DELETE", f"/v1/clients/{client['id']}").status_code == 204
    assert call("DELETE", f"/v1/clients/{client['id']}").status_code == 204
    assert issuer.token(client).status_code == 401
    assert call("DELETE", f"/v1/clients/{issuer.first['client_id']}").status_code == 409
    assert call("DELETE", "/v1/clients/nobody").status_code == 404
    assert call("DELETE", "/v1/accounts/%00").status_code == 404
    with issuer.auth.db.read() as session:
        assert session.query(AuditLine).filter_by(event="client.deactivated").count() == 1
        assert verify(session, PLATFORM)[1] is None


def test_private_keys_are_wrapped(issuer):
    with issuer.auth.db.read() as session:
        row = session.query(SigningKey).one()
        assert row.public_jwk.keys() == {"kty", "n", "e", "kid", "alg", "use"}
        inside = issuer.auth.keyring.unwrap(row.private_wrapped)
        assert inside[4:6] == b"\x30\x82"  # DER
        assert inside[4:20] not in row.private_wrapped


def test_an_insecure_public_url_is_refused(tmp_path):
    with pytest.raises(ValueError, match="https"):
        make_issuer(f"sqlite:///{tmp_path / 'x.db'}", tmp_path, "http://baekman.example")
