"""The grants end to end over both databases: what is given, what is rotated, what counts once even at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from app.audit import PLATFORM, verify
from app.auth.policy import ROLE_SCOPES
from app.errors import Problem
from app.models import AuditLine
from tests.issuer import CALLBACK, begin, make_issuer, returned


@pytest.fixture
def issuer(database_url, tmp_path):
    made = make_issuer(database_url, tmp_path)
    yield made
    made.auth.db.dispose()


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """One issuer for what does not depend on the database's ways."""
    folder = tmp_path_factory.mktemp("issuer")
    made = make_issuer(f"sqlite:///{folder / 'baekman.db'}", folder)
    made.person()
    yield made
    made.auth.db.dispose()


@pytest.fixture
def flow(issuer):
    issuer.person()
    return begin(issuer, issuer.people_client())


def events(issuer):
    with issuer.auth.db.read() as session:
        assert verify(session, PLATFORM)[1] is None
        return [(line.event, line.data) for line in session.query(AuditLine).order_by(AuditLine.number)]


def holds(issuer, token):
    """Who asks with the token; None where it is refused."""
    try:
        return issuer.auth.authenticate(token)
    except Problem as problem:
        if problem.code != "invalid_token":
            raise
        return None


def claims_of(issuer, token):
    return jwt.decode(token, KeySet.import_key_set(issuer.auth.jwks()), algorithms=["RS256"])


def test_a_machine_gets_a_token_of_rfc_9068(light):
    client = light.machine("steward", ["requests:review", "permits:manage"])
    answer = light.token(client)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    assert "refresh_token" not in body
    token = claims_of(light, body["access_token"])
    assert token.header == {"typ": "at+jwt", "alg": "RS256", "kid": light.auth.jwks()["keys"][0]["kid"]}
    now = int(light.clock().timestamp())
    assert token.claims.pop("jti")
    assert token.claims == {
        "iss": light.auth.issuer,
        "aud": light.auth.issuer,
        "sub": f"client:{client['id']}",
        "client_id": client["id"],
        "scope": "permits:manage requests:review",
        "iat": now,
        "exp": now + 3600,
        "urn:baekman:role": "steward",
    }
    actor = holds(light, body["access_token"])
    assert (actor.subject, actor.role) == (f"client:{client['id']}", "steward")


@pytest.mark.parametrize(
    ("asked", "status", "given"),
    [
        (None, 200, "catalog:read requests:write"),
        ("catalog:read", 200, "catalog:read"),
        (
            "catalog:read extracts:read",
            200,
            "catalog:read",
        ),  # known, but not this client's: left out, and said so
        ("extracts:read", 400, "invalid_scope"),
        ("catalog:read nothing:such", 400, "invalid_scope"),
        ("openid", 400, "invalid_scope"),
    ],
)
def test_what_is_granted_is_the_intersection(light, asked, status, given):
    client = light.machine(scopes=["requests:write", "catalog:read"])
    answer = light.token(client, **({"scope": asked} if asked else {}))
    assert answer.status_code == status
    assert answer.json()["scope" if status == 200 else "error"] == given


def test_a_person_signs_in(light):
    flow = begin(light, light.people_client())
    answer = flow.sign_in()
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(CALLBACK + "?")
    back = returned(answer)
    assert (back["state"], back["iss"]) == (flow.parameters["state"], light.auth.issuer)
    tokens = flow.redeem(back["code"]).json()
    actor = holds(light, tokens["access_token"])
    assert actor.subject.startswith("account:")
    assert actor.scopes == {"catalog:read", "openid", "profile", "requests:write"}
    identity = claims_of(light, tokens["id_token"])
    now = int(light.clock().timestamp())
    assert identity.claims == {
        "iss": light.auth.issuer,
        "sub": actor.subject,
        "aud": flow.client["id"],
        "nonce": "n-1",
        "auth_time": now,
        "iat": now,
        "exp": now + 3600,
    }
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    for method in ("GET", "POST"):
        assert light.browser().request(method, "/oauth/userinfo", headers=bearer).json() == {
            "sub": actor.subject,
            "name": "김연구",
            "preferred_username": "kim",
            "urn:baekman:role": "researcher",
        }


def test_the_role_of_the_person_bounds_the_client(light):
    light.person("park", "steward")
    flow = begin(light, light.people_client(), scope="catalog:read requests:write requests:review")
    tokens = flow.redeem(returned(flow.sign_in("park"))["code"]).json()
    assert tokens["scope"] == "catalog:read"
    only = begin(light, flow.client, scope="requests:write")
    assert returned(only.sign_in("park"))["error"] == "invalid_scope"


