"""What every kind of store promises, and the rooms over it: one suite, run over `KINDS`."""

import hashlib
import os
import stat
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.errors import Problem
from app.storage import s3 as s3_store
from app.storage.access import AMBIENT, Access
from app.storage.inbox import Busy, Inbox
from app.storage.kinds import KINDS, open_store
from app.storage.memory import Memory
from app.storage.outbox import Outbox
from app.storage.store import CHUNK, NameTaken, Store, checked
from app.storage.vault import Vault
from tests import s3 as s3_server

# How a test reaches a room's store of each kind. A kind that is not here fails the suite: none goes untested.
ADDRESS: dict[str, Callable[[Path, str], str]] = {
    "file": lambda folder, room: (folder / f"{room} of a store").as_uri(),
    "memory": lambda _folder, _room: "memory://",
    "s3": lambda _folder, room: f"s3://{room}/{uuid.uuid4().hex}",
}
Place = Callable[[str], tuple[str, Access]]


@pytest.fixture(params=sorted(KINDS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The URL of a room's store and the way there."""

    def of(room: str) -> tuple[str, Access]:
        url = ADDRESS[request.param](tmp_path, room)
        return url, request.getfixturevalue("s3").access(room) if request.param == "s3" else AMBIENT

    return of


@pytest.fixture
def store(place: Place) -> Store:
    return open_store(*place("vault"))


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


def test_the_rooms_share_nothing(tmp_path: Path, place: Place, file: Path) -> None:
    url, access = place("inbox")
    inbox = Inbox.open(url, tmp_path / "spill", access)
    vault, outbox = Vault.open(*place("vault")), Outbox.open(*place("outbox"))
    memory = Memory.open(*place("memory"))
    for room in (inbox, vault, outbox, memory):
        room.probe()
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


def test_an_upload_grows_by_one_hand_and_is_sealed(tmp_path: Path, place: Place) -> None:
    url, access = place("inbox")
    inbox = Inbox.open(url, tmp_path / "spill", access)
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


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "file://host/x",
        "file:x",
        "",
        "var",
        "s3:///x",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?y=z",
    ],
)
def test_an_address_that_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="store"):
        open_store(url)


@pytest.mark.again
def test_a_large_file_ends_on_the_same_condition(store: Store, tmp_path: Path) -> None:
    """Above `WHOLE` a file is staged, in parts where it is sent to a server; nothing of the staging is left."""
    large, other = tmp_path / "large", tmp_path / "other"
    large.write_bytes(os.urandom(9 * CHUNK + 1))
    other.write_bytes(os.urandom(9 * CHUNK + 1))
    assert store.put_file(large, "part") == store.put_file(large, "part")
    with pytest.raises(NameTaken):
        store.put_file(other, "part")
    assert b"".join(store.chunks("part")) == large.read_bytes()
    assert store.sweep(datetime.now(UTC) + timedelta(hours=1)) == 0


def test_a_store_is_probed_and_leaves_nothing(store: Store) -> None:
    store.probe()
    assert store.sweep(datetime.now(UTC) + timedelta(hours=1)) == 0


def test_a_store_that_writes_over_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_writes_over", lambda _name: True)
    with pytest.raises(Problem) as refused:
        store.probe()
    assert refused.value.code == "store_unavailable"


@pytest.mark.parametrize("room", s3_server.ROOMS)
def test_a_key_opens_its_own_room_only(s3: s3_server.Server, tmp_path: Path, room: str) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for other in s3_server.ROOMS:
        store = open_store(f"s3://{other}/{uuid.uuid4().hex}", s3.access(room))
        if other == room:
            store.put_file(tmp_path / "x", "x")
            assert store.names() == ["x"]
        else:
            for act in (
                lambda s=store: s.put_file(tmp_path / "x", "x"),
                store.names,
                lambda s=store: s.size("x"),
            ):
                with pytest.raises(Problem) as refused:
                    act()
                assert refused.value.code == "store_unavailable"
                assert s3.keys[room][1] not in str(refused.value)


def test_what_is_unsigned_or_signed_wrongly_is_refused(s3: s3_server.Server, tmp_path: Path) -> None:
    """The server is a real one: were it to take anything, the tests above would prove nothing."""
    (tmp_path / "x").write_bytes(b"x")
    mine = s3.access("vault")
    open_store("s3://vault/signed", mine).put_file(tmp_path / "x", "x")
    for wrong in (replace(mine, secret="0" * 40), replace(mine, key_id="nobody")):
        with pytest.raises(Problem):
            open_store("s3://vault/signed", wrong).size("x")
    with pytest.raises(urllib.error.HTTPError) as unsigned:
        urllib.request.urlopen(f"{s3.endpoint}/vault/signed/x", timeout=10)
    unsigned.value.close()
    assert unsigned.value.code == 403


def test_a_server_that_is_gone_is_told_in_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(s3_store.RETRY, "max_retries", 0)
    store = open_store("s3://vault/x", Access("http://127.0.0.1:1", "us-east-1", "key", "secret-word"))
    (tmp_path / "x").write_bytes(b"x")
    for act in (
        lambda: store.put_file(tmp_path / "x", "x"),
        lambda: store.exists("x"),
        store.names,
        store.probe,
    ):
        with pytest.raises(Problem) as refused:
            act()
        assert (refused.value.code, refused.value.status) == ("store_unavailable", 503)
        assert "secret-word" not in str(refused.value)
        assert "127.0.0.1" not in str(refused.value)
