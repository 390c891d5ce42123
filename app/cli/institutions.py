"""`baekman institution ...`: who takes part, leaves or merges; quotas, quotes, returned data, the inspector's export.

Whoever can run it holds the machine: it acts under the name `shell` in the audit chain. What it declares, another has
to confirm: over the API, for the shell is one and the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.auth.policy import Role
    from app.main import Built

institutions = typer.Typer(
    no_args_is_help=True,
    help="Institutions: leave, merge, quotas, quotes, returned data, what an inspector reads.",
)
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
InstitutionId = Annotated[str, typer.Argument(help="The institution, ins_...")]
DepartureId = Annotated[str, typer.Argument(help="The departure, dep_...")]
Reason = Annotated[str, typer.Option("--reason", help="Why, without naming a person.")]
On = Annotated[
    datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="The day; today, where left out.")
]
MOST = 200


@institutions.command("list")
def list_(as_json: Json = False) -> None:
    """Every institution, newest first, and what became of it."""
    found = _run(lambda built: built.house.cohorts.institutions(_actor("platform"), None, MOST))
    _tell(found, as_json, lambda one: f"{one['id']}  {one['name']}" + (_became(one)))


@institutions.command()
def leave(institution: InstitutionId, reason: Reason, on: On = None, as_json: Json = False) -> None:
    """Declare that an institution leaves; another has to confirm it. It cannot be undone once it is carried out."""
    _declare(institution, reason, on, None, as_json)


@institutions.command()
def merge(
    institution: InstitutionId,
    into: Annotated[str, typer.Option("--into", help="The successor, ins_...")],
    reason: Reason,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Declare that an institution goes over into another; another has to confirm it."""
    _declare(institution, reason, on, into, as_json)


@institutions.command()
def departures(as_json: Json = False) -> None:
    """Every departure, newest first."""
    found = _run(lambda built: built.house.departures.listed(_actor("platform"), None, MOST))
    _tell(found, as_json, _departure)


@institutions.command()
def confirm(departure: DepartureId, as_json: Json = False) -> None:
    """Confirm what another has declared; where its day has come it is carried out."""
    _tell(
        [_run(lambda built: built.house.departures.confirm(_actor("platform"), departure))],
        as_json,
        _departure,
    )


@institutions.command("call-off")
def call_off(departure: DepartureId, as_json: Json = False) -> None:
    """Call a departure off before it is carried out."""
    _tell(
        [_run(lambda built: built.house.departures.call_off(_actor("platform"), departure))],
        as_json,
        _departure,
    )


@institutions.command()
def quota(
    subject: Annotated[
        str, typer.Argument(help="An institution, ins_...; or a holder, client:... account:...")
    ],
    as_json: Json = False,
) -> None:
    """How much there is, and may be."""

    def shown(built: Built) -> list[dict[str, Any]]:
        if ":" in subject:
            return built.house.quotas.own(_actor("researcher", subject))
        return built.house.quotas.of_institution(_actor("platform"), subject)

    _tell(_run(shown), as_json, _quota)


@institutions.command()
def allow(
    subject: Annotated[
        str, typer.Argument(help="An institution, ins_...; or a holder, client:... account:...")
    ],
    name: Annotated[str, typer.Argument(help="inbox_bytes, vault_bytes or live_extracts.")],
    most: Annotated[int, typer.Argument(min=0, help="0: without limit.")],
    as_json: Json = False,
) -> None:
    """Let an institution or a holder have more or less than the settings do."""
    if name not in ("inbox_bytes", "vault_bytes", "live_extracts") or (":" in subject) != (
        name == "live_extracts"
    ):
        typer.echo("Institutions have inbox_bytes and vault_bytes, holders live_extracts.", err=True)
        raise typer.Exit(2)
    _tell(
        [_run(lambda built: built.house.quotas.set(_actor("platform"), subject, name, most))], as_json, _quota
    )


