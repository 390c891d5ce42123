"""The shell: serve, worker, demo, migrate, backup, backups, restore, rewrap, doctor, bootstrap, verify-receipt,
variables, incident, institution, jobs, trace, deid, attack.

It calls the same services as the web, by no other way.

What a command needs is imported when it runs: `deid` works without the service and must not wait for it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import backups
from app.cli.incidents import incidents, trace
from app.cli.institutions import institutions
from app.cli.jobs import jobs
from app.workbench import deid_app
from app.workbench.attacking import attack

if TYPE_CHECKING:
    from app.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Baekman: consented cohorts, shared safely.",
)
app.add_typer(deid_app, name="deid")
app.add_typer(incidents, name="incident")
app.add_typer(institutions, name="institution")
app.add_typer(jobs, name="jobs")
app.command()(attack)
app.command()(backups.backup)
app.command()(backups.backups)
app.command()(backups.restore)
app.command()(trace)
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]


def _settings() -> Settings:
    from app.settings import Settings

    return Settings()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; the public URL follows it unless it is set.")] = 8000,
) -> None:
    """Run the service: the web, and jobs unless BAEKMAN_JOBS=separate; data under BAEKMAN_VAR (default ./var)."""
    import uvicorn

    from app.main import create_app
    from app.operating.listening import LIMITS

    settings = _settings()
    if "public_url" not in settings.model_fields_set:
        settings.public_url = f"http://{host}:{port}"
    _refuse_unfit(settings, web=settings.jobs == "separate")
    first = _first_start(settings)
    if first is not None:
        typer.echo("First start: the platform's administration client, shown this once.")
        typer.echo(f"  client id      {first['client_id']}\n  client secret  {first['client_secret']}")
    typer.echo(f"Baekman serves {settings.public_url}  (API pages: {settings.public_url}/docs)")
    uvicorn.run(
        create_app(settings), host=host, port=port, log_level="warning", server_header=False, **LIMITS
    )


@app.command()
def worker() -> None:
    """Work off jobs in a process of its own, until it is told to end (TERM); as many as wanted, on PostgreSQL."""
    import signal
    import threading

    from app.main import start_worker

    settings = _settings()
    _refuse_unfit(settings)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    try:
        running = start_worker(settings)
    except ValueError as error:
        typer.echo(f"Not started: {error}.", err=True)
        raise typer.Exit(78) from None
    typer.echo(f"Worker {running.life.worker_id} works.")
    ending.wait()
    running.stop()


@app.command()
def bootstrap(as_json: Json = False) -> None:
    """Make the database and the platform's administration client; its secret is shown once, on the first call."""
    first = _first_start(_settings())
    if as_json:
        typer.echo(json.dumps(first))
    elif first is None:
        typer.echo("The platform has its administration client already.")
    else:
        typer.echo(f"client id      {first['client_id']}\nclient secret  {first['client_secret']}")


@app.command()
def migrate() -> None:
    """Bring the database up to the newest migration."""
    from app.db import Database
    from app.models import migrating

    settings = _settings()
    settings.var.mkdir(parents=True, exist_ok=True, mode=0o700)
    migrating.upgrade(Database(settings.database))
    typer.echo("The database has every migration.")


@app.command()
def check_migrations() -> None:
    """Fail where the migrations do not make what the models say (on a fresh SQLite; the tests add PostgreSQL)."""
    from app.db import Database
    from app.models import migrating

    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{Path(folder) / 'check.db'}")
        migrating.upgrade(db)
        found = migrating.differences(db)
        db.dispose()
    for difference in found:
        typer.echo(f"not in step: {difference}", err=True)
    if found:
        raise typer.Exit(1)
    typer.echo("Migrations and models are in step.")


