"""Local recoding of a million people against a plain group-by: python -m benchmarks anonymity FOLDER --data TABLE.

TABLE is a folder with one table and hierarchies in ARX's format. The million are its rows drawn with replacement,
whole numbers moved by up to five where the hierarchy knows where to: more different rows than the table has.
"""

import argparse
import json
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from app.deid.anonymity.frequency import Frequency
from app.deid.anonymity.local import fit_local
from app.deid.anonymity.loss import loss
from app.deid.hierarchies import Fitted, fit, parse_arx
from app.workbench.drafting import draft
from app.workbench.preparing import Task
from app.workbench.running import run
from benchmarks._figures import alone, figure, in_steps, peak_mb, spent

K, PEOPLE, MOVED, SEED = 11, 1_000_000, 5, 7
TIMES = 5.0  # most of the group-by's CPU


def made(folder: Path, data: Path, people: int) -> dict[str, Any]:
    """`rows.csv` and `rows.parquet` of so many people, beside a draft of their dictionary."""
    folder.mkdir(parents=True)
    (path,) = [p for p in data.glob("*.csv") if "hierarchy" not in p.name]
    table = pa_csv.read_csv(
        path, parse_options=pa_csv.ParseOptions(delimiter=";"),
        convert_options=pa_csv.ConvertOptions(column_types={name: pa.string() for name in _names(path)}),
    )  # fmt: skip
    random = np.random.default_rng(SEED)
    drawn = table.take(pa.array(random.integers(0, table.num_rows, people)))
    for i, name in enumerate(drawn.column_names):
        known = pa.array([row[0] for row in _levels(data, name)])
        if pc.all(pc.match_substring_regex(known, "^[0-9]+$")).as_py():
            moved = pc.add(drawn[name].cast(pa.int64()), pa.array(random.integers(-MOVED, MOVED + 1, people)))
            text = moved.cast(pa.string())
            drawn = drawn.set_column(i, name, pc.if_else(pc.is_in(text, known), text, drawn[name]))
    options = pa_csv.WriteOptions(delimiter=";", quoting_style="none")
    pa_csv.write_csv(drawn, folder / "rows.csv", options)
    draft(folder / "rows.csv", folder / "draft", ";", "utf-8", data, lambda step: None)
    privacy = {"k": K, "reserve": 0, "method": "local", "max_suppression": 0}
    (folder / "privacy.json").write_text(json.dumps(privacy), encoding="utf-8")
    with duckdb.connect() as con:
        con.execute(
            f"COPY (FROM read_csv('{folder}/rows.csv', delim = ';', all_varchar = true)) "
            f"TO '{folder}/rows.parquet' (FORMAT parquet)"
        )
    return {}


def _names(path: Path) -> list[str]:
    return path.open(encoding="utf-8").readline().strip().split(";")


def _levels(data: Path, name: str) -> list[list[str]]:
    found: list[list[str]] = _spec(data, name)["levels"]
    return found


def _spec(data: Path, name: str) -> dict[str, Any]:
    return parse_arx(next(data.glob(f"*hierarchy_{name}.csv")).read_text(encoding="utf-8"))


def _grouped(folder: Path) -> pa.Table:
    """Each different row once, with the people who have it."""
    with duckdb.connect(config={"threads": 2}) as con:
        return con.sql(f"SELECT *, count(*) AS n FROM '{folder}/rows.parquet' GROUP BY ALL").to_arrow_table()


def grouped(folder: Path) -> dict[str, Any]:
    """The plain group-by, in this process."""
    told = spent(partial(_grouped, folder))
    del told["answer"]
    return {**told, "rss_mb": peak_mb()}


def recoded(folder: Path, data: Path) -> dict[str, Any]:
    """The group-by, the frequency table by codes, and the recoding of least loss, in this process."""

    def act() -> tuple[Frequency, list[Fitted], Any]:
        found = _grouped(folder)
        fitted, codes = list[Fitted](), []
        for name in found.column_names[:-1]:
            values = pc.unique(found[name])
            fitted.append(fit(_spec(data, name), values.to_pylist(), name))
            codes.append(pc.index_in(found[name], value_set=values).to_numpy())
        freq = Frequency(np.stack(codes, axis=1).astype(np.int32), found["n"].to_numpy().reshape(-1, 1))
        return freq, fitted, fit_local(freq, fitted, K)

    told = spent(act)
    freq, fitted, recoding = told.pop("answer")
    return {
        **told,
        "rss_mb": peak_mb(),
        "tuples": len(freq.codes),
        "loss": round(loss(recoding, freq, fitted), 5),
    }


def released(folder: Path) -> dict[str, Any]:
    """CSV read and typed, fitted, written, and verified, in this process."""
    task = Task(
        folder / "rows.csv", folder / "draft/dictionary.json", folder / "privacy.json", rows_are_people=True
    )
    told = spent(lambda: run(task, folder / "out", lambda step: None))
    del told["answer"]
    return {**told, "rss_mb": peak_mb()}


def measure(folder: Path, data: Path, people: int, runs: int) -> list[dict[str, Any]]:
    """Group-by and recoding in turns, each in a process of its own, and one whole release; medians."""
    step = partial(alone, "anonymity", folder, "--data", data)
    step("--step", "make", "--people", people)
    bare, ours = list[dict[str, Any]](), list[dict[str, Any]]()
    for turn in range(runs):
        bare.append(step("--step", "group"))
        ours.append(step("--step", "recode"))
        sys.stderr.write(f"\r{turn + 1} of {runs}")
    base = statistics.median(one["cpu_s"] for one in bare)
    cpu, whole = statistics.median(one["cpu_s"] for one in ours), step("--step", "release")
    key = f"anonymity_{people // 1_000_000}m" if people >= 1_000_000 else f"anonymity_{people // 1000}k"
    return [
        figure(
            key, cpu, "cpu_s", baseline=base, goal=TIMES, rows=people, cpu_s=cpu,
            rss_mb=max(one["rss_mb"] for one in ours), wall_s=statistics.median(one["wall_s"] for one in ours),
            tuples=ours[0]["tuples"], loss=ours[0]["loss"], runs=runs,
        ),
        figure(
            f"{key}_release", whole["cpu_s"], "cpu_s", baseline=base, rows=people, cpu_s=whole["cpu_s"],
            rss_mb=whole["rss_mb"], wall_s=whole["wall_s"],
        ),
    ]  # fmt: skip


def main() -> None:
    """Make the data, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--data", type=Path, required=True, help="a table and hierarchies in ARX's format")
    asked.add_argument("--people", type=int, default=PEOPLE)
    asked.add_argument("--runs", type=int, default=5)
    steps = {
        "make": lambda told: made(told.folder, told.data, told.people),
        "group": lambda told: grouped(told.folder),
        "recode": lambda told: recoded(told.folder, told.data),
        "release": lambda told: released(told.folder),
    }
    in_steps(asked, steps, lambda told: measure(told.folder, told.data, told.people, told.runs))


if __name__ == "__main__":
    main()
