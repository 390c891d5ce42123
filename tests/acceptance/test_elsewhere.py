"""The whole story on PostgreSQL and an S3 server, by settings alone: a web with neither vault nor master key, a worker
beside it, and no byte in a folder at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.keyring import Keyring
from app.operating.rewrapping import by_master
from app.storage.kinds import open_store
from tests.acceptance.apart import MASTER, WEB, Apart, apart
from tests.acceptance.test_lost import CONSENTS, DICTIONARY, FILES, PEOPLE
from tests.postgres import fresh_database
from tests.s3 import Server


@pytest.mark.again
def test_from_upload_to_destruction(tmp_path: Path, postgres_url: str, s3: Server) -> None:
    with (
        fresh_database(postgres_url) as url,
        apart(tmp_path, url, rows_per_part=60, **s3.settings("story")) as service,
    ):
        service.register_cohort(DICTIONARY, [{"term": "HMB"}])
        service.upload("consents", CONSENTS)
        for table, content in FILES.items():
            service.upload(table, content)
        service.drain()
        service.publish()
        counted = service.count("other researcher")
        assert (counted["hidden"], abs(counted["value"] - PEOPLE) <= 5) == (
            False,
            True,
        )  # at most 4, then rounded
        assert service.count("other researcher") == counted
        extract = service.extract(service.approve(service.request({name: [] for name in FILES})))
        assert set(service.download(extract)) == set(FILES)
        parts = {f"{extract}/{name}" for name in service.parts(extract)}
        assert _objects(s3, "outbox") >= parts
        tables = _objects(s3, "vault")
        assert tables

        path = f"/v1/cohorts/{service.ids['cohort']}/withdrawals"
        taken = service.ok("hospital", "POST", path, {"participant": "P005", "kind": "destroy"})
        service.drain()
        gone = parts - _objects(s3, "outbox")
        assert gone
        assert {service.fetch(extract, name.partition("/")[2]).status_code for name in gone} == {410}
        assert service.ok("hospital", "GET", f"/v1/withdrawals/{taken['id']}")["state"] == "closed"
        assert set(service.download(extract)) == set(FILES)  # the next generation
        assert tables - _objects(s3, "vault")  # every table that held the person was written anew
        assert service.failed_jobs() == []
        measured = service.http.get("/metrics").text
        assert "baekman_days_to_decision " in measured
        assert 'baekman_job_seconds{kind="build_extract",quantile="0.5"} ' in measured
        assert "baekman_requests_undecided 0.0" in measured
        assert _wrapped_by(service) == {
            "cohorts": WEB,
            "platform keys": WEB,
            "projects": MASTER,
            "signing keys": WEB,
        }
        _nothing_in_folders(service, tmp_path)


def _objects(s3: Server, room: str) -> set[str]:
    return set(open_store(f"s3://{room}/story", s3.access(room)).names())


def _wrapped_by(service: Apart) -> dict[str, bytes]:
    """Whose key wraps which kind of keys."""
    names = {Keyring(key).current: key for key in (WEB, MASTER)}
    return {kind: names[master] for kind, counted in by_master(service.db).items() for master in counted}


def _nothing_in_folders(service: Apart, folder: Path) -> None:
    """Of the person's institution nothing is left on this machine's disk but its empty rooms and the journal."""
    left = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert left <= {"log", service.settings.journal_path.name}, left
