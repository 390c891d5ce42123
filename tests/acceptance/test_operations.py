"""The operator sees the work and acts on it, over the API and on a page in two languages; nobody else does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import select

from app.jobs import execute
from app.jobs.kinds import MUST_END, RANKS, SERVES_WITHDRAWAL
from app.models import Alarm, AuditLine, Institution, Job, Worker
from app.portal.words_of_operating import WORDS
from tests.acceptance.service import Service, opened

PASSWORD = "long enough for anyone"
SECRET = "880101-1234567"
OTHERS = ("hospital", "steward", "neighbour steward", "researcher")


@pytest.fixture(autouse=True)
def patient(service: Service) -> None:
    """Of a name ten passwords are taken in five minutes; a test types more."""
    service.house.auth.sign_in.throttle._limiter.storage.reset()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with opened(tmp_path_factory.mktemp("operations")) as made:
        for name, role in (("kim", "platform"), ("park", "steward"), ("lee", "researcher")):
            made.ok(
                "platform", "POST", "/v1/accounts", {"username": name, "role": role, "password": PASSWORD}
            )
        yield made


def plant(service: Service, kind: str, state: str, **other: Any) -> str:
    """A job in a state; its arguments hold what nobody may be shown."""
    now, id_ = service.now(), f"job_planted{len(_planted)}"
    _planted.append(id_)
    row: dict[str, Any] = {
        "progress": {"step": "checking", "tables": 3}, "failure": None, "finished_at": None,
        "created_at": now - timedelta(minutes=5), "subject": f"sub_{len(_planted)}", "arguments": {"of": SECRET},
    }  # fmt: skip
    with service.db.unit_of_work() as session:
        session.add(Job(id=id_, kind=kind, state=state, **{**row, **other}))
    return id_


_planted: list[str] = []


def parked(service: Service, kind: str) -> str:
    failure = {"code": "worker_lost", "detail": "5 workers ended.", "step": "writing"}
    return plant(service, kind, "parked", failure=failure, finished_at=service.now(), deaths=5)


def page(
    service: Service, who: str, lang: str = "en", act: str = "", password: str = PASSWORD, note: str = ""
) -> Response:
    form = {"username": who, "password": password, "lang": lang, "act": act, "note": note}
    return service.http.post("/operations", data=form)


def rings(service: Service, id_: str, institution_id: str | None = None) -> str:
    with service.db.unit_of_work() as session:
        session.add(
            Alarm(
                id=id_, kind="job_parked", level="critical", subject=f"of_{id_}", state="open", data={},
                raised_at=service.now(), institution_id=institution_id,
            )
        )  # fmt: skip
    return id_


def _somebody(service: Service) -> str:
    with service.db.read() as session:
        return session.scalars(select(Institution.id)).first() or ""


def alarm(service: Service, id_: str) -> Alarm:
    with service.db.read() as session:
        return session.get_one(Alarm, id_)


def state(service: Service, job_id: str) -> str:
    with service.db.read() as session:
        return session.get_one(Job, job_id).state


@pytest.mark.again
def test_empty_it_says_what_to_do(service: Service) -> None:
    with service.db.unit_of_work() as session:
        for job in session.scalars(select(Job)):
            session.delete(job)
    found = service.ok("platform", "GET", "/v1/jobs/overview")
    assert (found["waiting"], found["running"], found["parked"], found["workers"]) == ([], [], [], [])
    assert (found["backup_age"], found["epoch_lag"]) == (None, 0)
    for lang, told in (("ko", "baekman backup`을 실행"), ("en", "Run `baekman backup`")):
        text = page(service, "kim", lang).text
        assert told in text
        for section in ("waiting", "running", "parked", "failed", "alarms", "workers", "withdrawals"):
            assert WORDS[lang][f"{section}_none"] in text


def test_nobody_else_sees_or_acts(service: Service) -> None:
    job = parked(service, "dry_run")
    for who in OTHERS:
        for method, path in (
            ("GET", "/v1/jobs"),
            ("GET", "/v1/jobs/overview"),
            ("POST", f"/v1/jobs/{job}/release"),
            ("POST", f"/v1/jobs/{job}/cancel"),
        ):
            service.refused(403, "insufficient_scope", who, method, path)
    for who, act in (
        ("park", ""),
        ("park", f"release {job}"),
        ("park", "release all"),
        ("lee", f"cancel {job}"),
    ):
        answer = page(service, who, act=act)
        assert (answer.status_code, job in answer.text) == (403, False)
        assert WORDS["en"]["not_yours"] in answer.text
    assert page(service, "kim", act=f"release {job}", password="another one").status_code == 403
    foreign = {"Sec-Fetch-Site": "cross-site"}
    form = {"username": "kim", "password": PASSWORD, "act": f"release {job}"}
    assert service.http.post("/operations", data=form, headers=foreign).status_code == 403
    assert state(service, job) == "parked"


def test_what_waits_runs_failed_and_rings_is_shown_by_codes_and_counts(service: Service) -> None:
    now = service.now()
    with service.db.unit_of_work() as session:
        for id_, dead in (("host-1", None), ("host-2", now), ("host-3", None)):
            seen = now - timedelta(minutes=9 if id_ == "host-3" else 0)
            session.add(Worker(id=id_, started_at=now, seen_at=seen, dead_at=dead))
        session.add(
            Alarm(
                id="alm_1",
                kind="job_parked",
                level="critical",
                subject="job_1",
                state="open",
                data={},
                raised_at=now,
            )
        )
    running = plant(
        service, "build_extract", "running", worker="host-1",
        progress={"step": "writing", "parts": 4, "said": SECRET},
    )  # fmt: skip
    plant(service, "take_withdrawals", "waiting")
    plant(service, "index_variables", "waiting", not_before=now + timedelta(hours=1))
    plant(service, "dry_run", "failed", failure={"code": "internal", "detail": SECRET}, finished_at=now)
    plant(service, "dry_run", "failed", failure={"code": "conflict"}, finished_at=now - timedelta(days=2))
    found = service.ok("platform", "GET", "/v1/jobs/overview")
    assert [(one["rank"], one["kind"], one["count"], one["later"]) for one in found["waiting"]] == [
        (1, "take_withdrawals", 1, 0), (5, "index_variables", 1, 1),
    ]  # fmt: skip
    (runs,) = found["running"]
    told = {
        "id": running,
        "worker": "host-1",
        "heartbeat_age": 0,
        "step": "writing",
        "progress": {"parts": 4},
    }
    assert told.items() <= runs.items()
    assert [(one["kind"], one["code"], one["count"]) for one in found["failed"]] == [
        ("dry_run", "internal", 1)
    ]
    assert [(one["kind"], one["level"], one["count"]) for one in found["alarms"]] == [
        ("job_parked", "critical", 1)
    ]
    assert {one["id"]: one["state"] for one in found["workers"]} == {
        "host-1": "alive", "host-2": "dead", "host-3": "silent",
    }  # fmt: skip
    listed = service.ok("platform", "GET", "/v1/jobs?state=failed&limit=1")
    assert ([one["state"] for one in listed["items"]], bool(listed["next_cursor"])) == (["failed"], True)
    for lang in ("ko", "en"):
        text = page(service, "kim", lang).text
        assert f'<html lang="{lang}">' in text
        for shown in (running, "host-1", "writing", WORDS[lang]["kinds"]["take_withdrawals"]):
            assert shown in text
        assert SECRET not in text
    assert SECRET not in str((found, listed))


@pytest.mark.again
def test_a_parked_job_is_let_go_on_the_page_with_its_line(service: Service) -> None:
    first, second, third = (parked(service, kind) for kind in ("dry_run", "dry_run", "reissue_extract"))
    shown = page(service, "kim").text
    assert all(f'value="release {job}"' in shown for job in (first, second, third))
    assert (f'value="cancel {first}"' in shown, f'value="cancel {third}"' in shown) == (True, False)
    answer = page(service, "kim", act=f"release {first}")
    assert (answer.status_code, "The job goes on as" in answer.text) == (200, True)
    assert state(service, first) == "retried"
    answer = page(service, "kim", "ko", act=f"cancel {second}")
    assert "다음 단계에서 끝납니다" in answer.text
    assert state(service, second) == "retried"  # it was begun anew for that alone
    answer = page(service, "kim", act=f"cancel {third}")
    assert (answer.status_code, "Nothing was done" in answer.text) == (409, True)
    assert state(service, third) == "parked"
    gone = page(service, "kim", act="release job_0")
    assert (gone.status_code, "Nothing was done" in gone.text) == (404, True)
    assert service.refused(409, "conflict", "platform", "POST", f"/v1/jobs/{third}/cancel")
    made = service.ok("platform", "POST", f"/v1/jobs/{third}/release")
    assert (made["kind"], made["state"], made["serves_withdrawal"]) == ("reissue_extract", "waiting", True)
    with service.db.read() as session:
        lines = session.scalars(select(AuditLine).where(AuditLine.object_id.in_((first, second, third))))
        said = {(one.object_id, one.event, one.actor.partition(":")[0]) for one in lines}
    assert said == {
        (first, "job.released", "account"), (second, "job.cancelled", "account"), (third, "job.released", "client"),
    }  # fmt: skip


@pytest.mark.again
def test_an_alarm_is_acknowledged_on_the_page_with_its_line(service: Service) -> None:
    ours, theirs = rings(service, "alm_ours"), rings(service, "alm_theirs", institution_id=_somebody(service))
    for who, act in (("park", f"acknowledge {ours}"), ("lee", f"acknowledge {ours}")):
        answer = page(service, who, act=act, note="not mine")
        assert (answer.status_code, ours in answer.text) == (403, False)
    assert page(service, "kim", act=f"acknowledge {ours}", password="another", note="x").status_code == 403
    shown = page(service, "kim").text
    assert (f'value="acknowledge {ours}"' in shown, theirs in shown) == (True, False)
    unsaid = page(service, "kim", "ko", act=f"acknowledge {ours}", note="  ")
    assert (unsaid.status_code, WORDS["ko"]["note_missing"] in unsaid.text) == (422, True)
    assert page(service, "kim", act=f"acknowledge {ours}", note="n" * 4001).status_code == 422
    assert page(service, "kim", act=f"acknowledge {theirs}", note="not mine").status_code == 404
    assert {alarm(service, one).state for one in (ours, theirs)} == {"open"}
    answer = page(service, "kim", "ko", act=f"acknowledge {ours}", note="디스크를 봅니다")
    assert (answer.status_code, WORDS["ko"]["acknowledged"].format(id=ours) in answer.text) == (200, True)
    assert f'value="acknowledge {ours}"' not in answer.text
    row = alarm(service, ours)
    assert (row.state, row.note) == ("acknowledged", "디스크를 봅니다")
    again = page(service, "kim", act=f"acknowledge {ours}", note="again")
    assert (again.status_code, "Nothing was done" in again.text) == (409, True)
    with service.db.read() as session:
        lines = session.scalars(select(AuditLine).where(AuditLine.object_id == ours)).all()
    assert [(one.event, one.actor.partition(":")[0]) for one in lines] == [("alarm.acknowledged", "account")]
    with service.db.unit_of_work() as session:
        for one in (ours, theirs):
            session.delete(session.get_one(Alarm, one))


@pytest.mark.again
def test_all_that_were_given_up_are_let_go_at_once(service: Service) -> None:
    jobs = [parked(service, kind) for kind in ("dry_run", "reissue_extract")]
    answer = page(service, "kim", act="release all")
    assert (answer.status_code, WORDS["en"]["parked_none"] in answer.text) == (200, True)
    assert [state(service, job) for job in jobs] == ["retried", "retried"]


@pytest.mark.again
def test_a_running_job_is_ended_on_the_page(service: Service) -> None:
    job = plant(service, "build_extract", "running")
    answer = page(service, "kim", act=f"cancel {job}")
    assert WORDS["en"]["cancelled"].format(id=job) in answer.text
    assert f'value="cancel {job}"' not in answer.text
    with service.db.read() as session:
        assert session.get_one(Job, job).cancel_asked_at is not None


def test_every_kind_has_its_words_in_both_languages() -> None:
    kinds = frozenset().union(SERVES_WITHDRAWAL, MUST_END, *RANKS)
    assert [lang for lang in WORDS if WORDS[lang]["kinds"].keys() != kinds] == []
    assert WORDS["ko"].keys() == WORDS["en"].keys()
    assert WORDS["ko"]["states"].keys() == WORDS["en"]["states"].keys()


@pytest.mark.again
def test_who_runs_a_job_stands_in_its_row(service: Service) -> None:
    job = plant(service, "dry_run", "waiting")
    seen: list[str | None] = []

    def look(_job: object) -> None:
        with service.db.read() as session:
            seen.append(session.get_one(Job, job).worker)

    execute(service.db, service.now, {"dry_run": look}, job, worker="host-7")
    assert seen == ["host-7"]
