"""The key of a project's pseudonyms: made by a worker when the project's first extract is built, held by no web."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from app.models import Project

if TYPE_CHECKING:
    from app.gate.door import Gate


def project_key(gate: Gate, session: Session, project_id: str) -> bytes:
    """The key of a project that has released something."""
    wrapped = session.get_one(Project, project_id).key_wrapped
    if wrapped is None:
        raise LookupError("nothing was released for this project: it has no key")
    return gate.keyring.unwrap(wrapped)


def key_to_release(gate: Gate, project_id: str) -> bytes:
    """The same, made where there is none yet: of two at once the first one's stays."""
    with gate.db.unit_of_work() as session:
        project = session.get_one(Project, project_id, with_for_update=True, populate_existing=True)
        if project.key_wrapped is None:
            project.key_wrapped = gate.keyring.new()
            session.flush()
        return gate.keyring.unwrap(project.key_wrapped)
