"""What comes in from the network and what goes back, in words that neither FastAPI nor Authlib owns."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749.requests import OAuth2Payload, OAuth2Request
from authlib.oauth2.rfc6749.util import extract_basic_authorization

MAX_FORM_BYTES = 64 * 1024
_MAX_FIELDS = 50


def fields_of(encoded: bytes) -> tuple[tuple[str, str], ...]:
    """The pairs of an application/x-www-form-urlencoded query or body; none where it is too large or garbled."""
    if len(encoded) > MAX_FORM_BYTES:
        return ()
    try:
        pairs = parse_qsl(
            encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        return ()
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an OAuth endpoint. `parameters` come from the query (authorize) or the form (all others)."""

    method: str
    path: str
    parameters: tuple[tuple[str, str], ...]
    authorization: str | None = None
    address: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """The parameters by name; one without a value counts as absent (RFC 6749 3.1)."""
        return {name: value for name, value in self.parameters if value}

    @property
    def repeated(self) -> bool:
        """Whether a parameter comes more than once, which RFC 6749 3.1 forbids."""
        return len({name for name, _ in self.parameters}) < len(self.parameters)

    @property
    def garbled(self) -> bool:
        """Whether a parameter holds a control character: none of ours does, and PostgreSQL stores no NUL."""
        return any(not text.isprintable() for pair in self.parameters for text in pair)

    def basic(self) -> tuple[str | None, str | None]:
        """Name and secret of HTTP Basic; ValueError where the header is garbled."""
        return extract_basic_authorization({"Authorization": self.authorization or ""})  # type: ignore[no-any-return]

    def claimed_client(self) -> str:
        """The client that the call says it is from, not yet believed; empty where it does not say."""
        try:
            name, _ = self.basic()
        except ValueError:
            name = None
        return name or self.fields.get("client_id", "")


@dataclass(slots=True)
class Answer:
    """Status, JSON body (None: empty) and headers of an answer."""

    status: int
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def location(self) -> str | None:
        """Where the browser is sent, if anywhere."""
        return self.headers.get("Location")


class _Payload(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def data(self) -> dict[str, str]:
        return self._call.fields

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in self._call.parameters:
            lists[name].append(value)
        return lists


class WireRequest(OAuth2Request):  # type: ignore[misc]
    """A call as Authlib reads it. The URI is built from the public base URL: behind a proxy our own would be wrong,
    and Authlib refuses a URI that is neither https nor loopback."""

    def __init__(self, call: Call, base: str) -> None:
        headers = {} if call.authorization is None else {"Authorization": call.authorization}
        super().__init__(call.method, base + call.path, headers=headers)
        self.call = call
        self.payload = _Payload(call)

    @property
    def args(self) -> dict[str, str]:
        """The parameters."""
        return self.call.fields

    @property
    def form(self) -> dict[str, str]:
        """The parameters."""
        return self.call.fields
