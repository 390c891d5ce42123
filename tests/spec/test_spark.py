"""Spark gives the rows that DuckDB gives: of every transform, of whole extracts; and tells no more of them to anybody.

All tests with a Spark of their own process are in this file: workers take whole modules, so that a run of the tests
starts one such Java at most. They are skipped where no Java is, and only there; in CI, where there must be one, they
fail. A cluster and Spark Connect: `test_spark_elsewhere.py`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.db import Database
from app.deid import keyed
from app.deid.plan import draft
from app.deid.roles import stored
from app.deid.transforms import Rendering, transforms
from app.deid.transforms.contract import STORED
from app.deid.transforms.shift_date import PLACEHOLDERS
from app.demo import sample, story
from app.engines.spark import opening
from app.engines.spark.dialect import SparkRendering
from app.engines.spark.opening import opened
from app.engines.spark.session import Session, SparkFailed
from app.errors import Problem
from app.models import Extract
from app.schemas.dictionary import Column, Dictionary, Table
from app.schemas.plan import Condition, Plan, Privacy
from tests import united
from tests import world as worlds
from tests.amounts import tries
from tests.generative.test_reissue import EVERYTHING, Shape, changed_world
from tests.sparked import LIMITS, SECRET, a_java, built, lab_world, must_be_equal, must_not_be_in, on
from tests.spec.test_transforms import CASES, KEY, PSEUDONYM, Case


@pytest.fixture(scope="module", autouse=True)
def java() -> Iterator[None]:
    """One Java for all tests of this file."""
    with a_java():
        yield


# ---- every transform -------------------------------------------------------------------------------------------------


SPACES = {c.params["space"] for cases in CASES.values() for c in cases if "space" in c.params} | {
    "record:it's"
}


def _kind(name: str, case: Case) -> str:
    kinds = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
    read_as_text = name in ("generalise", "roll_up", "label_missing")
    return "VARCHAR" if read_as_text else {**kinds, "date": "DATE", "datetime": "TIMESTAMP"}[case.type]


KNOWN = [(name, case) for name, listed in CASES.items() for case in listed]
# The long SQL of numbers takes Java longest to read: of these, `make test` asks so many cases, CI the others too.
SOME = {"band": 2, "round_number": 3}
LATER = {
    n
    for n, (name, case) in enumerate(KNOWN)
    if name in SOME and not any(case is one for one in CASES[name][: SOME[name]])
}


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with _answered([n for n in range(len(KNOWN)) if n not in LATER], tmp_path_factory.mktemp("cases")) as con:
        yield con


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with _answered(sorted(LATER), tmp_path_factory.mktemp("others")) as con:
        yield con


@contextmanager
def _answered(numbers: Sequence[int], folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """What Spark makes of these cases: the column `c<n>` of `out` for the n-th of `KNOWN`. One query for all."""
    con = duckdb.connect()
    known = {n: KNOWN[n] for n in numbers}
    most = max(len(case.values) for _, case in known.values())
    con.execute(f"CREATE TABLE rows AS SELECT range::INTEGER AS i FROM range({most})")
    asked = []
    for n, (name, case) in known.items():
        kind = _kind(name, case)
        con.execute(f"ALTER TABLE rows ADD COLUMN v{n} {kind}")
        con.execute(f"ALTER TABLE rows ADD COLUMN a{n} DATE")
        con.execute(f"UPDATE rows SET a{n} = ?", [case.anchor])
        for i, (value, _) in enumerate(case.values):
            text = str(value) if kind == "VARCHAR" and value is not None else value
            con.execute(f"UPDATE rows SET v{n} = ? WHERE i = ?", [text, i])
        transform = transforms()[name]
        r = SparkRendering(
            pseudonym=f"'{PSEUDONYM}'", shift_days=f"CAST({case.shift} AS INTEGER)", anchor_date=f"rows.a{n}"
        )
        params = transform.Params.model_validate(case.params)
        asked.append(f"{transform.sql(f'rows.v{n}', case.column(), params, r)} AS c{n}")
    with opened(LIMITS, folder) as session:
        session.lay("rows", con, "FROM rows")
        session.lay_table("secrets", keyed.secrets(keyed.record_key(KEY), SPACES))
        session.fetch(f"SELECT i, {', '.join(asked)} FROM rows", con, "out")
    yield con
    con.close()


NAMES = {n: f"{name}-{n}" for n, (name, _) in enumerate(KNOWN)}


@pytest.mark.parametrize("number", [pytest.param(n, id=NAMES[n]) for n in NAMES if n not in LATER])
def test_values_leave_as_the_table_says(telling: duckdb.DuckDBPyConnection, number: int) -> None:
    _must_be_as_said(telling, number)


@pytest.mark.again
@pytest.mark.parametrize("number", [pytest.param(n, id=NAMES[n]) for n in sorted(LATER)])
def test_other_values_leave_as_the_table_says(others: duckdb.DuckDBPyConnection, number: int) -> None:
    _must_be_as_said(others, number)


def _must_be_as_said(answers: duckdb.DuckDBPyConnection, number: int) -> None:
    name, case = KNOWN[number]
    transform = transforms()[name]
    found = answers.sql(f"SELECT c{number} FROM out ORDER BY i LIMIT {len(case.values)}")
    assert [row[0] for row in found.fetchall()] == [after for _, after in case.values]
    params = transform.Params.model_validate(case.params)
    assert str(found.types[0]) == transform.released(case.column(), params).sql


DATES = st.dates(date(1849, 12, 1), date(2100, 2, 1)) | st.sampled_from(
    [date(2020, 2, 29), date(2000, 2, 29), date(9999, 12, 31), *map(date.fromisoformat, PLACEHOLDERS)]
)
NUMBERS = (
    st.floats()
    | st.integers(-10_000, 10_000).map(lambda n: n / 10)
    | st.sampled_from([0.25, 2.5, -2.5, -0.0, 1e300])
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["", "서울 O'Neil", "a\\b", "\\u0041", "${x}", '"', "名前", "😀", "'; --", "refused"]
)
ROWS = st.fixed_dictionaries({
    "s": st.none() | TEXTS,
    "n": st.none() | st.integers(-(2**62), 2**62) | st.integers(-100, 100),
    "d": st.none() | NUMBERS,
    "k": st.none() | st.integers(-(10**9), 10**9).map(lambda n: n / 10_000) | st.just(float("nan")),
    "day": st.none() | DATES,
    "moment": st.none() | st.datetimes(datetime.fromisoformat("1850-01-02"), datetime.fromisoformat("2099-12-30")),
    "flag": st.none() | st.booleans(),
    "shift": st.integers(-100, 100).map(lambda n: 7 * n),
    "anchor": st.none() | st.dates(date(1900, 1, 1), date(2090, 1, 1)),
})  # fmt: skip
KINDS = {
    "s": "string",
    "n": "integer",
    "d": "number",
    "k": "number",
    "day": "date",
    "moment": "datetime",
    "flag": "boolean",
}
SQL_KINDS = {
    "s": "VARCHAR", "n": "BIGINT", "d": "DOUBLE", "k": "DOUBLE", "day": "DATE", "moment": "TIMESTAMP",
    "flag": "BOOLEAN", "shift": "INTEGER", "anchor": "DATE",
}  # fmt: skip
ASKED: list[tuple[str, str, dict[str, Any]]] = [
    *(("keep", column, {}) for column in ("s", "n", "d", "flag")),
    ("pseudonymise", "s", {}),
    *(("keyed_id", column, {"space": "record:it's"}) for column in ("s", "n", "k")),
    *((name, column, {}) for name in ("shift_date", "relative_day") for column in ("day", "moment")),
    *(("truncate_date", column, {"to": to}) for column in ("day", "moment") for to in ("year", "month")),
    *(("band", column, {"width": 5, "low": -50, "high": 90}) for column in ("n", "d")),
    ("band", "d", {"width": 0.1, "low": -10.5, "high": 0}),
    ("clamp", "n", {"bottom": -10, "top": 90}),
    ("clamp", "d", {"bottom": -10.5, "top": 2.5}),
    *(("round_number", "d", {"to": to}) for to in (0.1, 1, 2.5, 1e-6, 1e6)),
    ("round_number", "n", {"to": 20, "bottom": -100, "top": 90}),
    ("round_number", "n", {"to": 5}),
    *((name, "s", {}) for name in ("generalise", "label_missing")),
    ("roll_up", "s", {"min_participants": 2}),
]


def _released(r: Rendering) -> str:
    found = []
    for n, (name, column, params) in enumerate(ASKED):
        role = {"kind": min(transforms()[name].roles)}
        if role["kind"] == "code":
            role |= {"vocabulary": "KCD", "version": "8"}
        reasons = {"9": "refused", "8": "unknown"} if name == "label_missing" else {}
        described = Column.model_validate(
            {"name": column, "type": KINDS[column], "role": role, "missing": reasons}
        )
        transform = transforms()[name]
        sql = transform.sql(f"rows.{column}", described, transform.Params.model_validate(params), r)
        found.append(f"{sql} AS c{n}")
    return f"SELECT i, {', '.join(found)} FROM rows"


def test_the_generated_rows_go_through_every_transform() -> None:
    assert {name for name, _, _ in ASKED} == set(CASES) - {"drop"}


@pytest.mark.again
def test_whatever_the_rows_both_engines_release_the_same(tmp_path: Path) -> None:
    person: dict[str, Any] = {
        "pseudonym": f"'{PSEUDONYM}'",
        "shift_days": "rows.shift",
        "anchor_date": "rows.anchor",
    }
    con = duckdb.connect()
    keyed.register(con, keyed.record_key(KEY), SPACES)
    with opened(LIMITS, tmp_path) as session:
        session.lay_table("secrets", keyed.secrets(keyed.record_key(KEY), SPACES))

        # Not made smaller where they differ: each try is a query of its own.
        @settings(max_examples=tries(1, 40), suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        @given(st.lists(ROWS, min_size=40, max_size=60))
        def equal(rows: list[dict[str, Any]]) -> None:
            _fill(con, rows)
            con.execute(f"CREATE OR REPLACE TABLE ours AS {_released(Rendering(**person))}")
            session.lay("rows", con, "FROM rows")
            session.fetch(_released(SparkRendering(**person)), con, "theirs")
            for one, other in (("ours", "theirs"), ("theirs", "ours")):
                differ = con.sql(f"FROM {one} EXCEPT ALL FROM {other}").fetchall()
                assert not differ, _difference(con, differ[0][0])

        equal()
    con.close()


def _difference(con: duckdb.DuckDBPyConnection, i: int) -> list[Any]:
    """What one made-up row leaves as on each engine, where that differs."""
    ours, theirs, row = (
        con.execute(f"FROM {of} WHERE i = {i}").fetchall()[0] for of in ("ours", "theirs", "rows")
    )
    return [
        row,
        *((ASKED[n], a, b) for n, (a, b) in enumerate(zip(ours[1:], theirs[1:], strict=True)) if a != b),
    ]


def _fill(con: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> None:
    columns = ", ".join(f"{name} {kind}" for name, kind in SQL_KINDS.items())
    con.execute(f"CREATE OR REPLACE TABLE rows (i INTEGER, {columns})")
    con.executemany(
        f"INSERT INTO rows VALUES (?{', ?' * len(SQL_KINDS)})",
        [[i, *(row[name] for name in SQL_KINDS)] for i, row in enumerate(rows)],
    )


def test_an_id_that_spark_cannot_write_is_refused_and_its_value_is_not_told(tmp_path: Path) -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE rows AS SELECT 0.123456789::DOUBLE AS x, '김백만' AS s")
    with opened(LIMITS, tmp_path) as session:
        session.lay("rows", con, "FROM rows")
        with pytest.raises(Problem) as refused:
            session.ask(f"SELECT {SparkRendering().id_text('x', 'number')} AS id FROM rows")
        with pytest.raises(SparkFailed) as failed:
            session.ask("SELECT CAST(s AS INTEGER) AS n FROM rows")
    assert refused.value.code == "engine_cannot"
    assert "0.123" not in str(refused.value)
    assert "김백만" not in str(failed.value)
    con.close()


# ---- whole extracts --------------------------------------------------------------------------------------------------


@pytest.mark.again
def test_families_links_codes_filters_caps_and_relative_days_come_out_alike() -> None:
    """Codes that climb, people who are left out, rows that are capped, in a table each; and all at once."""
    shape = Shape(7, EVERYTHING, families=True, sensitive=True, relative=True, filtered=True, cap=2)
    with changed_world(shape) as world:
        filtered = Condition(
            table="person", column="age", level=3, values=("[0, 20)", "[20, 40)", "[40, 60)")
        )
        plan = Plan.model_validate(world.plan.model_copy(update={"filter": (filtered,)}).model_dump())
        told = must_be_equal(world.gate, plan, "person", "visit", "steps", "kin")
    assert any(codes["rolled_up"] and codes["dropped"] for codes in told["codes"].values())
    assert len(told["parts"]) > 10


@pytest.mark.long
def test_linked_people_of_two_institutions_come_out_alike(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    two = united.make(db, tmp_path)
    plan = two.plan(linkage=True)
    must_be_equal(two.gate, plan, *(table.name for table in plan.tables))
    db.dispose()


def test_the_whole_extract_of_the_demo_comes_out_alike_and_spark_tells_nobody_a_key_or_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its people, tables, dictionary, request and filter: seven tables of 2,694 people and their vocabulary."""
    seen = watched(monkeypatch)
    made = sample.export(tmp_path / "export")
    document = sample.dictionary(made)
    dictionary = Dictionary.model_validate(document)
    queries = {table.name: _checked(made, table) for table in dictionary.tables if table.name in story.WANTED}
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    born = Condition(table="person", column="YEAR_OF_BIRTH", level=4, values=story.BORN)
    privacy = Privacy(k=story.K)
    plan = draft(dictionary, story.WANTED, (born,), privacy, "version")
    world = worlds.make(
        db, tmp_path, len(made.people), rows_per_part=12_000, dictionary=document, queries=queries,
        tables=[table.model_dump(mode="json") for table in plan.tables], privacy=privacy.model_dump(mode="json"),
    )  # fmt: skip
    plan = Plan.model_validate(world.plan.model_copy(update={"filter": (born,)}).model_dump())
    told = must_be_equal(world.gate, plan, *story.WANTED)
    assert told["rows in"]["drug_exposure"] == 67_707
    assert len(told["parts"]) > len(story.WANTED)
    must_tell_nothing(seen, SECRET, told["names"])
    said = capfd.readouterr()
    assert not any(name in said.out + said.err for name in told["names"])
    db.dispose()


