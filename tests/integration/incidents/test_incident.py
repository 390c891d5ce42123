"""From report to end: who is concerned is counted, clocks ring, notices are kept, the evidence proves itself."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from app.alarms.service import AlarmService
from app.audit.slices import faults
from app.auth.policy import Target
from app.cli import app
from app.errors import Problem
from app.incidents.evidence import export
from app.models import Alarm, AuditLine
from tests.integration.incidents.site import HOLDER, STEWARD, Site, actor
from tests.integration.incidents.site import PLATFORM as ADMIN


def alarms(site: Site) -> dict[str, str]:
    with site.db.read() as session:
        return {one.subject.partition(":")[2]: one.state for one in session.scalars(select(Alarm))}


def test_the_whole_way(shared: Site) -> None:
    site, service = shared, shared.incidents
    incident = site.report(Target("project", site.project), known_at=site.now - timedelta(hours=2))
    assert [one["late"] for one in service.get(STEWARD, incident)["clocks"]] == [True, False, False, False]
    service.contain(STEWARD, incident, holders=True)
    told = service.assess(STEWARD, incident, "high", "A file with rows of people.")
    with site.db.read() as session:
        line = session.scalars(select(AuditLine).where(AuditLine.event == "extract.recorded")).first()
    assert line is not None
    assert told["assessment"]["people"] == line.data["people_ever"]
    assert told["assessment"]["by_cohort"] == {site.world.cohort_id: line.data["people_ever"]}
    assert service.notify(STEWARD, incident, "authority", None, "")["state"] == "assessed"
    with pytest.raises(Problem, match="conflict"):
        service.recover(STEWARD, incident, "")
    ground = "The people cannot be told apart by us: their institution tells them."
    told = service.notify(STEWARD, incident, "people", None, ground)
    assert (told["state"], [one["ground"] for one in told["notices"]]) == ("notified", ["", ground])
    service.recover(STEWARD, incident, "The holder destroyed the copy.")
    told = service.close(STEWARD, incident, "Downloads of whole tables are watched.")
    assert (told["state"], {one["lifted_by"] for one in told["freezes"]}) == ("closed", {STEWARD.subject})
    with pytest.raises(Problem, match="conflict"):
        service.contain(STEWARD, incident)


@pytest.mark.again
def test_clocks_that_nobody_answers_ring_once_and_stop_when_they_are_answered(site: Site) -> None:
    service, ringing = site.incidents, AlarmService(site.db, site.clock)
    incident = site.report(Target("project", site.project))
    assert ringing.chase("incident_overdue", service.overdue) == 0
    site.now += timedelta(hours=25)
    assert ringing.chase("incident_overdue", service.overdue) == 2
    assert ringing.chase("incident_overdue", service.overdue) == 0
    assert alarms(site) == {"contain": "open", "assess": "open"}
    service.contain(STEWARD, incident)
    site.now += timedelta(hours=50)
    assert ringing.chase("incident_overdue", service.overdue) == 2
    assert alarms(site) == {"contain": "closed", "assess": "open", "people": "open", "authority": "open"}
    service.dismiss(STEWARD, incident, "A drill.")
    assert ringing.chase("incident_overdue", service.overdue) == 0
    assert set(alarms(site).values()) == {"closed"}


def test_a_cohort_concerns_its_own_people_alone_and_the_platform_everyone(shared: Site) -> None:
    by_cohort = shared.report(Target("cohort", shared.world.cohort_id), by=shared.hospital)
    shared.incidents.contain(shared.hospital, by_cohort)
    found = shared.incidents.assess(STEWARD, by_cohort, "some", "")["assessment"]
    assert (found["extracts"], found["projects"]) == (2, 2)
    everything = shared.report(Target("platform"))
    shared.incidents.contain(ADMIN, everything)
    assert shared.incidents.assess(ADMIN, everything, "some", "")["assessment"]["people"] == found["people"]
    for one in (by_cohort, everything):
        shared.incidents.dismiss(ADMIN, one, "A drill.")


def test_few_people_are_not_shown_and_what_is_not_closed_is_not_told(site: Site) -> None:
    assert site.incidents.by_year() == []
    incident = site.report()
    site.incidents.contain(ADMIN, incident, [Target("client", "steward")])
    site.incidents.assess(ADMIN, incident, "none", "")
    for whom in ("people", "authority"):
        site.incidents.notify(ADMIN, incident, whom, None, "Nobody is concerned.")
    site.incidents.recover(ADMIN, incident, "")
    assert site.incidents.by_year() == []
    site.incidents.close(ADMIN, incident, "")
    [year] = site.incidents.by_year()
    assert (year["count"], year["people"], year["in_time"]) == (1, None, 1)


def test_a_notice_lies_between_what_was_known_and_now(shared: Site) -> None:
    incident = shared.report(Target("project", shared.project))
    shared.incidents.contain(STEWARD, incident)
    shared.incidents.assess(STEWARD, incident, "some", "")
    for at in (shared.now - timedelta(days=1), shared.now + timedelta(days=1)):
        with pytest.raises(Problem, match="invalid_request"):
            shared.incidents.notify(STEWARD, incident, "people", at, "")
    shared.incidents.dismiss(STEWARD, incident, "A drill.")


def test_the_evidence_proves_itself_and_every_change_of_it_is_found(shared: Site, tmp_path: Path) -> None:
    incident = shared.report(Target("project", shared.project))
    shared.incidents.contain(STEWARD, incident)
    lines = list(export(shared.incidents, ADMIN, incident))
    assert list(faults(lines)) == []
    records = [json.loads(line) for line in lines]
    streams = {one["stream"] for one in records if one["type"] == "line"}
    assert streams == {"platform", f"institution:{shared.home}", f"project:{shared.project}"}
    events = [one["event"] for one in records if one.get("stream") == f"project:{shared.project}"]
    assert events[0] == "extract.recorded"  # a project's chain is told whole
    assert events[-1] == "freeze.set"
    assert records[-2]["event"] == "incident.exported"
    middle = next(i for i, one in enumerate(records) if one.get("event") == "extract.built")
    altered = lines[middle].replace('"event":"extract.built"', '"event":"extract.reissued"')
    for broken in (
        [*lines[:middle], altered, *lines[middle + 1 :]],
        [*lines[:middle], *lines[middle + 1 :]],
        [*lines[:middle], lines[middle + 1], lines[middle], *lines[middle + 2 :]],
        [*lines[:middle], lines[middle], *lines[middle:]],
        [lines[0].replace("leak", "loss"), *lines[1:]],
        lines[:-1],
        [*lines, lines[0]],
        ["{", *lines],
    ):
        assert list(faults(broken)) != []
    (tmp_path / "good").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "bad").write_text("".join([*lines[:middle], altered, *lines[middle + 1 :]]), encoding="utf-8")
    assert CliRunner().invoke(app, ["incident", "verify", str(tmp_path / "good")]).exit_code == 0
    assert CliRunner().invoke(app, ["incident", "verify", str(tmp_path / "bad")]).exit_code == 1
    shared.incidents.dismiss(STEWARD, incident, "A drill.")


def test_whoever_exports_gets_the_chains_that_they_may_read(shared: Site) -> None:
    incident = shared.report(Target("project", shared.project))
    near = actor("near", "steward", shared.home)
    streams = {json.loads(line).get("stream") for line in export(shared.incidents, near, incident)}
    assert streams == {None, f"institution:{shared.home}", f"project:{shared.project}"}
    for other in (HOLDER, shared.hospital):
        with pytest.raises(Problem, match=r"forbidden|not_found"):
            export(shared.incidents, other, incident)
    shared.incidents.dismiss(STEWARD, incident, "A drill.")


@pytest.mark.again
def test_lists_show_what_concerns_the_reader(site: Site) -> None:
    mine = site.report(Target("project", site.project), by=HOLDER)
    everywhere = site.report()
    for who in (STEWARD, ADMIN):
        assert [one["id"] for one in site.incidents.listed(who, None, None, 10)] == [everywhere, mine]
    strangers = (actor("x", "steward", "elsewhere"), actor("y", "researcher"))
    for who, seen in ((site.hospital, [mine]), (HOLDER, [mine]), *((one, []) for one in strangers)):
        assert [one["id"] for one in site.incidents.listed(who, None, None, 10)] == seen
    assert site.incidents.listed(STEWARD, "closed", None, 10) == []
