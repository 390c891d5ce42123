"""What runs without being asked, by name: of a process that works, and of a web beside workers."""

from __future__ import annotations

from app.alarms import parked
from app.catalog.watching import watch as watch_figures
from app.extracts.mending import look_through
from app.extracts.watching import watch
from app.jobs import MUST_END, requeue_failed
from app.jobs.answers import forget_answers
from app.jobs.chores import Chore
from app.main.preparing import sweep_half_stored
from app.main.rooms import Built, Served
from app.storage.spill import wipe


def chores_of(built: Built) -> dict[str, Chore]:
    """What runs without being asked, by name."""
    house = built.house
    return {
        "end consents by date": house.withdrawals.end_by_date,
        "carry out departures": house.departures.carry_out_due,
        "count people once a day": house.catalog.progress,
        "listen for silence": house.feeds.check,
        "nobody who left can be read": lambda: house.alarms.monitor(
            lambda: watch(house.extracts, close=built.settings.monitor_closes_extracts),
            lambda: (built.gate.look(), watch_figures(built.db, built.clock, built.settings)),
        ),
        "index variables": built.indexing.catch_up,
        "legal clocks of incidents": lambda: house.alarms.chase("incident_overdue", house.incidents.overdue),
        "chase recalls": house.recalls.chase,
        "expire permits": house.permits.expire_due,
        "expire extracts": house.extracts.expire_due,
        "sweep the vault": built.destruction.sweep,
        "read parts through": lambda: look_through(house.extracts),
        "drop what was half published": house.extracts.sweep_half_published,
        "sweep what was half stored": lambda: sweep_half_stored(built),
        "wipe spills of the dead": lambda: wipe(built.settings.var / "spill"),
        "expire uploads": house.uploads.expire_due,
        "sweep tokens": house.auth.sweep,
        "withdrawals reach every copy": lambda: requeue_failed(built.db, built.clock, sorted(MUST_END)),
        "parked jobs ring": lambda: parked.ring_again(built.db, built.clock),
        "forget counts": built.counts.forget,
        "forget answers": lambda: forget_answers(built.db, built.clock),
    }


def chores_of_web(served: Served) -> dict[str, Chore]:
    """What a web beside workers does itself: what arrives lies on its disk until it is whole, where no worker comes;
    its own metrics tell the figures of the day."""
    house = served.house
    return {"uploads on this disk": house.uploads.sweep_disk, "figures of the day": house.catalog.progress}