def test_refresh_rotates_and_a_used_one_kills_the_family(issuer, flow):
    first = flow.tokens()
    second = issuer.token(
        flow.client, grant_type="refresh_token", refresh_token=first["refresh_token"]
    ).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["scope"] == first["scope"]
    assert holds(issuer, second["access_token"])
    again = issuer.token(flow.client, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    dead = issuer.token(flow.client, grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert dead.json()["error"] == "invalid_grant"
    assert holds(issuer, first["access_token"]) is holds(issuer, second["access_token"]) is None
    assert events(issuer)[-1] == ("token.reuse_detected", {"what": "refresh_token"})


def test_a_refresh_may_narrow_and_never_widen(light):
    flow = begin(light, light.people_client())
    flow.parameters["scope"] = "catalog:read"
    first = flow.tokens()
    for scope in ("catalog:read requests:write", "requests:write", "platform:admin", "nothing:such"):
        wide = light.token(
            flow.client, grant_type="refresh_token", refresh_token=first["refresh_token"], scope=scope
        )
        assert (wide.status_code, wide.json()["error"]) == (400, "invalid_scope")
    whole = begin(light, flow.client).tokens()
    narrow = light.token(
        flow.client, grant_type="refresh_token", refresh_token=whole["refresh_token"], scope="catalog:read"
    ).json()
    assert narrow["scope"] == "catalog:read"
    assert "id_token" not in narrow
    back = light.token(flow.client, grant_type="refresh_token", refresh_token=narrow["refresh_token"]).json()
    assert back["scope"] == whole["scope"]


def test_a_family_ends_thirty_days_after_the_sign_in(light):
    flow = begin(light, light.people_client())
    refresh = flow.tokens()["refresh_token"]
    light.clock.pass_by(days=29)
    refresh = light.token(flow.client, grant_type="refresh_token", refresh_token=refresh).json()[
        "refresh_token"
    ]
    light.clock.pass_by(days=1)
    ended = light.token(flow.client, grant_type="refresh_token", refresh_token=refresh)
    assert ended.json()["error"] == "invalid_grant"


def test_a_code_counts_once_and_its_replay_ends_what_came_of_it(issuer, flow):
    code = flow.code()
    tokens = flow.redeem(code).json()
    assert holds(issuer, tokens["access_token"])
    assert flow.redeem(code).json()["error"] == "invalid_grant"
    assert holds(issuer, tokens["access_token"]) is None
    dead = issuer.token(flow.client, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert dead.json()["error"] == "invalid_grant"
    assert events(issuer)[-1] == ("token.reuse_detected", {"what": "code"})


@pytest.mark.both
def test_two_redemptions_of_one_code_at_the_same_time_give_one_success(issuer, flow):
    for _ in range(3):
        code = flow.code()
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: flow.redeem(code), range(4)))  # noqa: B023
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]


@pytest.mark.again
@pytest.mark.both
def test_two_refreshes_at_the_same_time_give_one_success_and_end_the_family(issuer, flow):
    for _ in range(3):
        used = flow.tokens()["refresh_token"]
        form = {"grant_type": "refresh_token", "refresh_token": used}
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: issuer.token(flow.client, **form), range(4)))  # noqa: B023
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
        winner = next(answer for answer in answers if answer.status_code == 200).json()
        assert holds(issuer, winner["access_token"]) is None


def test_revocation_acts_on_the_next_request(issuer, flow):
    machine = issuer.machine()
    token = issuer.access_token(machine)
    browser, basic = issuer.browser(), (machine["id"], machine["client_secret"])
    assert browser.post("/oauth/revoke", data={"token": token}, auth=basic).status_code == 200
    assert holds(issuer, token) is None
    assert browser.post("/oauth/revoke", data={"token": token}, auth=basic).status_code == 200  # RFC 7009 2.2
    assert browser.post("/oauth/revoke", data={"token": "unknown"}, auth=basic).status_code == 200

    tokens = flow.tokens()
    theirs = browser.post("/oauth/revoke", data={"token": tokens["refresh_token"]}, auth=basic)
    assert (theirs.status_code, theirs.json()["error"]) == (400, "invalid_grant")
    assert holds(issuer, tokens["access_token"])
    form = {
        "token": tokens["refresh_token"],
        "token_type_hint": "access_token",
        "client_id": flow.client["id"],
    }
    assert browser.post("/oauth/revoke", data=form).status_code == 200
    assert holds(issuer, tokens["access_token"]) is None
    assert [event for event, _ in events(issuer)].count("token.revoked") == 2


