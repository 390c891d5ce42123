"""What must not be: each bad call gets one clear problem, in the order of the way a request takes."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.auth.policy import ROLE_SCOPES
from app.db import new_id
from app.models import Part
from app.routers.guards import LINKED, PUBLIC
from tests.acceptance.second_cohort.cohort import second_cohort
from tests.acceptance.service import Service, opened
from tests.integration.uploads.server import running

WANTED = {"people": ["성별", "시도", "흡연"], "lab": ["검사코드", "결과값"]}
MIB = 1 << 20
SPOKEN = {"If-Match": '"1"', "Tus-Resumable": "1.0.0"}  # asked for before anything else is looked at
ROLES = {"platform": "platform", "institution": "hospital", "steward": "steward", "researcher": "researcher"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A published version of the second cohort, and one approved request of the researcher."""
    cohort = second_cohort()
    with opened(tmp_path_factory.mktemp("bad"), access_token_seconds=400 * 86_400) as made:
        made.register_cohort(cohort.dictionary, [{"term": "HMB"}])
        for table in ("consents", *cohort.ORDER):
            made.upload(table, cohort.consents if table == "consents" else cohort.files[table])
        made.drain()
        made.publish()
        made.approve(made.request(WANTED))
        yield made


@pytest.fixture
def delivered(service: Service) -> Iterator[str]:
    """A ready extract of its own: the tests below end its permit."""
    request, permit = service.ids["request"], service.ids["permit"]
    extract = service.extract(service.approve(service.request(WANTED)))
    yield extract
    service.ids["request"], service.ids["permit"] = request, permit


# -- asking


@pytest.mark.again
def test_unknown_columns_are_told_all_at_once_with_near_matches(service: Service) -> None:
    wanted = {"people": ["성벌", "시 도", "흡연"], "labb": ["결과값"], "lab": ["결과 값", "단위"]}
    found = service.refused(
        422, "plan_invalid", "researcher", "POST", "/v1/requests", service.asking(wanted)
    )["problems"]
    told = {(p["code"], p["table"], p.get("column")): p.get("near", []) for p in found}
    assert set(told) == {
        ("unknown_column", "people", "성벌"),
        ("unknown_column", "people", "시 도"),
        ("unknown_table", "labb", None),
        ("unknown_column", "lab", "결과 값"),
    }
    assert "성별" in told["unknown_column", "people", "성벌"]
    assert "시도" in told["unknown_column", "people", "시 도"]
    assert "lab" in told["unknown_table", "labb", None]
    assert "결과값" in told["unknown_column", "lab", "결과 값"]


@pytest.mark.again
def test_what_never_leaves_is_refused_by_name(service: Service) -> None:
    wanted = {"people": ["성명", "주민등록번호", "주소", "메모", "흡연"]}
    found = service.refused(
        422, "plan_invalid", "researcher", "POST", "/v1/requests", service.asking(wanted)
    )["problems"]
    assert {(p["code"], p["column"]) for p in found} == {
        ("never_leaves", name) for name in ("성명", "주민등록번호", "주소", "메모")
    }


@pytest.mark.again
@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(
            {"table": "people", "column": "생년월일", "values": ["1950-03-02"]}, id="not of the plan"
        ),
        pytest.param({"table": "people", "column": "시도", "level": 9, "values": ["*"]}, id="no such level"),
        pytest.param({"table": "lab", "column": "검사일시", "values": ["2024-05-01"]}, id="a true date"),
        pytest.param({"table": "people", "column": "등록번호", "values": ["등록-1"]}, id="a person"),
        pytest.param({"table": "people", "column": "시도", "at_least": 1.0}, id="a range of a label"),
    ],
)
def test_a_filter_finer_than_what_is_released_is_refused(service: Service, condition: dict[str, Any]) -> None:
    wanted = {**WANTED, "lab": [*WANTED["lab"], "검사일시"]}
    body = service.asking(wanted, filter=[condition])
    found = service.refused(422, "plan_invalid", "researcher", "POST", "/v1/requests", body)
    assert {(p["table"], p["column"]) for p in found["problems"]} == {
        (condition["table"], condition["column"])
    }
    assert "1950" not in str(found)


