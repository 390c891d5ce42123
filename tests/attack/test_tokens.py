"""Tokens, codes and assertions of every wrong kind: each is refused, with the same words, and never with a 500."""

import base64
import hmac
import json
import secrets
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from joserfc.jws import JWSRegistry

from app.auth.keys import signing_key
from app.auth.throttle import Throttle
from app.errors import Problem
from tests.issuer import CALLBACK, begin, challenge, make_issuer, returned

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
UNLIMITED = JWSRegistry(algorithms=["none", "HS256", "RS256", "ES256"])


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("issuer")
    made = make_issuer(f"sqlite:///{folder / 'baekman.db'}", folder)
    made.person()
    yield made
    made.auth.db.dispose()


@pytest.fixture(autouse=True)
def nobody_failed_before(issuer):
    """Each test starts with counters at zero."""
    issuer.auth.throttle._limiter = Throttle()._limiter


@pytest.fixture(scope="module")
def machine(issuer):
    return issuer.machine()


@pytest.fixture(scope="module")
def app(issuer):
    return issuer.people_client()


@pytest.fixture
def key(issuer):
    with issuer.auth.db.read() as session:
        return signing_key(session, issuer.auth.keyring)


def claims(issuer, machine, **changes):
    now = int(issuer.clock().timestamp())
    base = {
        "iss": issuer.auth.issuer, "aud": issuer.auth.issuer, "sub": f"client:{machine['id']}",
        "client_id": machine["id"], "scope": "catalog:read", "jti": secrets.token_urlsafe(8), "iat": now,
        "exp": now + 600,
    }  # fmt: skip
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def signed(key, body, **header):
    head = {"alg": "RS256", "typ": "at+jwt", "kid": key.kid, **header}
    head = {name: value for name, value in head.items() if value is not None}
    return jwt.encode(head, body, key, registry=UNLIMITED, default_type=None)


def refused(issuer, token):
    with pytest.raises(Problem) as problem:
        issuer.auth.authenticate(token)
    assert problem.value.code == "invalid_token"
    assert 'error="invalid_token"' in problem.value.headers["WWW-Authenticate"]
    return problem.value.detail


def b64(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hs256(secret, body, **header):
    """Signed by HMAC with a public key as its secret: the confusion of RFC 8725 2.1."""
    text = f"{b64({'alg': 'HS256', **header})}.{b64(body)}"
    return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"


def test_the_forgery_bench_makes_good_tokens(issuer, machine, key):
    """Else every refusal below could be for a reason other than the one that is meant."""
    assert issuer.auth.authenticate(signed(key, claims(issuer, machine))).client_id == machine["id"]
    assert issuer.auth.authenticate(signed(key, claims(issuer, machine), typ="application/AT+JWT"))


HOUR = 3600
BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "issuer with a slash": {"iss": "http://127.0.0.1:8000/"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "https://evil.example"},
    "ours among audiences": {"aud": ["http://127.0.0.1:8000", "https://evil.example"]},
    "no audience": {"aud": None},
    "no subject": {"sub": None},
    "subject is no text": {"sub": 7},
    "subject of another client": {"sub": "client:cli_other"},
    "subject without kind": {"sub": "root"},
    "unknown account": {"sub": "account:acc_nobody"},
    "unknown client": {"client_id": "cli_nobody"},
    "no client": {"client_id": None},
    "client with a NUL": {"client_id": "cli\0"},
    "no scope": {"scope": None},
    "no jti": {"jti": None},
    "no expiry": {"exp": None},
    "expiry is text": {"exp": "9999999999"},
    "expiry is true": {"exp": True},
    "expiry is endless": {"exp": 1e400},
    "no time of issue": {"iat": None},
}


@pytest.mark.parametrize("name", BAD_CLAIMS)
def test_claims_that_are_wrong(issuer, machine, key, name):
    refused(issuer, signed(key, claims(issuer, machine, **BAD_CLAIMS[name])))


