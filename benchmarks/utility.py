"""How far a release moves ten analyses, and whom three events tell apart: python -m benchmarks utility FOLDER."""

import argparse
import shutil
from pathlib import Path
from typing import Any

from benchmarks._figures import figure, said
from benchmarks._service import SCENES, told

K = 11  # the least that the platform allows: stricter than the 5 that the goals were written for
MOST_ERROR, LEAST_OVERLAP, MOST_UNIQUE = 0.05, 0.9, 0.05


def measure(folder: Path) -> list[dict[str, Any]]:
    """What the steward of the demo's request sees of its dry run: raw rows of the OMOP sample against staged ones."""
    with told(folder, SCENES[: SCENES.index("steward_decides") + 1], k=K) as story:
        dry = story.told["dry_run"]
    risk, rows = dry["risk"], sum(table["rows_out"] for table in dry["tables"].values())
    found, events = risk["utility"], risk["events"]
    about = {"k": K, "people": risk["people"], "released": risk["released"], "rows": rows}
    return [
        figure(
            "utility_error", found["median_relative_error"], "median relative error", goal=MOST_ERROR, **about,
            analyses={one["name"]: one["median_relative_error"] for one in found["analyses"]},
        ),
        figure(
            "utility_overlap", found["mean_overlap"], "mean overlap of intervals", goal=LEAST_OVERLAP, at_least=True,
            **about, analyses={one["name"]: one["mean_overlap"] for one in found["analyses"]},
        ),
        figure(
            "event_risk", events["after"]["unique_share"], "share unique by 3 events", goal=MOST_UNIQUE, **about,
            raw=events["before"]["unique_share"], codes_alone=events["codes_alone"]["unique_share"],
            sampled=events["after"]["sampled"],
        ),
    ]  # fmt: skip


def main() -> None:
    """Play the story, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path, help="an empty folder for the service; wiped at the end")
    folder = asked.parse_args().folder
    try:
        said(measure(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
