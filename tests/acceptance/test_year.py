"""An institution's year over the API: a file leaks, an inspector looks, people leave; nothing is left lying."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import select
from typer.testing import CliRunner

from app.audit.slices import faults
from app.cli import app as shell
from app.db import new_id
from app.incidents.tracing import TraceService
from app.main import build
from app.models import (
    AccessRequest,
    Account,
    AuthorizationCode,
    Client,
    Cohort,
    Consent,
    Permit,
    Project,
    RefreshToken,
    Upload,
    VaultTable,
)
from tests.acceptance.service import FORM, Service, opened, table_of
from tests.ways_out import WAYS

PEOPLE = 96
DICTIONARY: dict[str, Any] = {
    "title": {"ko": "외래", "en": "Clinic"},
    "hierarchies": {
        "sex": {"kind": "flat"}, "born": {"kind": "interval", "bounds": [1900, 2030], "widths": [10, 20, 40]},
    },
    "tables": [{
        "name": "people", "kind": "participant",
        "fields": [
            {"name": "patient", "role": {"kind": "participant_id"}},
            {"name": "sex", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "sex"}},
            {"name": "born", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "born"}},
            {"name": "ward", "role": {"kind": "attribute"}},
        ],
    }],
}  # fmt: skip


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A cohort, and its extract in the researcher's hands."""
    with opened(tmp_path_factory.mktemp("year")) as made:
        made.register_cohort(DICTIONARY, [{"term": "HMB"}])
        rows = [f"P{i},{1 + i % 2},{1940 + i % 3 * 10},w{i % 2}" for i in range(PEOPLE)]
        made.upload("consents", "\n".join(["participant_id,domain,state",
                                           *(f"P{i},all,granted" for i in range(PEOPLE))]).encode())  # fmt: skip
        made.drain()
        made.upload("people", "\n".join(["patient,sex,born,ward", *rows]).encode())
        made.drain()
        made.publish()
        made.extract(
            made.approve(made.request({"people": ["sex", "born", "ward"]}, title="=1+1 wards by age"))
        )
        made.identity(
            "inspector", "inspector", valid_until=(made.now().date() + timedelta(days=30)).isoformat()
        )
        yield made


def person(service: Service, name: str, role: str, home: str | None = None, **other: Any) -> str:
    body = {"username": name, "role": role, "password": "long enough for anyone", **other}
    body |= {"institution_id": home} if home else {}
    return str(service.ok("platform", "POST", "/v1/accounts", body)["id"])


@pytest.mark.again
def test_a_file_leaks_and_is_traced_stopped_told_and_mended(service: Service, tmp_path: Path) -> None:
    rows = table_of(service.download(service.ids["extract"])["people"]).slice(10, 30).to_pylist()
    leak = tmp_path / "forum.txt"
    leak.write_text("\n".join(f"{row['ward']};{row['patient']}" for row in reversed(rows)))
    built = build(service.settings, service.now)
    [origin] = TraceService(built.db, service.now, service.settings, built.gate).trace(leak, "shell")[
        "origins"
    ]
    built.db.dispose()
    assert (origin["extract_id"], origin["matched"], origin["confidence"]) == (
        service.ids["extract"],
        30,
        "high",
    )
    assert origin["holder"] == f"client:{service.client_id('researcher')}"

    named = [{"kind": "project", "subject": origin["project_id"]}]
    body = {"kind": "leak", "text": "Rows on a forum.", "touches": named}
    incident = service.ok("steward", "POST", "/v1/incidents", body)
    path = f"/v1/incidents/{incident['id']}"
    service.ok("steward", "POST", f"{path}/contain", {"holders": True})
    service.refused(401, "invalid_token", "researcher", "GET", "/v1/extracts")  # the old token
    answer = service.http.post("/oauth/token", data={"grant_type": "client_credentials"},
                               auth=service._secrets["researcher"])  # fmt: skip
    assert answer.status_code == 401  # and no new one
    told = service.ok("steward", "POST", f"{path}/thaw", {"targets": [
        {"kind": "client", "subject": service.client_id("researcher")}]})  # fmt: skip
    assert told["state"] == "contained"
    name = next(iter(service.parts(service.ids["extract"])))
    refused = service.refused(403, "frozen", "researcher", "GET",
                              f"/v1/extracts/{service.ids['extract']}/files/{name}")  # fmt: skip
    assert refused["frozen"] == "project"
    why = service.ok("researcher", "GET", f"/v1/why?verb=extract.order&object={service.ids['permit']}")
    assert [one["condition"] for one in why["conditions"] if not one["met"]] == ["not_frozen"]
    found = service.ok("steward", "POST", f"{path}/assess", {"risk": "high"})["assessment"]
    assert (found["people"], found["by_cohort"]) == (PEOPLE, {service.ids["cohort"]: PEOPLE})
    seen = service.ok("hospital", "GET", path)
    assert (seen["state"], seen["assessment"]["people"]) == ("assessed", PEOPLE)
    service.refused(404, "not_found", "neighbour", "GET", path)
    service.refused(409, "conflict", "steward", "POST", f"{path}/recover", {})
    for whom in ("authority", "people"):
        service.ok("steward", "POST", f"{path}/notify", {"whom": whom})
    service.ok("steward", "POST", f"{path}/recover", {"text": "The post is gone."})
    assert service.ok("steward", "POST", f"{path}/close", {"text": "Done."})["state"] == "closed"
    assert service.fetch(service.ids["extract"], name).status_code == 200
    evidence = service.call("platform", "POST", f"{path}/evidence")
    assert list(faults(evidence.text.splitlines(keepends=True))) == []
    assert not any(row["patient"] in evidence.text for row in rows)


