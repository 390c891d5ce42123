"""Who waits for work is woken when there is some, and else looks less and less often: idle, a job costs nothing.

A bell is rung by every commit of this process, for a commit is what makes a job, and on PostgreSQL by `NOTIFY` for what
other processes commit. Ringing is a help, never what anything rests on: who is not rung looks after `most` seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

log = structlog.get_logger(__name__)
CHANNEL = "baekman_jobs"
_AWAY = 5.0  # seconds until a listener whose connection broke tries again


class Bell(threading.Event):
    """An event that ends a thread, as `threading.Event`, whose `wait` also ends where the bell is rung.

    `least`: seconds between two looks at least; `most`: at most. After a ring the looks go on for a while, further and
    further apart, for what was rung for may lie a moment ahead. `may_look` can put a look off, by `most` seconds.
    """

    def __init__(self, least: float, most: float, may_look: Callable[[], bool] = lambda: True) -> None:
        super().__init__()
        self.least, self.most = least, max(least, most)
        self._may_look = may_look
        self._heard = threading.Condition()
        self._rung = False
        self._pause = least
        self._looked = float("-inf")

    def ring(self) -> None:
        """Let the one who waits look, now or as soon as they wait again."""
        with self._heard:
            self._rung = True
            self._heard.notify_all()

    def set(self) -> None:
        """Let the one who waits end."""
        super().set()
        with self._heard:
            self._heard.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is time to look; True where it is time to end."""
        with self._heard:
            self._heard.wait_for(lambda: self._rung or self.is_set(), self._pause)
            self._pause = self.least if self._rung else min(self.most, 2 * self._pause)
            # Many rings in a row are one look.
            self._heard.wait_for(self.is_set, max(0.0, self._looked + self.least - time.monotonic()))
            self._rung = False
        put_off = time.monotonic() + self.most
        while not self.is_set() and not self._may_look() and time.monotonic() < put_off:
            super().wait(self.least)
        with self._heard:
            self._looked = time.monotonic()
            return self.is_set()


def tell_others(session: Session) -> None:
    """Let the other processes' bells ring when this transaction is committed. On SQLite there are none."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})


class Listener(threading.Thread):
    """Rings when another process of the same PostgreSQL has told of work. Without its connection (a pooler that knows
    no LISTEN, a restart) everybody looks by themselves meanwhile."""

    def __init__(self, url: str, ring: Callable[[], None]) -> None:
        super().__init__(name="job-listener", daemon=True)
        self._url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._ring = ring
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End within about a second."""
        self._stopping.set()
        if self.is_alive():
            self.join(timeout=10)

    def run(self) -> None:
        """Listen until `stop`."""
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._ring()  # something may have been told before we listened
                    while not self._stopping.is_set():
                        for _told in connection.notifies(timeout=1.0, stop_after=1):
                            self._ring()
            except psycopg.Error as error:
                log.warning("nobody tells of work meanwhile", error=type(error).__name__)
                self._stopping.wait(_AWAY)
