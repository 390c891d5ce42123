"""Whether the numbers that everybody sees still count people who have left: of the catalogue and of the progress page.

They move in batches, so that nobody sees one person leave; what they may lag behind is less than a batch, and on the
progress page who left since the figures of the day were counted.
"""

from __future__ import annotations

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog import counted, queries
from app.catalog.figures import COUNTED, FIGURE
from app.clock import Clock
from app.consents.departed import departed
from app.db import Database
from app.gate import Looked
from app.models import Cohort, DatasetVersion, VaultTable
from app.settings import Settings


def watch(db: Database, clock: Clock, settings: Settings) -> Looked:
    """Look at every figure that is shown."""
    told = Looked()
    with db.read() as session:
        _progress(session, clock, settings, told)
        _catalogue(session, settings, told)
    return told


def _progress(session: Session, clock: Clock, settings: Settings, told: Looked) -> None:
    """Nobody who left is counted, and what is shown is at most a batch behind what was counted for it."""
    today = clock().date()
    gone = departed(session, session.scalars(select(Cohort.id)).all())
    still = BitMap()
    for domain in gone.keys() - {"recontact"}:
        still |= gone[domain] & counted.keys(session, today, domain)
    told.note("progress", "counted", len(still))
    row = queries.shown_figures(session, FIGURE)
    if row is not None and row.people and row.basis == today.isoformat():
        # A day's figures stand until the next: who left since they were counted is still in them, as is meant.
        then = queries.shown_figures(session, COUNTED)
        noted = then is not None and then.basis == row.basis
        found = then.people if then and noted else counted.consenting(session, today).parts()
        for name, people in sorted(row.people.items()):
            behind = int(people) - int(found.get(name, 0))
            told.note("progress", name, behind if behind >= settings.min_cell else 0)


def _catalogue(session: Session, settings: Settings, told: Looked) -> None:
    """What is shown of a table is at most a batch above the people who have not been destroyed."""
    versions = select(DatasetVersion.id).where(DatasetVersion.state == "published")
    query = select(VaultTable).where(VaultTable.version_id.in_(versions), VaultTable.removed_by.is_(None))
    newest = {
        (row.version_id, row.table_name): row
        for row in session.scalars(query.order_by(VaultTable.generation))
    }
    for (version_id, table), row in sorted(newest.items()):
        shown = row.people if row.people_shown is None else row.people_shown
        behind = shown - row.people
        told.note("catalogue", f"{version_id}:{table}", behind if behind >= settings.min_cell else 0)
