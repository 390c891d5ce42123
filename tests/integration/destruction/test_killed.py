"""A process is killed at any step of a withdrawal and its destruction: the next one finishes, and nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from app.audit import verify
from app.models import AuditHead, AuditLine, Extract, RecallNotice
from tests.integration.destruction.house import LEAVING, POINTS, make

AGAIN = ("narrowed-not-dropped", "written-not-named")  # the others are long
ONCE_FOR_EACH = ("part.blocked", "recall.settled", "withdrawal.closed")  # of the two who leave together


@pytest.mark.faults
@pytest.mark.parametrize(
    "point",
    [pytest.param(p, marks=pytest.mark.again if p in AGAIN else pytest.mark.long) for p in sorted(POINTS)],
)
def test_killed_anywhere_it_finishes_after_a_restart(tmp_path: Path, point: str) -> None:
    house = make(tmp_path, people=120)
    try:
        taken, other = house.withdraw(LEAVING[0]), house.withdraw(LEAVING[1], "no_further_use")
        command = [sys.executable, "-m", "tests.integration.destruction.house", str(tmp_path), point]
        environment = {**os.environ, "PYTHONPATH": "."}
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[3],
            env=environment,
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]

        house.built.destruction.sweep(older_than=None)  # as every start does
        house.work()
        key = house.leaving[LEAVING[0]]
        assert (house.receipt(taken)["state"], house.receipt(other)["state"]) == ("closed", "closed")
        assert set(house.rows(key).values()) == {0}
        named = {row.object_name for rows in house.held().values() for row in rows if row.removed_by is None}
        assert set(house.objects()) == named
        gone = [house.names[key], house.names[house.leaving[LEAVING[1]]]]
        parts = [path.read_bytes() for path in (tmp_path / "outbox").rglob("*.parquet")]
        for pseudonym in gone:
            assert house.world.rows(
                house.extract, "person", f"SELECT count(*) FROM parts WHERE pid = '{pseudonym}'"
            ) == [(0,)]
            assert all(pseudonym.encode() not in part for part in parts)
        with house.world.db.read() as session:
            assert session.get_one(Extract, house.extract).state == "ready"
            assert sorted(session.scalars(select(RecallNotice.pseudonym))) == sorted(gone)
            events = Counter(session.scalars(select(AuditLine.event)))
            once = {"withdrawal.destroyed": 1} | dict.fromkeys(ONCE_FOR_EACH, 2)
            assert {event: events[event] for event in once} == once
            for stream in session.scalars(select(AuditHead.stream)):
                assert verify(session, stream)[1] is None
    finally:
        house.world.db.dispose()
