"""What every kind of store promises, and the rooms over it: one suite, run over `KINDS`."""

import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.storage.inbox import Busy, Inbox
from app.storage.outbox import Outbox
from app.storage.store import CHUNK, KINDS, NameTaken, Store, checked, open_store
from app.storage.vault import Vault

# How a test reaches a store of each kind. A kind of `KINDS` that is not here fails the suite: no store goes untested.
ADDRESS: dict[str, Callable[[Path], str]] = {
    "file": lambda folder: (folder / "objects of a store").as_uri(),
    "memory": lambda _folder: "memory://",
}


@pytest.fixture(params=sorted(KINDS))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ADDRESS[request.param](tmp_path)


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Bytes that span several chunks and end inside one."""
    path = tmp_path / "table.parquet"
    path.write_bytes(os.urandom(6 * CHUNK + 12_345))
    return path


def test_a_file_comes_back_as_it_was(store: Store, file: Path, tmp_path: Path) -> None:
    stored = store.put_file(file, "ver_1/person.parquet")
    assert (stored.bytes, stored.sha256) == (
        file.stat().st_size,
        hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    assert store.size("ver_1/person.parquet") == stored.bytes
    assert store.exists("ver_1/person.parquet")
    assert store.digest("ver_1/person.parquet") == (stored.bytes, stored.sha256)
    assert store.names() == ["ver_1/person.parquet"]
    store.fetch("ver_1/person.parquet", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600


def test_an_empty_file_is_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert store.put_file(tmp_path / "empty", "empty").bytes == 0
    assert b"".join(store.chunks("empty")) == b""


@pytest.mark.parametrize("put", [Store.put_file, Store.adopt_file])
def test_a_name_never_changes_its_bytes(
    store: Store, file: Path, put: Callable[[Store, Path, str], object], tmp_path: Path
) -> None:
    first = put(store, file, "part")
    assert put(store, file, "part") == first
    other = tmp_path / "other"
    other.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))
    with pytest.raises(NameTaken):
        put(store, other, "part")
    assert b"".join(store.chunks("part")) == file.read_bytes()
    assert store.names() == ["part"]


def test_of_many_writers_of_one_name_one_stands(store: Store, tmp_path: Path) -> None:
    files = [tmp_path / str(i) for i in range(8)]
    for i, path in enumerate(files):
        path.write_bytes(bytes([i]) * (CHUNK + i))

    def put(path: Path) -> bool:
        try:
            store.put_file(path, "folder/part")
        except NameTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, files))
    assert won.count(True) == 1
    assert b"".join(store.chunks("folder/part")) == files[won.index(True)].read_bytes()


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (5, 5), (CHUNK - 1, CHUNK + 1), (3 * CHUNK, 6 * CHUNK + 12_345), (0, 6 * CHUNK + 12_345)],
)
def test_ranges_are_exact_and_come_in_chunks(store: Store, file: Path, start: int, end: int) -> None:
    store.put_file(file, "part")
    chunks = list(store.chunks("part", start, end))
    assert b"".join(chunks) == file.read_bytes()[start:end]
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
    assert all(type(chunk) is bytes for chunk in chunks)


def test_what_is_deleted_is_gone(store: Store, file: Path, tmp_path: Path) -> None:
    store.put_file(file, "part")
    store.delete("part")
    store.delete("part")
    assert not store.exists("part")
    assert store.names() == []
    for read in (
        lambda: store.size("part"),
        lambda: list(store.chunks("part", 0, 1)),
        lambda: store.fetch("part", tmp_path / "copy"),
        lambda: store.local_path("part", tmp_path),
    ):
        with pytest.raises(FileNotFoundError):
            read()
    assert not list(tmp_path.glob("copy*"))


def test_an_engine_reads_a_plain_file(store: Store, file: Path, tmp_path: Path) -> None:
    store.put_file(file, "ver_1/person")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    path = store.local_path("ver_1/person", scratch)
    assert path.read_bytes() == file.read_bytes()
    assert store.local_path("ver_1/person", scratch) == path


def test_a_write_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file(tmp_path / "absent", "part")
    assert store.names() == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../x",
        "a/../b",
        "/a",
        "a//b",
        "a/",
        ".a",
        "a/.b",
        "a\\b",
        "a\0",
        "staging/x",
        "x" * 201,
        "한",
    ],
)
def test_a_name_stays_inside_the_store(store: Store, file: Path, name: str) -> None:
    for act in (
        lambda: store.put_file(file, name),
        lambda: store.adopt_file(file, name),
        lambda: store.delete(name),
        lambda: store.size(name),
        lambda: list(store.chunks(name, 0, 1)),
    ):
        with pytest.raises(ValueError, match="name"):
            act()
    with pytest.raises(ValueError, match="name"):
        checked(name)


def test_the_three_rooms_share_nothing(tmp_path: Path, url: str, file: Path) -> None:
    def place(room: str) -> str:
        return url.replace("objects", room)

    inbox = Inbox.open(place("inbox"), tmp_path / "spill")
    vault, outbox = Vault.open(place("vault")), Outbox.open(place("outbox"))
    vault.put_file(file, "person")
    assert vault.list() == ["person"]
    assert not outbox.exists("person")
    assert inbox.names() == []
    outbox.put_file(file, "part")
    assert outbox.size("part") == file.stat().st_size
    assert b"".join(outbox.chunks("part", 1, 5)) == file.read_bytes()[1:5]
    assert vault.list() == ["person"]
    vault.delete("person")
    outbox.delete("part")
    assert vault.list() == []
    assert not outbox.exists("part")


def test_an_upload_grows_by_one_hand_and_is_sealed(tmp_path: Path, url: str) -> None:
    inbox = Inbox.open(url, tmp_path / "spill")
    inbox.prepare("upl_1")
    with pytest.raises(FileExistsError):
        inbox.prepare("upl_1")
    with inbox.writer("upl_1") as writer:
        writer.write(0, b"hello, wrong")
        writer.cut(7)
        writer.write(7, b"world")
        writer.sync()
        assert writer.size == 12
        with pytest.raises(Busy), inbox.writer("upl_1"):
            pass
        assert inbox.seal("upl_1") == inbox.seal("upl_1")
    with inbox.writer("upl_1") as writer:
        assert writer.size == 12
    inbox.drop_partial("upl_1")
    with pytest.raises(FileNotFoundError), inbox.writer("upl_1"):
        pass
    (tmp_path / "scratch").mkdir()
    assert inbox.local_path("upl_1", tmp_path / "scratch").read_bytes() == b"hello, world"
    assert inbox.names() == ["upl_1"]
    inbox.remove("upl_1")
    inbox.remove("upl_1")
    assert inbox.names() == []
    assert not inbox.exists("upl_1")


def test_only_the_owner_can_read_a_folder_store(tmp_path: Path, file: Path) -> None:
    mask = os.umask(0)
    try:
        inbox = Inbox.open((tmp_path / "in").as_uri(), tmp_path / "spill")
        inbox.prepare("upl_1")
        inbox.seal("upl_1")
        Vault.open((tmp_path / "vault").as_uri()).put_file(file, "ver/one/person")
    finally:
        os.umask(mask)
    found = [p for room in ("in", "spill", "vault") for p in [tmp_path / room, *(tmp_path / room).rglob("*")]]
    modes = {(p.is_dir(), stat.S_IMODE(p.stat().st_mode)) for p in found}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_what_a_dead_process_staged_is_swept(tmp_path: Path, file: Path) -> None:
    store = open_store(tmp_path.joinpath("s").as_uri())
    store.put_file(file, "part")
    left = tmp_path / "s" / "staging" / "0123"
    left.write_bytes(b"half")
    assert store.names() == ["part"]
    assert store.sweep(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert store.sweep(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert not left.exists()
    assert store.exists("part")


@pytest.mark.parametrize("url", ["ftp://host/x", "file://host/x", "file:x", "", "var"])
def test_an_address_that_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="store"):
        open_store(url)
