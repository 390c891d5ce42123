"""The tables of states: closed, reachable, and with ends that are ends."""

import pytest

from app.cohorts import states as versions
from app.errors import Problem
from app.permits import ENDED
from app.requests import states

TABLES = {
    "request": (states.TRANSITIONS, states.step, "draft"),
    "permit": (states.PERMIT_TRANSITIONS, states.step_permit, "pending_agreement"),
    "version": (versions.TRANSITIONS, versions.step, "draft"),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_state_but_those_reached_by_time_can_be_reached(name: str):
    table, _step, start = TABLES[name]
    reached, fresh = {start}, {start}
    while fresh:
        fresh = {after for state in fresh for after in table[state].values()} - reached
        reached |= fresh
    assert set(table) - reached <= {"expired"}


@pytest.mark.parametrize("name", TABLES)
def test_what_the_table_does_not_name_is_a_conflict(name: str):
    table, step, _start = TABLES[name]
    verbs = {verb for row in table.values() for verb in row}
    for state, row in table.items():
        for verb in verbs:
            if verb in row:
                assert step(state, verb) == row[verb]
            else:
                with pytest.raises(Problem) as refused:
                    step(state, verb)
                assert refused.value.code == "conflict"


def test_nobody_publishes_what_was_not_reviewed_and_nothing_decided_is_decided_again():
    assert {state for state, row in versions.TRANSITIONS.items() if "publish" in row} == {"in_review"}
    for state in ("approved", "rejected", "withdrawn_by_applicant"):
        assert states.TRANSITIONS[state] == {}


def test_a_permit_has_ended_where_nothing_leads_on():
    assert {state for state, verbs in states.PERMIT_TRANSITIONS.items() if not verbs} == ENDED
