"""De-identify a flat file: labels at k + reserve, rows in the order of fresh pseudonyms, verified before it is kept."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic_core import to_json

from app.deid import fitting, hierarchies, keyed, pseudonyms, released, verify, window
from app.deid.choices import Chosen, chosen
from app.deid.transforms import MISSING_SUFFIX, Rendering
from app.deid.transforms.roll_up import RollUpParams, place
from app.errors import Problem
from app.schemas.plan import digest, plan_hash
from app.workbench import dates
from app.workbench.flat import quoted, text
from app.workbench.preparing import Prepared, Say, Task, prepared

ROWS_PER_PART = 500_000
ROW_GROUP = 122_880
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Made:
    """A verified release in a staging folder, and what the papers are made of."""

    prepared: Prepared
    crosswalk: pa.Table
    parts: list[released.PartFacts]
    paths: list[Path]
    facts: released.Facts
    verdict: verify.VerifierReport


@contextmanager
def made(task: Task, spill: Path, say: Say) -> Iterator[Made]:
    """Prepare, fit, write and verify in `spill`; a Problem where anything is wrong or the verifier refuses."""
    with prepared(task, spill, say) as ready:
        crosswalk, windows = _crosswalk(ready), dates.windows_of(ready)
        say("fitting the labels")
        fit, rolled_up = _fit(ready)
        say("writing")
        paths = _write(ready, windows, spill)
        say("verifying the written bytes")
        people = int(ready.con.execute("SELECT count(*) FROM leaving").fetchall()[0][0])
        verdict = _verify(ready, crosswalk, windows, paths, spill)
        parts = [_part(ready, i, path) for i, path in enumerate(paths)]
        facts = _facts(ready, fit, rolled_up, parts, people, windows, verdict)
        released.must_keep_limits(facts, {"suppressed_share": facts.suppressed_share, "loss": facts.loss})
        yield Made(ready, crosswalk, parts, paths, facts, verdict)


def run(task: Task, out: Path, say: Say) -> dict[str, Any]:
    """Write the release to `out`, a folder that is new or empty: parts, manifest, certificate, plan, dictionary.

    Nothing is left in `out` unless the verifier passed. Returns what the shell shows.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Problem("invalid_request", "The output folder is not empty.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".baekman-", dir=out.parent) as folder:
        spill = Path(folder)
        with made(task, spill, say) as done:
            shelf = spill / "release"
            papers = _papers(done)
            for name, document in papers.items():
                _save(shelf / f"{name}.json", document)
            out.mkdir(exist_ok=True)
            for one in shelf.iterdir():
                one.rename(out / one.name)
            return _summary(done, papers, out)


def _crosswalk(ready: Prepared) -> pa.Table:
    """Fresh random pseudonyms: of this run only, derived from nothing and kept nowhere else; with `walk` in DuckDB."""
    words = np.frombuffer(os.urandom(8 * ready.rows), dtype=">u8")
    order = np.argsort(words, kind="stable")
    if (words[order[1:]] == words[order[:-1]]).any():
        raise Problem("conflict", "Two people drew the same pseudonym; run it again.")
    # Sixteen characters each: an Arrow column of them is the text of all and where each begins.
    starts = np.arange(0, 16 * ready.rows + 1, 16, dtype=np.int64)
    text_of_all = words.tobytes().hex().encode()
    names = pa.LargeStringArray.from_buffers(ready.rows, pa.py_buffer(starts), pa.py_buffer(text_of_all))
    key = os.urandom(pseudonyms.KEY_BYTES)
    shifts = np.zeros(ready.rows, np.int32)
    if dates.moved(ready):
        ids = np.frombuffer(os.urandom(16 * ready.rows), dtype=np.uint8).reshape(-1, 16)
        shifts = pseudonyms.shift_days(key, ids, 7 * ready.plan.privacy.shift_weeks)
    rank = np.empty(ready.rows, np.int64)
    rank[order] = np.arange(ready.rows)
    walk = pa.table(
        {"key": np.arange(ready.rows, dtype=np.int32), "pseudonym": names, "shift_days": shifts, "rank": rank}
    )
    _load(ready.con, "walk", walk)
    keyed.register(ready.con, keyed.record_key(key), keyed.spaces(ready.plan, ready.dictionary))
    return walk.select(["key", "pseudonym"])


def _fit(ready: Prepared) -> tuple[fitting.Fit, dict[str, dict[str, int]]]:
    """The classes; afterwards `leaving` (__participant, class) and `classes` (class, label_<i>) can be joined."""
    con, names = ready.con, [c.name for c in ready.labels]
    keys = ", ".join(quoted(name) for name in names)
    if len(names) < len(con.execute("DESCRIBE tuples").fetchall()) - 1:  # some do not leave as labels
        con.execute(
            f"CREATE OR REPLACE TABLE tuples AS SELECT {keys}, sum(n)::BIGINT AS n FROM tuples GROUP BY {keys}"
        )
    found = con.sql(f"SELECT {keys}, n FROM tuples").to_arrow_table()
    columns, codes = [], []
    for name in names:
        values = pc.unique(found[name])
        columns.append(values.to_pylist())
        codes.append(pc.index_in(found[name], value_set=values).to_numpy())
    fit = fitting.fit(
        ready.dictionary, names, columns, np.stack(codes, axis=1).astype(np.int32),
        found["n"].to_numpy().reshape(-1, 1), (), _histograms(ready, found.num_rows), ready.plan.privacy, None,
    )  # fmt: skip
    _load(con, "of_tuple", pa.table({"t": np.arange(found.num_rows, dtype=np.int64), "class": fit.of_tuple}))
    match = " AND ".join(f"f.{quoted(name)} IS NOT DISTINCT FROM t.{quoted(name)}" for name in names)
    con.execute(
        "CREATE TABLE leaving AS SELECT f.__participant, o.class FROM flat f JOIN (SELECT rowid AS t, * FROM tuples) t "
        f"ON {match} JOIN of_tuple o USING (t) WHERE o.class >= 0"
    )
    ids = sorted(fit.labels)
    labels = {f"label_{i}": pa.array([fit.labels[c][i] for c in ids], pa.string()) for i in range(len(names))}
    _load(con, "classes", pa.table({"class": pa.array(ids, pa.int32()), **labels}))
    return fit, {f"{ready.table.name}.{c.planned.name}": _roll_up(ready, c) for c in _rolled(ready)}


def _histograms(ready: Prepared, size: int) -> dict[str, tuple[list[object], Counts]]:
    found: dict[str, tuple[list[object], Counts]] = {}
    match = " AND ".join(f"f.{quoted(c.name)} IS NOT DISTINCT FROM t.{quoted(c.name)}" for c in ready.labels)
    planned = {c.name for c in ready.plan.table(ready.table.name).columns}
    for column in ready.table.of_role("sensitive"):
        if column.name not in planned:
            continue
        counted = ready.con.sql(
            f"SELECT t.t, f.{quoted(column.name)} AS v, count(*) AS n FROM flat f "
            f"JOIN (SELECT rowid AS t, * FROM tuples) t ON {match} GROUP BY ALL ORDER BY ALL"
        ).to_arrow_table()
        values = pc.unique(counted["v"])
        values = values.take(pc.sort_indices(values))
        table = np.zeros((size, len(values)), dtype=np.int64)
        places = pc.index_in(counted["v"], value_set=values).to_numpy()
        table[counted["t"].to_numpy(), places] = counted["n"].to_numpy()
        found[column.name] = (values.to_pylist(), table)
    return found


def _rolled(ready: Prepared) -> list[Chosen]:
    planned = ready.plan.table(ready.table.name)
    return [c for c in chosen(planned, ready.table) if c.transform.name == "roll_up"]


def _roll_up(ready: Prepared, choice: Chosen) -> dict[str, int]:
    """Make `code_<column>` (v, released) over the people who leave; answers how many codes fared how."""
    params = choice.params
    if not isinstance(params, RollUpParams):
        raise TypeError(choice.transform.name)
    name = quoted(choice.column.name)
    rows = ready.con.sql(
        f"SELECT CAST({name} AS VARCHAR) AS v, list(__participant) AS people FROM flat SEMI JOIN leaving "
        f"USING (__participant) WHERE {name} IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).to_arrow_table()
    people = {row["v"]: set(row["people"]) for row in rows.to_pylist()}
    values = list(people)
    levels: list[dict[str, str]] = [{v: v for v in values}]
    if params.hierarchy is not None and values:
        fitted = hierarchies.fit(ready.dictionary.hierarchies[params.hierarchy], list(values))
        levels += [
            {v: fitted.labels[level][fitted.nodes[i, level]] for i, v in enumerate(values)}
            for level in range(1, fitted.height)
        ]
    placed = place(people, levels, params)
    _load(ready.con, f"code_{choice.column.name}", pa.table(
        {"v": pa.array(values, pa.string()), "released": pa.array([placed[v] for v in values], pa.string())}
    ))  # fmt: skip
    kept = sum(placed[v] == v for v in values)
    dropped = sum(placed[v] is None for v in values)
    return {"kept": kept, "rolled_up": len(values) - kept - dropped, "dropped": dropped}


def _write(ready: Prepared, windows: window.Windows, spill: Path) -> list[Path]:
    planned = chosen(ready.plan.table(ready.table.name), ready.table)
    names = [c.name for c in ready.labels]
    picked, joins = [], []
    for choice in planned:
        raw = f"f.{quoted(choice.planned.name if choice.is_reason else choice.column.name)}"
        if choice.transform.name == "generalise":
            raw = f"l.label_{names.index(choice.column.name)}"
        elif choice.transform.name == "roll_up":
            table = quoted(f"code_{choice.column.name}")
            joins.append(f"LEFT JOIN {table} ON {table}.v = CAST({raw} AS VARCHAR)")
            raw = f"{table}.released"
        rendering = Rendering(
            pseudonym="w.pseudonym", shift_days="w.shift_days", anchor_date=dates.anchor(ready, windows)
        )
        sql = choice.transform.sql(raw, choice.column, choice.params, rendering)
        if sql is not None:
            sql = dates.cell(ready, windows, choice, sql)
            picked.append(f"{sql} AS {quoted(_name(choice))}")
    names = [quoted(_name(choice)) for choice in planned]
    told = ", ".join(f"{Rendering().optional(name)} AS {name}" for name in names)
    people = int(ready.con.execute("SELECT count(*) FROM leaving").fetchall()[0][0])
    parts = min(256, max(1, -(-people // ROWS_PER_PART)))
    folder = spill / "release" / ready.table.name
    folder.mkdir(parents=True)
    paths = []
    for position in range(parts):
        query = (
            f"SELECT {told} FROM (SELECT w.rank AS __rank, {', '.join(picked)} FROM flat f JOIN leaving USING "
            f"(__participant) JOIN walk w ON w.key = f.__participant JOIN classes l USING (class) {' '.join(joins)} "
            f"WHERE w.rank * {parts} // {ready.rows} = {position}) ORDER BY __rank"
        )
        target = folder / "writing"
        ready.con.execute(
            f"COPY ({query}) TO {text(str(target))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )
        with target.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        paths.append(target.rename(folder / f"{sha256}.parquet"))
    return paths


def _name(choice: Chosen) -> str:
    return choice.column.name + MISSING_SUFFIX if choice.is_reason else choice.column.name


def _verify(
    ready: Prepared, crosswalk: pa.Table, windows: window.Windows, paths: list[Path], spill: Path
) -> verify.VerifierReport:
    eligible = pa.table(
        {"table": pa.repeat(ready.table.name, ready.rows), "pseudonym": crosswalk["pseudonym"]}
    )
    expectation = verify.Expectation(
        plan=ready.plan,
        dictionary=ready.dictionary,
        k=ready.plan.privacy.k,
        eligible=eligible,
        people_before=ready.rows,
        windows={place: (one.first, one.last) for place, one in windows.items()},
    )
    verdict = verify.verify(verify.Staged({ready.table.name: paths}), expectation, spill=spill)
    if not verdict.ok:
        raise Problem("verification_failed", "The verifier refused what was written.", list(verdict.refusals))
    return verdict


def _part(ready: Prepared, position: int, path: Path) -> released.PartFacts:
    footer = pq.read_metadata(path)
    schema = [{"name": f.name, "type": str(f.type)} for f in pq.read_schema(path)]
    return released.PartFacts(
        ready.table.name, position, path.name, path.stem, footer.num_rows, path.stat().st_size, schema
    )


def _facts(
    ready: Prepared, fit: fitting.Fit, rolled_up: dict[str, dict[str, int]], parts: list[released.PartFacts],
    people: int, windows: window.Windows, verdict: verify.VerifierReport,
) -> released.Facts:  # fmt: skip
    n, table = ready.rows, ready.table.name
    return released.Facts(
        plan=ready.plan, dictionary=ready.dictionary,
        attrition={"registered": n, "consented": n, "filtered": n, "suppressed": n - people, "released": people},
        rows_in={table: n}, people={table: people}, parts=parts, classes=fit.classes, smallest=fit.smallest,
        loss=fit.loss, column_losses=fit.column_losses, labels=[list(fit.labels[c]) for c in sorted(fit.labels)],
        quasi_identifiers=[c.name for c in ready.labels], rolled_up=rolled_up, k_reached=verdict.k_reached,
        max_risk=verdict.max_risk, epoch=0, windows=windows, engine=f"duckdb {duckdb.__version__}",
    )  # fmt: skip


def _papers(done: Made) -> dict[str, Any]:
    ready, facts = done.prepared, done.facts
    hashed = plan_hash(ready.plan)
    paper = released.certificate(facts, hashed, digest(facts.outcome))
    paper["people_are"] = "rows" if ready.rows_are_people else "ids"
    paper["consent"] = {
        "ko": "이 도구는 동의 여부를 확인하지 않습니다.", "en": "This tool does not check consent.",
    }  # fmt: skip
    return {
        "plan": ready.plan.model_dump(mode="json"),
        "dictionary": ready.dictionary.model_dump(mode="json"),
        "manifest": released.manifest(facts, "workbench", 1, hashed, "workbench"),
        "certificate": paper,
    }


def _summary(done: Made, papers: dict[str, Any], out: Path) -> dict[str, Any]:
    facts = done.facts
    return {
        "out": str(out), "k_reached": facts.k_reached, "classes": facts.classes,
        "people": dict(facts.attrition), "suppressed_share": round(facts.suppressed_share, 6),
        "loss": round(facts.loss, 6), "column_losses": dict(facts.column_losses),
        "plan_hash": papers["certificate"]["plan_hash"], "outcome_hash": papers["certificate"]["outcome_hash"],
        "parts": [p.name for p in done.parts], "verified": done.verdict.ok,
    }  # fmt: skip


def _save(path: Path, document: Any) -> None:
    path.write_bytes(to_json(document, indent=1) + b"\n")


def _load(con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    con.register("loading", table)
    con.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS FROM loading")
    con.unregister("loading")