@pytest.mark.again
def test_a_level_that_does_not_exist_is_refused_in_a_count_too(service: Service) -> None:
    condition = {"table": "people", "column": "시도", "level": 9, "values": ["*"]}
    question = {"version_id": service.ids["version"], "conditions": [condition]}
    found = service.refused(422, "plan_invalid", "researcher", "POST", "/v1/catalog/counts", question)
    assert [(p["code"], p["column"]) for p in found["problems"]] == [("filter_level", "시도")]


@pytest.mark.again
def test_a_looser_limit_than_the_platforms_is_refused(service: Service) -> None:
    body = service.asking(WANTED, privacy={"k": 5, "max_suppression": 0.5, "tolerance": 0.2})
    found = service.refused(422, "plan_invalid", "researcher", "POST", "/v1/requests", body)
    assert {p["pointer"] for p in found["problems"]} == {
        "/privacy/k", "/privacy/max_suppression", "/privacy/tolerance",
    }  # fmt: skip


@pytest.mark.again
def test_a_k_beyond_the_cohort_and_no_quasi_identifier_are_refused_before_any_work(service: Service) -> None:
    body = service.asking({"people": ["흡연"]}, privacy={"k": 5000})
    found = service.refused(422, "plan_invalid", "researcher", "POST", "/v1/requests", body)
    assert {p["code"] for p in found["problems"]} == {"too_few_people", "no_quasi_identifier"}
    both = service.asking({"people": ["흡연", "시 도"]}, privacy={"k": 5000})
    found = service.refused(422, "plan_invalid", "researcher", "POST", "/v1/requests", both)
    assert {p["code"] for p in found["problems"]} == {"too_few_people", "unknown_column"}


@pytest.mark.again
def test_an_end_that_is_over_and_a_purpose_that_the_terms_deny(service: Service) -> None:
    yesterday = (service.now().date() - timedelta(days=1)).isoformat()
    past = service.asking(WANTED, end_date=yesterday)
    service.refused(422, "invalid_request", "researcher", "POST", "/v1/requests", past)
    other = service.asking(WANTED, purpose={"term": "POA", "country": "KR"})
    made = service.ok("researcher", "POST", "/v1/requests", other)["id"]
    found = service.refused(403, "duo_denied", "researcher", "POST", f"/v1/requests/{made}/submit")
    assert found["problems"]


# -- deciding


@pytest.mark.again
def test_a_decision_needs_reviews_a_dry_run_and_the_present_plan(service: Service) -> None:
    first = service.ids["permit"], service.ids["request"]
    request = service.request(WANTED)
    path = f"/v1/requests/{request}/decision"
    approval = service.approval(request)
    service.refused(409, "conflict", "steward", "POST", path, approval)
    service.ok("steward", "POST", f"/v1/requests/{request}/claim")
    found = service.refused(409, "reviews_required", "steward", "POST", path, approval)
    assert {p["code"] for p in found["problems"]} == {"reviews_required", "dry_run_required"}
    assert len(found["problems"]) == 3
    service.review(request)
    service.refused(409, "dry_run_required", "steward", "POST", path, approval)
    service.dry_run(request)
    other = {**approval, "plan_hash": "0" * 64}
    service.refused(412, "precondition_failed", "steward", "POST", path, other)
    service.refused(403, "insufficient_scope", "researcher", "POST", path, approval)
    service.ok("steward", "POST", path, approval)
    service.refused(409, "conflict", "steward", "POST", path, approval)
    service.ids["permit"], service.ids["request"] = first


@pytest.mark.again
def test_a_dry_run_of_an_older_plan_does_not_count(service: Service) -> None:
    first = service.ids["permit"], service.ids["request"]
    request = service.request(WANTED)
    service.review(request)
    service.dry_run(request)
    path = f"/v1/requests/{request}"
    service.ok("steward", "POST", f"{path}/return", {"note": "Fewer columns, please."})
    view = service.call("researcher", "GET", path)
    edited = service.asking({"people": ["성별", "흡연"]})
    del edited["version_id"]
    tag = {"If-Match": view.headers["ETag"]}
    service.ok("researcher", "PUT", path, edited, headers=tag)
    service.refused(412, "precondition_failed", "researcher", "PUT", path, edited, headers=tag)
    service.ok("researcher", "POST", f"{path}/submit")
    service.review(request)
    service.refused(409, "dry_run_required", "steward", "POST", f"{path}/decision", service.approval(request))
    service.ids["permit"], service.ids["request"] = first


# -- ordering and fetching


