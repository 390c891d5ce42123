"""What kinds of jobs there are, and what is special about some of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

SERVES_WITHDRAWAL: Final = frozenset(
    {
        "destroy_rows",
        "narrow_block",
        "recall_cohort",
        "reissue_extract",
        "settle_withdrawal",
        "take_withdrawals",
    }
)
"""Somebody has left, and these carry it to every copy: never cancelled, and one that is parked is an alarm at once."""
CLOSING: Final = frozenset({"narrow_block", "recall_cohort", "settle_withdrawal", "take_withdrawals"})
"""Close parts, or open those that nobody left: short, and never behind a build in the queue."""
ANSWERS: Final = frozenset({"count"})
"""Somebody waits for the answer at this moment: a queue of their own, too."""
MUST_END: Final = SERVES_WITHDRAWAL | {
    "correct_permit", "destroy_extract", "follow_version", "index_variables", "recall_erratum", "return_finding",
    "suspend_permit",
}  # fmt: skip
"""Tried again by themselves, less and less often, until they end well or are parked. Whoever ordered any other job is
told of its failure and orders it anew."""
TELLS: Final = frozenset({"build_extract", "check_integration", "check_upload", "dry_run", "submit_version"})
"""Somebody watches what these work on: where one is to end, it is begun for that, and says so there by itself."""
RANKS: Final[tuple[frozenset[str], ...]] = (
    SERVES_WITHDRAWAL,
    frozenset({"correct_permit", "destroy_extract", "recall_erratum", "reopen_extract", "suspend_permit"}),
    frozenset({"check_integration", "check_upload", "count", "return_finding", "submit_version"}),
    frozenset({"build_extract", "dry_run", "follow_version"}),
    frozenset({"index_variables"}),
)
"""What goes first: who left, what else closes something, what somebody waits for now, builds, chores."""
ALWAYS_FIRST: Final = 2
"""Ranks up to this one wait for no other; from there on a rank is a head start and no more, so that institutions that
upload all day do not keep a researcher's build waiting for ever."""
HEAD_START: Final = timedelta(minutes=1)
"""By how much later a job may come than one of the next rank and still go before it."""
_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


def rank(kind: str) -> int:
    """1 goes first; a kind that nobody ranked goes last."""
    return next((n for n, kinds in enumerate(RANKS, 1) if kind in kinds), len(RANKS))


def turn(kind: str, created_at: datetime) -> int:
    """Of jobs that were handed over the one with the least goes first: its rank where that is always first, else the
    second at which it came, and a head start later for each rank. At least 1; below 2**31 until the year 2093."""
    mine = rank(kind)
    if mine <= ALWAYS_FIRST:
        return mine
    came = (created_at - _BEGINNING) + (mine - ALWAYS_FIRST) * HEAD_START
    return max(ALWAYS_FIRST + 1, int(came.total_seconds()))
