"""`baekman incident ...` and `baekman trace`: on the database itself, with web process and stores down.

Whoever can run it holds the machine: it acts as the platform, under the name `shell` in the audit chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.auth.policy import Actor, Target
    from app.incidents.service import IncidentService

incidents = typer.Typer(
    no_args_is_help=True, help="Incidents: report, contain, assess, notify, recover, close."
)
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
IncidentId = Annotated[str, typer.Argument(help="The incident, inc_...")]
Targets = Annotated[
    list[str] | None,
    typer.Argument(help="Such as project:prj_... permit:prm_... client:cli_... account:acc_... cohort:coh_... "
                   "institution:ins_... platform"),
]  # fmt: skip
Text = Annotated[str, typer.Option("--text", help="In words, without naming a person.")]


@incidents.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None, as_json: Json = False
) -> None:
    """Every incident, newest first."""

    def shown(service: IncidentService, actor: Actor) -> list[dict[str, Any]]:
        return service.listed(actor, state, None, 200)

    found = _run(shown)
    if as_json:
        typer.echo(_text(found))
    elif not found:
        typer.echo("There is no incident.")
    else:
        for one in found:
            late = [clock["clock"] for clock in one["clocks"] if clock["late"]]
            typer.echo(
                f"{one['id']}  {one['state']:10}  {one['kind']}"
                + (f"  late: {', '.join(late)}" if late else "")
            )


@incidents.command()
def show(incident: IncidentId, as_json: Json = False) -> None:
    """One incident: its clocks, what is frozen, whom it concerns."""
    _answer(lambda service, actor: service.get(actor, incident), as_json)


@incidents.command()
def report(
    kind: Annotated[str, typer.Argument(help="leak, loss, misuse, reidentification, intrusion or other.")],
    text: Text,
    touches: Targets = None,
    known_at: Annotated[
        datetime | None, typer.Option(help="When it became known (UTC); now, where left out.")
    ] = None,
    contain: Annotated[
        bool, typer.Option("--contain", help="And freeze all that it touches at once.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say that something went wrong."""
    from datetime import UTC

    known = known_at.replace(tzinfo=UTC) if known_at and known_at.tzinfo is None else known_at
    named = [{"kind": one.kind, "subject": one.subject} for one in _targets(touches)]

    def act(service: IncidentService, actor: Actor) -> dict[str, Any]:
        body = {"kind": kind, "text": text, "known_at": known, "touches": named}
        made = service.report(actor, body)
        return service.contain(actor, made["id"], holders=True) if contain else made

    _answer(act, as_json)


