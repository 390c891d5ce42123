"""Folders for the rows that one job has in its hands: private, gone at its end, and after a crash known for dead."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage.store import make_private_folder

PREFIX = "job"  # names of jobs begin so as well
_MAKING = "making-"


@contextmanager
def held_folder(root: Path, name: str = PREFIX) -> Iterator[Path]:
    """A private folder of a job, wiped at its end.

    It is locked while the process lives, so that `wipe` of another process knows it for held: the system lets the lock
    go with the process. It gets its name only when it is locked.
    """
    make_private_folder(root)
    made = Path(tempfile.mkdtemp(prefix=_MAKING, dir=root))
    lock = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = root / f"{name}-{made.name.removeprefix(_MAKING)}"
        made = made.rename(folder)
        yield folder
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def wipe(root: Path) -> int:
    """Remove the folders of jobs whose process is dead, with rows of people in them; how many.

    What a process of this machine holds stays, and so do unfinished uploads, which the inbox keeps beside them.
    """
    removed = 0
    for folder in sorted(root.glob(f"{PREFIX}*")) if root.exists() else []:
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
    return removed
