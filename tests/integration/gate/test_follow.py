"""A permit that follows goes on to a compatible version under the same names, days and labels; or stays, or asks."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.auth.policy import Actor
from app.db import LOCKS, Database, new_id
from app.errors import Problem
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.models import Consent, DatasetVersion, Extract, Job, Participant, Permit, Recoding
from app.requests import following
from app.requests.holding import PermitService
from app.storage.vault import Vault
from tests import locks
from tests import world as worlds
from tests.world import NOW, World

STEWARD = Actor("account:steward", "portal", "steward", None, frozenset({"permits:manage"}))
QUERIES = {"person": worlds.PEOPLE_SQL, "visit": worlds.VISIT_SQL, "steps": worlds.STEPS_SQL}


@pytest.fixture(autouse=True)
def _in_the_agreed_order() -> Iterator[None]:
    """Recording, following and going back lock permits and extracts: always in the same order."""
    with locks.recorded() as order:
        yield
    assert order.against(LOCKS) == []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    yield worlds.make(db, tmp_path, people=240)
    db.dispose()


def next_version(world: World, newcomers: int, dictionary: dict[str, Any] | None = None) -> str:
    """A published version after the world's: the same people and so many more."""
    with world.db.unit_of_work() as session:
        of = session.get_one(DatasetVersion, world.version_id)
        of.state = "superseded"
        version = DatasetVersion(
            id=new_id("ver"), dataset_id=of.dataset_id, number=2, state="published",
            dictionary=dictionary or of.dictionary, dictionary_digest="0" * 64, report=None, people=0, created_at=NOW,
            published_at=NOW, made_from=of.id,
        )  # fmt: skip
        session.add(version)
        rows = [
            Participant(cohort_id=world.cohort_id, identity=secrets.token_bytes(32), random_id=secrets.token_bytes(16),
                        created_at=NOW)
            for _ in range(newcomers)
        ]  # fmt: skip
        session.add_all(rows)
        session.flush()
        session.add_all(
            Consent(participant_key=row.key, domain=domain, cohort_id=world.cohort_id, state="granted", purposes=[],
                    given_at=None, valid_until=None, changed_at=NOW)
            for row in rows for domain in worlds.DOMAINS
        )  # fmt: skip
        made, keys = version.id, [row.key for row in rows]
    worlds.fill_vault(world.db, vault(world), world.var, made, [*world.keys, *keys], QUERIES, place=made)
    return made


def vault(world: World) -> Vault:
    return Vault.open(f"file://{world.var}/vault")


def follows(world: World, extract_id: str) -> str:
    with world.db.unit_of_work() as session:
        permit = session.get_one(Permit, session.get_one(Extract, extract_id).permit_id)
        permit.follow = True
        return permit.id


def go_on(world: World, permit_id: str, version_id: str) -> None:
    with world.db.unit_of_work() as session:
        following.follow(session, permit_id, version_id, NOW)


def standing(world: World, extract_id: str) -> SimpleNamespace:
    with world.db.read() as session:
        extract = session.get_one(Extract, extract_id)
        permit = session.get_one(Permit, extract.permit_id)
        orders = [job.subject for job in session.query(Job) if job.kind == "reissue_extract"]
        return SimpleNamespace(
            extract=extract.version_id, permit=permit.version_id, asked=permit.asked_version,
            generation=extract.generation, orders=orders, follow=permit.follow,
        )  # fmt: skip


def reissue(world: World, extract_id: str) -> None:
    service = ExtractService(world.db, world.clock, world.gate.outbox)
    job = SimpleNamespace(id="job_1", subject=extract_id, arguments={}, progress=lambda **_: None)
    ExtractTasks(service, world.gate).reissue(job)  # type: ignore[arg-type]


def test_a_compatible_version_is_a_new_generation_under_the_same_names_days_and_labels(world: World) -> None:
    extract = world.permit()
    world.release(extract)
    people = {row[0]: row[1:3] for row in world.rows(extract, "person", "SELECT pid, age, sex FROM parts")}
    days = dict(world.rows(extract, "visit", "SELECT vid, day FROM parts"))
    permit, made = follows(world, extract), next_version(world, 40)
    go_on(world, permit, made)
    go_on(world, permit, made)  # a job may run twice
    before = standing(world, extract)
    assert (before.permit, before.extract, before.orders) == (made, world.version_id, [extract])
    with world.db.read() as session:
        pinned = [
            row.body["recoding"] for row in session.query(Recoding).order_by(Recoding.at, Recoding.version_id)
        ]
    assert len(pinned) == 2
    assert pinned[0] == pinned[1]
    reissue(world, extract)
    after = standing(world, extract)
    assert (after.permit, after.extract, after.generation) == (made, made, 2)
    rows = world.rows(extract, "person", "SELECT pid, age, sex FROM parts")
    now = {row[0]: row[1:3] for row in rows}
    assert len(now) > len(people) > 100
    # Fewer people are no class of their own any more, or more are: a label stays, or takes its parent's place.
    stayed = set(people) & set(now)
    assert len(stayed) > 0.9 * len(people)
    assert all(now[one] == people[one] or _covers(now[one], people[one]) for one in stayed)
    kept = dict(world.rows(extract, "visit", "SELECT vid, day FROM parts"))
    same = set(days) & set(kept)
    assert len(same) > 100
    assert all(kept[one] == days[one] for one in same)


