"""What the issuer says of itself (RFC 8414, OpenID Connect Discovery 1.0): only what it really does."""

from __future__ import annotations

from typing import Any

from app.auth.assertions import ALGORITHMS
from app.auth.keys import ALGORITHM
from app.auth.registered import KNOWN_SCOPES

_PUBLIC_METHOD = "none"
_SECRET_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]


def metadata(issuer: str) -> dict[str, Any]:
    """The document; `issuer` without a slash at its end. Device authorization is not offered and so not named."""
    every_method = [*_SECRET_METHODS, _PUBLIC_METHOD]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "scopes_supported": sorted(KNOWN_SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": every_method,
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": every_method,
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": _SECRET_METHODS,
        "introspection_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "authorization_response_iss_parameter_supported": True,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "claims_supported": [
            "aud",
            "auth_time",
            "exp",
            "iat",
            "iss",
            "name",
            "nonce",
            "preferred_username",
            "sub",
        ],
        "prompt_values_supported": ["login", "consent", "none"],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "ui_locales_supported": ["ko", "en"],
    }
