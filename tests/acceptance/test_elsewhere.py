"""The whole story on PostgreSQL and an S3 server, by settings alone: no byte of it lies in a folder at its end."""

from __future__ import annotations

from pathlib import Path

from app.storage.kinds import open_store
from tests.acceptance.second_cohort.cohort import second_cohort
from tests.acceptance.service import Service, opened
from tests.postgres import fresh_database
from tests.s3 import Server


def test_from_upload_to_destruction(tmp_path: Path, postgres_url: str, s3: Server) -> None:
    cohort = second_cohort(people=160)
    with (
        fresh_database(postgres_url) as url,
        opened(tmp_path, url, rows_per_part=100, **s3.settings("story")) as service,
    ):
        service.register_cohort(cohort.dictionary, [{"term": "HMB"}])
        service.upload("consents", cohort.consents)
        for table in cohort.ORDER:
            service.upload(table, cohort.files[table])
        assert len(_objects(s3, "inbox")) == 1 + len(cohort.files)
        service.drain()
        service.publish()
        extract = service.extract(service.approve(service.request({name: [] for name in cohort.files})))
        assert set(service.download(extract)) == set(cohort.files)
        parts = {f"{extract}/{name}" for name in service.parts(extract)}
        assert _objects(s3, "outbox") >= parts
        tables = _objects(s3, "vault")
        assert tables

        one = next(one for i, one in enumerate(cohort.people) if i % 10 == 0)
        path = f"/v1/cohorts/{service.ids['cohort']}/withdrawals"
        taken = service.ok("hospital", "POST", path, {"participant": one, "kind": "destroy"})
        service.drain()
        gone = parts - _objects(s3, "outbox")
        assert gone
        assert {service.fetch(extract, name.partition("/")[2]).status_code for name in gone} == {410}
        assert service.ok("hospital", "GET", f"/v1/withdrawals/{taken['id']}")["state"] == "closed"
        assert set(service.download(extract)) == set(cohort.files)  # the next generation
        assert tables - _objects(s3, "vault")  # every table that held the person was written anew
        assert service.failed_jobs() == []
        measured = service.http.get("/metrics").text
        assert "baekman_days_to_decision 0.0" in measured  # the test's clock stood still
        assert 'baekman_job_seconds{kind="build_extract",quantile="0.5"} 0.0' in measured
        assert "baekman_requests_undecided 0.0" in measured
        _nothing_in_folders(service, tmp_path)


def _objects(s3: Server, room: str) -> set[str]:
    return set(open_store(f"s3://{room}/story", s3.access(room)).names())


def _nothing_in_folders(service: Service, folder: Path) -> None:
    """Of the person's institution nothing is left on this machine's disk but its empty rooms and the journal."""
    left = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert left <= {"master.key", service.settings.journal_path.name}, left
