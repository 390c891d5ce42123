"""The story that `make demo` plays: a client of the public API, which knows nothing of the inside."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from app.demo.analysis import most_common_conditions
from app.demo.client import Refused
from app.demo.screen import CheckFailed, Screen
from app.demo.server import running
from app.demo.story import K, Story

MARK = ".baekman-demo"


def play(folder: Path, *, as_json: bool = False) -> int:
    """Play the story in `folder`, which is emptied first if it is a demo's; 0, or 1 where any check failed."""
    screen, begun = Screen(quiet=as_json), time.perf_counter()
    try:
        _empty(folder)
        with running(folder) as server:
            story = Story(server, folder, screen)
            story.play()
            told = _told(story, time.perf_counter() - begun)
    except (CheckFailed, Refused, AssertionError, TimeoutError, RuntimeError, StopIteration) as error:
        sys.stderr.write(f"\nThe story failed: {error}\nThe service's log: {folder / 'service.log'}\n")
        return 1
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        _last_screen(screen, told)
    return 0


def _empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise RuntimeError(f"{folder} is not empty and no demo made it; choose another --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    (folder / MARK).touch()


def _told(story: Story, seconds: float) -> dict[str, Any]:
    dry = story.told["dry_run"]
    kept = dry["people"]["released"] / max(1, dry["people"]["filtered"])
    return {
        "people": dry["people"],
        "tables": dry["tables"],
        "codes": dry["codes"],
        "k": K,
        "k_reached": story.told["k"],
        "kept_share": round(kept, 4),
        "checks": story.screen.checks,
        "seconds": {**story.screen.seconds, "whole story": round(seconds, 1)},
        "parquet": str(story.folder / "generation-2"),
        "analysis": most_common_conditions(story.folder / "generation-2"),
        "receipt": story.told["receipt"],
        "dry_run_page": str(story.report),
    }


def _why_fewer(told: dict[str, Any]) -> list[str]:
    """Why less than 90 % of the people stayed in, where that is so."""
    if told["kept_share"] >= 0.9:
        return []
    people = told["people"]
    return [
        f"              fewer than 90 %: {people['suppressed']:,} people had no class of {told['k']} within the limits"
    ]


def _last_screen(screen: Screen, told: dict[str, Any]) -> None:
    columns = ("condition", "people", "% women")
    screen.table("One analysis over the Parquet: commonest conditions", columns, told["analysis"])
    rows = [(t, n["rows_in"], n["rows_out"], n["people"]) for t, n in told["tables"].items()]
    screen.table("Rows in and out", ("table", "rows in", "rows out", "people"), rows)
    dropped = {name: n for name, n in told["codes"].items() if n["dropped"] or n["rolled_up"]}
    people = told["people"]
    screen.table("Seconds", ("step", "seconds"), list(told["seconds"].items()))
    screen.panel(
        "Baekman 백만",
        [
            f"people        {people['registered']:,} registered, {people['consented']:,} consent to clinical data, "
            f"{people['filtered']:,} born 1940-2019, {people['released']:,} released",
            f"k             {told['k_reached']} reached in every table (asked: {told['k']})",
            f"kept          {told['kept_share']:.1%} of the consenting people who pass the filter",
            *_why_fewer(told),
            f"dropped       {people['registered'] - people['consented']:,} without consent, "
            f"{people['consented'] - people['filtered']:,} by the filter, {people['suppressed']:,} suppressed for k",
            f"rare codes    {sum(n['dropped'] for n in dropped.values()):,} codes of fewer than {told['k']} people, in "
            f"{len(dropped)} columns, left out",
            "names, birth days, source ids, free text: dropped at upload, never stored",
            f"Parquet       {told['parquet']}",
            f"dry run page  {told['dry_run_page']}",
            "API pages     make serve, then http://127.0.0.1:8000/docs",
        ],
    )
