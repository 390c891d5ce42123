"""What is nobody's fault and passes: the database is away, or there is no room left. Told in our words, tried again."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from app.errors import Problem

PASSING: Final = frozenset({"database_unavailable", "storage_full", "store_unavailable"})
"""Codes of what passes by itself or by the operator's hand: whoever met one tries the same again later."""
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# SQLSTATEs. 08.. is a broken connection; 57P.. a server that ends, crashed or starts; 53300 has no place for one more.
_AWAY: Final = ("08", "57P01", "57P02", "57P03", "53300")
_FULL: Final = "53100"
_SQLITE_BUSY, _SQLITE_LOCKED, _SQLITE_FULL = 5, 6, 13
_DUCKDB: Final = frozenset({"IOException", "OutOfMemoryException"})
_WORDS: Final = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "max_temp_directory_size",
)


def passing(error: BaseException) -> Problem | None:
    """The `Problem` where the error is of that kind, whichever library raised it; None for every other error.

    A library's message is looked into and never told."""
    if isinstance(error, Problem):
        return error if error.code in PASSING else None
    if _is_full(error):
        return storage_full()
    if _is_away(error):
        return Problem(
            "database_unavailable",
            "The database does not answer at this moment; what was acknowledged before is kept.",
            headers={"Retry-After": "5"},
        )
    return None


def storage_full() -> Problem:
    """What is told while there is no room."""
    return Problem(
        "storage_full",
        "There is no room left to store this; nothing of it was kept that was not acknowledged before.",
        headers={"Retry-After": "300"},
    )


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    orig = getattr(error, "orig", None)
    if getattr(orig, "sqlstate", None) == _FULL or _sqlite(orig) == _SQLITE_FULL:
        return True
    of_engine = type(error).__name__ in _DUCKDB and "duckdb" in type(error).__module__
    return (of_engine or isinstance(error, OSError)) and says_full(str(error))


@contextmanager
def storing() -> Iterator[None]:
    """Around what writes to this machine's disk: a full one is `storage_full`."""
    try:
        yield
    except OSError as error:
        raise passing(error) or error from None


def says_full(message: str) -> bool:
    """Whether a library's message says that a disk is full; it may hold names, and goes nowhere."""
    return any(words in message for words in _WORDS)


def _is_away(error: BaseException) -> bool:
    named = {one.__name__ for one in type(error).__mro__}
    if "SQLAlchemyError" not in named:
        return False
    if getattr(error, "connection_invalidated", False) or type(error).__name__ == "TimeoutError":
        return True  # the latter: no connection of the pool became free
    orig = getattr(error, "orig", None)
    if orig is None:
        return False
    if (code := _sqlite(orig)) is not None:
        return code in (_SQLITE_BUSY, _SQLITE_LOCKED)
    state = getattr(orig, "sqlstate", None)
    if state is None:  # it never reached a server, or lost it
        return type(orig).__name__ in (
            "OperationalError",
            "InterfaceError",
            "ConnectionTimeout",
            "PoolTimeout",
        )
    return str(state).startswith(_AWAY)


def _sqlite(orig: object) -> int | None:
    code = getattr(orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