@pytest.mark.again
def test_everyone_reads_of_incidents_once_they_are_closed_and_no_detail(service: Service) -> None:
    """After the leak above, which concerned everybody."""
    for lang, words in (("en", ("Incidents", "People concerned")), ("ko", ("사고 공개", "해당 참여자"))):
        page = service.call(None, "GET", f"/incidents?lang={lang}")
        assert page.status_code == 200
        assert all(word in page.text for word in words)
        assert f"<td>{service.now().year}</td><td>1</td><td>95</td>" in page.text  # 96, rounded
        assert "forum" not in page.text


def test_an_inspector_reads_who_got_what_and_nothing_else(service: Service) -> None:
    service.download(service.ids["extract"])
    [row] = service.ok("inspector", "GET", "/v1/inspections/releases")["items"]
    assert row["extract_id"] == service.ids["extract"]
    assert (row["holder"], row["held_by"]) == (f"client:{service.client_id('researcher')}", ["hospital"])
    assert (row["purpose"], row["irb_reference"], row["reviews"]) == (
        "HMB", "IRB 2026-041", ["DRB approved", "IRB exempt"]
    )  # fmt: skip
    assert (row["rows"], row["people_ever"], row["tables"]) == (PEOPLE, PEOPLE, ["people"])
    assert row["deliveries"] == len(service.parts(service.ids["extract"]))
    assert row["destroyed_at"] is None
    text = service.call("inspector", "GET", "/v1/inspections/releases.csv").text
    [read] = csv.DictReader(io.StringIO(text))
    assert (read["title"], read["bytes"]) == ("'=1+1 wards by age", str(row["bytes"]))
    hospital = service.ids["hospital"]
    assert service.ok("inspector", "GET", f"/v1/inspections/releases?institution_id={hospital}")["items"] == [
        row
    ]
    near = service.ids["neighbour"]
    assert service.ok("inspector", "GET", f"/v1/inspections/releases?institution_id={near}")["items"] == []
    lines = service.ok("inspector", "GET", f"/v1/audit?stream=institution:{hospital}&limit=1000")["items"]
    assert lines[-1]["event"] == "inspection.read"
    for method, path in (("GET", "/v1/extracts"), ("GET", "/v1/cohorts"), ("POST", "/v1/incidents")):
        assert service.call("inspector", method, path).status_code == 403
    service.refused(403, "insufficient_scope", "steward", "GET", "/v1/inspections/releases")


