"""A register in any of three formats is the same one; what is wrong with it is told at once, by line and column."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from app.db import Database
from app.errors import Problem
from app.models import Consent, ConsentChange, Participant, PersonChange
from app.schemas.register import DOMAINS
from tests.amounts import first
from tests.integration.consents.world import FIRST, RegisterWorld, csv_of, line

CHILD = {"by_proxy": "yes", "given_at": "2024-05-10", "birth_month": "2010-08", "assent": "given"}
LINES = [
    line("P1", "all", purposes="HMB;GRU", form_version="2.1", language="ko", given_at="2025-01-02",
         valid_until="2030-01-01", linkage_token="agency:0000000000000001", may_link="yes"),
    line("P2", "clinical", **CHILD),
    line("P2", "genomic", "withdrawn", withdrawal="no_further_use"),
    line("P3", "lifelog", purposes="DS:MONDO:0005148", deceased="yes"),
    line("P4", "recontact", "withdrawn", withdrawal="no_further_contact", given_at="2025-06-07"),
    line("P5", "all", "withdrawn", withdrawal="destroy"),
]  # fmt: skip


@pytest.fixture
def world(database_url: str) -> Iterator[RegisterWorld]:
    db = Database(database_url)
    yield RegisterWorld(db)
    db.dispose()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[RegisterWorld]:
    """For what does not depend on the database."""
    db = Database(f"sqlite:///{tmp_path / 'b.db'}")
    yield RegisterWorld(db)
    db.dispose()


def ndjson(lines: list[dict[str, Any]]) -> bytes:
    out = []
    for one in lines:
        said = {name: value for name, value in one.items() if value != ""}
        if "purposes" in said:
            said["purposes"] = said["purposes"].split(";")
        if "by_proxy" in said:
            said["by_proxy"] = said["by_proxy"] == "yes"
        out.append(json.dumps(said))
    return "\n".join(out).encode()


def parquet(lines: list[dict[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for one in lines for name in one))
    columns = {name: [one.get(name) for one in lines] for name in names}
    columns["given_at"] = [None if day is None else date.fromisoformat(day) for day in columns["given_at"]]
    columns["by_proxy"] = [None if said is None else said == "yes" for said in columns["by_proxy"]]
    columns["purposes"] = [None if said is None else said.split(";") for said in columns["purposes"]]
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def told(world: RegisterWorld) -> list[Any]:
    """Everything the register holds, without keys and times."""
    with world.db.read() as session:
        who = {}
        for person in session.scalars(select(Participant)):
            who[person.key] = (person.identity, person.linkage, person.may_link, person.deceased)
        rows = session.scalars(select(Consent)).all()
        return sorted(
            (*map(str, who[row.participant_key]), row.domain, row.state, json.dumps(row.purposes), row.form_version,
             row.language, str(row.given_at), str(row.valid_until), row.by_proxy, row.assent, str(row.adult_due),
             row.kind)
            for row in rows
        )  # fmt: skip


def test_three_formats_are_one_register(world: RegisterWorld) -> None:
    first = world.load(LINES)
    assert (first.lines, first.people, first.withdrawn, first.epoch) == (6, 5, 1, 1)
    assert first.changed == 14 + 2  # fourteen statements, and of two people something as a whole
    held = told(world)
    assert len(held) == 14
    for content in (csv_of(LINES), ndjson(LINES), parquet(LINES)):
        again = world.load(content)
        assert (again.changed, again.epoch, again.withdrawn, again.held_back) == (0, 1, 0, [])
    assert told(world) == held
    one, two = world.held("P1"), world.held("P2")
    assert (one.purposes, one.form_version, one.language) == (["GRU", "HMB"], "2.1", "ko")
    assert (one.given_at, one.valid_until) == (date(2025, 1, 2), date(2030, 1, 1))
    assert (two.by_proxy, two.assent, two.adult_due) == (True, "given", date(2029, 8, 1))
    gone = world.held("P5", "genomic")
    assert (gone.kind, gone.given_at) == ("destroy", world.now.date())
    with world.db.read() as session:
        assert session.scalar(select(PersonChange.epoch).where(PersonChange.deceased)) == 1
        assert len(session.scalars(select(ConsentChange)).all()) == 14


@pytest.mark.again
def test_keys_follow_the_identities_and_none_is_drawn_in_vain(world: RegisterWorld) -> None:
    for _ in range(3):
        world.load([line(f"P{n}") for n in range(40)])
    world.load([line("late")])
    with world.db.read() as session:
        rows = session.execute(select(Participant.key, Participant.identity).order_by(Participant.key)).all()
    assert [row[1] for row in rows[:40]] == sorted(row[1] for row in rows[:40])
    assert [row[0] for row in rows] == list(range(rows[0][0], rows[0][0] + 41))


def test_what_is_held_back_is_told_by_line(world: RegisterWorld) -> None:
    world.load(
        [line("P1", given_at="2025-01-01"), line("P2", **CHILD | {"birth_month": "2006-09"}), line("P3")]
    )
    world.load([line("P1", state="withdrawn"), line("P9")])
    assert [(kind, domains) for kind, _key, domains in world.withdrawn] == [("no_further_use", ["clinical"])]
    again = world.load([line("P9"), line("P1", given_at="2025-01-01"), line("P3"), line("P2", given_at="2025-08-31"),
                        line("P1", "genomic")])  # fmt: skip
    assert [(one.code, one.count, one.lines) for one in again.held_back] == [
        ("reconsent_needed", 1, (4,)), ("withdrawn_since", 1, (2,)),
    ]  # fmt: skip
    assert again.changed == 1  # the line of genomic data has nothing against it
    assert (world.held("P1").state, world.held("P2").by_proxy) == ("withdrawn", True)
    world.now += timedelta(days=40)
    later = world.load([line("P1", given_at="2026-03-03"), line("P2", given_at="2025-09-01")])
    assert (later.changed, later.held_back) == (2, [])
    assert (world.held("P1").state, world.held("P2").adult_due) == ("granted", None)
    world.load([line("P1", "all", "withdrawn", withdrawal="destroy")])
    world.now += timedelta(days=40)
    never = world.load([line("P1", given_at="2026-05-01")])  # no word is later than that
    assert [(one.code, one.count, one.lines) for one in never.held_back] == [("destruction_asked", 1, (1,))]


@pytest.mark.again
def test_destruction_follows_a_withdrawal_and_nothing_is_taken_back_twice(world: RegisterWorld) -> None:
    world.load([line("P1", "all")])
    world.load([line("P1", "all", "withdrawn")])
    world.load([line("P1", "all", "withdrawn")])
    assert (world.withdrawn, world.epoch()) == ([], 2)
    world.load([line("P1", "all", "withdrawn", withdrawal="destroy")])
    assert world.withdrawn == [("destroy", world.key("P1"), sorted(DOMAINS))]
    assert world.load([line("P1", "all", "withdrawn", withdrawal="destroy")]).changed == 0


@pytest.mark.again
def test_what_a_person_is_stays_until_it_is_said_otherwise(world: RegisterWorld) -> None:
    def person() -> tuple[bool, bool, bool]:
        with world.db.read() as session:
            row = session.get_one(Participant, world.key("P1"))
            return row.linkage is not None, row.may_link, row.deceased

    world.load([line("P1", linkage_token="agency:0000000000000001", may_link="yes")])
    world.load([line("P1")])
    assert person() == (True, True, False)
    assert world.load([line("P1", deceased="yes", may_link="no")]).changed == 1
    assert person() == (True, False, True)


def test_a_load_that_fails_leaves_nothing(world: RegisterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.load([line("P1")])

    def fails(_withdrawn: object) -> int:
        raise OSError

    monkeypatch.setattr(world, "_carry", fails)
    with pytest.raises(OSError):  # noqa: PT011
        world.load([line("P1", state="withdrawn"), line("P2")])
    monkeypatch.undo()
    assert (world.held("P1").state, world.epoch()) == ("granted", 1)
    assert world.load([line("P1", state="withdrawn"), line("P2")]).changed == 2


def test_no_source_identifier_is_anywhere(embedded: RegisterWorld, tmp_path: Path) -> None:
    secret = "HOSPITAL-ID-77"
    embedded.load([line(secret, linkage_token="agency:SECRETSECRET01"), line("P2", state="withdrawn")])
    found = b"".join(path.read_bytes() for path in tmp_path.glob("b.db*"))
    assert secret.encode() not in found
    assert b"SECRETSECRET01" not in found


BAD: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("no person", {"participant_id": ""}, "missing_value", "participant_id"),
    ("no domain", {"domain": " "}, "missing_value", "domain"),
    ("no state", {"state": ""}, "missing_value", "state"),
    ("domain", {"domain": "genomics"}, "bad_domain", "domain"),
    ("state", {"state": "maybe"}, "bad_state", "state"),
    ("purpose", {"purposes": "GRU;DS"}, "bad_purpose", "purposes"),
    ("day", {"given_at": "2025-02-30"}, "bad_date", "given_at"),
    ("day's form", {"given_at": "20250201"}, "bad_date", "given_at"),
    ("future", {"given_at": "2026-03-04"}, "bad_date", "given_at"),
    ("ends before", {"given_at": "2025-02-02", "valid_until": "2025-02-01"}, "bad_date", "valid_until"),
    ("end", {"valid_until": "soon"}, "bad_date", "valid_until"),
    ("form", {"form_version": "x" * 41}, "bad_form_version", "form_version"),
    ("form with a person", {"form_version": "900101-1234567"}, "identifier", "form_version"),
    ("language", {"language": "korean"}, "bad_language", "language"),
    ("flag", {"by_proxy": "perhaps"}, "bad_flag", "by_proxy"),
    ("flag", {"deceased": "2020-01-01"}, "bad_flag", "deceased"),
    ("flag", {"may_link": "x"}, "bad_flag", "may_link"),
    ("assent", {"assent": "maybe"}, "bad_assent", "assent"),
    ("assent refused", {**CHILD, "assent": "refused"}, "assent_refused", "assent"),
    ("assent missing", {**CHILD, "assent": ""}, "assent_missing", "assent"),
    ("month", {"birth_month": "2010-13"}, "bad_date", "birth_month"),
    (
        "born later",
        {"birth_month": "2026-02", "given_at": "2026-01-01", "by_proxy": "yes"},
        "bad_date",
        "birth_month",
    ),
    ("proxy without a day", {"by_proxy": "yes", "birth_month": "2010-08"}, "missing_value", "given_at"),
    ("proxy without a month", {"by_proxy": "yes", "given_at": "2024-05-10"}, "missing_value", "birth_month"),
    ("a child alone", {"birth_month": "2010-08", "given_at": "2024-05-10"}, "proxy_missing", "by_proxy"),
    ("kind", {"state": "withdrawn", "withdrawal": "please"}, "bad_withdrawal", "withdrawal"),
    ("kind of a grant", {"withdrawal": "destroy"}, "bad_withdrawal", "withdrawal"),
    ("contact", {"state": "withdrawn", "withdrawal": "no_further_contact"}, "bad_withdrawal", "withdrawal"),
    ("one domain", {"state": "withdrawn", "withdrawal": "destroy"}, "bad_withdrawal", "withdrawal"),
    ("resident number", {"participant_id": "800101-1234567"}, "identifier", "participant_id"),
    ("resident number as token", {"linkage_token": "8001011234567"}, "identifier", "linkage_token"),
    ("CI as token", {"linkage_token": "A" * 86 + "=="}, "identifier", "linkage_token"),
    ("digest as token", {"linkage_token": "a" * 64}, "bare_digest", "linkage_token"),
    ("short token", {"linkage_token": "a1"}, "bad_token", "linkage_token"),
]


@pytest.mark.parametrize("form", first(1, ["csv", "ndjson"]))
def test_each_fault_of_a_line_is_told_with_all_the_others(
    embedded: RegisterWorld, tmp_path: Path, form: str
) -> None:
    lines = [line(f"P{n}") | wrong for n, (_name, wrong, _code, _column) in enumerate(BAD)]
    lines += [line("Q1"), line("Q1"), line("Q2", "all"), line("Q2", "genomic"), line("Q3", may_link="yes"),
              line("Q3", "genomic", may_link="no")]  # fmt: skip
    content = csv_of(lines) if form == "csv" else "\n".join(map(json.dumps, lines)).encode()
    reader = embedded.read(content, tmp_path)
    reader.close()
    first = 2 if form == "csv" else 1
    found = {(one.code, one.column): one.lines for one in reader.findings}
    for n, (name, _wrong, code, column) in enumerate(BAD):
        assert n + first in found[code, column], name
    more = len(BAD) + first
    assert found["duplicate_line", None] == (more + 1, more + 3)
    assert found["contradiction", "may_link"] == (more + 5,)
    assert sum(one.count or 0 for one in reader.findings) == len(BAD) + 3
    said = json.dumps([one.to_dict() for one in reader.findings])
    assert not any(value in said for value in ("800101", "genomics", "perhaps", "2010-13", "AAAA", "P1"))
    with pytest.raises(Problem) as refused:
        next(reader.lines())
    assert refused.value.code == "invalid_request"


def test_two_ways_of_writing_one_identifier_are_one_person(embedded: RegisterWorld, tmp_path: Path) -> None:
    # The second has a space that only Unicode calls one; both are the same after `canonical`.
    reader = embedded.read(csv_of([line("P1"), line("P1\u3000")]), tmp_path)
    assert [(one.code, one.lines) for one in reader.findings] == [("duplicate_line", (3,))]


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        (b"", {"empty_file"}), (b"\n\n", {"empty_file"}), (csv_of([line("P1")]).split(b"\r\n")[0], {"empty_file"}),
        (b"7,all,granted\n", {"no_header"}), (b"participant_id,domain\n7,all\n", {"missing_column"}),
        (b"participant_id,domain,state,note\n7,all,granted,x\n", {"unexpected_column"}),
        (b"participant_id,domain,state,state\n7,all,granted,x\n", {"duplicate_column"}),
        (b"participant_id,domain,state\n7,all\n8,all,granted,x,y\n", {"ragged_row"}),
        (b'participant_id,domain,state\n"7,all,granted\n', {"bad_quotes"}),
        (b"participant_id,domain,state\n7,all,granted\n8\0,all,granted\n", {"nul_byte"}),
        (b"participant_id,domain,state\n7,all,maybe\n" + "가,all,granted\n".encode("cp949"),
         {"wrong_encoding", "bad_state"}),
        (b"participant_id,domain,state\n" + b"x" * (1 << 21), {"line_too_long"}),
        (b"\x1f\x8b" + b"0" * 20, {"not_csv"}), (b"\xff\xfe" + b"0" * 20, {"wrong_encoding"}),
        (b"PAR1" + b"0" * 20, {"truncated"}), (parquet(LINES)[:-40], {"truncated"}),
        (b'{"participant_id": "7"', {"bad_json"}), (b'{"participant_id": "7"}\n[]\n', {"bad_json"}),
        (b'{"participant_id": "7", "domain": "all", "state": "granted", "x": 1}', {"unexpected_column"}),
        (b'{"participant_id": "7", "participant_id": "8"}', {"duplicate_column"}),
        (b'{"participant_id": ["7"], "domain": "all", "state": "granted"}', {"wrong_type"}),
        (b'{"participant_id": "7", "domain": "all", "state": "granted", "purposes": [1]}', {"wrong_type"}),
        (b'{"participant_id": "7", "domain": "all", "state": "granted", "purposes": {}}', {"wrong_type"}),
        (b'{"participant_id": "7", "domain": "all"}', {"missing_value"}),
    ],
)  # fmt: skip
def test_what_is_no_register_is_told_as_what_it_is(
    embedded: RegisterWorld, tmp_path: Path, content: bytes, codes: set[str]
) -> None:
    reader = embedded.read(content, tmp_path)
    reader.close()
    assert {one.code for one in reader.findings} == codes


def test_a_register_grows_no_memory_bomb(embedded: RegisterWorld, tmp_path: Path) -> None:
    sink = io.BytesIO()
    same = pa.array(["x"] * 500_000).dictionary_encode()
    pq.write_table(
        pa.table({"participant_id": same, "domain": same, "state": same}), sink, compression="zstd"
    )
    reader = embedded.read(sink.getvalue(), tmp_path)
    assert [one.code for one in reader.findings] == ["bomb"]


@pytest.mark.again
def test_blank_lines_say_nothing_and_names_may_be_large(embedded: RegisterWorld) -> None:
    loaded = embedded.load(b'PARTICIPANT_ID,Domain,"STATE"\r\n\r\nP1,ALL,Granted\r\n,,\r\n')
    assert (loaded.lines, loaded.changed) == (1, 5)
    assert embedded.epoch(FIRST) == 1
