"""A receipt proves itself: every altered, made up or left out word of it is found, alone or against the chain."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.auth.policy import Actor
from app.cli import app as cli
from app.errors import Problem
from app.extracts.recalls import Answer
from app.models import AuditLine
from app.schemas.api_receipts import ReceiptView
from app.schemas.plan import digest
from app.withdrawals.page import timeline
from app.withdrawals.proof import faults, steps
from tests.integration.destruction.house import House, make

HOLDER = Actor("client:researcher", "researcher", "researcher", None, frozenset())
STRANGER = Actor("client:other", "other", "researcher", None, frozenset())
STEWARD = Actor("client:steward", "steward", "steward", None, frozenset())
Receipt = dict[str, Any]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = make(tmp_path_factory.mktemp("receipt"), people=120)
    yield made
    made.world.db.dispose()


@pytest.fixture(scope="module")
def closed(house: House) -> tuple[str, str, Receipt]:
    """Somebody who was destroyed, and whose rows the holder attested destroyed: id, identifier, receipt."""
    one = house.someone()
    taken = house.withdraw(one)
    house.work()
    house.built.house.recalls.attest(HOLDER, house.extract, Answer("destroyed"))
    shown = house.built.house.receipts.receipt(house.actor, taken["id"])
    return taken["id"], one, json.loads(json.dumps(shown))


def test_it_tells_what_was_done_and_names_no_one(house: House, closed: tuple[str, str, Receipt]) -> None:
    _id, one, receipt = closed
    assert sorted(step["event"] for step in receipt["steps"]) == [
        "part.blocked", "recall.attested", "recall.settled", "withdrawal.closed", "withdrawal.destroyed",
        "withdrawal.taken",
    ]  # fmt: skip
    assert [step["at"] for step in receipt["steps"]] == sorted(step["at"] for step in receipt["steps"])
    assert receipt["recalls"] == {"destroyed": 1}
    key = house.leaving[one]
    said = json.dumps(receipt)
    assert one not in said
    assert house.names[key] not in said
    assert faults(receipt) == []
    assert ReceiptView.model_validate(receipt).model_dump(exclude_unset=True) == receipt
    assert house.built.house.receipts.verify(house.actor, receipt["id"], receipt) == {
        "holds": True,
        "problems": [],
    }


def test_who_may_read_it(house: House, closed: tuple[str, str, Receipt]) -> None:
    receipts, (id_, _one, receipt) = house.built.house.receipts, closed
    assert receipts.receipt(STEWARD, id_) == receipt
    own = receipts.receipt(HOLDER, id_)
    assert own["of_project"]
    assert {line["stream"].partition(":")[0] for line in own["lines"]} == {"project"}
    assert "figures" not in own
    assert faults(own) == []
    assert receipts.verify(HOLDER, id_, own)["holds"]
    with pytest.raises(Problem, match="not_found"):
        receipts.receipt(STRANGER, id_)


def test_as_a_page_it_shows_every_step_and_names_no_one(
    house: House, closed: tuple[str, str, Receipt]
) -> None:
    receipts, (id_, one, receipt) = house.built.house.receipts, closed
    for actor, whole in ((STEWARD, True), (HOLDER, False)):
        shown = receipts.page(actor, id_)
        steps = receipts.receipt(actor, id_)["steps"]
        assert shown.count("<circle ") == len(steps) == shown.count("<tr><td>")
        assert ("막은 조각 · parts closed" in shown) is whole
        assert receipt["digest"] in shown or not whole
        assert "파기함 · destroyed" in shown
        for word in (one, house.names[house.leaving[one]], "<script", "://"):
            assert word not in shown
    with pytest.raises(Problem, match="not_found"):
        receipts.page(STRANGER, id_)


def test_a_step_of_months_and_steps_of_a_second_stand_side_by_side() -> None:
    def step(at: str, event: str) -> dict[str, Any]:
        return {"at": f"2026-{at}+00:00", "event": event, "counts": {}, "answer": None}

    taken = step("03-02T09:00:00", "withdrawal.taken")
    told = [step(f"03-02T09:00:0{n}", "part.blocked") for n in (1, 5)]
    picture = str(timeline([taken, *told, step("05-01T10:00:00", "recall.overdue")]))
    places = [float(x) for x in re.findall(r'cx="([0-9.]+)"', picture)]
    assert places == sorted(places)
    assert min(b - a for a, b in itertools.pairwise(places)) > 20  # nothing lies upon another
    assert max(places) < 860
    assert picture.count('class="late"') == 1
    assert [words for words in ("1 s", "1 min", "30 d", "1 y") if f">{words}<" in picture] == [
        "1 s",
        "1 min",
        "30 d",
    ]
    assert str(timeline([])).count("<circle") == 0


def _figure(receipt: Receipt) -> None:
    receipt["figures"]["parts_closed"] += 1


def _line(receipt: Receipt) -> None:
    receipt["lines"][0]["data"]["extracts_closed"] = 99


def _time(receipt: Receipt) -> None:
    receipt["lines"][-1]["at"] = "2020-01-01T00:00:00+00:00"


def _left_out(receipt: Receipt) -> None:
    del receipt["lines"][-1]


def _step(receipt: Receipt) -> None:
    receipt["steps"][0]["counts"] = {}


def _other(receipt: Receipt) -> None:
    receipt["id"] = "wdr_" + "0" * 26


def _no_lines(receipt: Receipt) -> None:
    receipt["lines"] = [{"stream": "platform"}]


FORGERIES: list[Callable[[Receipt], None]] = [_figure, _line, _time, _left_out, _step, _other, _no_lines]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_what_is_altered_is_found_without_the_chain(closed: tuple[str, str, Receipt], forge: Any) -> None:
    forged = copy.deepcopy(closed[2])
    forge(forged)
    assert faults(forged) != []


@pytest.mark.parametrize("forge", [_figure, _line, _time, _other], ids=lambda forge: forge.__name__)
def test_a_forger_who_computes_digests_anew_is_found_by_the_chain(
    house: House, closed: tuple[str, str, Receipt], forge: Any
) -> None:
    from app.withdrawals import proof

    forged = copy.deepcopy(closed[2])
    forge(forged)
    for line in forged["lines"]:
        line["digest"] = proof._recomputed(line)
    forged["steps"] = steps(forged["lines"])
    body = {k: v for k, v in forged.items() if k != "digest"}
    forged["digest"] = digest(body)
    assert not house.built.house.receipts.verify(house.actor, closed[0], forged)["holds"]


def test_a_line_left_out_in_the_middle_is_missed(house: House, closed: tuple[str, str, Receipt]) -> None:
    forged = copy.deepcopy(closed[2])
    project = [line for line in forged["lines"] if line["stream"].startswith("project:")]
    forged["lines"].remove(project[0])
    forged["steps"] = steps(forged["lines"])
    forged["digest"] = digest({k: v for k, v in forged.items() if k != "digest"})
    assert faults(forged) == []  # alone it holds together
    told = house.built.house.receipts.verify(house.actor, closed[0], forged)
    assert {problem["code"] for problem in told["problems"]} == {"line_missing"}


def test_a_chain_that_was_altered_is_found(house: House, closed: tuple[str, str, Receipt]) -> None:
    place = next(line for line in closed[2]["lines"] if line["stream"].startswith("institution:"))
    with house.world.db.unit_of_work() as session:
        line = session.get_one(AuditLine, (place["stream"], place["number"]))
        kept, line.actor = line.actor, "client:somebody_else"
    try:
        told = house.built.house.receipts.verify(house.actor, closed[0], closed[2])
        assert {p["code"] for p in told["problems"]} >= {"chain_broken", "line_not_in_chain"}
    finally:
        with house.world.db.unit_of_work() as session:
            session.get_one(AuditLine, (place["stream"], place["number"])).actor = kept


@pytest.mark.again
def test_the_shell_checks_a_file_and_whose_it_is(house: House, tmp_path: Path) -> None:
    one, opening = house.someone(), "5f" * 32
    taken = house.withdraw(one, opening=opening)
    house.work()
    receipt = json.loads(json.dumps(house.built.house.receipts.receipt(house.actor, taken["id"])))
    file = tmp_path / "receipt.json"

    def asked(*more: str) -> int:
        return CliRunner().invoke(cli, ["verify-receipt", str(file), *more]).exit_code

    file.write_text(json.dumps(receipt))
    assert asked() == 0
    assert asked("--participant", one, "--opening", opening) == 0
    assert asked("--participant", house.going[0], "--opening", opening) == 1
    assert asked("--participant", one, "--opening", "no key") == 1
    receipt["kind"] = "no_further_use"
    file.write_text(json.dumps(receipt))
    assert asked() == 1
    file.write_text("[]")
    assert asked() == 2


def test_an_earlier_receipt_still_holds_when_more_has_happened(house: House) -> None:
    one = house.someone()
    taken = house.withdraw(one, "no_further_use")
    early = house.built.house.receipts.receipt(house.actor, taken["id"])
    assert early["state"] == "taken"
    house.work()
    assert house.built.house.receipts.verify(house.actor, taken["id"], early)["holds"]
