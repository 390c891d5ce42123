"""Uploads against a real database and disk: what is acknowledged is kept, one target has one next content."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from app.cohorts.upload_states import TRANSITIONS, step
from app.cohorts.uploads import Checksum, Interrupted, UploadService
from app.errors import Problem
from app.models import Quota, Upload
from app.storage.inbox import Inbox
from tests.amounts import first
from tests.databases import SQLITE_FIRST
from tests.integration.uploads.world import ALICE, World, actor, on_complete

DATA = os.urandom(300_000)


def refused(code: str, act: Any, *args: Any, **kwargs: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        act(*args, **kwargs)
    assert caught.value.code == code
    return caught.value


def pieces(data: bytes, size: int = 50_000) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def broken_off(data: bytes) -> Iterator[bytes]:
    yield from pieces(data)
    raise Interrupted


def sha256(data: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(data).digest())


@SQLITE_FIRST
def test_pieces_become_one_object_and_one_job(world: World) -> None:
    upload = world.begin(len(DATA))
    view = world.service.append(ALICE, upload, 0, pieces(DATA[:100_001]))
    assert (view["state"], view["received"]) == ("receiving", 100_001)
    assert world.jobs() == []
    view = world.service.append(ALICE, upload, 100_001, pieces(DATA[100_001:]), sha256(DATA[100_001:]))
    assert (view["state"], view["sha256"]) == ("complete", hashlib.sha256(DATA).hexdigest())
    assert world.content(upload) == DATA
    assert world.jobs() == [upload]
    assert world.events(upload) == ["upload.created", "upload.completed"]
    assert not list((world.folder / "spill").iterdir())
    refused("conflict", world.service.append, ALICE, upload, len(DATA), [b"more"])


@pytest.mark.again
@SQLITE_FIRST
def test_an_upload_of_nothing_is_complete_at_once(world: World) -> None:
    upload = world.begin(0)
    assert world.row(upload).state == "complete"
    assert world.content(upload) == b""
    assert world.jobs() == [upload]


@SQLITE_FIRST
def test_the_offset_must_be_where_the_upload_stands(world: World) -> None:
    upload = world.begin(len(DATA))
    world.service.append(ALICE, upload, 0, [DATA[:10]])
    for wrong in (0, 9, 11, len(DATA)):
        problem = refused("upload_offset_mismatch", world.service.append, ALICE, upload, wrong, [b"x"])
        assert problem.headers["Upload-Offset"] == "10"
    assert world.service.append(ALICE, upload, 10, [DATA[10:]])["state"] == "complete"
    assert world.content(upload) == DATA


@SQLITE_FIRST
def test_bytes_that_miss_their_checksum_are_discarded(world: World) -> None:
    upload = world.begin(len(DATA))
    world.service.append(ALICE, upload, 0, [DATA[:1000]])
    refused(
        "upload_checksum_mismatch",
        world.service.append,
        ALICE,
        upload,
        1000,
        pieces(DATA[1000:]),
        sha256(b"other"),
    )
    assert world.row(upload).received == 1000
    assert (world.folder / "spill" / upload).stat().st_size == 1000
    sha1 = Checksum("sha1", hashlib.sha1(DATA[1000:]).digest())
    assert world.service.append(ALICE, upload, 1000, pieces(DATA[1000:]), sha1)["state"] == "complete"
    assert world.content(upload) == DATA


@SQLITE_FIRST
def test_more_bytes_than_announced_are_refused(world: World) -> None:
    upload = world.begin(1000)
    refused("payload_too_large", world.service.append, ALICE, upload, 0, [DATA[:1001]])
    assert world.row(upload).received == 0
    assert (world.folder / "spill" / upload).stat().st_size == 0
    refused("payload_too_large", world.begin, world.settings.upload_max_bytes + 1)


@SQLITE_FIRST
def test_what_came_before_a_break_counts_unless_a_checksum_covers_it(world: World) -> None:
    upload = world.begin(len(DATA))
    with pytest.raises(Interrupted):
        world.service.append(ALICE, upload, 0, broken_off(DATA[:123_456]))
    assert world.row(upload).received == 123_456
    with pytest.raises(Interrupted):
        world.service.append(ALICE, upload, 123_456, broken_off(DATA[123_456:]), sha256(DATA[123_456:]))
    assert world.row(upload).received == 123_456
    world.service.append(ALICE, upload, 123_456, pieces(DATA[123_456:]))
    assert world.content(upload) == DATA


def test_one_of_two_concurrent_writers_wins(world: World) -> None:
    upload = world.begin(len(DATA))
    inside, go = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        yield DATA[:100_000]
        inside.set()
        assert go.wait(20)
        yield DATA[100_000:]

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(world.service.append, ALICE, upload, 0, slow())
        assert inside.wait(20)
        standing = world.row(upload).received
        refused("upload_locked", world.service.append, ALICE, upload, standing, [b"\0" * 1000])
        go.set()
        assert first.result(20)["state"] == "complete"
    assert world.content(upload) == DATA


@SQLITE_FIRST
def test_bytes_beyond_the_acknowledged_offset_are_cut(world: World) -> None:
    """After a kill the file may be longer than the row says: those bytes may never have reached the disk."""
    upload = world.begin(len(DATA))
    world.service.append(ALICE, upload, 0, [DATA[:1000]])
    with (world.folder / "spill" / upload).open("ab") as file:
        file.write(b"\0" * 500_000)
    assert world.service.status(ALICE, upload)["received"] == 1000
    world.service.append(ALICE, upload, 1000, [DATA[1000:]])
    assert world.content(upload) == DATA


@pytest.mark.parametrize("heal", ["status", "expire_due"])
@pytest.mark.parametrize("sealed", first(1, [False, True]))
def test_a_completion_that_lost_its_process_is_finished(world: World, heal: str, sealed: bool) -> None:
    upload = world.begin(len(DATA))
    with world.inbox.writer(upload) as writer:
        writer.write(0, DATA)
        writer.sync()
    world.change(upload, received=len(DATA), state="receiving")
    if sealed:
        world.inbox.seal(upload)
    if heal == "status":
        world.service.status(ALICE, upload)
    else:
        world.service.expire_due()
    assert world.row(upload).sha256 == hashlib.sha256(DATA).hexdigest()
    assert world.content(upload) == DATA
    assert world.jobs() == [upload]
    assert not list((world.folder / "spill").iterdir())


@pytest.mark.again
def test_a_job_that_cannot_be_added_leaves_the_upload_to_be_completed_again(world: World) -> None:
    upload = world.begin(len(DATA))

    def fails(*_: Any) -> None:
        raise RuntimeError("no job")

    good = world.service.on_complete
    object.__setattr__(world.service, "on_complete", fails)
    with pytest.raises(RuntimeError):
        world.service.append(ALICE, upload, 0, [DATA])
    assert world.row(upload).state == "receiving"
    object.__setattr__(world.service, "on_complete", good)
    assert world.service.status(ALICE, upload)["state"] == "complete"
    assert world.jobs() == [upload]
    assert world.events(upload) == ["upload.created", "upload.completed"]


def test_the_upload_begun_last_that_completes_wins(world: World) -> None:
    older, newer, other = world.begin(10), world.begin(10), world.begin(10, table="visit_occurrence")
    world.service.append(ALICE, older, 0, [b"o" * 5])
    world.service.append(ALICE, newer, 0, [b"n" * 10])
    assert world.row(newer).state == "complete"
    assert (world.row(older).state, world.row(older).report) == ("expired", {"reason": "superseded"})
    assert world.row(other).state == "open"
    assert refused("upload_gone", world.service.append, ALICE, older, 5, [b"o" * 5]).extra == {
        "reason": "superseded"
    }
    assert not world.inbox.exists(older)
    assert world.events(older) == ["upload.created", "upload.expired"]


@pytest.mark.again
def test_an_older_upload_that_completes_first_gives_way_later(world: World) -> None:
    older, newer = world.begin(10), world.begin(10)
    world.service.append(ALICE, older, 0, [b"o" * 10])
    assert (world.row(older).state, world.row(newer).state) == ("complete", "open")
    world.change(older, state="checking")  # a job reads it now, so its bytes stay until the job lets go
    world.service.append(ALICE, newer, 0, [b"n" * 10])
    assert (world.row(older).state, world.row(newer).state) == ("expired", "complete")
    assert world.content(older) == b"o" * 10


@pytest.mark.again
def test_what_was_accepted_stays_when_the_next_upload_completes(world: World) -> None:
    accepted = world.begin(10)
    world.service.append(ALICE, accepted, 0, [b"a" * 10])
    world.change(accepted, state="accepted")
    newer = world.begin(10)
    world.service.append(ALICE, newer, 0, [b"n" * 10])
    assert world.row(accepted).state == "accepted"


def test_many_at_once_end_in_one(world: World) -> None:
    uploads = [world.begin(len(DATA)) for _ in range(6)]

    def send(upload: str) -> str:
        try:
            return str(world.service.append(ALICE, upload, 0, pieces(DATA))["state"])
        except Problem as problem:
            return problem.code

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, uploads))
    assert answers[-1] == "complete"
    assert set(answers) <= {"complete", "upload_gone"}
    assert [world.row(upload).state for upload in uploads] == ["expired"] * 5 + ["complete"]
    assert world.inbox.names() == [uploads[-1]]
    assert world.content(uploads[-1]) == DATA


def test_time_ends_an_upload(world: World) -> None:
    upload = world.begin(10)
    world.service.append(ALICE, upload, 0, [b"12345"])
    world.pass_days(world.settings.upload_expiry_days)
    refused("upload_gone", world.service.append, ALICE, upload, 5, [b"67890"])
    refused("upload_gone", world.service.resumable, ALICE, upload)
    assert world.service.expire_due() == 1
    assert world.row(upload).state == "expired"
    assert world.inbox.names() == []
    assert world.events(upload) == ["upload.created", "upload.expired"]
    assert world.service.expire_due() == 0


@pytest.mark.parametrize(
    ("state", "kept"),
    first(
        2,
        [
            ("checking", True),
            ("quarantined", False),
            ("complete", True),
            ("rejected", False),
            ("accepted", False),
        ],
    ),
)
def test_originals_leave_with_time_unless_they_are_being_checked(
    world: World, state: str, kept: bool
) -> None:
    upload = world.begin(10)
    world.service.append(ALICE, upload, 0, [b"1234567890"])
    world.change(upload, state=state)
    world.service.expire_due()
    assert world.content(upload) == b"1234567890"
    world.pass_days(15)
    world.service.expire_due()
    assert world.inbox.exists(upload) is kept
    assert (world.row(upload).state, world.row(upload).original) == (state, "kept" if kept else "removed")
    assert ("upload.original_removed" in world.events(upload)) is not kept


def test_an_original_leaves_only_when_its_transaction_commits(world: World) -> None:
    upload = world.begin(10)
    world.service.append(ALICE, upload, 0, [b"1234567890"])

    def remove(fail: bool) -> None:
        with world.db.unit_of_work() as session:
            world.service.remove_original(session, session.get_one(Upload, upload))
            with session.begin_nested():  # a savepoint's commit must not remove anything
                pass
            assert world.inbox.exists(upload)
            if fail:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        remove(fail=True)
    assert world.content(upload) == b"1234567890"
    assert world.row(upload).original == "kept"
    remove(fail=False)
    assert not world.inbox.exists(upload)
    assert world.row(upload).original == "removed"


@SQLITE_FIRST
def test_the_sweep_removes_bytes_that_nobody_keeps(world: World) -> None:
    removed, kept = world.begin(10), world.begin(10, table="visit_occurrence")
    world.change(removed, state="expired", original="removed")
    world.inbox.prepare("upl_orphan")
    world.inbox.prepare("upl_young_orphan")
    os.utime(world.folder / "spill" / "upl_orphan", (0, 0))
    os.utime(world.folder / "spill" / kept, (0, 0))
    world.service.expire_due()
    assert world.inbox.names() == sorted([kept, "upl_young_orphan"])


@SQLITE_FIRST
def test_an_upload_can_be_ended_until_it_has_an_outcome(world: World) -> None:
    upload = world.begin(10)
    world.service.append(ALICE, upload, 0, [b"12345"])
    world.service.terminate(ALICE, upload)
    assert world.inbox.names() == []
    assert world.events(upload) == ["upload.created", "upload.terminated"]
    refused("upload_gone", world.service.terminate, ALICE, upload)
    refused("upload_gone", world.service.append, ALICE, upload, 5, [b"67890"])
    assert world.service.status(ALICE, upload)["report"] == {"reason": "terminated"}
    complete = world.begin(0)  # its check has not begun: it is ended with it
    world.service.give_up(ALICE, complete)
    assert world.row(complete).state == "complete"
    world.service.terminate(ALICE, complete)
    assert world.row(complete).state == "expired"
    assert world.inbox.names() == []


def test_an_upload_ended_while_its_bytes_arrive_takes_no_more(world: World) -> None:
    upload = world.begin(len(DATA))

    def ended() -> Iterator[bytes]:
        yield DATA[:100_000]
        world.service.terminate(ALICE, upload)
        yield DATA[100_000:]

    refused("upload_gone", world.service.append, ALICE, upload, 0, ended())
    assert world.row(upload).state == "expired"
    assert world.inbox.names() == []
    assert world.jobs() == []


@SQLITE_FIRST
def test_other_institutions_do_not_see_it(world: World) -> None:
    upload = world.begin(10)
    for stranger in (actor("ins_b"), actor("ins_b", "researcher"), actor("ins_b", "platform")):
        for act in (
            lambda who=stranger: world.service.status(who, upload),
            lambda who=stranger: world.service.append(who, upload, 0, [b"x"]),
            lambda who=stranger: world.service.terminate(who, upload),
        ):
            seen = refused("not_found", act)
            absent = refused("not_found", world.service.status, stranger, "upl_absent")
            assert seen.detail == absent.detail
    refused("not_found", world.begin, 10, version_id="ver_b")
    refused("not_found", world.begin, 10, version_id="ver_none")
    refused("forbidden", world.service.status, actor("ins_a", "steward"), upload)
    assert world.row(upload).received == 0


@SQLITE_FIRST
def test_consents_need_their_own_scope(world: World) -> None:
    upload = world.begin(3, purpose="consents", version_id="", table="", cohort_id="coh_a")
    narrow = actor("ins_a", "institution", "uploads:write")
    refused("insufficient_scope", world.service.append, narrow, upload, 0, [b"abc"])
    refused("not_found", world.begin, 3, purpose="consents", version_id="", table="", cohort_id="coh_b")
    older = upload
    upload = world.begin(3, purpose="consents", version_id="", table="", cohort_id="coh_a")
    assert world.service.append(ALICE, upload, 0, [b"abc"])["state"] == "complete"
    assert world.row(older).state == "expired"


def test_a_table_must_be_in_the_dictionary_of_a_version_that_takes_it(world: World) -> None:
    problem = refused("invalid_request", world.begin, 10, table="visit_ocurrence")
    assert problem.findings[0].near == ("visit_occurrence",)
    world.change_version(dictionary=None)
    refused("version_not_ready", world.begin, 10)
    world.change_version(dictionary={"tables": [{"name": "person"}]}, state="in_review")
    refused("version_not_ready", world.begin, 10)
    world.change_version(state="quarantined")
    upload = world.begin(10)
    world.change_version(state="published")
    reason = refused("upload_gone", world.service.append, ALICE, upload, 0, [b"1234567890"]).extra
    assert reason == {"reason": "version_closed"}
    assert world.inbox.names() == []
    assert world.jobs() == []


def test_every_state_of_the_table_is_one_of_the_model() -> None:
    states = set(TRANSITIONS)
    assert {after for verbs in TRANSITIONS.values() for after in verbs.values()} == states - {"open"}
    assert refused("conflict", step, "accepted", "check").status == 409
    assert step("checking", "accept") == "accepted"


def test_two_who_begin_at_once_share_one_quota(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both would fit alone. The second begins while the first has looked and not committed yet."""
    with world.db.unit_of_work() as session:
        session.add(Quota(subject="ins_a", name="inbox_bytes", most=100, set_by="t", set_at=world.now))
    prepare, second = world.inbox.prepare, list[Any]()

    def begin_another(upload_id: str) -> None:
        prepare(upload_id)
        if not second:
            second.append(others.submit(world.begin, 60, "visit_occurrence"))
            for _look in range(200):
                if second[0].done() or _somebody_waits(world):
                    break
                time.sleep(0.005)

    monkeypatch.setattr(type(world.inbox), "prepare", lambda _self, name: begin_another(name))
    with ThreadPoolExecutor() as others:
        world.begin(60)
        told = refused("quota_exceeded", second[0].result)
    assert (told.extra["used"], told.extra["asked"]) == (60, 60)


def _somebody_waits(world: World) -> bool:
    """Whether a connection waits for a lock; on SQLite nobody can tell, and the second waits for the writer's."""
    if world.db.is_sqlite:
        return False
    with world.db.engine.connect() as connection:
        return bool(connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar())


def test_what_a_worker_ended_goes_from_the_disk_of_the_web(world: World) -> None:
    """The web's spill is its own: a worker that ends an upload over the same database and store does not reach it."""
    ended, kept = world.begin(10), world.begin(10)
    inbox = Inbox.open((world.folder / "inbox").as_uri(), world.folder / "spill of the worker")
    worker = UploadService(world.db, lambda: world.now, world.settings, inbox, on_complete)
    world.pass_days(15)
    world.change(kept, expires_at=world.now + timedelta(days=1))
    assert worker.expire_due() == 1
    assert (world.folder / "spill" / ended).exists()
    world.service.sweep_disk()
    assert not (world.folder / "spill" / ended).exists()
    assert (world.folder / "spill" / kept).exists()
