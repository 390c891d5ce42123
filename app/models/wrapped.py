"""Every column that holds a wrapped key, and by which master key each was wrapped."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.keyring import Keyring
from app.models.cohorts import Cohort, PlatformKey
from app.models.identities import SigningKey
from app.models.requests import Project

WRAPPED: dict[str, tuple[InstrumentedAttribute[Any], InstrumentedAttribute[Any]]] = {
    "cohorts": (Cohort.id, Cohort.identity_key_wrapped),
    "platform keys": (PlatformKey.purpose, PlatformKey.key_wrapped),
    "projects": (Project.id, Project.key_wrapped),
    "signing keys": (SigningKey.kid, SigningKey.private_wrapped),
}
"""Every column that holds a wrapped key, with its table's primary key. A test compares it with the models."""
OF_WEB = frozenset({"cohorts", "platform keys", "signing keys"})
"""What the web itself needs: wrapped by its own key, where it has one."""


def masters(session: Session) -> dict[str, Counter[str]]:
    """How many keys each master key wrapped, by what they are for; no key is opened."""
    found = {}
    for name, (_key, column) in WRAPPED.items():
        rows = session.scalars(select(column).execution_options(yield_per=1000))
        found[name] = Counter(Keyring.master_of(wrapped) for wrapped in rows if wrapped is not None)
    return found
