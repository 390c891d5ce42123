"""How much of the disk a measurement takes at its fullest: the files of a folder, looked at while others write them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EACH = 0.5  # seconds between two looks


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Inside, a list whose one number is the most bytes that the folder's files were seen to take."""
    most, ended = [_taken(folder)], threading.Event()

    def look() -> None:
        while not ended.wait(EACH):
            most[0] = max(most[0], _taken(folder))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()
        most[0] = max(most[0], _taken(folder))


def _taken(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):  # gone since it was listed
            total += file.stat().st_blocks * 512
    return total
