"""The attacks of docs/attacks.md over releases of the real gate: each with its figure, each shown to catch a fault."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner

from app.auth.policy import Actor
from app.cli import app
from app.db import Database
from app.deid import counts, pseudonyms, risk, vocabularies, window
from app.deid.attacks import Target, values
from app.deid.attacks.values import hashed, spellings
from app.deid.verify.cells import Cells
from app.engines.duckdb import codes
from app.errors import Problem
from app.ledger import counts as ledger_counts
from app.models import Extract, Participant, Project
from app.schemas.counts import CountQuestion
from app.schemas.plan import Condition
from tests import world as worlds
from tests.amounts import first
from tests.attack.held import RESIDENT, SURVEY, SURVEY_SQL, SURVEY_TABLES, attacked, doctored, download
from tests.world import World

PEOPLE = 1200


@pytest.fixture
def survey(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'survey.db'}")
    yield worlds.make(
        db, tmp_path, PEOPLE, dictionary=SURVEY, tables=SURVEY_TABLES, queries=SURVEY_SQL, privacy={"k": 11}
    )
    db.dispose()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield worlds.make(db, tmp_path)
    db.dispose()


def _released(world: World, folder: Path) -> tuple[str, Target]:
    extract = world.permit()
    world.release(extract)
    return extract, download(world, extract, folder)


def test_prosecutor_and_homogeneity(survey: World, tmp_path: Path) -> None:
    """Max risk <= 1/k where most raw rows are unique; no one-value class where the dictionary asks for l = 2."""
    con = duckdb.connect()
    con.execute("CREATE TABLE people AS SELECT unnest(?)::INTEGER AS key", [survey.keys])
    raw = f"SELECT count(*) FROM (SELECT 1 FROM ({SURVEY_SQL['person']}) GROUP BY age, sex, work, school, marital"
    [(unique,)] = con.execute(f"{raw} HAVING count(*) = 1)").fetchall()
    assert unique / PEOPLE > 0.4
    _, held = _released(survey, tmp_path / "a")
    found = attacked(held, tmp_path, "prosecutor", "homogeneity", dictionary=survey.dictionary)
    assert found["prosecutor"].verdict == "held"
    assert found["prosecutor"].figures["max_risk"] <= 1 / 11
    salary = found["homogeneity"].figures["columns"]["person.salary"]
    assert (found["homogeneity"].verdict, salary["one_value_classes"]) == ("held", 0)
    assert 0 <= salary["gain"] <= 0.1
    # Planted: one person alone with a label; and everyone of one class has one salary.
    alone = "SELECT * REPLACE (CASE WHEN rrn = (SELECT min(rrn) FROM parts) THEN '0' ELSE age END AS age) FROM parts"
    worse = attacked(doctored(held, "person", alone, tmp_path / "b"), tmp_path, "prosecutor")["prosecutor"]
    assert (worse.verdict, worse.figures["max_risk"]) == ("broken", 1.0)
    first = "(SELECT row(age, sex, work, school, marital) FROM parts ORDER BY rrn LIMIT 1)"
    same = f"CASE WHEN row(age, sex, work, school, marital) = {first} THEN '>50K' ELSE salary END"
    query = f"SELECT * REPLACE ({same} AS salary) FROM parts"
    worse = attacked(
        doctored(held, "person", query, tmp_path / "c"), tmp_path, "homogeneity", dictionary=survey.dictionary
    )["homogeneity"]
    assert worse.verdict == "broken"
    assert worse.figures["columns"]["person.salary"]["one_value_classes"] == 1


def test_resident_number_dictionary(survey: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker with every resident number of the cohort: no hash of any on any released column, nor stored."""
    monkeypatch.setattr(values, "COUNTED", 10_000)
    extract, held = _released(survey, tmp_path / "a")
    known = [str(eval(RESIDENT, {"key": key})) for key in survey.keys]
    found = attacked(held, tmp_path, "dictionary", "identifiers", known=known)
    assert found["dictionary"].verdict == found["identifiers"].verdict == "held"
    assert found["dictionary"].figures["matches"] == found["dictionary"].figures["raw_matches"] == 0
    assert _stored(survey, known) == 0
    assert found["dictionary"].figures["digests_tried"] > values.COUNTED
    # Planted: pseudonyms that are a bare hash; the number itself; and an identity that is stored as a bare hash. They
    # are of known numbers, so that the many that are only counted up need not be tried again.
    monkeypatch.setattr(values, "COUNTED", 1000)
    first = known[0]
    for digest in (hashlib.md5, hashlib.sha256):
        name = digest(first.encode()).hexdigest()[:16]
        hashed_one = f"CASE WHEN rrn = (SELECT min(rrn) FROM parts) THEN '{name}' ELSE rrn END"
        query = f"SELECT * REPLACE ({hashed_one} AS rrn) FROM parts"
        bad = doctored(held, "person", query, tmp_path / name)
        assert (
            attacked(bad, tmp_path, "dictionary", "identifiers", known=known)["dictionary"].figures["matches"]
            == 1
        )
    query = f"SELECT * REPLACE ('{first}' AS salary) FROM parts"
    found = attacked(
        doctored(held, "person", query, tmp_path / "raw"), tmp_path, "dictionary", "identifiers", known=known
    )
    assert found["dictionary"].verdict == found["identifiers"].verdict == "broken"
    with survey.db.unit_of_work() as session:
        session.get_one(Participant, survey.keys[0]).identity = hashlib.sha256(first.encode()).digest()
    assert _stored(survey, known) == 1
    assert extract