def test_introspection(light):
    flow = begin(light, light.people_client())
    machine, platform = light.machine(), light.first
    token, tokens = light.access_token(machine), flow.tokens()

    def seen(token, client):
        basic = (client.get("id") or client["client_id"], client["client_secret"])
        answer = light.browser().post("/oauth/introspect", data={"token": token}, auth=basic)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    mine = seen(token, machine)
    assert (mine["active"], mine["sub"], mine["scope"]) == (True, f"client:{machine['id']}", "catalog:read")
    assert seen(tokens["access_token"], machine) == seen("rubbish", machine) == {"active": False}
    for kind in ("access_token", "refresh_token"):
        assert seen(tokens[kind], platform)["client_id"] == flow.client["id"]
    assert seen(tokens["id_token"], platform) == {"active": False}
    light.clock.pass_by(hours=1)
    assert seen(token, platform) == {"active": False}
    public = light.browser().post("/oauth/introspect", data={"token": token, "client_id": flow.client["id"]})
    assert (public.status_code, public.json()["error"]) == (401, "invalid_client")


def test_switching_off_a_client_or_an_account_acts_at_once(issuer):
    machine, person = issuer.machine(), issuer.person()
    flow = begin(issuer, issuer.people_client())
    token, tokens, code = issuer.access_token(machine), flow.tokens(), flow.code()
    administration = issuer.auth.administration
    administration.deactivate_client(issuer.admin, machine["id"])
    assert holds(issuer, token) is None
    assert issuer.token(machine).status_code == 401
    administration.deactivate_account(issuer.admin, person["id"])
    assert holds(issuer, tokens["access_token"]) is None
    assert flow.redeem(code).json()["error"] == "invalid_grant"
    refreshed = issuer.token(flow.client, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert refreshed.json()["error"] == "invalid_grant"
    assert flow.sign_in().status_code == 403


def test_keys_rotate_with_both_in_the_jwks_until_old_tokens_end(issuer):
    machine = issuer.machine()
    old = issuer.access_token(machine)
    kid = issuer.auth.administration.rotate_key(issuer.admin)
    new = issuer.access_token(machine)
    assert claims_of(issuer, new).header["kid"] == kid
    assert len(issuer.auth.jwks()["keys"]) == 2
    assert not any("d" in key for key in issuer.auth.jwks()["keys"])
    assert holds(issuer, old)
    assert holds(issuer, new)
    issuer.clock.pass_by(hours=1)
    assert [key["kid"] for key in issuer.auth.jwks()["keys"]] == [kid]


def test_the_first_start_happens_once(issuer):
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda _: issuer.auth.bootstrap(), range(4)))
    assert again == [None] * 4
    assert len(issuer.auth.jwks()["keys"]) == 1
    actor = holds(issuer, issuer.access_token(issuer.first))
    assert (actor.role, actor.scopes) == ("platform", ROLE_SCOPES["platform"])
    names = [event for event, _ in events(issuer)]
    assert names == ["key.rotated", "client.registered"]


def test_sweep_removes_only_what_has_ended(issuer, flow):
    kept, tokens = flow.tokens(), flow.tokens()
    flow.code()
    issuer.token(flow.client, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    issuer.clock.pass_by(hours=2)
    assert issuer.auth.sweep() == 1  # the code that nobody redeemed
    again = issuer.token(flow.client, grant_type="refresh_token", refresh_token=kept["refresh_token"])
    assert again.status_code == 200
    issuer.clock.pass_by(days=31)
    assert issuer.auth.sweep() >= 6
    assert issuer.auth.sweep() == 0


def test_what_a_database_cannot_hold_is_refused_and_never_an_error_of_ours(issuer, flow):
    """PostgreSQL stores no NUL: whatever comes from outside is checked before it is looked up."""
    browser, machine = issuer.browser(), issuer.machine()
    grant, basic = {"grant_type": "client_credentials"}, (machine["id"], machine["client_secret"])
    bad = "a\0b"
    assert browser.post("/oauth/token", data=grant, auth=(bad, bad)).status_code == 401
    assert (
        browser.post("/oauth/token", data=grant | {"client_id": bad, "client_secret": bad}).status_code == 400
    )
    for path in ("revoke", "introspect"):
        assert browser.post(f"/oauth/{path}", data={"token": bad}, auth=basic).status_code == 400
    assert flow.sign_in(username=bad).status_code == 403
    assert flow.sign_in(username="kim", password=bad).status_code == 403
    assert browser.get(begin(issuer, flow.client, nonce=bad).url).status_code == 400
    assert browser.get(begin(issuer, flow.client, client_id=bad).url).status_code == 400
    admin = {"Authorization": f"Bearer {issuer.access_token(issuer.first)}"}
    assert browser.delete("/v1/clients/a%00b", headers=admin).status_code == 404
    for body in ({"name": bad}, {"name": "x", "redirect_uris": [bad]}, {"name": "x", "scopes": [bad]}):
        new = {
            "authentication": "none",
            "scopes": ["openid"],
            "redirect_uris": ["https://a.example/"],
            **body,
        }
        assert browser.post("/v1/clients", json=new, headers=admin).status_code == 422
