"""A figure says of itself whether its goal is met, and the page tells all of a folder, what was skipped too."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import _suite, extract
from benchmarks.__main__ import main
from benchmarks._figures import figure, skipped


@pytest.mark.parametrize(
    ("value", "baseline", "goal", "at_least", "ratio", "met"),
    [
        (3.0, 2.0, 1.5, False, 1.5, True),
        (3.1, 2.0, 1.5, False, 1.55, False),
        (90.0, 100.0, 0.9, True, 0.9, True),
        (89.0, 100.0, 0.9, True, 0.89, False),
        (2049.0, None, 2048, False, None, False),
        (5.0, 2.0, None, False, 2.5, None),
    ],
)
def test_the_goal_is_the_ratios_where_there_is_a_baseline(value, baseline, goal, at_least, ratio, met):
    found = figure("key", value, "s", baseline=baseline, goal=goal, at_least=at_least)
    assert (found["ratio"], found["met"]) == (ratio, met)
    assert {"rows", "rss_mb", "cpu_s", "wall_s"} <= set(found)


def results(folder: Path, name: str, form: str, figures: list[dict[str, object]]) -> None:
    about = {"date": "2026-11-25 23:00 UTC", "machine": "2 x m", "load_at_the_end": 1.5, "python": "3.11",
             "versions": {"duckdb": "2.0.0"}, "form": form}  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps({"about": about, "figures": figures}))


def test_the_page_shows_every_result(tmp_path):
    results(
        tmp_path, "a", "full", [figure("fast", 1.0, "s", baseline=2.0, goal=1.0), skipped("gone", "nginx")]
    )
    results(tmp_path, "b", "quick", [figure("slow", 4.0, "s", baseline=2.0, goal=1.0)])
    page = _suite.table(tmp_path)
    header, *rows = [line for line in page.splitlines() if line.startswith("|")]
    cells = {row.split(" | ")[0].strip("| "): row for row in rows}
    assert {row.count("|") for row in [header, *rows]} == {13}
    assert "| yes |" in cells["fast"]
    assert "**no**" in cells["slow"]
    assert "quick, 2026" in cells["slow"]
    assert "skipped: nginx" in cells["gone"]
    assert "duckdb 2.0.0" in page


def test_every_measurement_is_there_and_names_are_told(capsys):
    names = [one.name for one in _suite.MEASUREMENTS]
    assert len(set(names)) == len(names)
    assert all((_suite.HERE / f"{one.module}.py").exists() for one in _suite.MEASUREMENTS)
    assert main([]) == 0
    assert all(one.module in capsys.readouterr().out for one in _suite.MEASUREMENTS[:1])
    assert main(["absent"]) == 2


def test_a_measurement_that_fails_is_broken_and_the_others_are_kept(tmp_path, monkeypatch):
    good, bad = _suite.Measurement("good", "", ""), _suite.Measurement("bad", "", "")
    monkeypatch.setattr(_suite, "MEASUREMENTS", (bad, good))
    monkeypatch.setattr(
        _suite, "_taken", lambda one, *_given: None if one is bad else [figure("good", 1.0, "s")]
    )
    assert _suite.run_all(quick=True, only=[], data=None, results=tmp_path) == 1
    assert [path.name for path in tmp_path.glob("*.json")] == ["good.quick.json"]
    assert "| good |" in (tmp_path / "README.md").read_text()


def test_a_billion_rows_are_not_begun_where_the_disk_is_too_small(tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "measure", lambda *_given: pytest.fail("begun"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: _Disk(59 * 10**9))
    found = extract.beside(tmp_path, 10, 10**9, 10**8, 1)
    assert found == [skipped("extract_1b", "60 GB of disk"), skipped("extract_1b_rss", "60 GB of disk")]


def test_what_was_made_beforehand_needs_no_room_and_is_not_made_again(tmp_path, monkeypatch):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "house.json").write_bytes(bytes(600))
    steps: list[object] = []

    def alone(_module: str, folder: Path, *arguments: object) -> dict[str, object]:
        steps.append((folder.name, arguments[1]))
        return {"cpu_s": 1.0, "wall_s": 1.0, "rss_mb": 9, "steps": {}}

    monkeypatch.setattr(extract, "alone", alone)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: _Disk(60 * 10**9 - 600))
    monkeypatch.setattr(shutil, "rmtree", lambda *_given, **_told: None)
    cost, _memory = extract.beside(tmp_path, 10, 10**9, 10**8, 1)
    assert cost["ratio"] == pytest.approx(0.1, abs=0.001)
    assert steps == [
        ("small", "make"),
        *[(name, step) for name in ("small", "large") for step in ("copy", "release", "copy")],
    ]


def test_a_row_of_a_billion_is_measured_against_a_row_of_fewer(tmp_path, monkeypatch):
    def measured(folder: Path, people: int, rows: int, runs: int) -> list[dict[str, object]]:
        folder.mkdir()
        cost = 6.0 if rows == 10**8 else 6.9
        whole = figure("x", 1.0, "cpu_s", rows=rows, people=people, steps={}, runs=runs, cpu_us_per_row=cost)
        return [whole, figure("x_rss", 1900.0, "MB", goal=2048)]

    monkeypatch.setattr(extract, "measure", measured)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: _Disk(61 * 10**9))
    cost, memory = extract.beside(tmp_path, 10, 10**9, 10**8, 1)
    assert (cost["key"], cost["value"], cost["ratio"], cost["met"]) == ("extract_1b", 6.9, 1.15, True)
    assert (memory["key"], memory["met"]) == ("extract_1b_rss", True)


def test_once_is_one_turn_of_what_takes_several(tmp_path, monkeypatch):
    asked: list[str] = []

    def taken(_one: object, arguments: str, *_given: object) -> list[dict[str, object]]:
        asked.append(arguments)
        return [figure("key", 1.0, "s")]

    monkeypatch.setattr(
        _suite, "MEASUREMENTS", (_suite.Measurement("api", "F", ""), _suite.Measurement("utility", "F", ""))
    )
    monkeypatch.setattr(_suite, "_taken", taken)
    assert _suite.run_all(quick=False, only=[], data=None, once=True, results=tmp_path) == 0
    assert asked == ["F --runs 1", "F"]


@dataclass(frozen=True)
class _Disk:
    free: int
