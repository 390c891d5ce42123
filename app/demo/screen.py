"""What the person at the terminal sees: steps with bars and seconds, tables, and one last screen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table


class CheckFailed(Exception):
    """Something that the story promises was not so."""


@dataclass
class Step:
    """One step on the screen, which can move its bar."""

    progress: Progress
    task: TaskID

    def total(self, total: float) -> None:
        """How much there is to do."""
        self.progress.update(self.task, total=total)

    def advance(self, by: float = 1) -> None:
        """Some of it is done."""
        self.progress.advance(self.task, by)

    def says(self, words: str) -> None:
        """What is being done now."""
        self.progress.update(self.task, what=words)


@dataclass
class Screen:
    """Steps, checks and the last screen. `quiet` shows nothing, for programs that want JSON."""

    quiet: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    checks: list[str] = field(default_factory=list)
    console: Console = field(init=False)

    def __post_init__(self) -> None:
        self.console = Console(quiet=self.quiet, highlight=False)

    @contextmanager
    def step(self, who: str, title: str) -> Iterator[Step]:
        """One step of the story, timed."""
        begun = time.perf_counter()
        columns = (
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn(f"[bold cyan]{who:<12}"),
            TextColumn("{task.description:<42}"),
            BarColumn(bar_width=10),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[what]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(title, total=1, what="")
            step = Step(progress, task)
            yield step
            progress.update(task, completed=progress.tasks[0].total, what="")
        self.seconds[title] = round(time.perf_counter() - begun, 2)

    def check(self, what: str, holds: bool) -> None:
        """One promise: shown when it holds, the end of the story when not."""
        if not holds:
            raise CheckFailed(what)
        self.checks.append(what)
        self.console.print(f"             [green]✓[/] {what}")

    def refused(self, what: str, why: str) -> None:
        """A refusal that was meant to come."""
        self.console.print(f"             [yellow]✋ {what}[/] [dim]{why}")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A small table; numbers stand to the right."""
        table = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
        for i, name in enumerate(columns):
            number = bool(rows) and isinstance(rows[0][i], int | float)
            table.add_column(name, justify="right" if number else "left")
        for row in rows:
            table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row))
        self.console.print(table)
        self.console.print()

    def panel(self, title: str, lines: Sequence[str]) -> None:
        """The last screen's words."""
        self.console.print(Panel("\n".join(lines), title=title, title_align="left", border_style="cyan"))
