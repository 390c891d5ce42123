"""Clients that others wrote, against a real uvicorn: what they expect of an issuer is what they get."""

from urllib.parse import urlsplit

import httpx2
import pytest
from authlib.integrations.httpx_client import OAuth2Client
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from oauthlib.oauth2 import BackendApplicationClient  # type: ignore[import-untyped]
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session as RequestsOAuth2Session  # type: ignore[import-untyped]

from tests.amounts import first
from tests.issuer import CALLBACK, PASSWORD, hidden, served


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("issuer")
    with served(f"sqlite:///{folder / 'baekman.db'}", folder) as running:
        yield running


@pytest.fixture(autouse=True)
def plain_http_on_loopback(monkeypatch):
    """oauthlib refuses http even to loopback, unless told that this is meant."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture(scope="module")
def person(issuer):
    return issuer.person()


def use(issuer, token):
    return issuer.auth.authenticate(token["access_token"])


def pages(url):
    """What a browser does: open the page, fill in the form, stop at the redirect to the application."""
    parts = urlsplit(url)
    with httpx2.Client(base_url=f"{parts.scheme}://{parts.netloc}") as browser:
        form = hidden(browser.get(url).raise_for_status().text)
        form |= {"username": "kim", "password": PASSWORD, "decision": "approve"}
        answer = browser.post("/oauth/authorize", data=form)
    assert answer.status_code == 303
    return answer.headers["location"]


@pytest.mark.parametrize("url", ["openid", "oauth"])
def test_discovery_is_valid_and_names_the_issuer_byte_by_byte(issuer, url):
    base = issuer.auth.issuer
    if url == "openid":
        document = httpx2.get(f"{base}/.well-known/openid-configuration").json()
        metadata = OpenIDProviderMetadata({**document, **https(document)})
    else:
        document = httpx2.get(
            get_well_known_url(base, external=True, suffix="oauth-authorization-server")
        ).json()
        metadata = AuthorizationServerMetadata({**document, **https(document)})
    metadata.validate()
    assert document["issuer"] == base
    assert "device_authorization_endpoint" not in document
    for name in ("jwks_uri", "authorization_endpoint", "userinfo_endpoint"):
        assert httpx2.get(document[name]).status_code in (200, 400, 401)
    for name in ("token_endpoint", "revocation_endpoint", "introspection_endpoint"):
        assert httpx2.post(document[name]).status_code == (400 if name == "token_endpoint" else 401)


def https(document):
    """The same with https: the validators refuse http even where it is loopback's."""
    return {
        name: value.replace("http://", "https://")
        for name, value in document.items()
        if isinstance(value, str)
    }


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("session", [OAuth2Client, OAuth2Session], ids=["authlib-httpx2", "authlib-requests"])
def test_authlib_by_secret(issuer, session, method):
    client = issuer.machine()
    url = f"{issuer.auth.issuer}/oauth/token"
    with session(client["id"], client["client_secret"], token_endpoint_auth_method=method) as oauth:
        token = oauth.fetch_token(url, grant_type="client_credentials", scope="catalog:read")
        assert use(issuer, token).client_id == client["id"]
        gone = oauth.revoke_token(f"{issuer.auth.issuer}/oauth/revoke", token=token["access_token"])
    assert gone.status_code == 200


@pytest.mark.parametrize("audience", ["", "/oauth/token"], ids=["issuer", "token endpoint"])
@pytest.mark.parametrize("algorithm", first(2, ["RS384", "ES256", "ES384", "RS256"]))
def test_authlib_by_private_key(issuer, algorithm, audience):
    curve = {"ES256": "P-256", "ES384": "P-384"}.get(algorithm)
    key = ECKey.generate_key(curve) if curve else RSAKey.generate_key(2048)
    jwks = {"keys": [key.as_dict(private=False)]}
    client = issuer.machine(authentication="private_key_jwt", jwks=jwks)
    url = f"{issuer.auth.issuer}/oauth/token"
    with OAuth2Client(client["id"], key, token_endpoint_auth_method="private_key_jwt") as oauth:
        claims = {"aud": issuer.auth.issuer + audience}
        oauth.register_client_auth_method(PrivateKeyJWT(url, claims=claims, alg=algorithm))
        token = oauth.fetch_token(url, grant_type="client_credentials")
    assert use(issuer, token).client_id == client["id"]


def test_requests_oauthlib_by_secret(issuer):
    client = issuer.machine(scopes=["catalog:read", "requests:write"])
    backend = BackendApplicationClient(client["id"], scope=["catalog:read", "requests:write"])
    with RequestsOAuth2Session(client=backend) as oauth:
        basic = HTTPBasicAuth(client["id"], client["client_secret"])
        token = oauth.fetch_token(f"{issuer.auth.issuer}/oauth/token", auth=basic)
    assert use(issuer, token).scopes == {"catalog:read", "requests:write"}


def test_authlib_signs_a_person_in_and_refreshes(issuer, person):
    app = issuer.people_client()
    base = issuer.auth.issuer
    with OAuth2Client(
        app["id"],
        redirect_uri=CALLBACK,
        scope="openid catalog:read",
        code_challenge_method="S256",
        token_endpoint_auth_method="none",
    ) as oauth:
        verifier = "v" * 64
        url, state = oauth.create_authorization_url(
            f"{base}/oauth/authorize", code_verifier=verifier, nonce="n"
        )
        token = oauth.fetch_token(
            f"{base}/oauth/token", authorization_response=pages(url), state=state, code_verifier=verifier
        )
        keys = KeySet.import_key_set(httpx2.get(f"{base}/oauth/jwks").json())
        identity = jwt.decode(token["id_token"], keys, algorithms=["RS256"]).claims
        assert (identity["aud"], identity["nonce"]) == (app["id"], "n")
        assert (
            identity["sub"] == oauth.get(f"{base}/oauth/userinfo").json()["sub"] == f"account:{person['id']}"
        )
        renewed = oauth.refresh_token(f"{base}/oauth/token")
        assert renewed["refresh_token"] != token["refresh_token"]
        assert oauth.get(f"{base}/oauth/userinfo").status_code == 200


def test_requests_oauthlib_signs_a_person_in_through_a_confidential_client(issuer, person):
    app = issuer.people_client(authentication="client_secret")
    base = issuer.auth.issuer
    with RequestsOAuth2Session(
        app["id"], redirect_uri=CALLBACK, scope=["catalog:read", "openid"], pkce="S256"
    ) as oauth:
        url, _ = oauth.authorization_url(f"{base}/oauth/authorize")
        token = oauth.fetch_token(
            f"{base}/oauth/token", authorization_response=pages(url), client_secret=app["client_secret"]
        )
        assert use(issuer, token).subject == f"account:{person['id']}"
        basic = HTTPBasicAuth(app["id"], app["client_secret"])
        renewed = oauth.refresh_token(f"{base}/oauth/token", auth=basic)
    assert use(issuer, renewed)