@app.command()
def rewrap(as_json: Json = False) -> None:
    """Wrap every key anew by the current master key; older ones may be taken away after that. Also while serving."""
    from app.clock import utc_now
    from app.db import Database
    from app.keyring import KeyringError, open_keyring, open_web_keyring
    from app.operating.rewrapping import rewrap as wrap_anew

    settings = _settings()
    db = Database(settings.database)
    try:
        done = wrap_anew(db, utc_now, open_keyring(settings), open_web_keyring(settings))
    except KeyringError as error:
        typer.echo(
            f"{error}. Give it by BAEKMAN_OLDER_MASTER_KEYS or its file, and run this again.", err=True
        )
        raise typer.Exit(1) from None
    finally:
        db.dispose()
    typer.echo(json.dumps(done) if as_json else "\n".join(f"{n:>8} {name}" for name, n in done.items()))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Look at settings, database, keys, jobs, audit chains and stores; say what ails and what to do; change nothing."""
    from dataclasses import asdict

    from app.keyring import KeyringError
    from app.main import build, serving
    from app.operating.doctor import examine, worst

    settings = _settings()
    if settings.database_url is None and not (settings.var / "baekman.db").exists():
        typer.echo("Nothing was begun under BAEKMAN_VAR yet: `baekman serve` does it.", err=True)
        raise typer.Exit(1)
    try:
        built = serving(settings) if settings.is_bare_web else build(settings)
    except (KeyringError, ValueError) as error:
        typer.echo(f"These settings make no service: {error}", err=True)
        raise typer.Exit(1) from None
    checks = examine(settings, built.db, built.probes, built.clock())
    built.db.dispose()
    if as_json:
        typer.echo(json.dumps({"state": worst(checks), "checks": [asdict(check) for check in checks]}))
    for check in [] if as_json else checks:
        typer.echo(
            f"{check.state:<8} {check.name}: {check.detail}" + (f" {check.hint}" if check.hint else "")
        )
    raise typer.Exit(1 if worst(checks) == "failed" else 0)


@app.command(name="verify-receipt")
def verify_receipt(
    file: Annotated[Path, typer.Argument(help="A receipt as GET /v1/withdrawals/{id}/receipt gave it.")],
    participant: Annotated[
        str | None, typer.Option(help="The institution's identifier, to open the commitment.")
    ] = None,
    opening: Annotated[str | None, typer.Option(help="The key of the commitment, 64 hex digits.")] = None,
) -> None:
    """Check that a receipt was not altered, and by an opening whose it is; whether it is true only the chain tells."""
    from app.withdrawals.commitments import opens
    from app.withdrawals.proof import faults

    try:
        receipt = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        receipt = None
    if not isinstance(receipt, dict):
        typer.echo("The file holds no receipt.", err=True)
        raise typer.Exit(2)
    found = faults(receipt)
    for finding in found:
        typer.echo(f"{finding.code} at {finding.pointer}: {finding.detail}", err=True)
    if found:
        raise typer.Exit(1)
    typer.echo(
        f"The receipt {receipt['id']} holds together: {len(receipt['lines'])} lines, state {receipt['state']}."
    )
    if participant is not None and opening is not None:
        try:
            theirs = opens(str(receipt["commitment"]), opening, str(receipt.get("cohort_id")), participant)
        except ValueError:
            theirs = False
        typer.echo("It is theirs." if theirs else "It is not theirs, or the opening is another one.")
        raise typer.Exit(0 if theirs else 1)


@app.command(name="variables")
def find_variables(
    query: Annotated[str, typer.Argument(help="Words; all must occur. Korean or English.")] = "",
    field: Annotated[list[str] | None, typer.Option(help="name, label, code or concept; may be repeated.")] = None,
    begins: Annotated[bool, typer.Option("--begins", help="Words begin so; default: they hold it.")] = False,
    key: Annotated[str | None, typer.Option(help="The same variable in every cohort: a concept or a name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on after the variable of this id.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Find variables across the published cohorts of this machine's service, as its researchers find them."""
    from app.catalog.finding import FIELDS, VariableService
    from app.db import Database

    if unknown := sorted(set(field or ()) - set(FIELDS)):
        typer.echo(f"--field is one of {', '.join(FIELDS)}, not {', '.join(unknown)}.", err=True)
        raise typer.Exit(2)
    settings = _settings()
    db = Database(settings.database)
    found = VariableService(db, settings).search(
        query, cursor, limit + 1, field or (), begins=begins, key=key
    )
    db.dispose()
    shown, more = found[:limit], len(found) > limit
    if as_json:
        page = {"items": shown, "next_cursor": shown[-1]["id"] if more else None}
        typer.echo(json.dumps(page, ensure_ascii=False, default=str))
        return
    for one in shown:
        versions = ", ".join(f"{v['number']}: {_share(v['filled'])}" for v in one["versions"])
        held = " + ".join(holder["cohort"]["en"] for holder in one["held_by"])
        title = one["title"]["ko"] or one["title"]["en"]
        typer.echo(f"{one['table']}.{one['name']}  {title}  [{held}, {one['dataset']['en']}]  {versions}")
    typer.echo(f"{len(shown)} variables" + (f"; more with --cursor {shown[-1]['id']}" if more else ""))


@app.command(name="demo")
def play_demo(
    folder: Annotated[Path, typer.Option(help="Where everything goes; it is emptied first.")] = Path(
        "var/demo"
    ),
    as_json: Json = False,
) -> None:
    """Play the whole story through the public API: register, upload, approve, extract, withdraw."""
    from app import demo as story

    raise typer.Exit(story.play(folder, as_json=as_json))


def _refuse_unfit(settings: Settings, *, web: bool = False) -> None:
    """In production, end here where something speaks against the settings, and say all of it."""
    from app.operating.production import unaccepted

    against = unaccepted(settings, web=web) if settings.production else []
    for finding in against:
        typer.echo(f"{finding.code} {finding.pointer}: {finding.detail} {finding.hint}", err=True)
    if against:
        typer.echo(f"Not started: {len(against)} reasons; BAEKMAN_PRODUCTION asks for none.", err=True)
        raise typer.Exit(78)


def _share(filled: float | None) -> str:
    return "-" if filled is None else f"{filled:.0%}"


def _first_start(settings: Settings) -> dict[str, str] | None:
    from app.main import build, serving
    from app.models import migrating

    built = serving(settings) if settings.jobs == "separate" else build(settings)
    migrating.upgrade(built.db)
    first = built.house.auth.bootstrap()
    built.db.dispose()
    return first


def main() -> None:
    """Entry point of the package."""
    app()
