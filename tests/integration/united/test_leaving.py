"""Whoever leaves one of two institutions leaves the united release, its vault and its links; dates move together."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, update

from app.auth.policy import ROLE_SCOPES, Actor
from app.cohorts.consents import ConsentService
from app.consents import cohorts, register
from app.crosswalk import project_ids
from app.db import Database
from app.deid import pseudonyms
from app.errors import Problem
from app.extracts.watching import watch
from app.jobs.engine import InlineEngine
from app.keyring import open_keyring
from app.main import Built, build
from app.models import (
    Cohort,
    Consent,
    Extract,
    Part,
    Participant,
    Permit,
    Project,
    RecallNotice,
    VaultTable,
    Withdrawal,
)
from app.schemas.plan import Privacy
from app.settings import Settings
from tests import united
from tests.united import Side, Two
from tests.world import NOW


class Site:
    """Both institutions in a real house, with a linked extract in somebody's hands."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(_env_file=None, var=folder, rows_per_part=100)
        self.built: Built = build(settings, lambda: NOW)
        self.two: Two = united.make(self.built.db, folder, keyring=open_keyring(settings))
        self.two.gate = self.built.gate
        self.jobs = InlineEngine(self.built.db, self.built.clock, self.built.tasks)
        for side, letter in ((self.two.hanbit, "H"), (self.two.saebom, "S")):
            with self.built.db.unit_of_work() as session:
                hasher = register.hasher_of(self.two.keyring, session.get_one(Cohort, side.cohort_id))
                for i, key in enumerate(side.keys):
                    session.get_one(Participant, key).identity = hasher.digest(f"{letter}{i}")
        self.linked = self.released(linkage=True)
        self.apart = self.released(linkage=False)

    def released(self, *, linkage: bool) -> str:
        extract = self.two.permit(self.two.plan(linkage=linkage), f"client:{linkage}")
        self.two.release(extract)
        return extract

    def hospital(self, side: Side) -> Actor:
        return Actor("client:h", "h", "institution", side.institution_id, ROLE_SCOPES["institution"])

    def withdraw(self, side: Side, source: str, kind: str = "no_further_use") -> dict[str, Any]:
        return self.built.house.withdrawals.take(self.hospital(side), side.cohort_id, source, [], kind)

    def says(self, side: Side, source: str, **said: Any) -> None:
        """One person's word over the API's own service."""
        body = {
            "participant": source, "domains": ["clinical"], "purposes": [], "form_version": "", "given_at": None,
            "valid_until": None, "language": "", "by_proxy": False, "assent": "", **said,
        }  # fmt: skip
        service: ConsentService = self.built.house.cohorts.consents
        service.set_one(self.hospital(side), side.cohort_id, body)

    def put(self, key: int, state: str) -> None:
        """The register says so of one person, and nobody acts on it."""
        with self.built.db.unit_of_work() as session:
            session.get_one(Consent, (key, "clinical")).state = state

    def open_parts(self, extract: str) -> list[str]:
        """The parts of the newest generation whose bytes may leave now."""
        found = []
        with self.built.db.read() as session:
            manifest = session.get_one(Extract, extract).manifest or {}
        for part in (p for table in manifest["tables"] for p in table["parts"]):
            try:
                self.built.house.extracts.check_part(extract, part["name"])
            except Problem:
                continue
            found.append(part["name"])
        return found

    def sources(self, extract: str, table: str = "people") -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for name, source in self.two.rows(extract, table, "SELECT id, source FROM parts"):
            found[name].add(source)
        return found

    def recalled(self, extract: str) -> list[tuple[str, str | None]]:
        query = select(RecallNotice.pseudonym, RecallNotice.source).where(RecallNotice.extract_id == extract)
        with self.built.db.read() as session:
            return [(row[0], row[1]) for row in session.execute(query.order_by(RecallNotice.id))]

    def names(self, extract: str, keys: list[int]) -> list[str]:
        """How the project knows these participants now."""
        return names_of(self.two, extract, keys)

    def watched(self) -> list[tuple[str, int]]:
        """What the monitor finds: (extract, people)."""
        return [
            (leak.extract_id, leak.people) for leak in watch(self.built.house.extracts, close=False).leaks
        ]

    @contextmanager
    def planted(self, name: str, source: str | None, under: str | None = None) -> Iterator[None]:
        """Meanwhile the linked extract hands out somebody's row in `people` as one of this source (None: the row does
        not tell it), and `under` another pseudonym."""
        with self.built.db.read() as session:
            query = select(Part).where(
                Part.extract_id == self.linked, Part.state == "ready", Part.table_name == "people"
            )
            parts = {
                part: self.two.var / "outbox" / self.linked / part.name for part in session.scalars(query)
            }
        part, path = next((p, at) for p, at in parts.items() if name in pq.read_table(at)["id"].to_pylist())
        whole, rows = path.read_bytes(), pq.read_table(path)
        held = rows.to_pylist()
        for row in held:
            if row["id"] == name:
                row |= {"id": under or name, "source": source}
        pq.write_table(pa.Table.from_pylist(held, rows.schema), path)
        self._measure(part, path)
        try:
            yield
        finally:
            path.write_bytes(whole)
            self._measure(part, path)

    def _measure(self, part: Part, path: Path) -> None:
        with self.built.db.unit_of_work() as session:
            one = update(Part).where(Part.extract_id == part.extract_id, Part.name == part.name)
            session.execute(one.values(bytes=path.stat().st_size))

    def vault_rows(self, key: int) -> int:
        with self.built.db.read() as session:
            held = session.scalars(
                select(VaultTable.object_name).where(VaultTable.removed_by.is_(None))
            ).all()
        count = 0
        for name in filter(None, held):
            column = pq.read_table(self.two.var / "vault" / name, columns=["__participant"])["__participant"]
            count += pc.sum(pc.equal(column, key)).as_py() or 0
        return count


