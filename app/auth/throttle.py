"""Slows down whoever guesses: counters in memory, by name and by network address."""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.errors import Problem

# A person mistypes a few times; a guesser needs thousands. By name alone an attacker could lock a person out for
# longer than the window, by address alone a botnet could guess on: both count.
PASSWORD_TRIES_PER_NAME = RateLimitItemPerMinute(10, multiples=5, namespace="password-name")
PASSWORD_TRIES_PER_ADDRESS = RateLimitItemPerMinute(60, multiples=5, namespace="password-address")
TOKEN_FAILURES_PER_CLIENT = RateLimitItemPerMinute(30, namespace="token-client")
TOKEN_FAILURES_PER_ADDRESS = RateLimitItemPerMinute(300, namespace="token-address")


class Throttle:
    """Counters of one process. Several web processes multiply the limits by their number, which is still few."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def password_try(self, name: str, address: str) -> None:
        """Count one try, right or wrong; raise Problem too_many_requests where there were too many."""
        for item, key in ((PASSWORD_TRIES_PER_ADDRESS, address), (PASSWORD_TRIES_PER_NAME, name)):
            if not self._limiter.hit(item, key):
                raise self._problem(item, key)

    def token_call(self, client_id: str, address: str) -> None:
        """Raise Problem too_many_requests where this address failed too often, as this client or at all."""
        for item, keys in self._token_keys(client_id, address):
            if not self._limiter.test(item, *keys):
                raise self._problem(item, *keys)

    def token_failure(self, client_id: str, address: str) -> None:
        """Count one failed client authentication or grant."""
        for item, keys in self._token_keys(client_id, address):
            self._limiter.hit(item, *keys)

    @staticmethod
    def _token_keys(
        client_id: str, address: str
    ) -> tuple[tuple[RateLimitItemPerMinute, tuple[str, ...]], ...]:
        return (
            (TOKEN_FAILURES_PER_ADDRESS, (address,)),
            (TOKEN_FAILURES_PER_CLIENT, (client_id[:80], address)),
        )

    def _problem(self, item: RateLimitItemPerMinute, *keys: str) -> Problem:
        reset = self._limiter.get_window_stats(item, *keys).reset_time
        # The limiter keeps the machine's own time: this is how long to wait, not a moment that is stored.
        seconds = max(1, math.ceil(reset - time.time()))
        return Problem(
            "too_many_requests", "Too many tries; wait and try again.", headers={"Retry-After": str(seconds)}
        )
