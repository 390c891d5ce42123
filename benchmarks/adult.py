"""Loss and CPU seconds of our local and global recoding on UCI Adult, as JSON: python -m benchmarks.adult FOLDER."""

import csv
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from app.deid.anonymity.frequency import Frequency
from app.deid.anonymity.global_lattice import fit_global
from app.deid.anonymity.local import fit_local
from app.deid.anonymity.loss import loss, summary
from app.deid.anonymity.recoding import AnyRecoding
from app.deid.hierarchies import Fitted, fit, parse_arx


def load(folder: Path) -> tuple[list[Fitted], Frequency]:
    """Adult's frequency table without rows that hold '?'; expects adult.csv and adult_hierarchy_<column>.csv."""
    with (folder / "adult.csv").open(encoding="utf-8") as file:
        names, *rows = csv.reader(file, delimiter=";")
    columns = list(zip(*(row for row in rows if "?" not in row), strict=True))
    fitted, codes = [], []
    for name, column in zip(names, columns, strict=True):
        values, code = np.unique(np.array(column), return_inverse=True)
        spec = parse_arx((folder / f"adult_hierarchy_{name}.csv").read_text(encoding="utf-8"))
        fitted.append(fit(spec, values.tolist(), name))
        codes.append(code.astype(np.int32))
    tuples, people = np.unique(np.stack(codes, axis=1), axis=0, return_counts=True)
    return fitted, Frequency(tuples, people[:, None].astype(np.int64))


def measure(
    fitted: list[Fitted], freq: Frequency, run: Callable[..., AnyRecoding], *asked: Any
) -> dict[str, Any]:
    """The loss, the CPU seconds (best of three) and the classes of one way to recode."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        recoding = run(freq, fitted, *asked)
        seconds.append(time.process_time() - started)
    figures = summary(recoding.assign(freq.codes, fitted), freq.counts)
    return {"loss": round(loss(recoding, freq, fitted), 5), "cpu_s": round(min(seconds), 3), **figures}


def main(folder: Path) -> None:
    """Print the figures for k = 5, 11, 50."""
    fitted, freq = load(folder)
    report: dict[str, Any] = {"people": int(freq.counts.sum()), "tuples": len(freq.codes)}
    for k in (5, 11, 50):
        report[f"local k={k}"] = measure(fitted, freq, fit_local, k)
        report[f"global k={k} 5%"] = measure(fitted, freq, fit_global, k, 0.05)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