@incidents.command()
def contain(
    incident: IncidentId,
    targets: Targets = None,
    holders: Annotated[
        bool, typer.Option(help="And the clients and people who hold the projects named.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Freeze what is named, or all that the incident touches: permits, bytes and clients stand still from now on."""
    chosen = _targets(targets)
    _answer(lambda service, actor: service.contain(actor, incident, chosen, holders=holders), as_json)


@incidents.command()
def thaw(incident: IncidentId, targets: Targets = None, as_json: Json = False) -> None:
    """Lift the freeze of what is named."""
    chosen = _targets(targets)
    _answer(lambda service, actor: service.thaw(actor, incident, chosen), as_json)


@incidents.command()
def assess(
    incident: IncidentId,
    risk: Annotated[str, typer.Argument(help="none, some or high.")],
    text: Text = "",
    as_json: Json = False,
) -> None:
    """Say how grave it is; whom it concerns is counted from the ledger."""
    _answer(lambda service, actor: service.assess(actor, incident, risk, text), as_json)


@incidents.command()
def notify(
    incident: IncidentId,
    whom: Annotated[str, typer.Argument(help="people, authority or institutions.")],
    ground: Annotated[str, typer.Option(help="Why they are not told; empty: they were.")] = "",
    as_json: Json = False,
) -> None:
    """Write down that somebody was told, or on which ground not."""
    _answer(lambda service, actor: service.notify(actor, incident, whom, None, ground), as_json)


@incidents.command()
def recover(incident: IncidentId, text: Text = "", as_json: Json = False) -> None:
    """Lift every freeze; what withdrawals closed meanwhile is built anew."""
    _answer(lambda service, actor: service.recover(actor, incident, text), as_json)


@incidents.command()
def close(incident: IncidentId, text: Text, as_json: Json = False) -> None:
    """The end."""
    _answer(lambda service, actor: service.close(actor, incident, text), as_json)


@incidents.command()
def dismiss(incident: IncidentId, text: Text, as_json: Json = False) -> None:
    """It was none."""
    _answer(lambda service, actor: service.dismiss(actor, incident, text), as_json)


@incidents.command()
def evidence(
    incident: IncidentId, file: Annotated[Path, typer.Argument(help="Where to write it, as lines of JSON.")]
) -> None:
    """Write what is known of an incident, and the audit chains of all whom it touches, as lines that are sealed."""
    from app.incidents.evidence import export

    def act(service: IncidentService, actor: Actor) -> int:
        count = 0
        with file.open("x", encoding="utf-8") as out:
            for line in export(service, actor, incident):
                out.write(line)
                count += 1
        return count

    typer.echo(f"{_run(act)} lines in {file}. Check them with `baekman incident verify`.")


@incidents.command()
def verify(file: Annotated[Path, typer.Argument(help="What `evidence` wrote.")]) -> None:
    """Check that nothing of an evidence file was altered, left out or added."""
    from app.audit.slices import faults

    wrong = 0
    with file.open(encoding="utf-8", errors="replace") as lines:
        for finding in faults(lines):
            where = f"line {finding.lines[0]}: " if finding.lines else ""
            typer.echo(f"{where}{finding.code}: {finding.detail}", err=True)
            wrong += 1
    if wrong:
        raise typer.Exit(1)
    typer.echo("The evidence holds together.")


def trace(
    file: Annotated[Path, typer.Argument(help="A leaked file, of any form.", exists=True, dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Which project's extract is this file from? It needs the database and the master key, and prints no person."""
    from app.clock import utc_now
    from app.errors import Problem
    from app.incidents.tracing import TraceService
    from app.main import build

    settings = _settings()
    built = build(settings)
    try:
        found = TraceService(built.db, utc_now, settings, built.gate).trace(file, "shell")
    except Problem as problem:
        typer.echo(f"{problem.code}: {problem.detail}", err=True)
        raise typer.Exit(2) from None
    finally:
        built.db.dispose()
    if as_json:
        typer.echo(_text(found))
    elif not found["origins"]:
        typer.echo(f"No extract is known to hold any of the {found['words']} words that could be pseudonyms.")
    for one in found["origins"] if not as_json else ():
        first, last = one["generations"]
        typer.echo(
            f"{one['confidence']:6} {one['project_id']} {one['extract_id']} held by {one['holder']}, generation "
            + (f"{first}" if first == last else f"{first} to {last}")
            + (f", {one['matched']} people matched" if one["matched"] else ", the very bytes of a part")
        )
    raise typer.Exit(0 if found["origins"] else 1)


def _answer(act: Callable[[IncidentService, Actor], dict[str, Any]], as_json: bool) -> None:
    found = _run(act)
    if as_json:
        typer.echo(_text(found))
        return
    typer.echo(f"{found['id']} is {found['state']}.")
    for one in found["freezes"]:
        if one["lifted_at"] is None:
            typer.echo(f"  frozen: {one['kind']} {one['subject']}")
    if found["assessment"]:
        typer.echo(f"  {found['assessment']['people']} people in {found['assessment']['extracts']} extracts")
    for one in found["clocks"]:
        said = f"answered {one['answered_at']:%Y-%m-%d %H:%M}" if one["answered_at"] else "open"
        late = "  LATE" if one["late"] else ""
        typer.echo(f"  {one['clock']}: due {one['due_at']:%Y-%m-%d %H:%M}, {said}{late}")


def _run(act: Callable[[IncidentService, Actor], Any]) -> Any:
    """Act on the database alone: no store is opened, no key is read, no process has to run."""
    from app.auth.policy import ROLE_SCOPES, Actor
    from app.clock import utc_now
    from app.db import Database
    from app.errors import Problem
    from app.incidents.service import IncidentService

    settings = _settings()
    db = Database(settings.database)
    shell = Actor("shell", "shell", "platform", None, frozenset(map(str, ROLE_SCOPES["platform"])))
    try:
        return act(IncidentService(db, utc_now, settings), shell)
    except Problem as problem:
        typer.echo(f"{problem.code}: {problem.detail}", err=True)
        for finding in problem.findings:
            typer.echo(f"  {finding.pointer or ''} {finding.detail}", err=True)
        raise typer.Exit(2) from None
    finally:
        db.dispose()


def _targets(words: list[str] | None) -> list[Target]:
    from app.auth.policy import STOPS, Target

    found = []
    for word in words or ():
        kind, _, subject = word.partition(":")
        if kind not in STOPS or bool(subject) == (kind == "platform"):
            raise typer.BadParameter(f"{word}: one of {', '.join(sorted(STOPS))}, a colon and the id")
        found.append(Target(kind, subject))
    return found


def _text(found: Any) -> str:
    return json.dumps(found, default=str, ensure_ascii=False)


def _settings() -> Any:
    from app.settings import Settings

    return Settings()