def names_of(two: Two, extract: str, keys: list[int]) -> list[str]:
    with two.db.read() as session:
        row = session.get_one(Extract, extract)
        secret = two.keyring.unwrap(session.get_one(Project, row.project_id).key_wrapped or b"")
        of = cohorts.behind(session, two.version_id)
        ids = [project_ids(session, of, row.project_id, np.array([key], dtype=np.int32)) for key in keys]
    return [pseudonyms.pseudonyms(secret, one)[0].decode() for one in ids]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("leaving"))
    yield made
    made.built.db.dispose()


@pytest.mark.again
def test_who_takes_back_linkage_is_parted_at_once_and_recalled_by_the_shared_pseudonym(site: Site) -> None:
    there, here = site.two.linked[3]
    [shared, same] = site.names(site.linked, [there, here])
    assert shared == same
    assert site.sources(site.linked)[shared] == {"hanbit", "saebom"}
    others = site.sources(site.linked)
    site.says(site.two.hanbit, "H3", may_link=False)
    # In the transaction of the word: what told it is closed, what never told it is not.
    assert site.open_parts(site.linked) == []
    assert site.open_parts(site.apart)
    site.jobs.drain()
    assert site.recalled(site.linked) == [(shared, None)]
    assert site.recalled(site.apart) == []
    after = site.sources(site.linked)
    own = site.names(site.linked, [there, here])
    assert shared not in {*after, *site.sources(site.linked, "visits")}
    assert [after[name] for name in own] == [{"hanbit"}, {"saebom"}]
    assert {n: s for n, s in after.items() if n not in own} == {
        n: s for n, s in others.items() if n != shared
    }
    assert site.open_parts(site.linked)
    with site.built.db.read() as session:
        kinds = session.execute(select(Withdrawal.kind, Withdrawal.state)).all()
    assert [tuple(one) for one in kinds] == [("unlinked", "closed")]
    # A later withdrawal of one of them is told by the pseudonym that they have now.
    site.withdraw(site.two.hanbit, "H3")
    site.jobs.drain()
    assert site.recalled(site.linked)[-1] == (own[0], "hanbit")
    assert own[0] not in site.sources(site.linked)
    assert site.sources(site.linked)[own[1]] == {"saebom"}


@pytest.mark.again
def test_who_is_destroyed_at_one_institution_keeps_nothing_there_and_everything_at_the_other(
    site: Site,
) -> None:
    there, here = site.two.linked[7]
    [shared, _same] = site.names(site.linked, [there, here])
    before = site.vault_rows(here)
    assert site.vault_rows(there)
    taken = site.withdraw(site.two.hanbit, "H7", "destroy")
    assert site.open_parts(site.linked) == site.open_parts(site.apart) == []  # both hold rows of theirs
    site.jobs.drain()
    assert site.vault_rows(there) == 0
    assert site.vault_rows(here) == before > 0
    assert site.recalled(site.linked)[-1] == (shared, "hanbit")
    for table in ("people", "visits"):
        assert site.sources(site.linked, table)[shared] == {"saebom"}
    with site.built.db.read() as session:
        row = session.get_one(Withdrawal, taken["id"])
        assert (row.state, row.participant_key) == ("closed", None)
    # Nobody is found on any way by the monitor, linked or apart.
    assert site.built.gate.look().seen == []
    assert site.watched() == []
    with site.planted(
        shared, "hanbit"
    ):  # a row of those that went, under the pseudonym that others rightly have
        assert site.watched() == [(site.linked, 1)]


@pytest.mark.again
def test_a_shared_pseudonym_is_no_leak_where_no_column_tells_the_source(tmp_path: Path) -> None:
    site = Site(tmp_path)
    there, here = site.two.linked[9]
    columns = {"people": ["id", "sex", "source"], "visits": ["id", "day"]}
    bare = site.two.permit(site.two.plan_of(columns, 5).model_copy(update={"linkage": True}), "client:bare")
    site.two.release(bare)
    [shared, _same] = site.names(bare, [there, here])
    site.withdraw(site.two.hanbit, "H9")
    site.jobs.drain()
    assert site.recalled(bare) == [(shared, "hanbit")]
    assert site.two.rows(bare, "visits", f"SELECT count(*) > 0 FROM parts WHERE id = '{shared}'") == [(True,)]
    assert site.watched() == []
    site.put(here, "reconsent_due")  # a minor who came of age: what is there stays
    assert site.watched() == []
    # planted: nothing was closed, though nobody under it consents any more; whose row it says it is does not matter
    site.put(here, "withdrawn")
    assert site.watched() == sorted([(bare, 1), (site.linked, 1)])
    site.built.db.dispose()