@pytest.mark.parametrize(
    "moved",
    [{"exp": 0}, {"exp": -1}, {"exp": -HOUR}, {"iat": HOUR}, {"nbf": HOUR}, {"iat": 31, "exp": HOUR}],
    ids=[
        "this second",
        "a second ago",
        "an hour ago",
        "made later",
        "not before later",
        "half a minute early",
    ],
)
def test_times_that_are_wrong(issuer, machine, key, moved):
    now = int(issuer.clock().timestamp())
    changes = {name: now + seconds for name, seconds in moved.items()}
    refused(issuer, signed(key, claims(issuer, machine, **changes)))


@pytest.mark.parametrize(
    "header",
    [{"typ": "JWT"}, {"typ": None}, {"typ": "vnd.ga4gh.visa+jwt"}, {"kid": None}, {"kid": "other"},
     {"jku": "https://evil.example/jwks"}, {"x5u": "https://evil.example/x"}, {"cty": "JWT"}],
    ids=lambda header: str(header),
)  # fmt: skip
def test_headers_that_are_wrong(issuer, machine, key, header):
    refused(issuer, signed(key, claims(issuer, machine), **header))


def test_signatures_that_are_wrong(issuer, machine, key):
    body, good = claims(issuer, machine), signed(key, claims(issuer, machine))
    head, payload, signature = good.split(".")
    other, curve = RSAKey.generate_key(2048), ECKey.generate_key("P-256")
    embedded = {"jwk": other.as_dict(private=False)}
    hidden = b64({"alg": "NONE", "typ": "at+jwt", "kid": key.kid})
    forged = [
        f"{b64({'alg': 'none', 'typ': 'at+jwt', 'kid': key.kid})}.{payload}.",
        f"{hidden}.{payload}.{signature}",
        f"{head}.{payload}.",
        f"{head}.{payload}",
        f"{head}.{b64(body | {'scope': 'platform:admin'})}.{signature}",
        f"{b64({'alg': 'RS256', 'typ': 'at+jwt', 'kid': key.kid, 'x': 1})}.{payload}.{signature}",
        hs256(key.as_pem(private=False), body, typ="at+jwt", kid=key.kid),
        hs256(key.as_der(private=False), body, typ="at+jwt", kid=key.kid),
        hs256(json.dumps(key.as_dict(private=False)).encode(), body, typ="at+jwt", kid=key.kid),
        hs256(b"", body, typ="at+jwt", kid=key.kid),
        jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": key.kid}, body, other),
        jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": key.kid, **embedded}, body, other),
        jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, body, curve),
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
        good + "." + signature,
        good + " ",
        "",
        ".",
        "..",
        "a" * 100_000,
        b64(b"\xff") + "." + b64(b"\xff") + ".x",
        f"{b64([])}.{payload}.{signature}",
        f"{b64({'alg': ['RS256'], 'typ': 'at+jwt', 'kid': {}})}.{payload}.{signature}",
        f"{b64(b'[' * 5000)}.{payload}.{signature}",
        good.replace("e", "ｅ", 1),
    ]
    words = {refused(issuer, token) for token in forged}
    assert len(words) == 1  # which check failed is not told