@pytest.mark.again
def test_an_order_without_the_agreement_is_refused(service: Service) -> None:
    permit = service.ids["permit"]
    order = {"permit_id": permit}
    service.refused(409, "agreement_required", "researcher", "POST", "/v1/extracts", order)
    wrong = {"digest": "0" * 64}
    answer = service.call("researcher", "POST", f"/v1/permits/{permit}/agreement", wrong)
    assert answer.status_code in (409, 412)
    service.refused(409, "agreement_required", "researcher", "POST", "/v1/extracts", order)


@pytest.mark.again
def test_a_revoked_permit_stops_a_running_download_and_every_new_one(
    service: Service, delivered: str, tmp_path: Path
) -> None:
    name = _plant_large_part(service, delivered, tmp_path, 48)
    path = f"/v1/extracts/{delivered}/files/{name}"
    token = service.tokens["researcher"]
    with running(service.app) as base, socket.socket() as line:
        host, _, port = base.removeprefix("http://").partition(":")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        line.settimeout(20)
        line.connect((host, int(port)))
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        got = 0
        while got < 2 * MIB:
            got += len(line.recv(MIB))
        note = {"note": "Data were passed on."}
        service.ok("steward", "POST", f"/v1/permits/{service.ids['permit']}/revoke", note)
        while piece := line.recv(MIB):
            got += len(piece)
    # What lay in the buffers of the kernel arrives still; the rest never does.
    assert 2 * MIB <= got < 24 * MIB
    service.refused(403, "permit_not_live", "researcher", "GET", path)
    service.refused(403, "permit_not_live", "researcher", "GET", path, headers={"Range": "bytes=0-9"})
    order = {"permit_id": service.ids["permit"]}
    service.refused(403, "permit_not_live", "researcher", "POST", "/v1/extracts", order)


@pytest.mark.again
def test_a_suspended_permit_closes_its_extract_until_it_is_resumed(service: Service, delivered: str) -> None:
    permit = f"/v1/permits/{service.ids['permit']}"
    name = next(iter(service.parts(delivered)))
    service.ok("steward", "POST", f"{permit}/suspend", {"note": "A question is open."})
    service.refused(403, "permit_not_live", "researcher", "GET", f"/v1/extracts/{delivered}/files/{name}")
    service.ok("steward", "POST", f"{permit}/resume", {"note": "Answered."})
    assert service.fetch(delivered, name).status_code == 200


@pytest.mark.again
def test_an_extract_whose_time_is_over_is_gone_and_its_bytes_too(service: Service, delivered: str) -> None:
    parts = service.parts(delivered)
    name, began = next(iter(parts)), service.now.at
    path = f"/v1/extracts/{delivered}/files/{name}"
    outbox = service.house.extracts.outbox
    assert outbox.exists(f"{delivered}/{name}")
    try:
        service.now.at = began + timedelta(days=service.settings.extract_days + 1)
        service.sign_in("researcher")
        service.refused(410, "extract_expired", "researcher", "GET", path)
        service.house.extracts.expire_due()
        service.drain()
        service.refused(410, "extract_expired", "researcher", "GET", path)
        assert not any(outbox.exists(f"{delivered}/{part}") for part in parts)
        service.now.at = began + timedelta(days=301)  # the permit itself is over
        service.sign_in("researcher")
        answer = service.call("researcher", "GET", path)
        assert answer.json()["code"] in ("permit_not_live", "extract_expired")
    finally:
        service.now.at = began
        service.sign_in("researcher")


# -- who