def test_an_inspector_of_one_institution_sees_no_other_and_none_after_the_last_day(service: Service) -> None:
    last = service.now().date() + timedelta(days=3)
    service.identity(
        "sent to the neighbour", "inspector", service.ids["neighbour"], valid_until=last.isoformat()
    )
    who, hospital = "sent to the neighbour", service.ids["hospital"]
    assert service.ok(who, "GET", "/v1/inspections/releases")["items"] == []
    service.refused(404, "not_found", who, "GET", f"/v1/inspections/releases?institution_id={hospital}")
    service.refused(404, "not_found", who, "GET", f"/v1/audit?stream=institution:{hospital}")
    body = {"name": "x", "role": "inspector", "scopes": ["inspections:read"]}
    refused = service.refused(422, "invalid_request", "platform", "POST", "/v1/clients", body)
    assert [one["pointer"] for one in refused["problems"]] == ["/valid_until"]
    with service.db.unit_of_work() as session:  # the day passes
        row = session.get_one(Client, service.client_id(who))
        row.valid_until = service.now().date() - timedelta(days=1)
    service.refused(401, "invalid_token", who, "GET", "/v1/inspections/releases")


@pytest.mark.again
def test_a_person_reads_what_concerns_them_on_a_page_in_two_languages(service: Service) -> None:
    last = (service.now().date() + timedelta(days=3)).isoformat()
    person(service, "yun", "inspector", valid_until=last)
    person(service, "seo", "institution", service.ids["hospital"])

    def page(name: str, lang: str, password: str = "long enough for anyone", **headers: str) -> Response:
        form = {"username": name, "password": password, "lang": lang}
        return service.http.post("/mine", data=form, headers=headers)

    assert "나와 관련된 내역" in service.call(None, "GET", "/mine?lang=ko").text
    seen = page("yun", "en")
    assert (seen.status_code, seen.headers["cache-control"]) == (200, "no-store")
    assert "set-cookie" not in seen.headers
    assert all(
        word in seen.text for word in ("Who got what", "hospital", service.client_id("researcher"), "HMB")
    )
    lines = service.ok("inspector", "GET", "/v1/audit?stream=platform&limit=1000")["items"]
    assert [line["event"] for line in lines if line["actor"].startswith("account:")][-1] == "inspection.read"
    assert all(word in page("yun", "ko").text for word in ("제공 내역", "보유 기관"))
    own = page("seo", "en").text
    assert all(word in own for word in ("vault_bytes", "no limit", "Returned data"))
    assert "Who got what" not in own
    wrong = page("seo", "en", "not the password of anybody")
    assert (wrong.status_code, "is wrong" in wrong.text, "vault_bytes" in wrong.text) == (403, True, False)
    assert page("seo", "en", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.again
def test_the_shell_tells_as_json_what_operators_ask(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAEKMAN_VAR", str(service.settings.var))

    def told(*words: str) -> Any:
        done = CliRunner().invoke(shell, ["institution", *words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    hospital, permit = service.ids["hospital"], service.ids["permit"]
    assert hospital in [one["id"] for one in told("list")]
    [inbox, vault] = told("quota", hospital)
    assert (inbox["name"], vault["used"] > 0) == ("inbox_bytes", True)
    assert told("allow", hospital, "inbox_bytes", "0")[0]["most"] == 0
    assert told("quota", f"client:{service.client_id('researcher')}")[0]["used"] == 1
    assert told("quote", permit)[0]["rows"]["expected"] == PEOPLE
    assert told("returned") == []
    assert told("inspect")["extract_id"] == service.ids["extract"]
    [made] = told("leave", hospital, "--reason", "closed")
    refused = CliRunner().invoke(shell, ["institution", "confirm", made["id"]])
    assert (refused.exit_code, "forbidden" in refused.output) == (2, True)
    assert [one["id"] for one in told("departures")] == [made["id"]]
    assert told("call-off", made["id"])[0]["state"] == "called_off"
    into = CliRunner().invoke(shell, ["institution", "merge", hospital, "--into", hospital, "--reason", "x"])
    assert (into.exit_code, "/successor_id" in into.output) == (2, True)


@pytest.mark.again
def test_a_steward_leaves_and_everything_in_their_hands_goes_on(service: Service) -> None:
    leaver, successor = person(service, "kim", "steward"), person(service, "lee", "steward")
    stranger, near = (
        person(service, "park", "researcher"),
        person(service, "choi", "steward", service.ids["neighbour"]),
    )
    body = {
        "name": "kim's tool",
        "role": "steward",
        "scopes": ["requests:review"],
        "owner_id": leaver,
    }
    made = service.ok("platform", "POST", "/v1/clients", body)
    service._secrets["tool"] = (made["id"], made["client_secret"])
    service.sign_in("tool")
    request = service.request({"people": ["sex"]})
    with service.db.unit_of_work() as session:
        session.add(RefreshToken(token_hash="r" * 64, family="f", client_id=made["id"], account_id=leaver, scope="",
                                 used_at=None, expires_at=service.now()))  # fmt: skip
        session.add(AuthorizationCode(code_hash="c" * 64, client_id=made["id"], account_id=leaver, redirect_uri="",
                                      scope="", code_challenge="", nonce=None, expires_at=service.now()))  # fmt: skip
    service.ok("steward", "POST", f"/v1/requests/{request}/claim")
    _claimed_by(service, request, f"account:{leaver}")
    for wrong in (stranger, near, leaver, "acc_nobody"):
        path = f"/v1/accounts/{leaver}/leave"
        service.refused(422, "invalid_request", "platform", "POST", path, {"successor_id": wrong})
    service.refused(403, "insufficient_scope", "steward", "POST", f"/v1/accounts/{leaver}/leave",
                    {"successor_id": successor})  # fmt: skip
    told = service.ok("platform", "POST", f"/v1/accounts/{leaver}/leave", {"successor_id": successor})
    assert (told["moved"]["reviews"], told["moved"]["clients"]) == (1, 1)
    assert service.ok("steward", "GET", f"/v1/requests/{request}")["claimed_by"] == f"account:{successor}"
    service.refused(401, "invalid_token", "tool", "GET", "/v1/requests")  # what the leaver's client held
    old = service.http.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, auth=service._secrets["tool"]
    )
    assert old.status_code == 401
    service.now.at += timedelta(seconds=2)
    service._secrets["tool"] = (made["id"], told["clients"][0]["client_secret"])
    service.sign_in("tool")
    service.ok("tool", "GET", "/v1/requests")
    with service.db.read() as session:
        assert not session.get_one(Account, leaver).active
        assert session.scalars(select(RefreshToken).where(RefreshToken.account_id == leaver)).all() == []
        assert (
            session.scalars(select(AuthorizationCode).where(AuthorizationCode.account_id == leaver)).all()
            == []
        )
    service.refused(
        404, "not_found", "platform", "POST", f"/v1/accounts/{leaver}/leave", {"successor_id": successor}
    )
    service.ok("researcher", "POST", f"/v1/requests/{request}/withdraw")


@pytest.mark.again
def test_a_holder_leaves_and_nothing_flows_until_the_successor_has_agreed(service: Service) -> None:
    leaver, successor = person(service, "han", "researcher"), person(service, "ohh", "researcher")
    _held_by(service, f"account:{leaver}")
    told = service.ok("platform", "POST", f"/v1/accounts/{leaver}/leave", {"successor_id": successor})
    assert told["moved"]["projects"] == 1
    permit = service.ok("steward", "GET", f"/v1/permits/{service.ids['permit']}")
    assert (permit["holder"], permit["state"]) == (f"account:{successor}", "pending_agreement")
    _held_by(service, f"client:{service.client_id('researcher')}")  # the successor acts through a client here
    name = next(iter(service.parts(service.ids["extract"])))
    assert service.fetch(service.ids["extract"], name).json()["code"] == "permit_not_live"
    agreement = service.ok("researcher", "GET", f"/v1/permits/{service.ids['permit']}/agreement")
    assert f"account:{successor}" in agreement["text"]
    assert agreement["agreed_by"] is None
    service.accept(service.ids["permit"])
    assert service.fetch(service.ids["extract"], name).status_code == 200
    service.refused(
        404, "not_found", "platform", "POST", "/v1/accounts/acc_none/leave", {"successor_id": successor}
    )


def _claimed_by(service: Service, request: str, subject: str) -> None:
    with service.db.unit_of_work() as session:
        session.get_one(AccessRequest, request).claimed_by = subject


def _held_by(service: Service, subject: str) -> None:
    with service.db.unit_of_work() as session:
        permit = session.get_one(Permit, service.ids["permit"])
        session.get_one(Project, permit.project_id).holder = subject


def test_a_quote_tells_what_it_will_cost_and_how_sure_that_is(service: Service) -> None:
    found = service.ok("researcher", "GET", f"/v1/permits/{service.ids['permit']}/quote")
    assert found["builds"] == 1
    assert found["rows"]["low"] < found["rows"]["expected"] == PEOPLE < found["rows"]["high"]
    size = sum(part["bytes"] for part in service.parts(service.ids["extract"]).values())
    assert found["bytes"]["low"] < size < found["bytes"]["high"]
    assert 0 <= found["minutes"]["low"] <= found["minutes"]["expected"] <= found["minutes"]["high"]
    service.refused(404, "not_found", "other researcher", "GET", f"/v1/permits/{service.ids['permit']}/quote")


def test_a_full_quota_refuses_what_is_too_much_and_says_of_what(service: Service) -> None:
    hospital, path = service.ids["hospital"], f"/v1/datasets/{service.ids['dataset']}/versions"
    draft = service.ok("hospital", "POST", path)["id"]
    service.ok("hospital", "PUT", f"/v1/versions/{draft}/dictionary", DICTIONARY, headers={"If-Match": '"1"'})
    path = f"/v1/versions/{draft}/tables/people"
    used = {
        one["name"]: one["used"]
        for one in service.ok("hospital", "GET", f"/v1/institutions/{hospital}/quotas")
    }
    assert used["vault_bytes"] > 0
    order = {"subject": hospital, "most": used["inbox_bytes"] + 100}
    service.refused(403, "insufficient_scope", "hospital", "PUT", "/v1/quotas/inbox_bytes", order)
    service.ok("platform", "PUT", "/v1/quotas/inbox_bytes", order)
    told = service.refused(409, "quota_exceeded", "hospital", "PUT", path, content=b"x" * 101)
    assert (told["quota"], told["most"], told["used"], told["asked"]) == (
        "inbox_bytes", order["most"], used["inbox_bytes"], 101
    )  # fmt: skip
    service.ok("platform", "PUT", "/v1/quotas/inbox_bytes", {"subject": hospital, "most": 0})
    service.ok(
        "platform", "PUT", "/v1/quotas/vault_bytes", {"subject": hospital, "most": used["vault_bytes"]}
    )
    assert (
        service.refused(409, "quota_exceeded", "hospital", "PUT", path, content=b"x")["quota"]
        == "vault_bytes"
    )
    service.ok("platform", "PUT", "/v1/quotas/vault_bytes", {"subject": hospital, "most": 0})
    assert service.call("hospital", "PUT", path, content=b"patient,sex,born,ward\n").status_code == 202
    service.refused(404, "not_found", "neighbour", "GET", f"/v1/institutions/{hospital}/quotas")
    service.refused(
        404, "not_found", "platform", "PUT", "/v1/quotas/inbox_bytes", {"subject": "ins_x", "most": 1}
    )


def test_a_holder_has_so_many_live_extracts_and_no_more(service: Service) -> None:
    who = f"client:{service.client_id('researcher')}"
    service.ok("platform", "PUT", "/v1/quotas/live_extracts", {"subject": who, "most": 1})
    assert service.ok("researcher", "GET", "/v1/quotas") == [{"name": "live_extracts", "used": 1, "most": 1}]
    again = service.ok("researcher", "POST", "/v1/extracts", {"permit_id": service.ids["permit"]})
    assert again["id"] == service.ids["extract"]  # the same one is no other
    second = new_id("prm")
    with service.db.unit_of_work() as session:
        held = session.get_one(Permit, service.ids["permit"])
        copy = {c.name: getattr(held, c.name) for c in Permit.__table__.columns}
        session.add(Permit(**{**copy, "id": second}))
    told = service.refused(409, "quota_exceeded", "researcher", "POST", "/v1/extracts", {"permit_id": second})
    assert (told["quota"], told["used"]) == ("live_extracts", 1)
    service.ok("platform", "PUT", "/v1/quotas/live_extracts", {"subject": who, "most": 2})
    assert service.ok("researcher", "POST", "/v1/extracts", {"permit_id": second})["state"] == "queued"


def departure(service: Service, who: str, institution: str, **body: Any) -> str:
    order = {"reason": "Closed by its board.", "on": service.now().date().isoformat(), **body}
    return str(
        service.ok(who, "POST", f"/v1/institutions/{service.ids[institution]}/departures", order)["id"]
    )


def test_an_institution_merges_and_everything_goes_on_under_its_successor(service: Service) -> None:
    hospital, near, cohort = (service.ids[one] for one in ("hospital", "neighbour", "cohort"))
    pseudonyms = {
        row["patient"] for row in table_of(service.download(service.ids["extract"])["people"]).to_pylist()
    }
    [token] = service.ok("hospital", "POST", f"/v1/cohorts/{cohort}/return-tokens", {"participants": ["P7"]})[
        "tokens"
    ]
    service.ok("hospital", "PUT", f"/v1/cohorts/{cohort}/feeds/withdrawals", {"every_days": 30})
    before = service.ok("hospital", "GET", f"/v1/versions/{service.ids['version']}/citation")
    own = service.ok(
        "neighbour", "POST", "/v1/cohorts", {"name": "Cohort", "consent_form": FORM, "duo": [{"term": "HMB"}]}
    )

    gone = service.pseudonym("P9")
    body: dict[str, Any] = {"participant": "P9", "kind": "no_further_use"}
    service.ids["withdrawal"] = service.ok("hospital", "POST", f"/v1/cohorts/{cohort}/withdrawals", body)[
        "id"
    ]

    told = departure(service, "hospital", "hospital", successor_id=near)
    path = f"/v1/departures/{told}"
    assert service.refused(403, "forbidden", "hospital", "POST", f"{path}/confirm")["reason"] == "own_request"
    service.refused(409, "conflict", "platform", "POST", f"/v1/institutions/{hospital}/departures",
                    {"reason": "again", "on": service.now().date().isoformat()})  # fmt: skip
    done = service.ok("neighbour", "POST", f"{path}/confirm")
    assert (done["state"], done["counts"]["cohorts"], done["counts"]["clients"]) == ("carried_out", 1, 1)
    service.refused(409, "conflict", "platform", "POST", f"{path}/call-off")

    seen = service.ok("platform", "GET", f"/v1/institutions/{hospital}")
    assert (seen["successor_id"], seen["closed_at"] is not None) == (near, True)
    cohorts = {one["id"]: one for one in service.ok("neighbour", "GET", "/v1/cohorts")["items"]}
    assert set(cohorts) == {cohort, own["id"]}
    assert cohorts[cohort]["name"] == "Cohort (hospital)"
    service.drain()  # what was withdrawn before reaches every copy under the successor
    # What projects hold is the same: permit, pseudonyms; and so are register, tokens and feeds.
    rows = table_of(service.download(service.ids["extract"])["people"]).to_pylist()
    assert {row["patient"] for row in rows} == pseudonyms - {gone}
    body = {"participants": ["P7"]}
    assert service.ok("neighbour", "POST", f"/v1/cohorts/{cohort}/return-tokens", body)["tokens"] == [token]
    [feed] = service.ok("neighbour", "GET", f"/v1/cohorts/{cohort}/feeds")
    assert feed["every_days"] == 30
    assert (
        service.ok("neighbour", "GET", f"/v1/versions/{service.ids['version']}/citation")["titles"]
        == before["titles"]
    )
    # Its client acts for the successor now, with the token that it has.
    assert {one["id"] for one in service.ok("hospital", "GET", "/v1/cohorts")["items"]} == set(cohorts)
    # Both chains tell of it; the old one's is the successor's to read.
    for institution in (hospital, near):
        lines = service.ok("neighbour", "GET", f"/v1/audit?stream=institution:{institution}&limit=1000")[
            "items"
        ]
        assert "institution.merged" in [line["event"] for line in lines]
        assert service.ok("neighbour", "GET", f"/v1/audit/verify?stream=institution:{institution}")["holds"]
    body = {"name": "late", "role": "institution", "scopes": ["cohorts:read"], "institution_id": hospital}
    service.refused(422, "invalid_request", "platform", "POST", "/v1/clients", body)


@pytest.mark.again
def test_an_inspector_reads_both_names_at_their_times(service: Service) -> None:
    hospital, near = service.ids["hospital"], service.ids["neighbour"]
    day = service.now().date().isoformat()
    for institution in (hospital, near):
        path = f"/v1/inspections/releases?institution_id={institution}"
        row = service.ok("inspector", "GET", path)["items"][-1]
        assert (row["held_by"], row["taken_over"]) == (["hospital"], [f"hospital is neighbour since {day}"])


def test_a_withdrawal_begun_before_and_its_receipt_hold_after_the_merge(service: Service) -> None:
    path = f"/v1/withdrawals/{service.ids['withdrawal']}/receipt"
    receipt = service.ok("neighbour", "GET", path)
    assert receipt["state"] == "closed"
    told = {line["event"]: line["stream"].rpartition(":")[2] for line in receipt["lines"]}
    assert told["withdrawal.taken"] == service.ids["hospital"]
    assert told["withdrawal.closed"] == service.ids["neighbour"]
    assert service.ok("neighbour", "POST", f"{path}/verify", receipt) == {"holds": True, "problems": []}


def every_way_is_shut(service: Service, ids: Mapping[str, str], pseudonyms: Sequence[str]) -> None:
    """Every way out of the service, asked what is promised of it after an institution has left."""
    question = {"version_id": service.ids["version"], "conditions": []}
    finding = {
        "extract_id": ids["extract_id"],
        "pseudonym": pseudonyms[0],
        "code": "incidental",
        "text": "seen",
    }
    # What a question of `ways_out` asks: who, the body, and the statuses that may come.
    asked: dict[str, tuple[str | None, Any, set[int]]] = {
        "bytes": ("researcher", None, {410, 503}),
        "linked": ("researcher", None, {200, 403, 410, 503}),  # 403: by a URL without its signature
        "papers": ("researcher", None, {200}),
        "counts": ("researcher", question, {404}),
        "dry_run": ("steward", None, {404, 409}),
        "catalogue": ("researcher", None, {200, 403, 404}),
        "progress": (None, None, {200}),
        "register": ("hospital", None, {401}),
        "tracing": ("researcher", finding, {201, 202, 403, 404, 409}),
        "uses": ("hospital", {"return_token": "x"}, {401}),
        "recalls": ("researcher", None, {200}),
    }
    assert set(asked) == set(WAYS.values())
    for route, what in WAYS.items():
        who, body, statuses = asked[what]
        method, _, path = route.partition(" ")
        path = re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path)
        answer = service.call(who, method, path, body if method == "POST" else None)
        assert answer.status_code in statuses, (route, answer.status_code, answer.text)
        if what == "linked" and answer.status_code == 200:
            assert [one["url"] for one in answer.json()["files"] if one["url"]] == []
        if what != "tracing":
            assert not any(one in answer.text for one in pseudonyms), route
        if what == "catalogue":
            assert ids["dataset_id"] not in answer.text or answer.status_code == 404
    found = service.ok(None, "GET", "/v1/progress")
    assert (found["people"] or 0, found["institutions"]) == (0, [])


def test_an_institution_leaves_and_nothing_of_its_people_leaves_any_more(service: Service) -> None:
    near, cohort, extract = (service.ids[one] for one in ("neighbour", "cohort", "extract"))
    names = list(service.parts(extract))
    pseudonyms = [row["patient"] for row in table_of(service.download(extract)["people"]).to_pylist()]
    request = service.request({"people": ["sex"]})
    service.ok("steward", "POST", f"/v1/requests/{request}/claim")
    open_upload = service.upload("consents", b"participant_id,domain,state\nP1,all,granted\n")
    told = departure(service, "platform", "neighbour")
    service.refused(403, "forbidden", "platform", "POST", f"/v1/departures/{told}/confirm")
    service.identity("second operator", "platform")
    tomorrow = (service.now().date() + timedelta(days=1)).isoformat()
    service.ok("platform", "POST", f"/v1/departures/{told}/call-off")
    told = departure(service, "platform", "neighbour", on=tomorrow)
    assert service.ok("second operator", "POST", f"/v1/departures/{told}/confirm")["state"] == "confirmed"
    assert service.house.departures.carry_out_due() == 0
    assert service.fetch(extract, names[0]).status_code == 200  # until its day
    service.now.at += timedelta(days=1)
    for who in ("platform", "second operator", "researcher", "steward", "neighbour", "inspector"):
        service.sign_in(who)
    assert service.house.departures.carry_out_due() == 1

    # From the next request on, before any job has run.
    ids = {"extract_id": extract, "name": names[0], "permit_id": service.ids["permit"], "request_id": request,
           "dataset_id": service.ids["dataset"], "cohort_id": cohort}  # fmt: skip
    every_way_is_shut(service, ids, pseudonyms)
    for who in ("neighbour", "hospital", "neighbour steward"):
        service.refused(401, "invalid_token", who, "GET", "/v1/cohorts")
    permit = service.ok("steward", "GET", f"/v1/permits/{service.ids['permit']}")
    assert permit["state"] == "revoked"
    asked = service.ok("researcher", "GET", f"/v1/requests/{request}")
    assert (asked["state"], "left" in asked["notes"][-1]["text"]) == ("expired", True)
    assert service.ok("researcher", "GET", "/v1/catalog")["items"] == []
    question = {"version_id": service.ids["version"], "conditions": []}
    service.refused(404, "not_found", "researcher", "POST", "/v1/catalog/counts", question)
    service.refused(
        403, "permit_not_live", "researcher", "POST", "/v1/extracts", {"permit_id": service.ids["permit"]}
    )

    service.drain()
    assert service.failed_jobs() == []
    assert service.fetch(extract, names[0]).json()["code"] == "part_withdrawn"
    recalls = service.ok("researcher", "GET", f"/v1/extracts/{extract}/recalls")
    [notice] = [one for one in recalls["items"] if one["why"] == "cohort_ended"]
    assert (notice["state"], notice["pseudonym"], notice["source"]) == ("open", "", None)
    service.ok("researcher", "POST", f"/v1/extracts/{extract}/attestation", {"answer": "destroyed"})
    receipt = service.ok("steward", "GET", f"/v1/withdrawals/{notice['receipt']}/receipt")
    assert (receipt["kind"], receipt["state"]) == ("cohort_ended", "closed")
    assert receipt["figures"]["destroyed"]["people"] == PEOPLE
    assert "recall.attested" in [step["event"] for step in receipt["steps"]]
    assert service.ok("steward", "POST", f"/v1/withdrawals/{notice['receipt']}/receipt/verify", receipt) == {
        "holds": True, "problems": []
    }  # fmt: skip
    assert not service.knows("P7")
    every_way_is_shut(service, ids, pseudonyms)
    service.drain()
    assert {one["state"] for one in service.ok("steward", "GET", "/v1/findings")["items"]} <= {
        "reported",
        "ended",
    }
    with service.db.read() as session:
        assert session.scalars(select(Consent)).all() == []
        assert {
            row.rows for row in session.scalars(select(VaultTable).where(VaultTable.removed_by.is_(None)))
        } == {0}
        upload = session.get_one(Upload, open_upload.rpartition("/")[2])
        assert (upload.state, upload.report, upload.original) == (
            "expired",
            {"reason": "institution_left"},
            "removed",
        )
        assert session.get_one(Cohort, cohort).ended_at == service.now()
    [row] = service.ok("inspector", "GET", f"/v1/inspections/releases?institution_id={near}")["items"][-1:]
    assert f"neighbour left on {service.now().date().isoformat()}" in row["taken_over"]
    assert row["destroyed_at"] is not None
