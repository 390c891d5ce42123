"""Ranges that the proxy sends for us: asked of the gate here, one step long at most, and read alike by both.

nginx's `X-Accel-Redirect` (ADR 65): an answer without a body names a file of an internal location, and nginx sends the
range that the request asks for. It reads the request's own headers, so only a form that it cannot read otherwise is
handed over.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from fastapi import Request

STEP = 1 << 20  # bytes between two checks of consent, the same whoever sends them
PLACE = "/_parts/"  # the internal location of deploy/nginx.conf
MARK = "X-Baekman-Proxy"  # the header by which the proxy says that it is the proxy
_EXACT = re.compile(r"bytes=(?:(?P<first>[0-9]{1,15})-(?P<last>[0-9]{1,15})|-(?P<suffix>[0-9]{1,15}))")


@dataclass(frozen=True)
class Proxy:
    """The proxy in front of us, by the word that it puts into `X-Baekman-Proxy`; None: it is handed nothing."""

    mark: str | None = None

    def takes(self, request: Request) -> bool:
        """Whether the request came through it and asks for one range of at most a step, in no form but the plainest.

        The length counts as it is asked for, not as it is cut at the end of the file: whatever lies there, no more than
        a step leaves. A condition (`If-...`) is for us to weigh: nginx would weigh it by the time of the file.
        """
        if self.mark is None or request.method != "GET":
            return False
        given, asked = request.headers.get(MARK, ""), request.headers.getlist("range")
        if not hmac.compare_digest(given.encode("latin-1"), self.mark.encode()):
            return False
        if len(asked) != 1 or any(name.startswith("if-") for name in request.headers):
            return False
        return (match := _EXACT.fullmatch(asked[0])) is not None and 0 < _length(match) <= STEP


NO_PROXY = Proxy()


def _length(match: re.Match[str]) -> int:
    if match["suffix"]:
        return int(match["suffix"])
    return int(match["last"]) - int(match["first"]) + 1
