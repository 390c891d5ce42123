"""Legal clocks: they begin when an incident is known, and an answer that came too late stays late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.incidents.clocks import answered, clocks

KNOWN = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOURS = {"contain": 1, "assess": 24, "people": 72, "authority": 72}


def at(hours: float) -> datetime:
    return KNOWN + timedelta(hours=hours)


def late(told: dict[str, datetime | None], now: datetime, hours: dict[str, int] | None = None) -> list[str]:
    return [one["clock"] for one in clocks(KNOWN, told, hours or HOURS, now) if one["late"]]


def test_each_is_late_from_the_moment_after_it_is_due():
    assert late({}, at(1)) == []
    assert late({}, at(1.001)) == ["contain"]
    assert late({}, at(72)) == ["contain", "assess"]
    assert late({}, at(72.001)) == ["contain", "assess", "people", "authority"]


def test_an_answer_in_time_ends_it_and_one_out_of_time_does_not_mend_it():
    told = answered(at(0.5), at(30), [{"whom": "people", "at": at(71).isoformat()}])
    assert late(told, at(500)) == ["assess", "authority"]


def test_the_first_of_several_notices_counts():
    notices = [{"whom": "people", "at": at(hour).isoformat()} for hour in (80, 70, 90)]
    assert late(answered(at(0), at(0), notices), at(71)) == []


def test_a_clock_of_zero_hours_does_not_run():
    assert late({}, at(5000), {**HOURS, "authority": 0, "contain": 0}) == ["assess", "people"]