def test_payloads_that_are_no_claims(issuer, key):
    for payload in (b"[]", b"7", b'"x"', b"null", b"\xff", b"", b"[" * 2000):
        head = b64({"alg": "RS256", "typ": "at+jwt", "kid": key.kid})
        text = f"{head}.{b64(payload)}"
        signature = key.private_key.sign(text.encode(), PKCS1v15(), SHA256())
        refused(issuer, f"{text}.{b64(signature)}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=60), st.lists(st.binary(max_size=40), min_size=3, max_size=3)))
def test_noise(issuer, noise):
    refused(issuer, noise if isinstance(noise, str) else ".".join(map(b64, noise)))


def test_other_tokens_of_ours_are_no_access_tokens(issuer, app):
    tokens = begin(issuer, app).tokens()
    assert issuer.auth.authenticate(tokens["access_token"])
    refused(issuer, tokens["id_token"])
    refused(issuer, tokens["refresh_token"])
    refused(issuer, issuer.first["client_secret"])


def test_a_token_of_another_issuer_with_our_name(issuer, machine, tmp_path):
    twin = make_issuer(f"sqlite:///{tmp_path / 'twin.db'}", tmp_path)
    refused(issuer, twin.access_token(twin.first))
    twin.auth.db.dispose()


def test_a_token_cannot_exceed_what_client_and_role_may_have_now(issuer, machine, key):
    grabbed = signed(
        key, claims(issuer, machine, scope="catalog:read platform:admin extracts:read audit:read")
    )
    actor = issuer.auth.authenticate(grabbed)
    assert (actor.scopes, actor.role) == ({"catalog:read"}, "researcher")
    promoted = signed(key, claims(issuer, machine, **{"urn:baekman:role": "platform"}))
    assert issuer.auth.authenticate(promoted).role == "researcher"


# Client authentication


def test_secrets_that_are_wrong(issuer, machine, app):
    name, secret, other = machine["id"], machine["client_secret"], issuer.machine()
    post, grant = issuer.browser().post, {"grant_type": "client_credentials"}
    tries: list[dict[str, Any]] = [
        {"auth": (name, secret[:-1])},
        {"auth": (name, "")},
        {"auth": (name, other["client_secret"])},
        {"auth": (name + "x", secret)},
        {"auth": ("\0", secret)},
        {"auth": ("", secret)},
        {"headers": {"Authorization": "Basic ///"}},
        {"headers": {"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()}},
        {"headers": {"Authorization": b"Basic \xff\xff"}},
        {"headers": {"Authorization": f"Bearer {secret}"}},
        {"data": {"client_id": name}},
        {"data": {"client_id": name, "client_secret": secret + "x"}},
        {"data": {"client_id": other["id"]}, "auth": (name, secret)},
        {"data": {"client_id": app["id"]}},
        {"data": {"client_id": app["id"], "client_secret": secret}},
        {},
    ]
    answers = [post("/oauth/token", **{**each, "data": grant | each.get("data", {})}) for each in tries]
    assert {(a.status_code, a.text) for a in answers} == {
        (401, '{"error":"invalid_client","error_description":"Client authentication failed."}')
    }
    assert all(answer.headers["www-authenticate"].startswith("Basic ") for answer in answers)
    assert all(answer.headers["cache-control"] == "no-store" for answer in answers)
    twice = post(
        "/oauth/token", auth=(name, secret), data=grant | {"client_id": name, "client_secret": secret}
    )
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")


def test_forms_that_are_wrong(issuer, machine):
    basic = (machine["id"], machine["client_secret"])
    form = "application/x-www-form-urlencoded"
    bodies = [
        (form, b""),
        (form, b"grant_type="),
        (form, b"grant_type=client_credentials&grant_type=client_credentials"),
        (form, b"grant_type=client_credentials&scope=a&scope=b"),
        (form, b"grant_type=client_credentials&scope=%00"),
        (form, b"grant_type=client_credentials&scope=%ff"),
        (form, b"\xff\xfe"),
        (form, b"grant_type=client_credentials&x=" + b"y" * 70_000),
        (form, b"grant_type=client_credentials" + b"&x" * 60),
        ("application/json", b'{"grant_type": "client_credentials"}'),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("", b"grant_type=client_credentials"),
    ]
    for kind, body in bodies:
        answer = issuer.browser().post(
            "/oauth/token", content=body, headers={"Content-Type": kind}, auth=basic
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), body[:60]
    for unknown in ("password", "implicit", 'x"\\', "한글", "urn:ietf:params:oauth:grant-type:device_code"):
        answer = issuer.browser().post("/oauth/token", data={"grant_type": unknown}, auth=basic)
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    in_query = issuer.browser().post("/oauth/token?grant_type=client_credentials", auth=basic)
    assert in_query.status_code == 400


def test_guessing_a_secret_is_slowed_down(issuer):
    victim = issuer.machine()
    wrong = {"auth": (victim["id"], "x" * 43), "data": {"grant_type": "client_credentials"}}
    statuses = [issuer.browser().post("/oauth/token", **wrong).status_code for _ in range(31)]
    assert statuses == [401] * 30 + [429]
    slow = issuer.token(victim)
    assert slow.status_code == 429
    assert int(slow.headers["retry-after"]) > 0
    assert issuer.token(issuer.machine()).status_code == 200


class Bench:
    """A client that proves itself by a key, and assertions of it."""

    def __init__(self, issuer):
        self.issuer, self.key = issuer, ECKey.generate_key("P-256", parameters={"kid": "k1"})
        jwks = {"keys": [RSAKey.generate_key(2048).as_dict(private=False), self.key.as_dict(private=False)]}
        self.client = issuer.machine(authentication="private_key_jwt", jwks=jwks)

    def assertion(self, key=None, header=None, **changes):
        now = int(self.issuer.clock().timestamp())
        base = {
            "iss": self.client["id"], "sub": self.client["id"], "aud": self.issuer.auth.issuer, "iat": now,
            "exp": now + 300, "jti": secrets.token_urlsafe(8),
        }  # fmt: skip
        body = {name: value for name, value in {**base, **changes}.items() if value is not None}
        return jwt.encode(header or {"alg": "ES256"}, body, key or self.key, registry=UNLIMITED)

    def send(self, assertion, **more):
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, **more}
        return self.issuer.browser().post("/oauth/token", data=form | {"client_assertion": assertion})


@pytest.fixture(scope="module")
def bench(issuer):
    return Bench(issuer)


def test_an_assertion_counts_once(bench):
    assertion = bench.assertion()
    assert bench.send(assertion).status_code == 200
    again = bench.send(assertion)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")


def test_an_assertion_counts_once_even_where_the_request_fails(bench):
    assertion = bench.assertion()
    assert bench.send(assertion, scope="nothing:such").json()["error"] == "invalid_scope"
    assert bench.send(assertion).status_code == 401


def test_assertions_that_are_wrong(issuer, bench, machine):
    now = int(issuer.clock().timestamp())
    token_url = f"{issuer.auth.issuer}/oauth/token"
    assert bench.send(bench.assertion(aud=token_url)).status_code == 200
    assert bench.send(bench.assertion(aud=[issuer.auth.issuer, token_url])).status_code == 200
    assert bench.send(bench.assertion(header={"alg": "ES256", "kid": "k1"})).status_code == 200
    good = bench.assertion()
    body = json.loads(base64.urlsafe_b64decode(good.split(".")[1] + "=="))
    wrong = [
        bench.assertion(aud=None),
        bench.assertion(aud=[]),
        bench.assertion(aud="https://evil.example"),
        bench.assertion(aud=[issuer.auth.issuer, "https://evil.example"]),
        bench.assertion(aud=issuer.auth.issuer + "/"),
        bench.assertion(aud=f"{issuer.auth.issuer}/oauth/introspect"),
        bench.assertion(exp=now - 60),
        bench.assertion(exp=now + 3 * HOUR),
        bench.assertion(exp=None),
        bench.assertion(exp="soon"),
        bench.assertion(iat=now + HOUR),
        bench.assertion(nbf=now + HOUR),
        bench.assertion(jti=None),
        bench.assertion(jti=""),
        bench.assertion(jti=7),
        bench.assertion(iss=machine["id"]),
        bench.assertion(iss=None),
        bench.assertion(sub=machine["id"], iss=machine["id"]),
        bench.assertion(sub=None),
        bench.assertion(sub=7),
        bench.assertion(sub="\0", iss="\0"),
        bench.assertion(key=ECKey.generate_key("P-256")),
        bench.assertion(header={"alg": "ES256", "kid": "other"}),
        hs256(bench.key.as_pem(private=False), body),
        hs256(bench.key.as_pem(private=False), body, kid="k1"),
        f"{b64({'alg': 'none'})}.{good.split('.')[1]}.",
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
        "x",
        "..",
        f"{b64({'alg': 'ES256'})}.{b64([])}.x",
        f"{b64({'alg': 'ES256'})}.{b64(b'[' * 3000)}.x",
        "a" * 9000,
    ]
    answers = [bench.send(assertion) for assertion in wrong[:25]]
    issuer.auth.throttle._limiter = Throttle()._limiter
    answers += [bench.send(assertion) for assertion in wrong[25:]]
    assert {(answer.status_code, answer.json()["error"]) for answer in answers} == {(401, "invalid_client")}
    assert {answer.json()["error_description"] for answer in answers} == {"Client authentication failed."}
    typeless = issuer.browser().post(
        "/oauth/token", data={"grant_type": "client_credentials", "client_assertion": bench.assertion()}
    )
    assert typeless.status_code == 401


# Codes and the authorization endpoint


def spoiled(answer):
    return (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_a_code_of_another_client(issuer, app):
    flow = begin(issuer, app)
    code, thief = flow.code(), begin(issuer, issuer.people_client())
    assert spoiled(thief.redeem(code, code_verifier=flow.verifier))
    assert spoiled(flow.redeem(code))  # it was seen in wrong hands


@pytest.mark.parametrize(
    "verifier", ["x" * 43, "x" * 42, "", "x" * 129, "é" * 50], ids=lambda v: f"{v[:1]}{len(v)}"
)
def test_a_wrong_verifier_spoils_the_code(issuer, app, verifier):
    flow = begin(issuer, app)
    code = flow.code()
    assert flow.redeem(code, code_verifier=verifier).status_code == 400
    assert spoiled(flow.redeem(code))


def test_the_challenge_itself_is_no_verifier(issuer, app):
    flow = begin(issuer, app)
    assert spoiled(flow.redeem(flow.code(), code_verifier=challenge(flow.verifier)))


@pytest.mark.parametrize("uri", [CALLBACK + "/", CALLBACK + "?", "", "https://evil.example/"])
def test_a_code_redeemed_under_another_address(issuer, app, uri):
    flow = begin(issuer, app)
    code = flow.code()
    assert flow.redeem(code, redirect_uri=uri).status_code == 400
    assert spoiled(flow.redeem(code))


def test_a_code_ends_after_a_minute(issuer, app):
    flow = begin(issuer, app)
    code = flow.code()
    issuer.clock.pass_by(seconds=60)
    assert spoiled(flow.redeem(code))


def test_codes_that_are_none(issuer, app):
    flow = begin(issuer, app)
    for code in ("x", "\x01", "한", "' OR 1=1 --"):
        assert flow.redeem(code).status_code == 400
    assert flow.redeem("").json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": CALLBACK + "/"},
        {"redirect_uri": CALLBACK + "?x=1"},
        {"redirect_uri": CALLBACK.upper()},
        {"redirect_uri": CALLBACK + "/../evil"},
        {"redirect_uri": "http://127.0.0.1:9\\@evil.example/callback"},
        {"redirect_uri": 'x"\\'},
        {"redirect_uri": None},
        {"client_id": "cli_nobody"},
        {"client_id": "\0"},
        {"client_id": None},
        {"response_type": 'code"'},
    ],
    ids=str,
)
def test_no_redirect_where_the_address_is_not_sure(issuer, app, change):
    answer = issuer.browser().get(begin(issuer, app, **change).url)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "evil.example" not in answer.text


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),  # RFC 7636: would mean plain
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "s256"}, "invalid_request"),
        ({"code_challenge": "x" * 42}, "invalid_request"),
        ({"code_challenge": "x" * 44}, "invalid_request"),
        ({"code_challenge": "x" * 42 + "="}, "invalid_request"),
        ({"scope": "nothing:such"}, "invalid_scope"),
        ({"scope": "platform:admin"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code token"}, "unsupported_response_type"),
        ({"response_type": "none"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"request": "x.y.z"}, "request_not_supported"),
        ({"request_uri": "https://evil.example/"}, "request_uri_not_supported"),
        ({"prompt": "none"}, "login_required"),
        ({"nonce": "n" * 501}, "invalid_request"),
    ],
    ids=str,
)
def test_errors_go_back_to_the_application_with_state_and_issuer(issuer, app, change, error):
    flow = begin(issuer, app, **change)
    answer = issuer.browser().get(flow.url)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(CALLBACK + "?")
    back = returned(answer)
    assert back["error"] == error
    assert (back["state"], back["iss"]) == (flow.parameters["state"], issuer.auth.issuer)
    assert "code" not in back