def _covers(new: tuple[str, str], old: tuple[str, str]) -> bool:
    return all(a == b or a == "*" or _band(a) >= _band(b) for a, b in zip(new, old, strict=True))


def _band(label: str) -> set[int]:
    low, _, high = label.strip("[)").replace(" ", "").replace("-", ",").partition(",")
    return set(range(int(low), int(high or int(low) + 1) + 1)) if low.isdigit() else set()


@pytest.mark.again
def test_a_permit_that_does_not_follow_stays(world: World) -> None:
    extract = world.permit()
    world.release(extract)
    with world.db.read() as session:
        permit = session.get_one(Extract, extract).permit_id
    go_on(world, permit, next_version(world, 40))
    assert (standing(world, extract).permit, standing(world, extract).orders) == (world.version_id, [])


def test_a_version_that_a_permit_goes_on_to_before_it_is_agreed_to_is_built_once_it_is(world: World) -> None:
    extract, made = world.permit(), next_version(world, 0)
    permit = follows(world, extract)
    with world.db.unit_of_work() as session:
        held, given = session.get_one(Extract, extract), session.get_one(Permit, permit)
        held.state, held.generation = "ready", 1
        given.state, given.agreed_at = "pending_agreement", None
    go_on(world, permit, made)
    assert (standing(world, extract).permit, standing(world, extract).orders) == (made, [])
    holder = Actor("client:researcher", "researcher", "researcher", None, frozenset())
    PermitService(world.db, world.clock).accept(holder, permit, "0" * 64)
    assert standing(world, extract).orders == [extract]


def test_a_few_who_join_are_not_told_apart_and_the_permit_stays(world: World) -> None:
    extract = world.permit()
    world.release(extract)
    permit, made = follows(world, extract), next_version(world, 3)
    go_on(world, permit, made)
    reissue(world, extract)
    held = standing(world, extract)
    assert (held.permit, held.extract, held.asked, held.generation) == (
        world.version_id,
        world.version_id,
        made,
        1,
    )
    world.release(extract)  # whoever leaves is still taken out of the version that it stayed on
    assert standing(world, extract).generation == 2


@pytest.mark.again
def test_a_breaking_version_asks_the_steward_who_lets_it_go_on_or_stay(world: World) -> None:
    document = copy.deepcopy(worlds.DICTIONARY)
    document["tables"][1]["fields"][4]["unit"] = "kg"
    extract = world.permit()
    world.release(extract)
    permit, made = follows(world, extract), next_version(world, 40, document)
    go_on(world, permit, made)
    held = standing(world, extract)
    assert (held.permit, held.asked, held.orders) == (world.version_id, made, [])
    with world.db.read() as session:
        (told,) = following.asked(session, STEWARD, None, 10)
    assert (told["id"], [one["change"] for one in told["breaking"]]) == (permit, ["unit"])
    with world.db.unit_of_work() as session:
        with pytest.raises(Problem) as unknown:
            following.amend(session, STEWARD, permit, "ver_nobody", "x", NOW)
        assert [one.code for one in unknown.value.findings] == ["unknown_version"]
        assert (
            following.amend(session, STEWARD, permit, made, "the holder knows", NOW)["asked_version"] is None
        )
    reissue(world, extract)
    assert (standing(world, extract).extract, standing(world, extract).generation) == (made, 2)
    with world.db.unit_of_work() as session:
        following.stay(session, STEWARD, permit, "no further", NOW)
    assert standing(world, extract).follow is False


@pytest.mark.again
def test_a_change_that_the_plan_does_not_use_asks_nobody(world: World) -> None:
    document = copy.deepcopy(worlds.DICTIONARY)
    document["tables"][1]["fields"][4]["unit"] = "kg"
    tables = [table for table in worlds.PLAN_TABLES if table["name"] != "visit"]
    plan = world.plan.model_copy(update={"tables": tuple(t for t in world.plan.tables if t.name != "visit")})
    assert len(tables) == len(plan.tables)
    extract = world.permit(plan)
    world.release(extract)
    made = next_version(world, 40, document)
    go_on(world, follows(world, extract), made)
    assert (standing(world, extract).permit, standing(world, extract).asked) == (made, None)


def test_who_leaves_between_two_versions_is_looked_for_in_both(world: World) -> None:
    """The parts at hand are of the old version: rows that the new one lacks are closed in them."""
    extract = world.permit()
    world.release(extract)
    key = world.keys[2]
    permit, made = follows(world, extract), next_version(world, 40)
    gone = {**QUERIES, "visit": f"SELECT * FROM ({worlds.VISIT_SQL}) WHERE __participant <> {key}"}
    worlds.fill_vault(
        world.db, vault(world), world.var, made, world.keys, {"visit": gone["visit"]}, place=made
    )
    go_on(world, permit, made)
    world.set_consent(key, "clinical", "withdrawn")
    found = world.whereabouts(extract, key, ["clinical"])
    assert {table for table, _position in found.places} == {"person", "visit"}
