"""The demo's own promises: a failed check ends it with a non-zero code, and it never empties a folder of others."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

from app import demo
from app.demo.screen import CheckFailed, Screen
from app.demo.server import Server
from app.demo.story import Story


@contextmanager
def no_server(_folder: Path):
    yield Server("http://127.0.0.1:9", "x", "y")


def test_a_failed_check_makes_the_demo_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fails(story) -> None:
        story.screen.check("a promise", False)

    monkeypatch.setattr(demo, "running", no_server)
    monkeypatch.setattr(Story, "play", fails)
    assert demo.play(tmp_path / "demo", as_json=True) == 1
    assert "a promise" in capsys.readouterr().err


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert demo.play(tmp_path, as_json=True) == 1
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert "not empty" in capsys.readouterr().err


def test_a_check_that_holds_is_remembered_and_one_that_does_not_is_raised() -> None:
    screen = Screen(quiet=True)
    screen.check("holds", True)
    assert screen.checks == ["holds"]
    with pytest.raises(CheckFailed):
        screen.check("does not", False)


def test_the_last_screen_says_why_when_fewer_than_nine_in_ten_stay() -> None:
    told = {"kept_share": 0.85, "people": {"suppressed": 300}, "k": 11}
    assert "300 people" in demo._why_fewer(told)[0]
    assert demo._why_fewer({**told, "kept_share": 0.95}) == []