def _checked(made: sample.Sample, table: Table) -> str:
    """A table as ingestion would keep it: stored columns in their types, the person as a number."""
    path = made.path(table.name)
    source = (
        f"read_parquet('{path}')" if path.suffix == ".parquet" else f"read_csv('{path}', all_varchar = true)"
    )
    columns = [f'TRY_CAST("{c.name}" AS {STORED[c.type][0]}) AS "{c.name}"' for c in stored(table)]
    if table.kind == "reference":
        return f"SELECT {', '.join(columns)} FROM {source}"
    keys = "unnest((SELECT list(key ORDER BY key) FROM people)) AS key"
    people = f"(SELECT unnest({list(made.people)}) AS source, {keys})"
    return (
        f"SELECT p.key AS __participant, {', '.join(columns)} FROM {source} JOIN {people} p "
        "ON p.source = TRY_CAST(PERSON_ID AS BIGINT) ORDER BY p.key"
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[worlds.World]:
    with lab_world(tmp_path_factory.mktemp("spark")) as made:
        yield made


@pytest.mark.again
def test_an_extract_built_on_spark_is_delivered_and_goes_on_when_somebody_leaves(
    world: worlds.World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Verified, recorded, published, to the bytes that DuckDB gives; then reissued in its changed parts alone."""
    plan = world.plan.model_copy(
        update={"tables": world.plan.tables[:3]}
    )  # of all, nothing is kept for the next
    extract, seen = world.permit(plan), watched(monkeypatch)
    with on(world.gate, "spark") as gate:
        gate.release(extract, lambda **_: None)
        first = _papers(world, extract)
        assert first["certificate"]["engine"] == first["manifest"]["engine"]
        assert first["manifest"]["engine"].startswith("spark 4.")
        key = world.keyring.unwrap(world.key_of(extract))
        ours = built(world.gate, plan, lambda staged: {p.sha256 for p in staged.parts}, key)
        assert {part["sha256"] for table in first["manifest"]["tables"] for part in table["parts"]} == ours
        names = set(world.pseudonyms(extract).values())
        must_tell_nothing(seen, key, names)
        assert not [*(world.var / "spill").iterdir()]
        world.set_consent(world.keys[1], "clinical", "withdrawn")
        said: dict[str, Any] = {}
        gate.release(extract, lambda **told: said.update(told))
    assert said["way"] == "changed_parts"
    second = _papers(world, extract)
    assert second["manifest"]["engine"].startswith("duckdb")
    assert set(_names(first["manifest"])) & set(_names(second["manifest"]))
    assert world.rows(extract, "visit", "SELECT count(DISTINCT pid) FROM parts") == [(189,)]
    said_aloud = capfd.readouterr()
    assert not any(name in said_aloud.out + said_aloud.err for name in names)


@pytest.mark.long
def test_a_build_on_spark_of_changed_people_has_the_bytes_of_duckdbs(world: worlds.World) -> None:
    must_be_equal(world.gate, world.plan, "person", "visit", "steps", "lab_test")


def watched(monkeypatch: pytest.MonkeyPatch) -> list[_Watched]:
    """The sessions that will be opened, each of which keeps what it shows."""
    seen: list[_Watched] = []

    def keeping(*given: Any) -> _Watched:
        seen.append(_Watched(*given))
        return seen[-1]

    monkeypatch.setattr(opening, "Session", keeping)
    return seen


def must_tell_nothing(seen: list[_Watched], key: bytes, names: set[str]) -> None:
    """The one session listened on this machine alone, and no plan or query of it tells a key or a name."""
    (session,) = seen
    assert len(session.plans) >= len(session.asked) > 5
    whole = [plan for plan in session.plans if "== Optimized Logical Plan ==" in plan]
    assert sum("cross_" in plan for plan in whole) > 2
    must_not_be_in("\n".join([*session.asked, *session.plans]), key, names)
    assert set(session.addresses) == {"127.0.0.1"}


class _Watched(Session):
    """A session that keeps what it would show to whoever watches it: the queries, the plans of all that was executed as
    Spark tells its user interface and its event log (in all their forms), and where it listens."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.plans: list[str] = []
        self._spark.conf.set("spark.sql.ui.explainMode", "extended")
        self.addresses = _listening(self._spark.sparkContext._gateway.proc.pid)  # type: ignore[union-attr]

    def end(self) -> None:
        java: Any = self._spark
        java.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
        told = java._jsparkSession.sharedState().statusStore().executionsList()
        self.plans = [told.apply(n).physicalPlanDescription() for n in range(told.size())]
        super().end()


def _listening(pid: int) -> list[str]:
    """The addresses on which a process and its children listen."""
    pids = {
        pid,
        *(
            int(p)
            for p in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
        ),
    }
    sockets = set()
    for one in pids:
        with suppress(FileNotFoundError):  # a child that has ended
            for link in Path(f"/proc/{one}/fd").iterdir():
                sockets.add(_opened(link).removeprefix("socket:[").removesuffix("]"))
    found = []
    for line in [
        *Path("/proc/net/tcp").read_text().splitlines(),
        *Path("/proc/net/tcp6").read_text().splitlines(),
    ]:
        parts = line.split()
        if len(parts) > 9 and parts[3] == "0A" and parts[9] in sockets:
            word = parts[1].split(":")[0][-8:]
            found.append(".".join(str(int(word[i : i + 2], 16)) for i in (6, 4, 2, 0)))
    return found


def _opened(link: Path) -> str:
    """What a file descriptor stands for; nothing where it was closed meanwhile."""
    with suppress(OSError):
        return os.readlink(link)
    return ""


def _papers(world: worlds.World, extract: str) -> dict[str, Any]:
    with world.db.read() as session:
        row = session.get_one(Extract, extract)
        return {"manifest": row.manifest or {}, "certificate": row.certificate or {}}


def _names(manifest: dict[str, Any]) -> Sequence[str]:
    return [part["name"] for table in manifest["tables"] for part in table["parts"]]


def test_by_size_the_small_stays_with_duckdb(world: worlds.World) -> None:
    with on(world.gate, "by_size") as gate:
        assert built(gate, world.plan, lambda staged: staged.made_by).startswith("duckdb")


def test_a_spark_that_does_not_start_is_a_clear_refusal(world: worlds.World) -> None:
    with on(world.gate, "spark", replace(LIMITS, spark="nowhere")) as gate, pytest.raises(Problem) as refused:
        built(gate, world.plan, lambda _: None)
    assert refused.value.code == "engine_unavailable"
    assert not [*(world.var / "spill").iterdir()]