def test_a_confidential_client_needs_pkce_too_and_its_secret(issuer):
    confidential = issuer.people_client(authentication="client_secret")
    bare = begin(issuer, confidential, code_challenge=None, code_challenge_method=None)
    assert returned(issuer.browser().get(bare.url))["error"] == "invalid_request"
    flow = begin(issuer, confidential)
    code = flow.code()
    secretless = {k: v for k, v in confidential.items() if k != "client_secret"}
    assert begin(issuer, secretless).redeem(code, code_verifier=flow.verifier).status_code == 401
    assert flow.redeem(code).status_code == 200  # who did not prove itself did not touch the code


def test_parameters_twice(issuer, app):
    flow = begin(issuer, app)
    for name in ("redirect_uri", "client_id", "state", "code_challenge", "scope"):
        answer = issuer.browser().get(flow.url + f"&{name}=x")
        assert answer.status_code == 400
        assert "location" not in answer.headers


def test_a_machine_cannot_send_people_and_people_cannot_be_a_machine(issuer, machine, app):
    answer = issuer.browser().get(begin(issuer, machine).url)
    assert answer.status_code == 400
    assert issuer.token(app).json()["error"] == "invalid_client"
    confidential = issuer.people_client(authentication="client_secret")
    assert issuer.token(confidential).json()["error"] == "unauthorized_client"
    refresh = issuer.token(machine, grant_type="refresh_token", refresh_token="x")
    assert refresh.json()["error"] == "unauthorized_client"