@institutions.command()
def quote(permit: Annotated[str, typer.Argument(help="The permit, prm_...")], as_json: Json = False) -> None:
    """What the extract of a permit will cost: rows, bytes, minutes, each as low, expected and high."""

    def line(one: dict[str, Any]) -> str:
        ranges = (f"{name} {one[name]['low']} .. {one[name]['expected']} .. {one[name]['high']}" for name in
                  ("rows", "bytes", "minutes"))  # fmt: skip
        return f"{one['permit_id']}  " + ", ".join(ranges) + f"; known from {one['builds']} builds"

    _tell([_run(lambda built: built.house.permits.quote(_actor("steward"), permit))], as_json, line)


@institutions.command()
def returned(as_json: Json = False) -> None:
    """Returned data, newest first: what projects made of their extracts."""

    def line(one: dict[str, Any]) -> str:
        return f"{one['id']}  {one['state']:10} {one['name']}  {one['cohort_id']}  {len(one['files'])} files"

    _tell(_run(lambda built: built.house.returns.listed(_actor("steward"), None, MOST)), as_json, line)


@institutions.command()
def inspect(
    institution: Annotated[str | None, typer.Option(help="Whose data; everybody's, where left out.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Ordered on this day or later.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new file for the CSV; to the screen, where left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Who got what, on which ground, until when, destroyed when: as CSV, or as lines of JSON. The look is recorded."""
    day = since.date() if since else None

    def read(built: Built) -> None:
        lines: Iterable[str]
        if as_json:
            lines = (
                json.dumps(one, default=str, ensure_ascii=False) + "\n"
                for one in built.house.inspections.every(_actor("inspector"), institution, day)
            )
        else:
            lines = built.house.inspections.as_csv(_actor("inspector"), institution, day)
        if out is not None:
            with out.open("x", encoding="utf-8", newline="") as file:
                file.writelines(lines)
            return
        for line in lines:
            typer.echo(line, nl=False)

    _run(read)
    if out is not None:
        typer.echo(f"Written to {out}.")


def _declare(institution: str, reason: str, on: datetime | None, into: str | None, as_json: bool) -> None:
    day: date = on.date() if on else _now().date()
    made = _run(
        lambda built: built.house.departures.declare(_actor("platform"), institution, reason, day, into)
    )
    _tell([made], as_json, _departure)


def _departure(one: dict[str, Any]) -> str:
    what = f"goes over into {one['successor_id']}" if one["successor_id"] else "leaves"
    counts = ", ".join(f"{count} {name}" for name, count in one["counts"].items() if count)
    return f"{one['id']}  {one['state']:11} {one['institution_id']} {what} on {one['on']}" + (
        f": {counts}" if counts else ""
    )


def _quota(one: dict[str, Any]) -> str:
    return f"{one['name']}  {one['used']} of {one['most'] or 'any number'}"


def _became(one: dict[str, Any]) -> str:
    if one["closed_at"] is None:
        return ""
    return f"  went over into {one['successor_id']}" if one["successor_id"] else "  left"


def _tell(found: list[dict[str, Any]], as_json: bool, line: Callable[[dict[str, Any]], str]) -> None:
    if as_json:
        typer.echo(json.dumps(found, default=str, ensure_ascii=False))
        return
    for one in found:
        typer.echo(line(one))
    if not found:
        typer.echo("There is none.")


def _actor(role: Role, subject: str = "shell") -> Any:
    """The shell as the platform; as a steward, an inspector or a holder to read what these read."""
    from app.auth.policy import ROLE_SCOPES, Actor

    return Actor(subject, "shell", role, None, frozenset(map(str, ROLE_SCOPES[role])))


def _now() -> datetime:
    from app.clock import utc_now

    return utc_now()


def _run(act: Callable[[Built], Any]) -> Any:
    from app.errors import Problem
    from app.main import build
    from app.settings import Settings

    built = build(Settings())
    try:
        return act(built)
    except Problem as problem:
        typer.echo(f"{problem.code}: {problem.detail}", err=True)
        for finding in problem.findings:
            typer.echo(f"  {finding.pointer or ''} {finding.detail}", err=True)
        raise typer.Exit(2) from None
    finally:
        built.db.dispose()
