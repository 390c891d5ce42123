"""Attacks on a downloaded extract, by someone who holds its files and its manifest and nothing else.

They share no code with what chose the labels; a board runs them on an extract that it names (`baekman attack`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.deid.attacks import edges, events, files, order, people, second, values
from app.deid.attacks.extract import opened
from app.deid.attacks.report import markdown, report
from app.deid.attacks.result import Result, Words
from app.schemas.dictionary import Dictionary, Sensitive

__all__ = ["Result", "Target", "Words", "attack", "markdown", "report"]

NEVER = ("direct_identifier", "free_text", "linkage_token")


@dataclass(frozen=True)
class Target:
    """An extract: the folder with its parts, and the manifest with its certificate as the platform hands it out."""

    folder: Path
    manifest: Mapping[str, Any]


def attack(
    target: Target,
    spill: Path,
    *,
    other: Target | None = None,
    known: Sequence[str] = (),
    dictionary: Dictionary | None = None,
    only: Collection[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Every attack that these files allow, in one order. `other` is a second extract, `known` are ids of real people,
    `dictionary` (optional) tells l of sensitive columns and the names of columns that were dropped,
    `only` chooses attacks by name (empty: all).

    `spill` is a folder that the caller wipes. Raises a Problem where parts of the manifest are missing.
    """
    with ExitStack() as stack:
        one = stack.enter_context(opened(target.folder, target.manifest, spill))
        steps: dict[str, Callable[[], Result]] = {
            "prosecutor": lambda: people.prosecutor(one),
            "homogeneity": lambda: people.homogeneity(one, _least(dictionary)),
            "events": lambda: events.events(one),
            "identifiers": lambda: values.identifiers(one),
            "dictionary": lambda: values.dictionary(one, known),
            "footers": lambda: files.footers(one, _dropped(dictionary)),
            "order": lambda: order.order(one),
            "edges": lambda: edges.edges(one),
        }
        if other is not None:
            two = stack.enter_context(opened(other.folder, other.manifest, spill))
            steps["names_shared"] = lambda: second.names_shared(one, two)
            steps["positions"] = lambda: second.positions(one, two)
            steps["intersection"] = lambda: second.intersection(one, two)
            steps["values_linked"] = lambda: second.values_linked(one, two)
        found = []
        for name, step in steps.items():
            if not only or name in only:
                say(name)
                found.append(step())
        return found


def _least(dictionary: Dictionary | None) -> dict[tuple[str, str], int]:
    if dictionary is None:
        return {}
    return {
        (table.name, column.name): column.role.l
        for table in dictionary.tables
        for column in table.fields
        if isinstance(column.role, Sensitive) and column.role.l
    }


def _dropped(dictionary: Dictionary | None) -> set[str]:
    if dictionary is None:
        return set()
    return {c.name for table in dictionary.tables for c in table.fields if c.role.kind in NEVER}
