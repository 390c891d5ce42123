"""One cohort alone is harmonised too: its sites with codes of their own come out as one, by a reviewed mapping."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.consents.cohorts import behind, sources_of
from app.db import Database
from app.requests.decisions import Decided
from tests.integration.united.test_integrations import Rooms, asking


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    folder: Path = tmp_path_factory.mktemp("sites")
    db = Database(f"sqlite:///{folder / 'baekman.db'}")
    yield Rooms(db, folder)
    db.dispose()


def alone(rooms: Rooms, sites: dict[str, Any]) -> dict[str, Any]:
    """The mapping of the one hospital, whose wards write down sex each in their own way."""
    document = rooms.whole()
    document["sources"] = document["sources"][:1]
    people = document["sources"][0]["tables"]["people"]
    people["columns"]["sex"] = {
        "from": "gender", "by": "recode_by_site", "params": {"site": "ward", "sites": sites},
    }  # fmt: skip
    people["left_out"].pop("ward", None)
    return document


@pytest.mark.again
def test_sites_with_different_codes_become_one_and_unmapped_ones_are_listed(rooms: Rooms) -> None:
    same = {"values": {"F": "F", "M": "M"}}
    unfinished = rooms.checked(alone(rooms, {"w0": same, "w1": same}))
    assert unfinished["state"] == "draft"
    listed = unfinished["report"]["unmapped"]
    assert [(one["column"], one["code"]) for one in listed] == [("sex", "value_unmapped")]
    assert {value["value"].partition(":")[0] for value in listed[0]["values"]} == {"w2"}
    swapped = {"values": {"F": "M", "M": "F"}}
    made = rooms.checked(alone(rooms, {"w0": same, "w1": same, "w2": swapped}))
    assert made["state"] == "in_review"
    rooms.integrations.review(rooms.for_hanbit, made["id"], "approved", made["mapping_digest"], "")
    version = rooms.integrations.publish(rooms.for_hanbit, made["id"])["version_id"]
    two = rooms.two
    with two.db.read() as session:
        assert behind(session, version).only == two.hanbit.cohort_id
        assert [one.name for one in sources_of(session, version)] == ["hanbit"]
    two.version_id = version
    extract = two.permit(two.plan())
    two.release(extract)
    rows = two.rows(extract, "people", "SELECT source, count(*) FROM parts GROUP BY 1")
    assert [name for name, _count in rows] == ["hanbit"]
    assert rows[0][1] > 50
    # It is asked for, reviewed and decided like any version of one cohort.
    made = rooms.requests.create(rooms.researcher, asking(version))["id"]
    view = rooms.requests.submit(rooms.researcher, made)
    assert view["cohort_id"] == two.hanbit.cohort_id
    rooms.requests.claim(rooms.for_hanbit, made)
    for board in ("DRB", "IRB"):
        rooms.requests.review(rooms.for_hanbit, made, board, "approved", "")
    rooms.requests.order_dry_run(rooms.for_hanbit, made)
    rooms.jobs.drain()
    issued = rooms.requests.decide(
        rooms.for_hanbit, made, Decided("approve", view["plan_hash"], accept_intersections=True)
    )
    assert issued["permit_id"]
