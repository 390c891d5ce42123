"""What may be registered: each fault is named by its place, all at once."""

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from app.auth.registration import (
    AccountOrder,
    ClientOrder,
    account_findings,
    client_findings,
    is_redirect_uri,
    public_jwks,
)

MACHINE = {"name": "m", "authentication": "client_secret", "scopes": ["catalog:read"], "role": "researcher"}
PEOPLE = {
    "name": "p", "authentication": "none", "scopes": ["openid"], "redirect_uris": ["https://app.example/cb"],
}  # fmt: skip


def places(order):
    return {finding.pointer for finding in client_findings(order)}


@pytest.mark.parametrize(
    ("base", "change", "wrong"),
    [
        (MACHINE, {}, set()),
        (PEOPLE, {}, set()),
        (MACHINE, {"scopes": []}, {"/scopes"}),
        (MACHINE, {"scopes": ["catalog:read", "nothing:such"]}, {"/scopes/1"}),
        (MACHINE, {"scopes": ["platform:admin"]}, {"/scopes/0"}),
        (MACHINE, {"scopes": ["openid"]}, {"/scopes/0"}),
        (MACHINE, {"role": "king"}, {"/role", "/scopes/0"}),
        (MACHINE, {"role": "institution"}, {"/institution_id"}),
        (MACHINE, {"role": "platform", "institution_id": "a"}, {"/institution_id"}),
        (MACHINE, {"authentication": "none"}, {"/authentication"}),
        (MACHINE, {"authentication": "private_key_jwt"}, {"/jwks"}),
        (MACHINE, {"jwks": {"keys": []}}, {"/jwks"}),
        (MACHINE, {"redirect_uris": ["https://a.example/"]}, {"/redirect_uris"}),
        (PEOPLE, {"redirect_uris": []}, {"/redirect_uris"}),
        (PEOPLE, {"redirect_uris": ["https://a.example/", "http://a.example/"]}, {"/redirect_uris/1"}),
        (PEOPLE, {"institution_id": "a", "scopes": ["x"]}, {"/institution_id", "/scopes/0"}),
    ],
)
def test_faults_are_named_by_their_place(base, change, wrong):
    assert places(ClientOrder(**{**base, **change})) == wrong


@pytest.mark.parametrize(
    ("uri", "fits"),
    [
        ("https://app.example/cb?x=1", True),
        ("http://127.0.0.1:8123/cb", True),
        ("http://[::1]:1/cb", True),
        ("com.example.app:/cb", True),
        ("http://app.example/cb", False),
        ("http://127.0.0.1.evil.example/cb", False),
        ("https://user@app.example/cb", False),
        ("https://app.example/cb#part", False),
        ("https:///cb", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("https://app.example/\ncb", False),
        ("https://[broken/cb", False),
        ("/cb", False),
        ("", False),
    ],
)
def test_where_a_code_may_go(uri, fits):
    assert is_redirect_uri(uri) is fits


def test_only_strong_public_keys_are_kept():
    rsa, ec = RSAKey.generate_key(2048), ECKey.generate_key("P-256")

    def judged(*keys):
        order = ClientOrder("k", "private_key_jwt", ["catalog:read"], "researcher", jwks={"keys": list(keys)})
        return places(order)

    public = ec.as_dict(private=False)
    assert judged(rsa.as_dict(private=False), public) == set()
    assert judged() == judged(*[public] * 11) == {"/jwks"}
    assert judged(ec.as_dict(private=True)) == {"/jwks"}
    assert judged(OctKey.generate_key(256).as_dict(private=True)) == {"/jwks"}
    assert judged(ECKey.generate_key("secp256k1").as_dict(private=False)) == {"/jwks"}
    assert judged({"kty": "RSA"}) == judged("x") == judged({**public, "x": "\0"}) == {"/jwks"}
    assert public_jwks({"keys": [{**public, "note": "n"}]}) == {"keys": [public]}


def test_accounts():
    def wrong(**change):
        order = AccountOrder(**{"username": "kim.1@x", "role": "researcher", **change})
        return {finding.pointer for finding in account_findings(order)}

    assert wrong() == wrong(password="x" * 12) == set()
    assert wrong(username="Kim") == wrong(username="ki") == wrong(username="kim\0") == {"/username"}
    assert wrong(password="short") == wrong(password="x" * 201) == {"/password"}
    assert wrong(role="steward", institution_id=None) == set()
    assert wrong(role="institution") == {"/institution_id"}
