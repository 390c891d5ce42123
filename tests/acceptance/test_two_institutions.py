"""Two institutions with other names, codes and units: united by a mapping, asked for at once, linked, withdrawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service import FORM, PURPOSE, Service, opened, table_of
from tests.united import HANBIT, SAEBOM, mapping

PEOPLE, BOTH = 90, 45
CODES = ("I10", "E11.9", "U07.1")


def hanbit_files() -> dict[str, str]:
    people = [f"H{i},{'MF'[i % 2]},{1940 + i % 3 * 10},{50 + i % 30},w{i % 2}" for i in range(PEOPLE)]
    visits = [f"{i},H{i % PEOPLE},2024-0{1 + i % 9}-11,{CODES[i % 3]}" for i in range(2 * PEOPLE)]
    return {
        "patients": "\n".join(["chart,gender,yob,weight,ward", *people]),
        "encounters": "\n".join(["no,chart,day,dx", *visits]),
    }


def saebom_files() -> dict[str, str]:
    people = [
        f"S{i},{1 + i % 2},{1940 + i % 3 * 10},{60000 if i % 4 else 60},{'g' if i % 4 else 'kg'}"
        for i in range(PEOPLE)
    ]
    visits = [f"v{i},S{i % PEOPLE},2024-0{1 + i % 9}-11,{CODES[i % 3]}" for i in range(2 * PEOPLE)]
    return {
        "person": "\n".join(["pid,sex,born,wt,wt_unit", *people]),
        "visit": "\n".join(["vid,pid,on,code", *visits]),
    }


class Both:
    """The service with both cohorts published, and a united version of them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.cohorts: dict[str, str] = {}
        service.identity("hospital steward", "steward", service.ids["hospital"])
        sides = (("hospital", "H", HANBIT, hanbit_files()), ("neighbour", "S", SAEBOM, saebom_files()))
        versions = [self._published(*side) for side in sides]
        self.document = mapping(*versions)

    def _published(self, who: str, letter: str, dictionary: dict[str, Any], files: dict[str, str]) -> str:
        s = self.service
        body = {"name": f"Cohort of {who}", "consent_form": FORM, "duo": [{"term": "HMB"}]}
        cohort = self.cohorts[letter] = s.ok(who, "POST", "/v1/cohorts", body)["id"]
        dataset = s.ok(who, "POST", f"/v1/cohorts/{cohort}/datasets", {"name": "Clinic"})["id"]
        version = s.ok(who, "POST", f"/v1/datasets/{dataset}/versions")["id"]
        path = f"/v1/versions/{version}"
        s.ok(who, "PUT", f"{path}/dictionary", dictionary, headers={"If-Match": '"1"'})
        # The designated agency gave the first 45 of each one token, and they agreed to be linked.
        lines = [
            f"{letter}{i},all,granted,{f'agency:{i:010d}' if i < BOTH else ''},{'true' if i < BOTH else ''}"
            for i in range(PEOPLE)
        ]
        said = "\n".join(["participant_id,domain,state,linkage_token,may_link", *lines])
        assert s.call(who, "PUT", f"/v1/cohorts/{cohort}/consents", content=said.encode()).status_code == 202
        for table, content in files.items():
            assert s.call(who, "PUT", f"{path}/tables/{table}", content=content.encode()).status_code == 202
        s.drain()
        s.ok(who, "POST", f"{path}/submit")
        s.drain()
        s.ok(who, "POST", f"{path}/submit")
        s.ok("steward", "POST", f"{path}/publish")
        return str(version)

    def integrate(self) -> str:
        """Draft, check, approve by both stewards, publish; the united version."""
        s = self.service
        made = s.ok("hospital", "POST", "/v1/integrations", {"name": "Two hospitals", "name_ko": "두 병원"})
        path = f"/v1/integrations/{made['id']}"
        incomplete = {**self.document, "sources": [dict(one) for one in self.document["sources"]]}
        saebom = {**incomplete["sources"][1]["tables"]}
        sex = {"from": "sex", "by": "recode", "params": {"values": {"1": "M"}}}
        saebom["people"] = {**saebom["people"], "columns": {**saebom["people"]["columns"], "sex": sex}}
        incomplete["sources"][1]["tables"] = saebom
        s.ok("hospital", "PUT", f"{path}/mapping", incomplete, headers={"If-Match": '"1"'})
        s.ok("hospital", "POST", f"{path}/submit")
        s.drain()
        found = s.ok("neighbour", "GET", path)
        assert found["state"] == "draft"
        (listed,) = found["report"]["unmapped"]
        assert (listed["column"], listed["values"]) == ("sex", [{"value": "2", "rows": 45, "people": 45}])
        problem = s.refused(409, "mapping_unfinished", "steward", "POST", f"{path}/publish")
        assert [(p["code"], p["table"], p["column"], p["count"]) for p in problem["problems"]] == [
            ("value_unmapped", "people", "sex", 1)
        ]
        s.ok(
            "hospital",
            "PUT",
            f"{path}/mapping",
            self.document,
            headers={"If-Match": f'"{found["revision"]}"'},
        )
        s.ok("hospital", "POST", f"{path}/submit")
        s.drain()
        digest = s.ok("hospital", "GET", path)["mapping_digest"]
        body = {"state": "approved", "mapping_digest": digest}
        s.ok("hospital steward", "POST", f"{path}/approvals", body)
        s.refused(409, "reviews_required", "hospital steward", "POST", f"{path}/publish")
        s.ok("neighbour steward", "POST", f"{path}/approvals", body)
        return str(s.ok("neighbour steward", "POST", f"{path}/publish")["version_id"])

    def released(self, version: str) -> str:
        """One request over both, with linkage, through both institutions' boards to an extract."""
        s = self.service
        body = {
            **s.asking({"people": ["sex", "born", "weight"], "visits": ["visit", "day", "code"]}, linkage=True),
            "version_id": version, "purpose": PURPOSE,
        }  # fmt: skip
        request = s.ok("researcher", "POST", "/v1/requests", body)["id"]
        path = f"/v1/requests/{request}"
        s.ok("researcher", "POST", f"{path}/submit")
        s.ok("neighbour steward", "POST", f"{path}/claim")
        for who in ("hospital steward", "neighbour steward"):
            for board in ("DRB", "IRB"):
                s.ok(who, "POST", f"{path}/reviews", {"board": board, "state": "approved"})
        s.ok("neighbour steward", "POST", f"{path}/dry-run")
        s.drain()
        run = s.ok("neighbour steward", "GET", f"{path}/dry-run")
        assert run["state"] == "ready", s.failed_jobs()
        assert run["result"]["people"]["filtered"] == 2 * PEOPLE - BOTH
        decided = {"decision": "approve", "plan_hash": run["plan_hash"], "note": "승인"}
        return s.extract(s.ok("neighbour steward", "POST", f"{path}/decision", decided)["permit_id"])


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    with opened(tmp_path / "var") as service:
        yield Both(service)