def _stored(world: World, known: list[str]) -> int:
    """Participants whose stored identity or random id is an id or a digest of one that needs no secret."""
    digests = {guess for one in spellings(known) for guess in hashed(one)}
    with world.db.read() as session:
        people = session.query(Participant).all()
        return sum(p.identity.hex()[:16] in digests or p.random_id.hex()[:16] in digests for p in people)


@pytest.mark.again
def test_footers_tell_of_no_dropped_column(survey: World, tmp_path: Path) -> None:
    """No key of pandas, no name of a dropped column, no statistic beyond the rows."""
    _, held = _released(survey, tmp_path / "a")
    assert attacked(held, tmp_path, "footers", dictionary=survey.dictionary)["footers"].verdict == "held"
    pandas = "COMPRESSION zstd, KV_METADATA {pandas: 'index of real_name'}"
    bad = doctored(held, "person", "SELECT * FROM parts", tmp_path / "b", pandas)
    found = attacked(bad, tmp_path, "footers", dictionary=survey.dictionary)["footers"].figures
    assert (found["foreign_metadata"], found["dropped_names_in_footer"]) == (1, 1)
    bad = doctored(held, "person", "SELECT *, 'x' AS real_name FROM parts", tmp_path / "c")
    assert attacked(bad, tmp_path, "footers")["footers"].figures["columns_differ"] == 1


@pytest.mark.again
def test_two_projects_share_no_name_and_no_place(small: World, tmp_path: Path) -> None:
    """Pseudonym overlap 0; a person's places in two projects are uncorrelated. Planted: one key for two projects."""
    one, first = _released(small, tmp_path / "a")
    two, second = _released(small, tmp_path / "b")
    found = attacked(first, tmp_path, "names_shared", "positions", "order", other=second)
    assert (found["names_shared"].verdict, found["names_shared"].figures["shared"]) == ("held", 0)
    assert found["positions"].verdict == found["order"].verdict == "held"
    assert abs(_places(small, one, two)) < 4 / np.sqrt(380)
    with small.db.unit_of_work() as session:
        key = session.get_one(Project, session.get_one(Extract, one).project_id).key_wrapped
    three = small.permit()
    with small.db.unit_of_work() as session:
        session.get_one(Project, session.get_one(Extract, three).project_id).key_wrapped = key
    small.release(three)
    found = attacked(
        first, tmp_path, "names_shared", "positions", other=download(small, three, tmp_path / "c")
    )
    assert found["names_shared"].verdict == found["positions"].verdict == "broken"
    assert found["names_shared"].figures["shared"] > 380
    assert _places(small, one, three) > 0.99
    by_age = doctored(first, "person", "SELECT * FROM parts ORDER BY age, pid", tmp_path / "d")
    assert attacked(by_age, tmp_path, "order")["order"].verdict == "broken"


def _places(world: World, one: str, two: str) -> float:
    """Rank correlation of the places of the same people."""
    order = []
    for extract in (one, two):
        key = {name: key for key, name in world.pseudonyms(extract).items()}
        order.append(
            {key[row[0]]: i for i, row in enumerate(world.rows(extract, "person", "SELECT pid FROM parts"))}
        )
    both = sorted(order[0].keys() & order[1].keys())
    return float(np.corrcoef([order[0][k] for k in both], [order[1][k] for k in both])[0, 1])


