"""What has to happen without being asked: sweep what expired, end what ends by date. At the start, then every hour."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import structlog

log = structlog.get_logger(__name__)
Chore = Callable[[], object]
Alone = Callable[[str], AbstractContextManager[bool]]


def _alone(_name: str) -> AbstractContextManager[bool]:
    return nullcontext(enter_result=True)


class Chores:
    """A thread that runs every chore; one that fails is logged by its name and tried again the next time."""

    def __init__(self, chores: Mapping[str, Chore], every_seconds: float, alone: Alone = _alone) -> None:
        self.chores, self.every, self._alone = chores, every_seconds, alone
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
                with self._alone(f"chore {name}") as alone:
                    if alone:  # else another worker is at it
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
