"""No way out by oversight: every route and every command of the shell is decided on in `tests/ways_out.py`."""

from fastapi import APIRouter
from typer.main import get_command

from app.cli import app as shell
from tests import ways_out


def test_every_route_is_a_way_out_that_is_walked_or_says_why_it_is_none():
    app = ways_out.served()
    assert ways_out.undecided(app) == []
    assert ways_out.gone(app) == []


def test_a_new_route_is_found_however_deep_it_is_included():
    app, inner, outer = ways_out.served(), APIRouter(), APIRouter(prefix="/v1")
    inner.add_api_route("/extracts/{extract_id}/signed", lambda extract_id: extract_id)
    outer.include_router(inner)
    app.include_router(outer)
    assert ways_out.undecided(app) == ["GET /v1/extracts/{extract_id}/signed"]


def test_every_command_of_the_shell_is_decided_on():
    assert set(get_command(shell).commands) == set(ways_out.SHELL)  # type: ignore[attr-defined]