OTHERS = [
    ("neighbour", "GET", "/v1/cohorts/{cohort}", None),
    ("neighbour", "GET", "/v1/cohorts/{cohort}/uploads", None),
    ("neighbour", "GET", "/v1/cohorts/{cohort}/consents/summary", None),
    ("neighbour", "GET", "/v1/cohorts/{cohort}/withdrawals", None),
    ("neighbour", "GET", "/v1/datasets/{dataset}", None),
    ("neighbour", "GET", "/v1/versions/{version}", None),
    ("neighbour", "GET", "/v1/versions/{version}/dictionary", None),
    ("neighbour", "GET", "/v1/versions/{version}/report", None),
    ("neighbour", "POST", "/v1/versions/{version}/submit", None),
    ("neighbour", "PUT", "/v1/cohorts/{cohort}/consents", None),
    ("neighbour", "PUT", "/v1/versions/{version}/tables/people", None),
    ("neighbour", "GET", "/v1/uploads/{upload}", None),
    ("neighbour", "POST", "/v1/cohorts/{cohort}/withdrawals", {"participant": "x"}),
    ("neighbour", "GET", "/v1/audit?stream=institution:{hospital}", None),
    ("neighbour steward", "GET", "/v1/requests/{request}", None),
    ("neighbour steward", "POST", "/v1/requests/{request}/claim", None),
    ("neighbour steward", "POST", "/v1/requests/{request}/dry-run", None),
    ("neighbour steward", "POST", "/v1/permits/{permit}/revoke", {"note": "no"}),
    ("neighbour steward", "POST", "/v1/versions/{version}/publish", None),
    ("other researcher", "GET", "/v1/requests/{request}", None),
    ("other researcher", "POST", "/v1/requests/{request}/submit", None),
    ("other researcher", "POST", "/v1/requests/{request}/withdraw", None),
    ("other researcher", "GET", "/v1/permits/{permit}", None),
    ("other researcher", "GET", "/v1/permits/{permit}/agreement", None),
    ("other researcher", "POST", "/v1/permits/{permit}/agreement", {"digest": "0" * 64}),
    ("other researcher", "POST", "/v1/extracts", {"permit_id": "{permit}"}),
    ("other researcher", "GET", "/v1/extracts/{extract}", None),
    ("other researcher", "GET", "/v1/extracts/{extract}/manifest", None),
    ("other researcher", "GET", "/v1/extracts/{extract}/files/{part}", None),
    ("other researcher", "POST", "/v1/extracts/{extract}/attestation", {"answer": "destroyed"}),
]


@pytest.mark.again
def test_other_peoples_objects_look_as_if_they_were_not_there(service: Service, delivered: str) -> None:
    uploads = service.ok("hospital", "GET", f"/v1/cohorts/{service.ids['cohort']}/uploads")["items"]
    ids = {
        **service.ids,
        "extract": delivered,
        "part": next(iter(service.parts(delivered))),
        "upload": uploads[0]["id"],
    }
    wrong = []
    for who, method, path, body in OTHERS:
        sent = {k: v.format(**ids) for k, v in body.items()} if body else None
        more = {"content": b"a,b\n1,2\n"} if method == "PUT" else {}
        seen = service.call(who, method, path.format(**ids), sent, **more)
        # The same words as for what does not exist at all.
        nothing = re.sub(r"\{(\w+)\}", lambda m: _like(ids[m[1]]), path)
        unknown = service.call(who, method, nothing, _absent(body, ids), **more)
        alike = ("code", "detail", "title", "status")
        same = [seen.json().get(k) for k in alike] == [unknown.json().get(k) for k in alike]
        if (seen.status_code, unknown.status_code) != (404, 404) or not same:
            wrong.append((who, method, path, seen.status_code, seen.text, unknown.text))
    assert wrong == []


@pytest.mark.again
def test_a_missing_scope_is_told_with_the_challenge_that_names_it(service: Service) -> None:
    token = service.tokens["researcher"]
    try:
        service.sign_in("researcher", "catalog:read")
        answer = service.call("researcher", "POST", "/v1/requests", service.asking(WANTED))
    finally:
        service.tokens["researcher"] = token
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert answer.headers["WWW-Authenticate"] == (
        'Bearer realm="baekman", error="insufficient_scope", scope="requests:write"'
    )
    nobody = service.call(None, "GET", "/v1/requests")
    assert (nobody.status_code, nobody.headers["WWW-Authenticate"]) == (401, 'Bearer realm="baekman"')


def routes(app: FastAPI) -> Iterator[tuple[str, str, frozenset[str], bool]]:
    """(method, path, scopes, whether all of them are needed) of every guarded route of the application."""
    for context in iter_route_contexts(app.routes):
        path = context.path_format or context.path or ""
        if path in PUBLIC | LINKED or not isinstance(context.original_route, APIRoute):
            continue
        scopes, every = _scopes(context.dependant)
        for method in sorted(context.methods or ()):
            yield method, path, scopes, every


