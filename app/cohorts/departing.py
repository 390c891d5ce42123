"""What becomes of cohorts, versions and uploads when their institution leaves or goes over into another."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.cohorts.states import TRANSITIONS, step
from app.cohorts.upload_states import UNDECIDED
from app.cohorts.uploads import UploadService
from app.consents.custody import Leaving, Merging, versions_of
from app.consents.epochs import advance
from app.models import Cohort, Custody, DatasetVersion, Institution, Upload

REASON = "institution_left"
_IN_USE = tuple(state for state, verbs in TRANSITIONS.items() if "end" in verbs)
MOST_NAME = 200


@dataclass(frozen=True)
class Ending:
    """`uploads` ends what has not been decided, as it does for any other reason."""

    uploads: UploadService

    def __call__(self, session: Session, leaving: Leaving) -> dict[str, int]:
        """The cohorts end, their versions are out of use, drafts and uploads end with the reason. From here on nobody
        in them has a way out; what they hold is destroyed by a job."""
        for cohort_id in leaving.cohorts:
            cohort = session.get_one(Cohort, cohort_id)
            cohort.ended_at = leaving.at
            advance(cohort)
        versions = select(DatasetVersion).where(
            DatasetVersion.id.in_(versions_of(leaving.cohorts)), DatasetVersion.state.in_(_IN_USE)
        )
        out_of_use = session.scalars(versions.order_by(DatasetVersion.id)).all()
        stream = institution_stream(leaving.institution_id)
        for version in out_of_use:
            version.state = step(version.state, "end")
            version.revision += 1
            record(session, stream=stream, event="version.withdrawn", actor="platform", object_id=version.id,
                   at=leaving.at, data={"reason": REASON, "departure": leaving.departure_id})  # fmt: skip
        session.flush()
        undecided = select(Upload).where(Upload.cohort_id.in_(leaving.cohorts), Upload.state.in_(UNDECIDED))
        uploads = session.scalars(undecided.order_by(Upload.id)).all()
        for upload in uploads:
            self.uploads.end_with_its_cohort(session, upload, leaving.institution_id, REASON)
        session.flush()
        return {"cohorts": len(leaving.cohorts), "versions": len(out_of_use), "uploads": len(uploads)}


def move(session: Session, merging: Merging) -> dict[str, int]:
    """The cohorts are the successor's, with registers, keys, datasets and everything that arrived; that they were
    another's until now is kept. A name that the successor has already gets that of its old holder behind it."""
    theirs = set(session.scalars(select(Cohort.name).where(Cohort.institution_id == merging.successor_id)))
    old = session.get_one(Institution, merging.institution_id).name
    for cohort_id in merging.cohorts:
        row = session.get_one(Cohort, cohort_id)
        session.add(
            Custody(
                cohort_id=cohort_id, institution_id=merging.institution_id, until=merging.at, name=row.name
            )
        )
        row.name = _free(row.name, old, theirs)
        theirs.add(row.name)
        row.institution_id = merging.successor_id
    session.flush()
    return {"cohorts": len(merging.cohorts)}


def _free(name: str, holder: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    for number in range(1, len(taken) + 2):
        behind = f" ({holder})" if number == 1 else f" ({holder}, {number})"
        found = name[: MOST_NAME - len(behind[:MOST_NAME])] + behind[:MOST_NAME]
        if found not in taken:
            return found
    raise AssertionError("one of more names than there are taken is free")
