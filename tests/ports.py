"""Ports for servers that are told one before they listen, so that nobody takes them meanwhile."""

from __future__ import annotations

import os
import secrets
import socket

# Below those that the system gives to whoever asks for any, so that none of these is given away between the choice and
# the server's start; a server may take the port that lies `ABOVE` it, too.
FIRST, LAST, ABOVE = 12_000, 22_000, 10_000
_TURNS = 8  # workers of one run choose among different ports
_chosen: set[int] = set()


def free_port() -> int:
    """A port on which nobody listens now, and none that was chosen before."""
    turn = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _TURNS
    while True:
        port = FIRST + secrets.randbelow((LAST - FIRST) // _TURNS) * _TURNS + turn
        if port not in _chosen and _is_free(port) and _is_free(port + ABOVE):
            _chosen.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