def test_a_refresh_token_of_another_client(issuer, app):
    tokens, thief = begin(issuer, app).tokens(), issuer.people_client()
    stolen = issuer.token(thief, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert spoiled(stolen)
    assert issuer.auth.authenticate(tokens["access_token"])  # who has it from elsewhere cannot end it either


def test_an_old_key_does_not_verify_after_its_time(issuer, machine, key):
    life = timedelta(seconds=3600)
    issuer.auth.administration.rotate_key(issuer.admin)
    issuer.clock.pass_by(seconds=life.total_seconds())
    refused(issuer, signed(key, claims(issuer, machine)))
    assert len(KeySet.import_key_set(issuer.auth.jwks()).keys) == 1


def test_a_token_that_was_accepted_is_refused_once_its_key_is_gone(issuer, machine, key):
    """That its signature held is remembered; whether its key verifies is not."""
    life = timedelta(seconds=3600)
    ends = int((issuer.clock() + 10 * life).timestamp())
    token = signed(key, claims(issuer, machine) | {"exp": ends})
    assert issuer.auth.authenticate(token)
    issuer.auth.administration.rotate_key(issuer.admin)
    assert issuer.auth.authenticate(token)
    issuer.clock.pass_by(seconds=life.total_seconds())
    refused(issuer, token)
