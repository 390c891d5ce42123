"""Processes of the real service that are begun in a moment and die at a chosen effect: `python -m tests.faults.zygote`.

Everything is imported once; each life is a fork that builds the whole service from its settings, as any start does. It
reads one JSON object a line: `{"settings": ..., "role": ..., "die_at": n}` begins a life and answers its process and
port; `{"wait": pid}` answers how it ended. A life counts its effects (commits, writes, renames, deletions, steps of
jobs) from when the file `armed` lies in its folder, and ends itself by SIGKILL before the n-th.
"""

from __future__ import annotations

import ctypes
import functools
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from sqlalchemy import event

from app import main
from app.clock import SteadyClock
from app.db import Database
from app.jobs import JobContext
from app.jobs.workers import Membership
from app.main import working
from app.routers.house import House
from app.settings import Settings
from app.storage import spill
from app.storage import store as stores
from app.storage.inbox import Writer
from app.storage.journal import Journal

EFFECTS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (stores.Store, ("put_file", "adopt_file", "delete", "_seal", "_sync_folder")),
    (Writer, ("write", "sync", "cut")),
    (Journal, ("add",)),
    (JobContext, ("progress",)),
    (spill.shutil, ("rmtree",)),  # type: ignore[attr-defined]
)


DOORS = FastAPI(docs_url=None, redoc_url=None)  # put together once; each life sets its house behind them


class Death:
    """Counts effects once it is armed, and ends the process at the one that was chosen."""

    def __init__(self, folder: Path, at: int | None) -> None:
        self.armed, self.at, self.met, self.folder = folder / "armed", at, 0, folder

    def __call__(self, *_: Any) -> None:
        """Before an effect, or after it."""
        if self.at is not None and self.armed.exists():
            self.met += 1
            (self.folder / "met").write_text(str(self.met))
            if self.met >= self.at:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # until it has reached every thread

    def around(self, of: Any, name: str) -> None:
        """Make both sides of a function points to die at."""
        inner: Callable[..., Any] = getattr(of, name)

        @functools.wraps(inner)
        def mortal(*args: Any, **kwargs: Any) -> Any:
            self()
            done = inner(*args, **kwargs)
            self()
            return done

        setattr(of, name, mortal)

    def in_the_middle(self) -> None:
        """Also between two chunks of what is written to a store."""
        chunks = stores._Digest.__iter__

        def dying(reading: Any) -> Any:
            for chunk in chunks(reading):
                self()
                yield chunk

        stores._Digest.__iter__ = dying  # type: ignore[method-assign]

    def at_commits(self, db: Database) -> None:
        """Before each commit, and before the next thing that is asked after it."""
        event.listen(db.engine, "commit", self)
        event.listen(db.engine, "checkin", self)


def live(settings: Settings, role: str, die_at: int | None, tell: Callable[[int], object]) -> None:
    """One life, until it is killed."""
    death = Death(settings.var, die_at)
    for of, names in EFFECTS:
        for name in names:
            death.around(of, name)
    death.in_the_middle()
    began = Database.__init__

    def open_database(self: Database, url: str) -> None:
        began(self, url)
        death.at_commits(self)

    Database.__init__ = open_database  # type: ignore[method-assign]
    if role.startswith("worker"):
        setattr(working, "Membership", functools.partial(Membership, beat=0.2, dead_after=15.0))  # noqa: B010
        main.start_worker(settings)
        tell(0)
        signal.pause()
    clock = SteadyClock()
    built = main.build(settings, clock) if role == "embedded" else main.serving(settings, clock)
    DOORS.state.house = built.house
    working.begin(built)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(DOORS, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        started = server.startup

        async def startup(sockets: Any = None) -> None:
            await started(sockets)
            tell(port)

        server.startup = startup  # type: ignore[method-assign]
        server.run(sockets=[listener])


def begin(said: dict[str, Any]) -> dict[str, Any]:
    """Fork a life; its process and port, when it serves."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        settings = Settings(_env_file=None, **said["settings"])
        log = os.open(said["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            live(settings, said["role"], said["die_at"], lambda port: os.write(write, b"%d\n" % port))
        finally:
            logging.shutdown()
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as answer:
        line = answer.readline()
    return {"pid": child, "port": int(line) if line else None}


if __name__ == "__main__":
    main.hang(cast("House", None), DOORS)
    for asked in sys.stdin:
        order = json.loads(asked)
        if "wait" in order:
            told: dict[str, Any] = {"status": os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])}
        else:
            told = begin(order)
        print(json.dumps(told), flush=True)