@pytest.mark.again
def test_one_request_over_two_institutions_from_mapping_to_withdrawal(both: Both) -> None:
    s = both.service
    s.ids["version"] = ""
    version = both.integrate()
    extract = both.released(version)
    files = s.download(extract)
    people, visits = table_of(files["people"]).to_pylist(), table_of(files["visits"]).to_pylist()
    # United: one dictionary, one code list, one unit; each row names its source.
    assert Counter(row["source"] for row in people) == {"hanbit": PEOPLE, "saebom": PEOPLE}
    assert {row["sex"] for row in people} <= {"F", "M", None}
    assert {row["weight"] for row in people if row["source"] == "saebom"} == {60.0}
    assert {row["code"] for row in visits if row["source"] == "hanbit"} == {"I10", "E11.9", "U07.3"}
    # Linked: whom both know has one pseudonym, and every set of a person's rows is shared by k people.
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for row in people:
        rows.setdefault(row["id"], []).append((row["source"], row["sex"], row["born"]))
    assert Counter(len(one) for one in rows.values()) == {1: 2 * (PEOPLE - BOTH), 2: BOTH}
    k = s.ok("researcher", "GET", f"/v1/extracts/{extract}/manifest")["certificate"]["k"]
    assert min(Counter(tuple(sorted(one)) for one in rows.values()).values()) >= k
    # A withdrawal from one cohort takes that cohort's rows; the other's stay under the same pseudonym.
    cohort = both.cohorts["H"]
    s.ok(
        "hospital",
        "POST",
        f"/v1/cohorts/{cohort}/withdrawals",
        {"participant": "H3", "kind": "no_further_use"},
    )
    s.drain()
    (recall,) = s.ok("researcher", "GET", f"/v1/extracts/{extract}")["recalls"]
    assert recall["source"] == "hanbit"
    again = s.download(extract)
    for table in ("people", "visits"):
        left = [r["source"] for r in table_of(again[table]).to_pylist() if r["id"] == recall["pseudonym"]]
        assert set(left) == {"saebom"}
    assert len(table_of(again["people"])) == 2 * PEOPLE - 1
    # Another takes back the word on linkage by the register: their rows stay, under a pseudonym for each institution.
    linked = {name for name, held in rows.items() if len(held) == 2} - {recall["pseudonym"]}
    put = f"/v1/cohorts/{cohort}/consents"
    said = "participant_id,domain,state,may_link\nH5,all,granted,false\n"
    assert s.call("hospital", "PUT", put, content=said.encode()).status_code == 202
    assert s.run("check_upload") == 1
    closed = {s.fetch(extract, name).status_code for name in s.parts(extract)}
    assert closed == {503}  # in the register's own transaction
    s.drain()
    assert s.failed_jobs() == []
    (told,) = [
        n for n in s.ok("researcher", "GET", f"/v1/extracts/{extract}")["recalls"] if n["id"] != recall["id"]
    ]
    assert (told["pseudonym"] in linked, told["source"]) == (True, None)
    parted = table_of(s.download(extract)["people"]).to_pylist()
    assert len(parted) == 2 * PEOPLE - 1
    assert told["pseudonym"] not in {row["id"] for row in parted}
    assert Counter(Counter(row["id"] for row in parted).values()) == {
        2: BOTH - 2,
        1: 2 * (PEOPLE - BOTH) + 1 + 2,
    }
