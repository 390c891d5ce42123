"""What has to happen without being asked: sweep what expired, end what ends by date. At the start, then every hour."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

log = structlog.get_logger(__name__)
Chore = Callable[[], object]


class Chores:
    """A thread that runs every chore; one that fails is logged by its name and tried again the next time."""

    def __init__(self, chores: Mapping[str, Chore], every_seconds: float) -> None:
        self.chores, self.every = chores, every_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def start(self) -> None:
        """Begin, with a first round at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the chore that is running."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def round(self) -> list[str]:
        """Run every chore once; the names of those that failed."""
        failed = []
        for name, chore in self.chores.items():
            if self._stopping.is_set():
                break
            try:
                chore()
            except Exception as error:  # one chore must not keep the others from their work
                log.error("chore failed", chore=name, error=type(error).__name__)
                failed.append(name)
        return failed

    def _run(self) -> None:
        while True:
            self.round()
            if self._stopping.wait(self.every):
                return
