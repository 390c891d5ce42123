"""What tests with a Spark share: its Java, the same gate over either engine, one plan built by both and compared."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from app.db import Database
from app.deid import keyed
from app.engines import Limits, engine
from app.engines.spark.opening import end_java
from app.gate import Gate
from app.gate.building import Staged, build, spill_folder
from app.schemas.plan import Plan
from tests import world as worlds

SECRET = random.Random(3).randbytes(32)
LIMITS = Limits("1GB", 2, 300, spark_memory="768m")


def has_java() -> bool:
    """Whether a Java is on the path or where JAVA_HOME says."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin" if home else None) is not None


@contextmanager
def a_java() -> Iterator[None]:
    """Each Java that is started meanwhile is tuned for a short life: its first compiler only, no whole look for garbage
    while classes come in, and what Spark's own files hold is believed. That of this process ends."""
    if not has_java():
        if os.environ.get("CI"):
            pytest.fail("Spark needs a Java, and in CI there must be one")
        pytest.skip("no Java is here")
    before = os.environ.get("JDK_JAVA_OPTIONS")
    os.environ["JDK_JAVA_OPTIONS"] = (
        "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -XX:MetaspaceSize=256m"
        " -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
    )
    try:
        yield
    finally:
        if before is None:
            del os.environ["JDK_JAVA_OPTIONS"]
        else:
            os.environ["JDK_JAVA_OPTIONS"] = before
        end_java()


@contextmanager
def on(gate: Gate, name: str, limits: Limits = LIMITS) -> Iterator[Gate]:
    """The same gate over another engine."""
    own = gate.engine.limits  # type: ignore[attr-defined]
    chosen = replace(limits, rows_per_part=own.rows_per_part)
    yield replace(gate, engine=engine(name, chosen, gate.engine.vault))  # type: ignore[attr-defined]


def built(gate: Gate, plan: Plan, look: Callable[[Staged], Any], key: bytes = SECRET) -> Any:
    with spill_folder(gate.settings.var) as spill:
        return look(build(gate, plan, worlds.PURPOSE, (None, key), None, spill, lambda **_: None))


def told_of(staged: Staged, plan: Plan) -> dict[str, Any]:
    """Everything that a release says of itself, and its parts: equal digests are equal rows in the same order."""
    kept = staged.kept.tables if staged.kept else {}
    return {
        "parts": {(p.table, p.position): (p.rows, p.sha256) for p in staged.parts},
        "people": staged.people, "members": staged.members.tolist(), "counts": staged.part_counts,
        "codes": staged.rolled_up, "windows": staged.windows, "outside": staged.outside, "rows in": staged.rows_in,
        "kept": {name: sorted(table.to_pylist(), key=str) for name, table in kept.items()},
        "names": names_in(staged, plan), "engine": staged.made_by,
    }  # fmt: skip


def must_be_equal(gate: Gate, plan: Plan, *tables: str, limits: Limits = LIMITS) -> dict[str, Any]:
    """Both engines build the plan: the same rows in the same order, the same bytes, and the same said of them. Spark
    is chosen by size, and is where the limits say."""
    ours = built(gate, plan, lambda staged: told_of(staged, plan))
    with on(gate, "by_size", replace(limits, spark_from=1)) as other:
        theirs = built(other, plan, lambda staged: told_of(staged, plan))
    assert ours.pop("engine").startswith("duckdb")
    assert theirs.pop("engine").startswith("spark 4.")
    for what, found in ours.items():
        assert theirs[what] == found, what
    assert {table for table, _ in ours["parts"]} == set(tables)
    assert all(rows for rows, _ in ours["parts"].values())
    told: dict[str, Any] = ours
    return told


def names_in(staged: Staged, plan: Plan) -> set[str]:
    """The pseudonyms of a build, of all people."""
    people = staged.dictionary.people.name
    parts = [str(part.path) for part in staged.parts if part.table == people]
    column = next(c.name for c in plan.table(people).columns if c.transform == "pseudonymise")
    return {name for (name,) in duckdb.read_parquet(parts).project(f'"{column}"').distinct().fetchall()}


def must_not_be_in(shown: str, key: bytes, names: set[str]) -> None:
    """What somebody may see holds no key, nor what is made of it, and no pseudonym."""
    secret = keyed.record_key(key)
    secrets = [key, secret, keyed.space_key(secret, "record:visit")]
    assert not any(part in shown for one in secrets for part in (one.hex()[:24], one.hex().upper()[:24]))
    assert names
    assert not any(name in shown for name in names)


LAB: dict[str, Any] = {
    "name": "lab_test", "kind": "event", "participant_via": "visit.vid",
    "fields": [
        {"name": "vid", "type": "integer", "role": {"kind": "record_id", "of": "visit"}},
        {"name": "값 (mg/dL)", "type": "number", "role": {"kind": "number", "round": 0.5},
         "missing": {"-1": "refused"}},
        {"name": "site", "role": {"kind": "attribute"}},
    ],
}  # fmt: skip
LAB_PLAN: dict[str, Any] = {
    "name": "lab_test", "max_rows_per_person": 2,
    "columns": [
        {"name": "vid", "transform": "keyed_id", "params": {"space": "record:visit"}},
        {"name": "값 (mg/dL)", "transform": "round_number", "params": {"to": 0.5}},
        {"name": "값 (mg/dL)__missing", "transform": "label_missing"},
        {"name": "site", "transform": "keep"},
    ],
}  # fmt: skip
LAB_SQL = """
SELECT __participant, vid, CASE WHEN vid % 7 > 0 THEN (vid % 97) / 8.0 END AS "값 (mg/dL)",
       CASE WHEN vid % 7 = 0 THEN 'refused' END AS "값 (mg/dL)__missing", '서울\\''s "가"' AS site
FROM ({visits})
"""


@contextmanager
def lab_world(folder: Path) -> Iterator[worlds.World]:
    """Longitudinal tables with moved dates, one of them by way of another, with names that have to be quoted."""
    db = Database(f"sqlite:///{folder / 'baekman.db'}")
    yield worlds.make(
        db, folder, 200,
        dictionary={**worlds.DICTIONARY, "tables": [*worlds.DICTIONARY["tables"], LAB]},
        tables=[*worlds.PLAN_TABLES, LAB_PLAN],
        queries={
            "person": worlds.PEOPLE_SQL, "visit": worlds.VISIT_SQL, "steps": worlds.STEPS_SQL,
            "lab_test": LAB_SQL.format(visits=worlds.VISIT_SQL),
        },
    )  # fmt: skip
    db.dispose()
