"""Rotation of the master key: every wrapped key is wrapped anew by the current one, a batch a transaction."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import select, update

from app.audit import PLATFORM, record
from app.clock import Clock
from app.db import Database
from app.keyring import Keyring
from app.models.wrapped import OF_WEB, WRAPPED, masters

BATCH = 200


def by_master(db: Database) -> dict[str, Counter[str]]:
    """How many keys each master key wrapped, by what they are for."""
    with db.read() as session:
        return masters(session)


def rewrap(db: Database, clock: Clock, keyring: Keyring, web: Keyring | None = None) -> dict[str, int]:
    """Wrap anew whatever the current master key did not wrap; how many keys, by what they are for. `web`: the keyring
    of what the web itself needs, where that is another.

    May be repeated, also while the service runs: a key that was changed meanwhile is left as it is. Keys themselves
    never change, so pseudonyms and identities stay. `KeyringError`, before anything of that batch is written, where a
    master key is missing.
    """
    done = {}
    for name, (key, column) in WRAPPED.items():
        done[name] = 0
        wraps = web if web is not None and name in OF_WEB else keyring
        last: Any = None
        while True:
            with db.unit_of_work() as session:
                query = select(key, column).order_by(key).limit(BATCH)
                rows = session.execute(query if last is None else query.where(key > last)).all()
                for one, wrapped in rows:
                    made = wraps.rewrap(wrapped) if wrapped is not None else None
                    if made is not None:
                        change = update(key.class_).where(key == one, column == wrapped)
                        session.execute(
                            change.values({column: made}), execution_options={"synchronize_session": False}
                        )
                        done[name] += 1
            if len(rows) < BATCH:
                break
            last = rows[-1][0]
    with db.unit_of_work() as session:
        record(
            session, stream=PLATFORM, event="key.rewrapped", actor="shell", object_id=keyring.current, at=clock(),
            data=done,
        )  # fmt: skip
    return done
