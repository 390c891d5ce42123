"""The service behind its routes and a world in which one of each kind of object is A's, with everybody who asks."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import select
from starlette.testclient import TestClient

from app.auth.policy import ROLE_SCOPES, Actor, Credential, Role
from app.db import new_id
from app.models import (
    Alarm,
    Cohort,
    CountOrder,
    Dataset,
    DatasetVersion,
    Extract,
    Finding,
    Job,
    Part,
    Permit,
    Review,
)
from tests import doors
from tests import world as worlds
from tests.attack.matrix import ASKERS, HOLDER, Facts
from tests.integration.destruction.house import House, make


class _Known:
    """The issuer, but that a token is the name of somebody, or a name and its only scope: `name|scope`."""

    def __init__(self, issuer: Any, people: dict[str, Actor]) -> None:
        self._issuer, self._people = issuer, people

    def authenticate(self, bearer: str) -> Actor:
        name, _, scope = bearer.partition("|")
        return replace(self._people[name], scopes=frozenset({scope})) if scope else self._people[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._issuer, name)


@dataclass
class Site:
    """The service behind its routes, and the ids of what is A's."""

    house: House
    http: TestClient
    app: FastAPI
    actors: dict[str, Actor]
    ids: dict[str, str]
    facts: Facts
    bodies: dict[str, Any] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)

    def call(
        self, who: str | None, route: str, ids: Mapping[str, str] | None = None, body: Any = None
    ) -> Response:
        """Ask as somebody; `ids` fills path, query, body and upload metadata."""
        told = dict(self.ids if ids is None else ids)
        method, _, path = route.partition(" ")
        query = self.queries.get(route, "")
        where = re.sub(r"\{(\w+)\}", lambda found: told[found[1]], path + query)
        sent = filled(self.bodies.get(route) if body is None else body, told)
        headers = {"Tus-Resumable": "1.0.0", **({"If-Match": '"1"'} if method == "PUT" else {})}
        more: dict[str, Any] = {"json": sent} if sent is not None else {}
        if method == "PUT" and path.endswith(("/consents", "/{table}")):
            more = {"content": b"a,b\n1,2\n"}
        if route == "PATCH /v1/uploads/{upload_id}":
            more = {"content": b"a"}
            headers |= {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        if route == "POST /v1/uploads":
            meta = {"purpose": "table", "version": told["version_id"], "table": "person"}
            headers["Upload-Metadata"] = ",".join(
                f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in meta.items()
            )
            headers["Upload-Length"] = "3"
        if who is not None:
            headers["Authorization"] = f"Bearer {who}"
        return self.http.request(method, where, headers=headers, **more)

    def absent(self) -> dict[str, str]:
        """Ids of the same shape that nothing has."""
        return {
            name: re.sub(r"[0-9a-z]", "0", one.partition("_")[2]).join((one.partition("_")[0] + "_", ""))
            if name.endswith("_id") else one
            for name, one in self.ids.items()
        }  # fmt: skip


def filled(body: Any, ids: Mapping[str, str]) -> Any:
    """A body with the ids that it names in braces."""
    if isinstance(body, dict):
        return {key: filled(value, ids) for key, value in body.items()}
    if isinstance(body, list):
        return [filled(value, ids) for value in body]
    if isinstance(body, str) and (found := re.fullmatch(r"\{(\w+)\}", body)):
        return ids[found[1]]
    return body


@contextmanager
def standing(folder: Path) -> Iterator[Site]:
    """The site, until the end of the block."""
    made = found(folder)
    yield made
    made.http.close()
    doors.back(made.app)
    made.house.world.db.dispose()


def found(folder: Path) -> Site:
    """A world with one of everything, all of it A's."""
    house = make(folder, people=80)
    home = str(house.actor.institution_id)
    built = house.built
    built.house.auth.bootstrap()
    actors: dict[str, Actor] = {}
    app = doors.before(replace(built.house, auth=_Known(built.house.auth, actors)))  # type: ignore[arg-type]
    site = Site(house, TestClient(app, raise_server_exceptions=False), app, actors, {}, Facts(home))
    _people(site, home)
    _objects(site)
    _said(site)
    return site


def _people(site: Site, home: str) -> None:
    site.actors["platform"] = _actor("platform", "platform", None)
    other = _made(site, "platform", "POST /v1/institutions", {"name": "neighbour"})["id"]
    of = {"": None, "A": home, "B": other}
    for name, (role, where) in ASKERS.items():
        site.actors[name] = _actor(name, role, of[where])
    client = {"name": "x", "role": "researcher", "scopes": ["catalog:read"]}
    site.ids |= {
        "institution_id": home,
        "client_id": _made(site, "platform", "POST /v1/clients", client)["id"],
        "account_id": _made(site, "platform", "POST /v1/accounts", {"username": "someone", "role": "researcher"})["id"],
        "name": "inbox_bytes", "kind": "withdrawals", "table": "person",
    }  # fmt: skip


def _actor(name: str, role: Role, institution: str | None) -> Actor:
    scopes = frozenset({*map(str, ROLE_SCOPES[role]), "openid"})
    return Actor(f"client:{name}", name, role, institution, scopes, Credential("x", None, 0, 1 << 33))


def _made(site: Site, who: str, route: str, body: Any = None) -> dict[str, Any]:
    answer = site.call(who, route, body=body)
    assert answer.status_code < 300, (route, answer.status_code, answer.text)
    told: dict[str, Any] = answer.json()
    return told


def _objects(site: Site) -> None:
    world, now = site.house.world, site.house.built.clock()
    with world.db.unit_of_work() as session:
        request = worlds._request(world, world.plan, HOLDER)
        request.state = "in_review"
        session.add(request)
        session.flush()
        for board in ("DRB", "IRB"):
            session.add(
                Review(
                    id=new_id("rev"), request_id=request.id, board=board, institution_id="", state="pending",
                    reviewer="", note="", at=now,
                )
            )  # fmt: skip
        extract = session.get_one(Extract, site.house.extract)
        permit = session.get_one(Permit, extract.permit_id)
        version = session.get_one(DatasetVersion, world.version_id)
        alarm = Alarm(
            id=new_id("alm"), kind="feed_overdue", level="warning", subject=f"{world.cohort_id}:withdrawals",
            institution_id=site.facts.a, cohort_id=world.cohort_id, state="open", data={}, raised_at=now,
        )  # fmt: skip
        order = CountOrder(
            id=new_id("cnt"), version_id=world.version_id, asker=HOLDER, client_id="researcher", role="researcher",
            institution_id=None, question={}, state="answered", answer={"value": 50, "hidden": False}, headers=None,
            at=now,
        )  # fmt: skip
        job = Job(
            id=new_id("job"), kind="dry_run", subject="dry_1", arguments={}, state="parked", progress={},
            failure={"code": "worker_lost", "step": "begin"}, created_at=now, finished_at=now, attempt=1, deaths=5,
        )  # fmt: skip
        session.add_all([alarm, order, job])
        session.flush()
        part = session.scalars(select(Part.name).where(Part.extract_id == extract.id)).first()
        dictionary = version.dictionary
        session.get_one(Cohort, world.cohort_id).consent_form = {"domains": list(worlds.DOMAINS)}
        site.ids |= {
            "cohort_id": world.cohort_id, "published": world.version_id, "request_id": request.id,
            "permit_id": permit.id, "extract_id": extract.id, "alarm_id": alarm.id, "order_id": order.id,
            "job_id": job.id,
            "dataset_id": session.scalars(select(Dataset.id)).one(), "part": str(part),
        }  # fmt: skip
    draft = _made(site, "hospital", "POST /v1/datasets/{dataset_id}/versions")
    site.ids["version_id"] = draft["id"]
    site.bodies["PUT /v1/versions/{version_id}/dictionary"] = dictionary
    _made(site, "hospital", "PUT /v1/versions/{version_id}/dictionary")
    site.ids["upload_id"] = site.call("hospital", "POST /v1/uploads").headers["Location"].rpartition("/")[2]
    site.ids["withdrawal_id"] = _withdrawn(site)
    pseudonym = next(iter(site.house.names.values()))
    finding = {"extract_id": site.ids["extract_id"], "pseudonym": pseudonym, "code": "E11", "text": "x"}
    site.ids["finding_id"] = _made(site, "researcher", "POST /v1/findings", finding)["id"]
    with site.house.world.db.unit_of_work() as session:
        finding_row = session.get_one(Finding, site.ids["finding_id"])
        finding_row.state, finding_row.cohort_id, finding_row.forwarded_at = (
            "forwarded",
            site.ids["cohort_id"],
            now,
        )
    person = {"name": "pid", "type": "string", "role": {"kind": "participant_id"}}
    table = {"name": "scores", "kind": "participant", "participant": ["pid"], "fields": [person]}
    returned = {"name": "made", "made_of": ["clinical"], "dictionary": {"tables": [table]}}
    site.bodies["POST /v1/extracts/{extract_id}/returns"] = returned
    site.ids["return_id"] = _made(site, "researcher", "POST /v1/extracts/{extract_id}/returns", returned)[
        "id"
    ]
    publication = {"doi": "10.1234/x", "title": "x", "year": 2026}
    route = "POST /v1/permits/{permit_id}/publications"
    site.ids["publication_id"] = _made(site, "researcher", route, publication)["id"]
    touches = [{"kind": "cohort", "subject": site.ids["cohort_id"]}]
    incident = {"kind": "other", "text": "x", "touches": touches}
    site.ids["incident_id"] = _made(site, "hospital", "POST /v1/incidents", incident)["id"]
    site.ids["integration_id"] = _made(site, "hospital", "POST /v1/integrations", {"name": "together"})["id"]
    leaving = {"reason": "x", "on": str(site.house.built.clock().date() + timedelta(days=40))}
    route = "POST /v1/institutions/{institution_id}/departures"
    site.ids["departure_id"] = _made(site, "hospital", route, leaving)["id"]


def _withdrawn(site: Site) -> str:
    """Of somebody whom no extract holds, so that all else stays as it is."""
    route = "POST /v1/cohorts/{cohort_id}/consents"
    said = {"participant": "P-new", "domains": ["clinical"], "given_at": "2026-01-02", "form_version": "1"}
    _made(site, "hospital", route, said)
    route = "POST /v1/cohorts/{cohort_id}/withdrawals"
    return str(_made(site, "hospital", route, {"participant": "P-new", "kind": "no_further_use"})["id"])


def _said(site: Site) -> None:
    """A body and a query for every route that asks for one: what is refused is refused for whose it is."""
    digest, day = "0" * 64, str(site.house.built.clock().date() + timedelta(days=100))
    note, text = {"note": "x"}, {"text": "x"}
    target = [{"kind": "cohort", "subject": "{cohort_id}"}]
    asked = {
        "title": "x", "purpose": {"term": "HMB"}, "tables": {}, "irb_reference": "x", "end_date": day,
    }  # fmt: skip
    site.queries |= {
        "GET /v1/audit": "?stream=institution:{institution_id}",
        "GET /v1/audit/verify": "?stream=institution:{institution_id}",
        "GET /v1/inspections/releases": "?institution_id={institution_id}",
        "GET /v1/inspections/releases.csv": "?institution_id={institution_id}",
        "GET /v1/why": "?verb=request.create&object={published}",
    }  # fmt: skip
    site.bodies |= {
        "POST /v1/accounts": {"username": "another", "role": "researcher"},
        "POST /v1/accounts/{account_id}/leave": {"successor_id": "{account_id}"},
        "PUT /v1/accounts/{account_id}/orcid": {"orcid": None},
        "POST /v1/alarms/{alarm_id}/acknowledge": note,
        "POST /v1/alarms/{alarm_id}/close": note,
        "POST /v1/catalog/counts": {"version_id": "{published}"},
        "POST /v1/clients": {"name": "y", "role": "researcher", "scopes": ["catalog:read"]},
        "POST /v1/cohorts": {"name": "y", "consent_form": {"version": "1", "language": "ko", "sha256": digest,
                             "domains": ["clinical"]}, "duo": []},
        "POST /v1/cohorts/{cohort_id}/consents": {"participant": "P-2", "domains": ["clinical"],
                                                  "given_at": "2026-01-02", "form_version": "1"},
        "POST /v1/cohorts/{cohort_id}/consents/of": {"participant": "P-2"},
        "POST /v1/cohorts/{cohort_id}/datasets": {"name": "y"},
        "PUT /v1/cohorts/{cohort_id}/feeds/{kind}": {"every_days": 7},
        "POST /v1/cohorts/{cohort_id}/return-tokens": {"participants": ["P-2"]},
        "POST /v1/cohorts/{cohort_id}/uses": {"return_token": "0" * 32},
        "POST /v1/cohorts/{cohort_id}/withdrawals": {"participant": "P-2", "kind": "no_further_use"},
        "PUT /v1/datasets/{dataset_id}/creators": {"creators": []},
        "POST /v1/institutions/{institution_id}/departures": {"reason": "x", "on": day},
        "POST /v1/extracts": {"permit_id": "{permit_id}"},
        "POST /v1/extracts/{extract_id}/attestation": {"answer": "destroyed"},
        "POST /v1/findings": {"extract_id": "{extract_id}", "pseudonym": "0" * 16, "code": "E11", "text": "x"},
        "POST /v1/findings/{finding_id}/decline": {"reason": "x"},
        "POST /v1/incidents": {"kind": "other", "text": "x"},
        "POST /v1/incidents/{incident_id}/assess": {"risk": "none", "text": "x"},
        "POST /v1/incidents/{incident_id}/close": text,
        "POST /v1/incidents/{incident_id}/contain": {"targets": target},
        "POST /v1/incidents/{incident_id}/dismiss": text,
        "POST /v1/incidents/{incident_id}/notify": {"whom": "people"},
        "POST /v1/incidents/{incident_id}/recover": text,
        "POST /v1/incidents/{incident_id}/thaw": {"targets": target},
        "POST /v1/institutions": {"name": "y"},
        "PUT /v1/institutions/{institution_id}/ror": {"ror": None},
        "POST /v1/integrations": {"name": "y"},
        "POST /v1/integrations/{integration_id}/approvals": {"state": "approved", "mapping_digest": digest},
        "PUT /v1/integrations/{integration_id}/mapping": {"sources": []},
        "POST /v1/permits/{permit_id}/agreement": {"digest": digest},
        "POST /v1/permits/{permit_id}/amend": {"version_id": None, **note},
        "POST /v1/permits/{permit_id}/publications": {"doi": "10.1234/y", "title": "y", "year": 2026},
        "POST /v1/permits/{permit_id}/resume": note,
        "POST /v1/permits/{permit_id}/revoke": note,
        "POST /v1/permits/{permit_id}/suspend": note,
        "PUT /v1/quotas/{name}": {"subject": "{institution_id}", "most": 0},
        "POST /v1/requests": {"version_id": "{version_id}", **asked},
        "PUT /v1/requests/{request_id}": asked,
        "POST /v1/requests/{request_id}/decision": {"decision": "reject", "plan_hash": digest, "note": "x"},
        "POST /v1/requests/{request_id}/return": note,
        "POST /v1/requests/{request_id}/reviews": {"board": "DRB", "state": "approved", "note": "x"},
        "PUT /v1/versions/{version_id}/changes": {"breaking": []},
        "PUT /v1/versions/{version_id}/doi": {"doi": "10.1234/z"},
        "POST /v1/versions/{version_id}/errata": {"reason": "x", "tables": [{"table": "person"}]},
        "POST /v1/versions/{version_id}/return": note,
        "POST /v1/withdrawals/{withdrawal_id}/receipt/verify": {},
    }  # fmt: skip
