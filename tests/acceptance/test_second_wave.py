"""A cohort's second year over the API: a version made from the last, a permit that follows, one that is corrected."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.second_cohort.cohort import SecondCohort, second_cohort
from tests.acceptance.service import Service, opened, table_of
from tests.databases import SQLITE_FIRST

WRONG = 100  # rows of lab whose value is corrected
NEW = 120  # rows of lab that the second wave brings


@dataclass
class Year:
    service: Service
    cohort: SecondCohort
    first: str  # the first version
    following: str  # extract of a permit that follows
    pinned: str  # extract of one that does not

    def lab(self, extract: str) -> dict[str, list[dict[str, Any]]]:
        """Rows of lab that the holder can fetch, by pseudonym."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in table_of(self.service.download(extract)["lab"]).to_pylist():
            found.setdefault(row["등록번호"], []).append(row)
        return found


def _lab_rows(cohort: SecondCohort) -> list[list[str]]:
    return list(csv.reader(io.StringIO(cohort.files["lab"].decode("utf-8-sig"))))


def _bytes(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


@pytest.fixture
def year(tmp_path: Path, database_url: str) -> Iterator[Year]:
    cohort = second_cohort(people=160)
    with opened(tmp_path, database_url, rows_per_part=100) as service:
        service.register_cohort(cohort.dictionary, [{"term": "HMB"}])
        service.upload("consents", cohort.consents)
        for table in cohort.ORDER:
            service.upload(table, cohort.files[table])
        service.drain()
        service.publish()
        extracts = []
        for follow in (True, False):
            request = service.request({name: [] for name in cohort.files})
            service.review(request)
            service.dry_run(request)
            body = {**service.approval(request), "follow": follow}
            permit = service.ok("steward", "POST", f"/v1/requests/{request}/decision", body)["permit_id"]
            assert service.ok("researcher", "GET", f"/v1/permits/{permit}")["follow"] is follow
            extracts.append(service.extract(permit))
        yield Year(service, cohort, service.ids["version"], *extracts)


def _put(year: Year, table: str, mode: str, content: bytes) -> dict[str, Any]:
    """Lay a file onto the draft, and what became of it."""
    service = year.service
    path = f"/v1/versions/{service.ids['version']}/tables/{table}?mode={mode}"
    answer = service.call("hospital", "PUT", path, content=content)
    assert answer.status_code == 202, answer.text
    service.drain()
    found: dict[str, Any] = service.ok("hospital", "GET", answer.headers["Location"])
    return found


def _begin(year: Year, last: str) -> str:
    path = f"/v1/datasets/{year.service.ids['dataset']}/versions"
    made = year.service.ok("hospital", "POST", path, {"from": last})
    year.service.ids["version"] = made["id"]
    return str(made["id"])


@pytest.mark.again
@SQLITE_FIRST
def test_the_second_year(year: Year) -> None:
    service, rows = year.service, _lab_rows(year.cohort)
    header, body = rows[0], rows[1:]
    before = {extract: year.lab(extract) for extract in (year.following, year.pinned)}
    service.now.at += timedelta(minutes=10)
    second = _begin(year, year.first)

    # What is wrong is refused, all of it, and the draft stays as it was.
    overlapping = _put(year, "lab", "append", _bytes([header, *body[:3]]))
    assert overlapping["state"] == "quarantined", overlapping
    assert "overlap" in str(overlapping)
    unknown = [[str(900_000 + i), *row[1:]] for i, row in enumerate(body[:3])]
    refused = _put(year, "lab", "patch", _bytes([header, *unknown]))
    assert refused["state"] == "quarantined"
    assert "unknown_record" in str(refused)

    wave = [[str(500_000 + i), *row[1:]] for i, row in enumerate(body[-NEW:])]
    assert _put(year, "lab", "append", _bytes([header, *wave]))["state"] == "accepted"
    fixed = [[*row[:4], "111.5", "mg/dL"] for row in body if row[3] == "GLU"][:WRONG]
    assert _put(year, "lab", "patch", _bytes([header, *fixed]))["state"] == "accepted"

    report = service.publish()
    (lab,) = [table for table in report["changes"]["tables"] if table["table"] == "lab"]
    assert (lab["rows"]["in"], lab["rows"]["out"]) == (NEW, 0)
    assert 0 < lab["rows"]["changed"] <= WRONG
    assert report["changes"]["permits"] == {"follow": 1, "stay": 1, "ask": 0}
    service.drain()

    # Who follows has the new generation under the same names; who does not has what was approved.
    followed = service.ok("researcher", "GET", f"/v1/extracts/{year.following}")
    assert followed["generation"] == 2
    after = year.lab(year.following)
    assert set(after) & set(before[year.following])
    assert sum(map(len, after.values())) > sum(map(len, before[year.following].values()))
    assert year.lab(year.pinned) == before[year.pinned]

    # What was wrong is recalled from whoever holds it, following or not.
    erratum = {"tables": [{"table": "lab", "columns": ["결과값"]}], "reason": "다른 단위로 읽었습니다"}
    old = service.parts(year.pinned)
    service.ok("hospital", "POST", f"/v1/versions/{second}/errata", erratum)
    assert service.run("correct_permit") == 2
    assert service.run("recall_erratum") == 2
    closed = {name for name, part in old.items() if part["table"] == "lab"}
    for name in closed:
        path = f"/v1/extracts/{year.pinned}/files/{name}"
        told = service.refused(410, "part_withdrawn", "researcher", "GET", path)
        assert told["reason"] == "erratum"
    service.drain()
    told = service.ok("researcher", "GET", f"/v1/extracts/{year.pinned}")
    assert told["generation"] == 2
    assert year.lab(year.pinned) != before[year.pinned]
    assert service.ok("steward", "GET", f"/v1/versions/{second}/errata")[0]["reason"] == erratum["reason"]
    for extract in (
        year.following,
        year.pinned,
    ):  # who followed holds the wrong values in the parts of before
        (recall,) = service.ok("researcher", "GET", f"/v1/extracts/{extract}")["recalls"]
        assert (recall["why"], recall["state"], recall["erratum"]["reason"]) == (
            "erratum",
            "open",
            erratum["reason"],
        )
    assert service.failed_jobs() == []

    # A version is made from the last one alone.
    draft = {"from": year.first}
    path = f"/v1/datasets/{service.ids['dataset']}/versions"
    assert service.call("hospital", "POST", path, draft).status_code == 409
    assert service.ok("steward", "GET", "/v1/permits/asked")["items"] == []
