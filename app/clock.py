"""Time comes from a clock that is handed in; every time in Baekman is UTC, and never goes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def machine_time() -> datetime:
    """What the machine's clock says, to the microsecond; it may be set back."""
    return datetime.now(UTC)


class SteadyClock:
    """A clock that follows another and never goes back, so that nothing that has ended by its date begins again.

    Where the other is set back, this one goes on from where it stood at half the pace until it is caught up with: it
    always moves, for others read off it that this process lives. `elapsed` counts seconds and is never set.
    """

    def __init__(self, follows: Clock = machine_time, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._follows, self._elapsed = follows, elapsed
        self._lock = threading.Lock()
        self._told: datetime | None = None
        self._at = 0.0

    def __call__(self) -> datetime:
        """The present moment in UTC."""
        with self._lock:
            said, at = self._follows(), self._elapsed()
            if self._told is not None:
                said = max(said, self._told + timedelta(seconds=max(0.0, at - self._at) / 2))
            self._told, self._at = said, at
            return said

    def not_before(self, moment: datetime) -> timedelta:
        """Go on from this moment, where the machine's clock is behind it; by how much it is."""
        with self._lock:
            behind = moment - self._follows()
            if behind > timedelta() and (self._told is None or self._told < moment):
                self._told, self._at = moment, self._elapsed()
            return max(behind, timedelta())


utc_now = SteadyClock()
"""The present moment in UTC: the clock of this process."""
