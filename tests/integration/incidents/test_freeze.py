"""One command stops every byte, token, build and count; it needs the database alone, and undoes itself whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from app.audit import PLATFORM, institution_stream, project_stream
from app.auth.actors import active_client, active_person
from app.auth.policy import Target
from app.cli import app
from app.db import Database
from app.errors import Problem
from app.models import Account, AuditLine, Freeze, Institution, Part
from app.schemas.counts import CountQuestion
from tests.integration.incidents.site import HOLDER, OTHER, STEWARD, Site, actor
from tests.integration.incidents.site import PLATFORM as ADMIN
from tests.world import NOW


def refused(site: Site, act: Callable[[], object]) -> str:
    """The code of a refusal."""
    with pytest.raises(Problem) as told:
        act()
    return f"{told.value.code} {told.value.extra.get('frozen', '')}".strip()


def targets(site: Site) -> dict[str, Target]:
    return {
        "permit": Target("permit", site.permit), "project": Target("project", site.project),
        "cohort": Target("cohort", site.world.cohort_id), "institution": Target("institution", site.home),
        "platform": Target("platform"), "client": Target("client", "researcher"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["permit", "project", "cohort", "institution", "platform", "client"])
def test_whatever_a_byte_hangs_on_stops_it_and_lifting_it_lets_it_flow(shared: Site, kind: str) -> None:
    site, target = shared, targets(shared)[kind]
    name, far = site.part(), site.part(site.second)
    incident = site.report(target)
    site.extracts.check_part(site.extract, name, HOLDER)  # a report alone stops nothing
    site.incidents.contain(ADMIN, incident)
    assert refused(site, lambda: site.extracts.check_part(site.extract, name)) == f"frozen {kind}"
    assert refused(site, lambda: site.extracts.open_part(HOLDER, site.extract, name)) == f"frozen {kind}"
    assert refused(site, lambda: site.extracts.order(HOLDER, site.permit)) == f"frozen {kind}"
    assert refused(site, lambda: site.world.release(site.extract)) == f"frozen {kind}"
    if kind in ("permit", "project", "client"):  # the neighbour goes on
        site.extracts.check_part(site.second, far, OTHER)
    else:
        assert refused(site, lambda: site.extracts.check_part(site.second, far, OTHER)) == f"frozen {kind}"
    site.incidents.dismiss(STEWARD, incident, "A drill.")
    site.extracts.check_part(site.extract, name, HOLDER)
    site.extracts.check_part(site.second, far, OTHER)


def test_who_reads_through_a_frozen_client_gets_no_byte_though_the_holder_is_another(shared: Site) -> None:
    incident = shared.report(Target("client", "other"))
    shared.incidents.contain(ADMIN, incident)
    through = actor("other", "researcher")
    name = shared.part()
    assert (
        refused(shared, lambda: shared.extracts.check_part(shared.extract, name, through)) == "frozen client"
    )
    shared.extracts.check_part(shared.extract, name, HOLDER)
    shared.incidents.dismiss(ADMIN, incident, "A drill.")


def test_a_running_download_is_cut_at_the_next_chunk(shared: Site) -> None:
    """The check that runs before every chunk (`routers/files.py`) is asked in the middle."""
    name = shared.part()
    shared.extracts.open_part(HOLDER, shared.extract, name)
    incident = shared.report(Target("project", shared.project))
    shared.extracts.check_part(shared.extract, name, HOLDER)
    shared.incidents.contain(STEWARD, incident)
    assert (
        refused(shared, lambda: shared.extracts.check_part(shared.extract, name, HOLDER)) == "frozen project"
    )
    shared.incidents.dismiss(STEWARD, incident, "A drill.")


def test_a_frozen_client_or_person_gets_and_uses_no_token(shared: Site) -> None:
    with shared.db.unit_of_work() as session:
        session.add(Account(id="acc_x", username="kim", password_hash="", role="researcher", created_at=NOW))
    incident = shared.report(Target("client", "researcher"), Target("account", "acc_x"))
    with shared.db.read() as session:
        assert active_client(session, "researcher", NOW)
        assert active_person(session, "acc_x", NOW)
    shared.incidents.contain(ADMIN, incident)
    with shared.db.read() as session:
        assert active_client(session, "researcher", NOW) is None
        assert active_person(session, "acc_x", NOW) is None
        assert active_client(session, "other", NOW)
    shared.incidents.dismiss(ADMIN, incident, "A drill.")
    with shared.db.read() as session:
        assert active_client(session, "researcher", NOW)


def test_counts_of_frozen_data_are_refused(shared: Site) -> None:
    question = CountQuestion.model_validate({"version_id": shared.world.version_id, "conditions": []})
    shared.world.gate.count(question, HOLDER)
    incident = shared.report(Target("cohort", shared.world.cohort_id), by=shared.hospital)
    shared.incidents.contain(shared.hospital, incident)  # its own data an institution stops itself
    assert refused(shared, lambda: shared.world.gate.count(question, HOLDER)) == "frozen cohort"
    shared.incidents.dismiss(STEWARD, incident, "A drill.")


def test_two_incidents_hold_the_same_thing_until_both_let_it_go(shared: Site) -> None:
    name, project = shared.part(), Target("project", shared.project)
    first, second = shared.report(project), shared.report(project)
    shared.incidents.contain(STEWARD, first)
    shared.incidents.contain(STEWARD, second)
    shared.incidents.dismiss(STEWARD, first, "A drill.")
    assert refused(shared, lambda: shared.extracts.check_part(shared.extract, name)) == "frozen project"
    shared.incidents.thaw(STEWARD, second, [project])
    shared.extracts.check_part(shared.extract, name)
    shared.incidents.dismiss(STEWARD, second, "A drill.")


def test_who_may_stop_what(shared: Site) -> None:
    project, platform = Target("project", shared.project), Target("platform")
    incident = shared.report(project, by=HOLDER)  # whoever loses a file says so
    assert set(shared.incidents.get(HOLDER, incident)) == {
        "id", "kind", "state", "known_at", "reported_at", "closed_at"
    }  # fmt: skip
    assert refused(shared, lambda: shared.incidents.contain(HOLDER, incident)) == "forbidden"
    assert refused(shared, lambda: shared.incidents.contain(shared.hospital, incident)) == "forbidden"
    assert refused(shared, lambda: shared.incidents.get(OTHER, incident)) == "not_found"
    near = actor("near", "steward", shared.home)
    assert refused(shared, lambda: shared.incidents.contain(near, incident, [platform])) == "invalid_request"
    assert refused(shared, lambda: shared.incidents.contain(STEWARD, incident, [Target("client", "steward")]))
    shared.incidents.contain(near, incident)
    shared.incidents.dismiss(near, incident, "A drill.")


def test_only_whoever_may_freeze_a_thing_thaws_it_or_ends_what_holds_it_frozen(shared: Site) -> None:
    with shared.db.unit_of_work() as session:
        session.add(Institution(id="ins_far", name="Far", created_at=shared.now))
    far, near = actor("far", "steward", "ins_far"), actor("near", "steward", shared.home)
    theirs, cohort = Target("institution", "ins_far"), Target("cohort", shared.world.cohort_id)
    platform, service = Target("platform"), shared.incidents
    incident = shared.report(cohort, theirs)
    service.contain(ADMIN, incident, [cohort, theirs, platform])
    name = shared.part()
    for steward, others in ((far, cohort), (far, platform), (near, platform), (near, theirs)):
        assert refused(shared, partial(service.thaw, steward, incident, [others])) == "forbidden"
        assert refused(shared, partial(service.dismiss, steward, incident, "")) == "forbidden"
    assert {one["lifted_at"] for one in service.get(ADMIN, incident)["freezes"]} == {None}
    assert refused(shared, lambda: shared.extracts.check_part(shared.extract, name)).startswith("frozen")
    service.thaw(near, incident, [cohort])
    service.thaw(ADMIN, incident, [platform])
    shared.extracts.check_part(shared.extract, name)
    assert refused(shared, lambda: service.dismiss(near, incident, "")) == "forbidden"
    service.thaw(far, incident, [theirs])
    service.dismiss(near, incident, "A drill.")  # nothing stands any more: whoever handles it ends it


def test_everything_that_is_wrong_with_a_report_is_told_at_once(shared: Site) -> None:
    wrong = [
        Target("project", "prj_none"),
        Target("cohort", shared.world.cohort_id),
        Target("client", "nobody"),
    ]
    with pytest.raises(Problem) as told:
        shared.report(*wrong, text="of 900101-1234567", known_at=shared.now.replace(year=2099))
    assert [one.pointer for one in told.value.findings] == ["/text", "/known_at", "/touches/0", "/touches/2"]


@pytest.mark.again
def test_who_left_while_it_was_frozen_is_out_before_it_flows_again(site: Site) -> None:
    incident = site.report(Target("project", site.project))
    site.incidents.contain(STEWARD, incident)
    leaving = site.world.keys[4]
    name = site.world.pseudonyms(site.extract)[leaving]
    site.withdraw(leaving)
    assert site.extracts.get(HOLDER, site.extract)["generation"] == 1  # nothing is built while it is frozen
    site.incidents.dismiss(STEWARD, incident, "None.")
    site.jobs.drain()
    view = site.extracts.get(HOLDER, site.extract)
    assert view["generation"] == 2
    assert {part["state"] for part in view["parts"]} == {"ready", "replaced"}
    assert site.world.rows(site.extract, "person", f"SELECT count(*) FROM parts WHERE pid = '{name}'") == [
        (0,)
    ]


def test_the_shell_stops_it_with_the_store_down_and_no_web_process(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = site.part()
    for room in ("outbox", "vault", "memory", "inbox"):
        shutil.rmtree(site.folder / room, ignore_errors=True)
    (site.folder / "master.key").unlink(missing_ok=True)
    monkeypatch.setenv("BAEKMAN_DATABASE_URL", site.db.url)
    monkeypatch.setenv("BAEKMAN_VAR", str(site.folder / "elsewhere"))
    run = CliRunner().invoke(app, ["incident", "report", "leak", "--text", "A file on a forum.",
                                   f"project:{site.project}", "--contain", "--json"])  # fmt: skip
    assert run.exit_code == 0, run.output
    told = json.loads(run.output)
    assert {(one["kind"], one["subject"]) for one in told["freezes"]} == {
        ("project", site.project), ("client", "researcher")
    }  # fmt: skip
    assert refused(site, lambda: site.extracts.check_part(site.extract, name)).startswith("frozen")
    assert not (site.folder / "elsewhere").exists()  # no folder was opened, no key made
    shown = CliRunner().invoke(app, ["incident", "list"])
    assert told["id"] in shown.output
    with site.db.read() as session:
        query = select(AuditLine.stream, AuditLine.event).where(AuditLine.actor == "shell")
        lines = {(row[0], row[1]) for row in session.execute(query)}
    assert lines == {
        *((one, event) for one in (PLATFORM, institution_stream(site.home))
          for event in ("incident.reported", "incident.contained")),
        (project_stream(site.project), "freeze.set"), (PLATFORM, "freeze.set"),
    }  # fmt: skip


@pytest.mark.again
def test_a_freeze_that_nobody_looks_at_would_be_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault planted: were the byte check blind to freezes, the tests above would see bytes flow."""
    name = site.part()
    incident = site.report(Target("project", site.project))
    site.incidents.contain(STEWARD, incident)
    monkeypatch.setattr("app.extracts.service.freezes.must_not_stop_release", lambda *_: None)
    site.extracts.check_part(site.extract, name)


@pytest.mark.again
def test_on_either_database_a_freeze_is_seen_at_once(database_url: str, tmp_path: Path) -> None:
    db = Database(database_url)
    site = Site(db, tmp_path, people=60)
    name = site.part()
    incident = site.report(Target("permit", site.permit), Target("cohort", site.world.cohort_id))
    site.incidents.contain(STEWARD, incident, holders=True)
    assert refused(site, lambda: site.extracts.check_part(site.extract, name)) == "frozen client"
    site.incidents.assess(STEWARD, incident, "high", "")
    for whom in ("people", "authority"):
        site.incidents.notify(STEWARD, incident, whom, None, "")
    site.incidents.recover(STEWARD, incident, "")
    site.incidents.close(STEWARD, incident, "Keys were changed.")
    site.extracts.check_part(site.extract, name)
    with db.read() as session:
        assert all(one.lifted_at for one in session.scalars(select(Freeze)))
        assert session.scalars(select(Part.state).distinct()).all() == ["ready"]
    db.dispose()