@pytest.mark.again
def test_no_route_opens_to_a_role_without_its_scope(service: Service) -> None:
    """Each route by each role with all that the role can hold: without the scope 403 and nothing else, and no 5xx."""
    found = list(routes(service.app))
    assert len(found) > 60
    wrong, tried = list[tuple[object, ...]](), 0
    for method, path, scopes, every in found:
        real = re.sub(r"\{(\w+)\}", lambda m: _value(m[1], service.ids), path)
        for role, who in ROLES.items():
            held = frozenset(map(str, ROLE_SCOPES[role]))
            may = scopes <= held if every else bool(scopes & held)
            if may and method in ("POST", "PUT", "PATCH", "DELETE"):
                continue  # what it does is told by the other tests
            body: dict[str, str] | None = {} if method in ("POST", "PUT") else None
            answer = service.call(who, method, real, body, headers=SPOKEN)
            tried += 1
            refused = (answer.status_code, answer.headers.get("content-type")) == (
                403, "application/problem+json",
            )  # fmt: skip
            challenged = "insufficient_scope" in answer.headers.get("WWW-Authenticate", "")
            if answer.status_code >= 500 or (not may and not (refused and challenged)):
                wrong.append((role, method, path, answer.status_code, answer.text[:200]))
        nobody = service.call(None, method, real, headers=SPOKEN)
        if nobody.status_code != 401 or "WWW-Authenticate" not in nobody.headers:
            wrong.append((None, method, path, nobody.status_code, nobody.text[:200]))
    assert wrong == []
    assert tried > 120


@pytest.mark.again
def test_the_table_of_routes_tells_the_scopes_of_each(service: Service) -> None:
    """The table above is made from the routes: this pins it to a few that everybody knows."""
    table = {(method, path): (scopes, every) for method, path, scopes, every in routes(service.app)}
    assert table["POST", "/v1/extracts"] == (frozenset({"extracts:write"}), True)
    assert table["POST", "/v1/cohorts/{cohort_id}/withdrawals"] == (frozenset({"consents:write"}), True)
    assert table["GET", "/v1/requests/{request_id}"] == (
        frozenset({"requests:review", "requests:write"}),
        False,
    )
    assert ("HEAD", "/v1/extracts/{extract_id}/files/{name}") in table


def _scopes(dependant: Dependant) -> tuple[frozenset[str], bool]:
    """What a route's guard asks for: the scopes of `requires`, or the names that `requires_any` closes over."""
    for inner in _flat(dependant):
        own = getattr(inner.call, "__qualname__", "")
        if own.startswith("requires_any."):
            cells = zip(inner.call.__code__.co_freevars, inner.call.__closure__ or (), strict=True)  # type: ignore[union-attr]
            return frozenset(dict(cells)["names"].cell_contents), False
    for inner in _flat(dependant):
        if inner.own_oauth_scopes:
            return frozenset(inner.own_oauth_scopes), True
    raise AssertionError("a guarded route without scopes")


def _flat(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for inner in dependant.dependencies:
        yield from _flat(inner)


def _value(name: str, ids: dict[str, str]) -> str:
    """What stands for a path parameter: what exists, where the researcher or the institution made one."""
    known = {f"{noun}_id": ids[noun] for noun in ("cohort", "dataset", "version", "request", "permit")}
    return {"table": "people", "name": "0" * 64 + ".parquet", **known}.get(name, "x_0")


def _like(name: str) -> str:
    """An id of the same shape that nothing has."""
    prefix, mark, rest = name.partition("_")
    return f"{prefix}_{'0' * len(rest)}" if mark else "0" * 64 + ".parquet"


def _absent(body: dict[str, str] | None, ids: dict[str, str]) -> dict[str, str] | None:
    if body is None:
        return None
    return {k: re.sub(r"\{(\w+)\}", lambda m: _like(ids[m[1]]), v) for k, v in body.items()}


def _plant_large_part(service: Service, extract: str, folder: Path, mib: int) -> str:
    """A part too large for any buffer beside the real ones; a build that makes one would take minutes."""
    file = folder / "large.parquet"
    file.write_bytes(os.urandom(MIB) * mib)
    name = f"{time.time_ns():064x}.parquet"
    stored = service.house.extracts.outbox.put_file(file, f"{extract}/{name}")
    with service.db.unit_of_work() as session:
        session.add(
            Part(
                id=new_id("prt"), extract_id=extract, table_name="lab", position=9, generation=1, name=name,
                sha256=stored.sha256, rows=1, bytes=stored.bytes, state="ready", reason=None, successor=None,
            )
        )  # fmt: skip
    return name
