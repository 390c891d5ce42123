"""`baekman backup`, `backups` and `restore`: everything that would be lost with the machines, as it was at one moment.

A place is a folder or the URL of a store. Whoever can run these commands holds the database and the stores.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from app.backups import Manifest

Where = Annotated[
    str | None,
    typer.Argument(help="A folder, or the URL of a store; where left out, BAEKMAN_BACKUP_URL."),
]
_AGAIN = 1.0  # hours until a backup that failed is tried again
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]


def backup(
    place: Where = None,
    keep: Annotated[
        int | None,
        typer.Option(min=0, help="Leave so many backups there; 0: all. Default: BAEKMAN_BACKUP_KEEP."),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            min=0, help="Make one every so many hours until told to end (TERM), where nothing else does."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy database, vault and outbox as they are at one moment, while the service runs; only what is new is sent."""
    if every is None:
        raise typer.Exit(_back_up(place, keep, as_json=as_json))
    import signal
    import threading

    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    while not ending.is_set():
        failed = _back_up(place, keep, as_json=as_json)
        ending.wait(min(every, _AGAIN if failed else every) * 3600)


def _back_up(place: str | None, keep: int | None, *, as_json: bool) -> int:
    """One backup, told; the exit code."""
    from app import backups as room
    from app.clock import utc_now
    from app.db import Database
    from app.settings import Settings

    settings = Settings()
    db = Database(settings.database)
    try:
        rooms = room.open_rooms(settings, "vault", "outbox")
        where = room.open_place(settings, place)
        left = settings.backup_keep if keep is None else keep
        made = room.backup(settings, db, rooms, where, utc_now, left)
    except room.BackupError as error:
        typer.echo(str(error), err=True)
        return 1
    finally:
        db.dispose()
    told = {
        **_shown(made.manifest), "copied": made.copied, "copied_bytes": made.copied_bytes, "pruned": made.pruned,
    }  # fmt: skip
    typer.echo(
        json.dumps(told)
        if as_json
        else f"{told['id']} as of {told['made_at']}: {told['objects']} objects, {made.copied} of them new"
        f" ({made.copied_bytes} bytes); {made.pruned} old ones removed. Keep the master key and the journal elsewhere."
    )
    if made.missing:
        typer.echo(
            f"{len(made.missing)} objects that the database names are lost, such as {made.missing[0]}.",
            err=True,
        )
    return 1 if made.missing else 0


def backups(
    place: Where = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all of the newest and compare digests.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Which backups lie in a place, oldest first; with --verify, whether the newest is whole."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from app import backups as room
    from app.settings import Settings

    try:
        where = room.open_place(Settings(), place)
        found = [where.manifest(id_) for id_ in where.manifests()]
        faults: list[str] = []
        if verify and found:
            with TemporaryDirectory() as scratch:
                faults = where.faults(found[-1], Path(scratch))
    except room.BackupError as error:
        _fail(error)
    if as_json:
        typer.echo(json.dumps({"backups": [_shown(one) for one in found], "faults": faults}))
    for one in [] if as_json else found:
        lost = f", {len(one.missing)} lost" if one.missing else ""
        typer.echo(f"{one.id}  {one.made_at}  {one.object_count} objects, {one.object_bytes} bytes{lost}")
    if not found and not as_json:
        typer.echo("There is none.")
    for name in faults:
        typer.echo(f"missing or altered: {name}", err=True)
    raise typer.Exit(1 if faults or (verify and not found) else 0)


def restore(
    place: Where = None,
    id_: Annotated[
        str | None, typer.Option("--backup", help="Which one, bak_...; the newest, if left out.")
    ] = None,
    discard: Annotated[
        bool,
        typer.Option("--discard", help="Remove objects from vault and outbox that the backup does not name."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a backup back where nothing is, then take every withdrawal anew that came after it."""
    from app import backups as room
    from app.db import Database
    from app.main import build, prepare
    from app.settings import Settings

    settings = Settings()
    db = Database(settings.database)
    try:
        rooms = room.open_rooms(settings, "vault", "outbox", "memory")
        made = room.restore(settings, db, rooms, room.open_place(settings, place), id_, discard=discard)
    except room.BackupError as error:
        _fail(error)
    finally:
        db.dispose()
    built = build(settings)
    replayed = prepare(built, restored=made.manifest.made_at)
    built.db.dispose()
    told = {
        **_shown(made.manifest), "removed": made.removed, "replayed": replayed.taken, "unknown": replayed.unknown,
    }  # fmt: skip
    typer.echo(
        json.dumps(told)
        if as_json
        else f"Restored as of {told['made_at']}; {replayed.taken} later withdrawals were taken anew."
    )
    if made.manifest.missing:
        typer.echo(
            f"The backup lacks {len(made.manifest.missing)} objects that its database names.", err=True
        )
        raise typer.Exit(1)


def _shown(one: Manifest) -> dict[str, object]:
    return {
        "id": one.id, "made_at": one.made_at, "database": one.database, "revision": one.revision,
        "objects": one.object_count, "bytes": one.object_bytes, "missing": one.missing,
    }  # fmt: skip


def _fail(error: Exception) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(1) from None
