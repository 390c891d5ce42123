"""Time never goes back and never stands still, whatever is done to the machine's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.clock import SteadyClock

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


class Machine:
    """A machine whose clock is set by a test, and whose seconds go on."""

    def __init__(self) -> None:
        self.said, self.seconds = START, 0.0
        self.clock = SteadyClock(lambda: self.said, lambda: self.seconds)

    def passes(self, seconds: float) -> datetime:
        """Time goes by, and what our clock says then."""
        self.said, self.seconds = self.said + timedelta(seconds=seconds), self.seconds + seconds
        return self.clock()


def test_it_follows_the_machine() -> None:
    machine = Machine()
    assert [machine.passes(s) for s in (0, 5, 3600)] == [
        START, START + timedelta(seconds=5), START + timedelta(seconds=3605),
    ]  # fmt: skip


def test_set_back_it_goes_on_at_half_the_pace_until_it_is_caught_up_with() -> None:
    machine = Machine()
    machine.passes(10)
    machine.said -= timedelta(days=1)
    told = [machine.passes(2) for _ in range(4)]
    assert told == [START + timedelta(seconds=10 + n) for n in (1, 2, 3, 4)]
    assert machine.passes(3 * 86400) == machine.said


def test_set_ahead_it_follows_at_once_and_does_not_come_back() -> None:
    machine = Machine()
    machine.said += timedelta(days=400)
    ahead = machine.passes(1)
    assert ahead == START + timedelta(days=400, seconds=1)
    machine.said = START
    assert machine.passes(1) > ahead


def test_it_begins_where_the_last_line_was_written() -> None:
    machine = Machine()
    assert machine.clock.not_before(START + timedelta(hours=2)) == timedelta(hours=2)
    assert machine.passes(60) == START + timedelta(hours=2, seconds=30)
    assert machine.clock.not_before(START - timedelta(hours=2)) == timedelta()
    assert machine.passes(60) > START + timedelta(hours=2)
