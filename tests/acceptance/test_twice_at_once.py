"""The same thing asked twice at the same time, or again with its key, ends in one outcome; on both databases."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import func, select

from app.models import (
    AuditLine,
    Base,
    Cohort,
    Extract,
    Permit,
    Project,
    RecallNotice,
    Upload,
    VaultTable,
    Withdrawal,
)
from tests.acceptance.second_cohort.cohort import second_cohort
from tests.acceptance.service import FORM, Service, opened
from tests.databases import POSTGRESQL_FIRST

WANTED = {"people": ["성별", "흡연"], "lab": ["검사코드", "결과값"]}
COHORT = {"name": "Second", "consent_form": FORM, "duo": [{"term": "GRU"}]}


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Service]:
    """A house on an empty database with a registered cohort, nothing uploaded yet."""
    with opened(tmp_path / "var", database_url) as made:
        made.register_cohort(second_cohort().dictionary, [{"term": "HMB"}])
        yield made


@pytest.fixture
def published(service: Service) -> Service:
    cohort = second_cohort()
    for table in ("consents", *cohort.ORDER):
        service.upload(table, cohort.consents if table == "consents" else cohort.files[table])
    service.drain()
    service.publish()
    return service


def at_once(calls: Sequence[Callable[[], Response]]) -> list[Response]:
    """The answers of all calls, begun together."""
    answers: dict[int, Response] = {}
    ready = threading.Barrier(len(calls))

    def run(i: int) -> None:
        ready.wait(60)
        answers[i] = calls[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    return [answers[i] for i in range(len(calls))]


def count(service: Service, model: type[Base], *where: Any) -> int:
    with service.db.read() as session:
        return session.scalar(select(func.count()).select_from(model).where(*where)) or 0


def events(service: Service) -> Counter[str]:
    with service.db.read() as session:
        return Counter(session.scalars(select(AuditLine.event)))


def posts(service: Service, who: str, path: str, body: Any, times: int, **headers: str) -> list[Response]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return at_once([lambda: service.call(who, "POST", path, body, headers=sent)] * times)


@pytest.mark.again
def test_two_uploads_of_one_table_end_in_one_content(service: Service) -> None:
    content = second_cohort().files["code_book"]
    path = f"/v1/versions/{service.ids['version']}/tables/code_book"
    answers = at_once([lambda: service.call("hospital", "PUT", path, content=content)] * 4)
    # A later upload of the same table ends an earlier one, or is told that the earlier one is being checked.
    refused = {answer.json()["code"] for answer in answers if answer.status_code != 202}
    assert refused <= {"conflict", "upload_gone"}
    taken = [answer.headers["Location"] for answer in answers if answer.status_code == 202]
    assert len(taken) >= 1
    service.drain()
    assert service.failed_jobs() == []
    # Whoever was let in was checked; the table has one current content, and nobody waits for ever.
    states = {service.ok("hospital", "GET", url)["state"] for url in taken}
    assert states <= {"accepted", "rejected", "expired"}
    assert count(service, Upload, Upload.state.in_(["open", "receiving", "complete", "checking"])) == 0
    with service.db.read() as session:
        rows = list(session.scalars(select(VaultTable).where(VaultTable.table_name == "code_book")))
    assert len({row.sha256 for row in rows}) == 1
    assert len({row.generation for row in rows}) == len(rows)


@pytest.mark.again
@POSTGRESQL_FIRST
def test_decisions_orders_and_withdrawals_at_once_each_have_one_outcome(published: Service) -> None:
    service = published
    _decide_twice(service)
    extract = _order_thrice(service)
    _withdraw_thrice(service, extract)
    for stream in service.streams():
        assert service.ok("platform", "GET", f"/v1/audit/verify?stream={stream}")["holds"]


def _decide_twice(service: Service) -> None:
    request = service.request(WANTED)
    service.review(request)
    service.dry_run(request)
    path, approval = f"/v1/requests/{request}/decision", service.approval(request)
    rejection = {**approval, "decision": "reject"}
    answers = at_once(
        [lambda b=body: service.call("steward", "POST", path, b) for body in (approval, rejection) * 2]  # type: ignore[misc]
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 3}
    approved = service.ok("steward", "GET", f"/v1/requests/{request}")["state"] == "approved"
    assert count(service, Permit) == count(service, Project) == int(approved)
    assert events(service)["request.approved"] + events(service)["request.rejected"] == 1


def _order_thrice(service: Service) -> str:
    permit = service.approve(service.request(WANTED))
    service.accept(permit)
    answers = posts(service, "researcher", "/v1/extracts", {"permit_id": permit}, 3)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    service.drain()
    assert service.failed_jobs() == []
    assert count(service, Extract) == 1
    extract = str(answers[0].json()["id"])
    view = service.ok("researcher", "GET", f"/v1/extracts/{extract}")
    assert (view["state"], view["generation"]) == ("ready", 1)
    assert events(service)["extract.ordered"] == events(service)["extract.built"] == 1
    again = service.ok("researcher", "POST", "/v1/extracts", {"permit_id": permit})
    assert (again["id"], again["generation"]) == (extract, 1)
    return extract


def _withdraw_thrice(service: Service, extract: str) -> None:
    path = f"/v1/cohorts/{service.ids['cohort']}/withdrawals"
    body = {"participant": second_cohort().people[0]}
    answers = posts(service, "hospital", path, body, 3)
    assert {answer.status_code for answer in answers} == {202}
    service.drain()
    assert service.failed_jobs() == []
    with service.db.read() as session:
        assert {row.state for row in session.scalars(select(Withdrawal))} == {"closed"}
        assert session.get_one(Cohort, service.ids["cohort"]).epoch == 2  # loaded once, withdrawn once
    assert count(service, RecallNotice) == 1
    after = service.ok("researcher", "GET", f"/v1/extracts/{extract}")
    assert (after["state"], after["generation"]) == ("ready", 2)
    assert all(service.fetch(extract, name).status_code == 200 for name in service.parts(extract))
    # With a key it is one withdrawal, however often the form is sent.
    before = count(service, Withdrawal)
    keyed = posts(service, "hospital", path, body, 3, Idempotency_Key="paper-17")
    assert {answer.json().get("code") for answer in keyed} <= {None, "idempotency_in_progress"}
    assert count(service, Withdrawal) == before + 1
    again = service.call("hospital", "POST", path, body, headers={"Idempotency-Key": "paper-17"})
    assert again.json() == next(answer.json() for answer in keyed if answer.status_code == 202)


def test_a_repeated_key_makes_one_thing_and_answers_the_same(service: Service) -> None:
    before = count(service, Cohort)
    answers = posts(service, "hospital", "/v1/cohorts", COHORT, 5, Idempotency_Key="cohort-1")
    assert {answer.status_code for answer in answers} <= {201, 409}
    told = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert told <= {"idempotency_in_progress"}
    assert count(service, Cohort) == before + 1
    later = service.call("hospital", "POST", "/v1/cohorts", COHORT, headers={"Idempotency-Key": "cohort-1"})
    first = next(answer for answer in answers if answer.status_code == 201)
    assert (later.status_code, later.json()) == (201, first.json())
    assert later.headers["Location"] == first.headers["Location"]
    other = {**COHORT, "name": "Third"}
    service.refused(
        409, "idempotency_conflict", "hospital", "POST", "/v1/cohorts", other,
        headers={"Idempotency-Key": "cohort-1"},
    )  # fmt: skip
    # Somebody else's key of the same name is another key.
    service.ok("neighbour", "POST", "/v1/cohorts", other, headers={"Idempotency-Key": "cohort-1"})
    assert count(service, Cohort) == before + 2


def test_a_refused_post_leaves_its_key_free(service: Service) -> None:
    key = {"headers": {"Idempotency-Key": "again"}}
    wrong = {**COHORT, "duo": [{"term": "NOPE"}]}
    assert service.call("hospital", "POST", "/v1/cohorts", wrong, **key).status_code == 422
    assert service.call("hospital", "POST", "/v1/cohorts", COHORT, **key).status_code == 201
