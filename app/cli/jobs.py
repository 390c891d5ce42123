"""`baekman jobs ...`: what waits, runs and was given up, on the database itself, with web and workers down.

Whoever can run it holds the machine: it acts as the platform, under the name `shell` in the audit chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from app.alarms.desk import JobDesk

jobs = typer.Typer(no_args_is_help=True, help="Jobs: see what waits, runs and was given up; release, cancel.")
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
T = TypeVar("T")
JobId = Annotated[str, typer.Argument(help="The job, job_...")]


@jobs.command("list")
def list_(
    state: Annotated[
        list[str] | None, typer.Option(help="Only those in this state; may be repeated. Default: not ended.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 200,
    as_json: Json = False,
) -> None:
    """Jobs, those that were given up first."""
    from app.alarms.desk import SHOWN
    from app.jobs.states import TRANSITIONS

    if unknown := sorted(set(state or ()) - TRANSITIONS.keys()):
        typer.echo(f"--state is one of {', '.join(TRANSITIONS)}, not {', '.join(unknown)}.", err=True)
        raise typer.Exit(2)
    found = _run(lambda desk: desk.listed(state or SHOWN, limit))
    if as_json:
        typer.echo(json.dumps(found, default=str))
        return
    for one in found:
        why = f"  {one['code']} at {one['step']}" if one["code"] else f"  {one['step'] or ''}"
        typer.echo(
            f"{one['id']}  {one['state']:9} {one['kind']:18} {one['subject']}  try {one['tries']}{why}"
            + ("  serves a withdrawal" if one["serves_withdrawal"] else "")
        )
    typer.echo(f"{len(found)} jobs")


@jobs.command()
def release(job: JobId, as_json: Json = False) -> None:
    """Begin a job that was given up anew, once its cause is mended."""
    made = _run(lambda desk: desk.release(job))
    typer.echo(json.dumps(made, default=str) if as_json else f"It goes on as {made['id']}.")


@jobs.command()
def cancel(job: JobId, as_json: Json = False) -> None:
    """End a job before its end, at its next step; one that serves a withdrawal never."""
    made = _run(lambda desk: desk.cancel(job))
    typer.echo(json.dumps(made, default=str) if as_json else f"{made['id']} ends at its next step.")


def _run(act: Callable[[JobDesk], T]) -> T:
    from app.alarms.desk import JobDesk
    from app.clock import utc_now
    from app.db import Database
    from app.errors import Problem
    from app.settings import Settings

    db = Database(Settings().database)
    try:
        return act(JobDesk(db, utc_now))
    except Problem as problem:
        typer.echo(f"{problem.code}: {problem.detail}", err=True)
        raise typer.Exit(1) from None
    finally:
        db.dispose()