@pytest.mark.again
def test_generations_of_a_project_keep_their_crowds(
    small: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in a hundred withdraws: pinned, nobody is in a crowd below k. Planted: the recoding is fitted anew."""
    extract, first = _released(small, tmp_path / "a")
    for key in small.keys[1:80:20]:
        for domain in ("clinical", "lifelog"):
            small.set_consent(key, domain, "withdrawn")
    small.release(extract)
    found = attacked(first, tmp_path, "intersection", other=download(small, extract, tmp_path / "b"))[
        "intersection"
    ]
    assert (found.verdict, found.figures["people_below_k"], found.figures["people_in_both"]) == (
        "held",
        0,
        376,
    )
    torn = "SELECT * REPLACE ('x' || (hash(pid) % 60) AS age) FROM parts"
    found = attacked(first, tmp_path, "intersection", other=doctored(first, "person", torn, tmp_path / "c"))[
        "intersection"
    ]
    assert found.verdict == "broken"
    assert found.figures["people_below_k"] > 300


@pytest.mark.again
def test_weekdays_tell_nothing_of_a_shift(small: World) -> None:
    """50 events on weekdays only: every possible shift fits, so the attacker learns 0 bits. Planted: any day."""
    ids = np.random.default_rng(1).integers(0, 256, (200, 16), dtype=np.uint8)
    weeks = pseudonyms.shift_days(b"k" * 32, ids)
    possible = np.array([7 * n for n in range(-52, 53) if n])
    assert not (weeks % 7).any()
    assert _learned(weeks, possible)[0] == 0.0
    uniform = np.random.default_rng(2).integers(-364, 365, 200)
    bits, told = _learned(uniform, np.arange(-364, 365))
    assert bits > 2.5
    assert told > 0.9


def _learned(shifts: np.ndarray, possible: np.ndarray) -> tuple[float, float]:
    """(bits learned about a shift, how often its weekday is told) from which weekdays 50 shifted events have."""
    chance, bits, told = np.random.default_rng(3), [], []
    for shift in shifts:
        days = chance.integers(0, 400, 50) * 7 + chance.integers(0, 5, 50) + shift
        fits = [s for s in possible if ((days - s) % 7 < 5).all()]
        bits.append(np.log2(len(possible) / len(fits)))
        told.append(len({int(s) % 7 for s in fits}) == 1)
    return float(np.mean(bits)), float(np.mean(told))


def test_one_person_moves_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """N against N-1 over 4,000 random groups: the best guess who is in gains at most .25. Planted: no noise."""
    rule = counts.CountRule(11, 5)
    assert 0 <= _advantage(rule) <= 0.25
    monkeypatch.setattr(counts, "_NOISE", (0,))
    assert _advantage(counts.CountRule(2, 1)) == 1.0


def _advantage(rule: counts.CountRule) -> float:
    """How much better than a coin the best guess is whether 20 or 19 people were counted (total variation)."""
    keys = np.random.default_rng(5).integers(0, 2**63, (4000, 20), dtype=np.uint64) * np.uint64(2)
    shown = [[counts.masked(n, counts.cell_key(row[:n]), rule).value for row in keys] for n in (20, 19)]
    values = {*shown[0], *shown[1]}
    return sum(abs(shown[0].count(v) - shown[1].count(v)) for v in values) / (2 * len(keys))


@pytest.mark.again
def test_a_withdrawn_person_is_in_no_new_part(small: World, tmp_path: Path) -> None:
    """0 rows in every table of the next generation. Planted: the old parts handed out again."""
    extract, first = _released(small, tmp_path / "a")
    gone = small.keys[2]
    name = small.pseudonyms(extract)[gone]
    for domain in ("clinical", "lifelog"):
        small.set_consent(gone, domain, "withdrawn")
    small.release(extract)
    second = download(small, extract, tmp_path / "b")
    assert _rows_of(second, name) == {"person": 0, "visit": 0, "steps": 0}
    assert min(_rows_of(first, name).values()) > 0


def _rows_of(target: Target, name: str) -> dict[str, int]:
    found = {}
    for table in target.manifest["tables"]:
        paths = [str(target.folder / part["name"]) for part in table["parts"]]
        query = f"SELECT count(*) FROM read_parquet({paths!r}) WHERE pid = '{name}'"
        found[table["name"]] = duckdb.execute(query).fetchall()[0][0]
    return found


def test_a_solver_recovers_no_small_cell() -> None:
    """Hidden cells of masked tables with margins, by interval arithmetic: none is told. Planted: exact margins."""
    chance = np.random.default_rng(7)
    masked, exact = [], []
    for _ in range(200):
        cells = chance.integers(20, 90, (3, 4))
        cells[1, 2] = chance.integers(1, 11)
        row = cells[1]
        keys = [chance.integers(0, 2**63, n, dtype=np.uint64) * np.uint64(2) for n in row]
        rule = counts.CountRule(11, 5)
        total = counts.masked(int(row.sum()), counts.cell_key(np.concatenate(keys)), rule).value
        shown = [
            counts.masked(int(n), counts.cell_key(k), rule).value for n, k in zip(row, keys, strict=True)
        ]
        assert shown[2] is None
        masked.append(_width(total or 0, [s for s in shown if s is not None], counts.NOISE_BOUND + 2.5))
        exact.append(_width(int(row.sum()), [int(n) for i, n in enumerate(row) if i != 2], 0))
    assert min(masked) > 1
    assert max(exact) == 1


def _width(total: int, others: list[int], error: float) -> int:
    """How many true counts of the hidden cell fit what is shown, each figure off by at most `error`."""
    middle, slack = total - sum(others), error * (len(others) + 1)
    return sum(abs(n - middle) <= slack for n in range(1, 11 + 2 * counts.NOISE_BOUND))


READER = Actor("client:researcher", "client", "researcher", None, frozenset())
AGE: dict[str, Any] = {"table": "person", "column": "age", "level": 3}


def _count(world: World, *conditions: dict[str, Any]) -> Any:
    question = CountQuestion(
        version_id=world.version_id, conditions=tuple(Condition.model_validate(c) for c in conditions)
    )
    return world.gate.count(question, READER)["value"]


@pytest.mark.again
def test_rephrasing_and_repeating_average_nothing_away(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred repeats and four wordings of one question have one answer. Planted: noise drawn anew."""
    bands = {**AGE, "values": ("[40, 60)",)}
    wordings = [
        (bands,),
        ({**AGE, "at_least": 40, "at_most": 60},),
        (bands, bands),
        (bands, {**AGE, "at_most": 60}),
    ]
    assert len({_count(small, bands) for _ in range(100)} | {_count(small, *w) for w in wordings}) == 1
    chance = np.random.default_rng(11)
    monkeypatch.setattr(counts, "cell_key", lambda _: int(chance.integers(0, 2**63)) * 2)
    more = [{**AGE, "at_least": 40, "at_most": 60}, {**AGE, "at_least": 20}, {**AGE, "at_least": 0}]
    noisy = {_count(small, bands, *[one] * n) for one in more for n in range(1, 5)}
    assert len(noisy) > 1


def test_all_but_one_is_refused(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """N, then N-1 after one withdrawal in other words: refused. Planted: the ledger forgets."""
    _count(small)
    small.set_consent(small.keys[2], "clinical", "withdrawn")
    with pytest.raises(Problem, match="count_refused"):
        _count(small, {**AGE, "at_least": 0})
    monkeypatch.setattr(ledger_counts, "too_close", lambda *_: False)
    assert _count(small, {**AGE, "at_least": 0}) is not None
    with small.db.read() as session:
        spoken = list(ledger_counts.people_counted(session, READER.subject, None, [small.version_id]))
    # The earlier answer is history; the new one does not speak of the person who left.
    assert sorted(small.keys[2] in members for members in spoken) == [False, True]


FIFTY = f"""{worlds.VISIT_SQL.split("ORDER BY key")[0]}
UNION ALL SELECT 2, (9000000 + n)::BIGINT, 14, DATE '2021-01-01' + n::INTEGER, 'Z99', 50.0 FROM range(50) r(n)"""


@pytest.mark.parametrize("planted", first(1, [False, True]))
def test_one_person_with_fifty_rows_counts_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """A code that one person has fifty times does not leave. Planted: nothing is rolled up; the verifier stops it."""
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    queries = {"person": worlds.PEOPLE_SQL, "visit": FIFTY, "steps": worlds.STEPS_SQL}
    world = worlds.make(db, tmp_path, queries=queries)
    extract = world.permit()
    if planted:
        monkeypatch.setattr(codes, "_climb", lambda *a: [str(v) for v in a[3]["v"].to_pylist()])
        with pytest.raises(Problem) as refused:
            world.release(extract)
        assert "rare_label" in {found.code for found in refused.value.findings}
    else:
        world.release(extract)
        assert world.rows(extract, "visit", "SELECT count(*) FROM parts WHERE code LIKE 'Z%'") == [(0,)]
    db.dispose()


def test_a_filter_that_shreds_classes_releases_nothing(small: World) -> None:
    """One year of age: the door refuses a filter finer than what leaves."""
    question = {"table": "person", "column": "age", "level": 0, "values": ("33",)}
    with pytest.raises(Problem) as refused:
        _count(small, question)
    assert "filter_too_fine" in {found.code for found in refused.value.findings}
    # Planted: a plan with such a filter got past its checks; nobody can be released under it.
    plan = small.plan.model_copy(update={"filter": (Condition.model_validate(question),)})
    with pytest.raises(Problem):
        small.release(small.permit(plan))


@pytest.mark.again
def test_two_recodings_of_the_same_people_are_told_to_the_steward(
    small: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the dry run says of the meet is what an attacker finds in the bytes, who knows who is who. Planted: a dry
    run that lays the earlier release on itself; the bytes contradict it."""
    one, _ = _released(small, tmp_path / "a")
    privacy = small.plan.privacy.model_copy(update={"k": 30, "method": "global"})
    other = small.plan.model_copy(update={"privacy": privacy})
    told = small.gate.dry_run(other, worlds.PURPOSE, lambda **_: None)["risk"]["intersections"]
    meet = risk.intersect
    with monkeypatch.context() as fault:
        fault.setattr(risk, "intersect", lambda first, _, *more: meet(first, first, *more))
        blind = small.gate.dry_run(other, worlds.PURPOSE, lambda **_: None)["risk"]["intersections"]
    two = small.permit(other)
    small.release(two)
    crowds: Counter[Any] = Counter()
    labels = [dict(_labels(small, extract)) for extract in (one, two)]
    for key in labels[0].keys() & labels[1].keys():
        crowds[labels[0][key], labels[1][key]] += 1
    below = sum(n for n in crowds.values() if n < 30)
    assert told[0]["both"]["below_k_share"] == pytest.approx(below / sum(crowds.values()), abs=1e-6)
    assert told[0]["needs_signature"] == (below > 0)
    assert below > 0
    assert blind[0]["both"]["below_k_share"] != pytest.approx(below / sum(crowds.values()), abs=1e-3)


def _labels(world: World, extract: str) -> Iterator[tuple[int, Any]]:
    key = {name: key for key, name in world.pseudonyms(extract).items()}
    for name, *labels in world.rows(extract, "person", "SELECT pid, age, sex FROM parts"):
        yield key[name], tuple(labels)


# Seen about every thirty days for six years, until the very day of extraction.
EDGE = """SELECT key AS __participant, key * 7 AS pid,
DATE '2025-01-01' - (n * 30 + hash(key + n) % 20)::INTEGER AS day,
1::BIGINT AS count FROM people, range(73) r(n) ORDER BY key, day"""


def _edge(tmp_path: Path, plan: Any = None) -> World:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    queries = {"person": worlds.PEOPLE_SQL, "visit": worlds.VISIT_SQL, "steps": EDGE}
    return worlds.make(db, tmp_path, queries=queries, tables=plan)


def _secrets(world: World, extract: str) -> dict[int, int]:
    """Participant key -> true shift in days."""
    with world.db.read() as session:
        project = session.get_one(Project, session.get_one(Extract, extract).project_id)
        people = session.query(Participant).order_by(Participant.key).all()
    ids = np.frombuffer(b"".join(p.random_id for p in people), dtype=np.uint8).reshape(-1, 16)
    key = world.keyring.unwrap(project.key_wrapped or b"")
    shifts = pseudonyms.shift_days(key, ids, 7 * world.plan.privacy.shift_weeks)
    return {p.key: int(s) for p, s in zip(people, shifts, strict=True)}


def _told(guesses: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(median error, share of variance told) of a guess of the shift, after the best constant is taken off."""
    off = guesses - truth
    told = np.corrcoef(guesses, truth)[0, 1] ** 2 if np.ptp(guesses) else 0.0
    return float(np.median(np.abs(off - np.median(off)))), float(told)


def _edge_attack(world: World, extract: str, day: str) -> dict[str, tuple[float, float]]:
    """What a person's first date, last date and number of rows tell of their shift. `day`: SQL of a day's number."""
    name_of = world.pseudonyms(extract)
    shift = {name_of[key]: days for key, days in _secrets(world, extract).items()}
    query = f"SELECT pid, min({day}), max({day}), count(*) FROM parts GROUP BY pid"
    rows = world.rows(extract, "steps", query)
    truth = np.array([shift[row[0]] for row in rows], dtype=float)
    return {
        name: _told(np.array([row[n] for row in rows], dtype=float), truth)
        for n, name in enumerate(("first", "last", "rows"), 1)
    }


@pytest.mark.parametrize("planted", first(1, [False, True]))
def test_the_cut_off_tells_no_shift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: bool) -> None:
    """People seen from the first day until the cut-off: guessing the shift by a person's first or last date or the
    number of rows errs like a blind guess (91 to 95 days). Planted: no window, then the verifier stops it; and with
    the verifier blinded the attack errs by some nine days."""
    world = _edge(tmp_path)
    extract = world.permit()
    if planted:
        everything = window.Window(date(1900, 1, 1), date(2100, 1, 1))
        held = window.is_inside
        monkeypatch.setattr(window, "is_inside", lambda e, w, r: held(e, everything, r))
        with pytest.raises(Problem) as refused:
            world.release(extract)
        assert "date_outside_window" in {found.code for found in refused.value.findings}
        monkeypatch.setattr(Cells, "_in_window", lambda *_: "true")
    world.release(extract)
    found = _edge_attack(world, extract, "day - DATE '2025-01-01'")
    blind = np.median(np.abs(list(_secrets(world, extract).values())))
    if planted:
        assert found["last"][0] < 10
        assert found["first"][0] < 10
    else:
        # Project keys are random: by chance a run falls below these once in many millions.
        assert all(error > 0.7 * blind and told < 0.1 for error, told in found.values()), (found, blind)
        assert blind > 60


@pytest.mark.parametrize("planted", first(1, [False, True]))
def test_the_last_relative_day_tells_no_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """Day 0 of a person who is seen until the cut-off would be the cut-off less their last day. Planted: no window."""
    tables = [deepcopy(worlds.PLAN_TABLES[0]), deepcopy(worlds.PLAN_TABLES[2])]
    tables[1]["columns"][1] = {"name": "day", "transform": "relative_day"}
    world = _edge(tmp_path, tables)
    extract = world.permit()
    if planted:
        everything, held = window.Window(date(1900, 1, 1), date(2100, 1, 1)), window.is_inside
        monkeypatch.setattr(window, "is_inside", lambda e, w, r: held(e, everything, r))
        with pytest.raises(Problem) as refused:
            world.release(extract)
        assert "date_outside_window" in {found.code for found in refused.value.findings}
        monkeypatch.setattr(Cells, "_longest", lambda _: 10**6)
    world.release(extract)
    with world.db.read() as session:
        manifest: dict[str, Any] = session.get_one(Extract, extract).manifest or {}
        first = next(c["window"][0] for c in manifest["codebook"]["tables"][1]["columns"] if "window" in c)
    last = dict(world.rows(extract, "steps", "SELECT pid, max(day) FROM parts GROUP BY pid"))
    con = duckdb.connect()
    con.execute("CREATE TABLE people AS SELECT unnest(?)::INTEGER AS key", [world.keys])
    truth: dict[int, list[date]] = {}
    for key, day in con.execute(f"SELECT __participant, day FROM ({EDGE}) ORDER BY day").fetchall():
        truth.setdefault(key, []).append(day)
    shift, errors = _secrets(world, extract), []
    for key, name in world.pseudonyms(extract).items():
        if name in last:
            kept = [
                d for d in truth[key] if planted or d + timedelta(shift[key]) >= date.fromisoformat(first)
            ]
            errors.append((date(2025, 1, 1) - timedelta(last[name]) - kept[0]).days)
    error = float(np.median(np.abs(np.array(errors) - np.median(errors))))
    assert error < 10 if planted else error > 75


@pytest.mark.parametrize("planted", first(1, [False, True]))
def test_the_start_of_a_vocabulary_tells_no_shift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """Codes of KCD-8 beside dates, from its first day on: a person's first code, less that day, would be their shift.
    Planted: no start is known; then the attack errs by some nine days."""
    document, tables = deepcopy(worlds.DICTIONARY), deepcopy([worlds.PLAN_TABLES[0], worlds.PLAN_TABLES[2]])
    role = {"kind": "code", "vocabulary": "kcd", "version": "8"}
    document["tables"][2]["fields"][2] = {"name": "code", "role": role}
    tables[1]["columns"][2] = {"name": "code", "transform": "roll_up", "params": {"min_participants": 5}}
    coded = f"SELECT * EXCLUDE (count), CASE WHEN day >= '2021-01-01' THEN 'E11' END AS code FROM ({EDGE})"
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    queries = {"person": worlds.PEOPLE_SQL, "steps": coded}
    world = worlds.make(db, tmp_path, dictionary=document, queries=queries, tables=tables)
    extract = world.permit()
    if planted:
        monkeypatch.setattr(vocabularies, "start_of", lambda _: None)
    world.release(extract)
    shift = _secrets(world, extract)
    secret = {name: shift[key] for key, name in world.pseudonyms(extract).items()}
    query = "SELECT pid, min(day) FILTER (code IS NOT NULL) - DATE '2021-01-01' FROM parts GROUP BY pid"
    rows = world.rows(extract, "steps", query)
    truth = np.array([secret[name] for name, _ in rows], dtype=float)
    error, told = _told(np.array([days for _, days in rows], dtype=float), truth)
    blind = float(np.median(np.abs(truth)))
    assert error < 12 if planted else (error > 0.7 * blind and told < 0.1), (error, told, blind)
    db.dispose()


@pytest.mark.again
def test_edges_of_a_downloaded_extract(small: World, tmp_path: Path) -> None:
    """Every moved date lies in the window of the codebook. Planted: one person's dates a year later; no window told."""
    _, held = _released(small, tmp_path / "a")
    found = attacked(held, tmp_path, "edges")["edges"]
    assert (found.verdict, found.figures["outside"]) == ("held", 0)
    assert set(found.figures["columns"]) == {"visit.day", "steps.day"}
    one = "CASE WHEN pid = (SELECT min(pid) FROM parts) THEN day + 3650 ELSE day END"
    late = doctored(held, "visit", f"SELECT * REPLACE ({one} AS day) FROM parts", tmp_path / "b")
    worse = attacked(late, tmp_path, "edges")["edges"]
    assert (worse.verdict, worse.figures["outside"]) == ("broken", 3)
    untold = deepcopy(dict(held.manifest))
    for table in untold["codebook"]["tables"]:
        for column in table["columns"]:
            column.pop("window", None)
    worse = attacked(Target(held.folder, untold), tmp_path, "edges")["edges"]
    assert (worse.verdict, worse.figures["columns_without_window"]) == ("broken", 2)


@pytest.mark.again
def test_the_command_writes_a_report_and_fails_on_a_broken_extract(
    small: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`baekman attack DIR`: a report in two languages; exit code 1 where an attack succeeds."""
    monkeypatch.setattr(values, "COUNTED", 1000)  # `test_resident_number_dictionary` tries them all
    _, held = _released(small, tmp_path / "a")
    alone = "SELECT * REPLACE (CASE WHEN pid = (SELECT min(pid) FROM parts) THEN '0' ELSE age END AS age) FROM parts"
    bad = doctored(held, "person", alone, tmp_path / "b")
    for target, code in ((held, 0), (bad, 1)):
        (target.folder / "manifest.json").write_text(json.dumps(target.manifest), encoding="utf-8")
        assert CliRunner().invoke(app, ["attack", str(target.folder), "--json"]).exit_code == code
        told = json.loads((target.folder / "attack.json").read_text(encoding="utf-8"))
        assert (told["verdicts"]["broken"] > 0) == bool(code)
        page = (target.folder / "attack.md").read_text(encoding="utf-8")
        assert "준식별자" in page
        assert "Pseudonymised data stay personal data" in page