@pytest.mark.again
def test_a_row_that_does_not_tell_its_source_is_a_leak_where_nobody_else_has_its_pseudonym(
    site: Site,
) -> None:
    """Where few people have a source, it leaves as null."""
    alone = site.two.hanbit.keys[50]
    [shared, own] = site.names(site.linked, [site.two.linked[5][0], alone])
    site.withdraw(site.two.hanbit, "H5")
    site.withdraw(site.two.hanbit, "H50")
    site.jobs.drain()
    assert {(shared, "hanbit"), (own, "hanbit")} <= set(site.recalled(site.linked))
    with site.planted(shared, None):  # they stay by the other source
        assert site.watched() == []
    for source in (None, "hanbit", "saebom"):
        with site.planted(shared, source, under=own):
            assert site.watched() == [(site.linked, 1)]


@pytest.mark.again
def test_an_institution_that_leaves_takes_its_rows_alone_and_the_permit_stays(site: Site) -> None:
    """After the others: what they withdrew is settled."""
    here = {name for name, held in site.sources(site.linked).items() if "saebom" in held}
    told = len(site.recalled(site.linked))
    home, house = site.two.hanbit.institution_id, site.built.house
    row = house.departures.declare(site.hospital(site.two.hanbit), home, "closed", NOW.date())
    operator = Actor("client:operator", "operator", "platform", None, ROLE_SCOPES["platform"])
    assert house.departures.confirm(operator, row["id"])["counts"]["permits"] == 0
    assert site.open_parts(site.linked) == site.open_parts(site.apart) == []  # from the next request on
    site.jobs.drain()
    assert site.recalled(site.linked)[told:] == [("", "hanbit")]
    for extract in (site.linked, site.apart):
        assert site.open_parts(extract)
        for table in ("people", "visits"):
            assert {one for held in site.sources(extract, table).values() for one in held} == {"saebom"}
    assert set(site.sources(site.linked)) == here  # under the names that they had
    with site.built.db.read() as session:
        assert {one.state for one in session.scalars(select(Permit))} == {"active"}
        ended = session.scalars(select(Withdrawal).where(Withdrawal.kind == "cohort_ended")).one()
        assert (ended.state, ended.receipt["destroyed"]["people"] > 0) == ("closed", True)
        of = cohorts.behind(session, site.two.version_id)
        assert of.answering == [site.two.saebom.institution_id]
        assert cohorts.unusable(session, site.two.version_id) == []
    assert site.built.gate.look().seen == []
    other = house.departures.declare(
        site.hospital(site.two.saebom), site.two.saebom.institution_id, "too", NOW.date()
    )
    assert (
        house.departures.confirm(operator, other["id"])["counts"]["permits"] == 2
    )  # nobody is left to answer
    site.jobs.drain()
    assert site.open_parts(site.linked) == []
    with site.built.db.read() as session:
        assert {one.state for one in session.scalars(select(Extract))} == {"destroyed"}
        assert {one.state for one in session.scalars(select(Permit))} == {"revoked"}


@pytest.mark.again
def test_linked_people_are_moved_by_one_shift_to_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Released days against the institutions' own: one number of whole weeks for all rows of a person, in both."""
    for name in ("HANBIT", "SAEBOM", "UNITED"):
        document = copy.deepcopy(getattr(united, name))
        for table in document["tables"]:
            for column in table["fields"]:
                if column["role"].get("kind") == "date":
                    column["role"]["mode"] = "shift"
        monkeypatch.setattr(united, name, document)
    db = Database(f"sqlite:///{tmp_path / 'shift.db'}")
    two = united.make(db, tmp_path)
    extract = two.permit(two.plan(linkage=True, privacy=Privacy(k=5, min_cell=5, shift_weeks=4)))
    two.release(extract)
    moved: dict[str, dict[str, list[date]]] = defaultdict(lambda: defaultdict(list))
    for person, source, day in two.rows(
        extract, "visits", "SELECT id, source, day FROM parts WHERE day IS NOT NULL"
    ):
        moved[person][source].append(day)
    shifts: list[int] = []
    for nth, pair in enumerate(two.linked):
        [name, _same] = names_of(two, extract, list(pair))
        days = sorted(date(2024, 1, 1) + timedelta(days=(nth * 7 + n * 31) % 300) for n in range(2))
        seen = moved.get(name, {})
        if len(seen.get("hanbit", ())) == len(seen.get("saebom", ())) == 2:
            by = {
                (new - old).days
                for held in seen.values()
                for new, old in zip(sorted(held), days, strict=True)
            }
            assert len(by) == 1, nth
            shifts += by
    assert len(shifts) >= 10  # the others have a day near an edge, which does not leave
    assert all(days % 7 == 0 and abs(days) <= 28 for days in shifts)
    db.dispose()
