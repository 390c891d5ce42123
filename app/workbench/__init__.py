"""The workbench: de-identification from the shell, on one flat file, without server or database.

Everything heavy is imported when a command runs, so that the shell answers at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.errors import Problem

deid_app = typer.Typer(
    no_args_is_help=True, help="De-identify a flat file: scan, draft, run, report, verify, dummy, changes."
)


class Encoding(StrEnum):
    """How the text of a CSV is written."""

    utf_8 = "utf-8"
    cp949 = "cp949"


File = Annotated[Path, typer.Argument(help="CSV or Parquet file, one row a person.")]
DictionaryPath = Annotated[Path, typer.Option("--dictionary", help="The dictionary, JSON.")]
PrivacyPath = Annotated[
    Path | None, typer.Option("--privacy", help="Privacy settings, JSON; default k 11, reserve 2.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder that is written.")]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
RowsArePeople = Annotated[
    bool, typer.Option(help="The file has no ids of people; every row is another person.")
]
Delimiter = Annotated[
    str | None, typer.Option(help="Between the fields of a CSV: , ; | or tab; default what the header has.")
]
KnownPath = Annotated[
    Path | None, typer.Option("--dictionary", help="The dictionary, JSON, as far as there is one.")
]
OutMaybe = Annotated[Path | None, typer.Option("--out", help="Folder that the answer is written to as JSON.")]
Encoded = Annotated[Encoding, typer.Option(help="Encoding of a CSV.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the samples that are drawn.")]


@deid_app.command()
def scan(
    file: File, dictionary: KnownPath = None, privacy: PrivacyPath = None, out: OutMaybe = None,
    delimiter: Delimiter = None, encoding: Encoded = Encoding.utf_8, as_json: Json = False,
) -> None:  # fmt: skip
    """Look for identifiers in every cell that is not declared to hold one; exit code 1 where there are any."""

    def work() -> dict[str, Any]:
        from app.workbench.flat import told_delimiter
        from app.workbench.scanning import scan as look

        known, _limits = _papers(dictionary, privacy)
        between = known.people.delimiter if known and delimiter is None else told_delimiter(file, delimiter)
        return _kept(out, "scan", look(file, between, encoding.value, known, _say))

    found = _answer(work, as_json, _scanned)
    if found["hits"]:
        raise typer.Exit(1)


@deid_app.command()
def draft(
    file: File, out: Out, dictionary: KnownPath = None, privacy: PrivacyPath = None,
    hierarchies: Annotated[Path | None, typer.Option(help="Folder of ARX hierarchies named ...<column>.csv.")] = None,
    delimiter: Delimiter = None, encoding: Encoded = Encoding.utf_8, as_json: Json = False,
) -> None:  # fmt: skip
    """Draft a dictionary and privacy settings from a file, to be read and corrected; what --dictionary says is kept."""

    def work() -> dict[str, Any]:
        from app.workbench.drafting import draft as propose
        from app.workbench.flat import told_delimiter

        known, limits = _papers(dictionary, privacy)
        between = known.people.delimiter if known and delimiter is None else told_delimiter(file, delimiter)
        return propose(
            file, out, between, encoding.value, hierarchies, _say,
            known=known.model_dump(mode="json") if known else None,
            privacy=limits.model_dump(mode="json") if limits else None,
        )  # fmt: skip

    _answer(work, as_json, _drafted)


@deid_app.command()
def run(
    file: File, dictionary: DictionaryPath, out: Out, privacy: PrivacyPath = None,
    rows_are_people: RowsArePeople = False, as_json: Json = False,
) -> None:  # fmt: skip
    """De-identify a file to Parquet with manifest and certificate; verified, or nothing is written."""

    def work() -> dict[str, Any]:
        from app.workbench.preparing import Task
        from app.workbench.running import run as go

        return go(Task(file, dictionary, privacy, rows_are_people), out, _say)

    _answer(work, as_json, _plainly)


@deid_app.command()
def report(
    file: File, dictionary: DictionaryPath, out: Out, privacy: PrivacyPath = None,
    rows_are_people: RowsArePeople = False, seed: Seed = 1, as_json: Json = False,
) -> None:  # fmt: skip
    """Measure risk and utility of what `run` would release: risk.json and risk.html, with exact counts."""

    def work() -> dict[str, Any]:
        from app.workbench.preparing import Task
        from app.workbench.reporting import report as show

        return show(Task(file, dictionary, privacy, rows_are_people), out, _say, seed)

    _answer(work, as_json, _plainly)


@deid_app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A release folder written by `run`.")],
    dictionary: Annotated[Path | None, typer.Option(help="Your own copy; default the folder's.")] = None,
    privacy: PrivacyPath = None, out: OutMaybe = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Re-check a release with the independent verifier; exit code 1 where it refuses."""

    def work() -> dict[str, Any]:
        from app.workbench.checking import recheck

        return _kept(out, "verify", recheck(file, dictionary, privacy, _say))

    _answer(work, as_json, _plainly)


@deid_app.command()
def dummy(
    dictionary: DictionaryPath, out: Out, privacy: PrivacyPath = None,
    people: Annotated[int, typer.Option(min=1, max=1_000_000, help="Made-up people.")] = 100,
    seed: Seed = 1, as_json: Json = False,
) -> None:  # fmt: skip
    """Made-up Parquet of every table that may leave, from the dictionary alone: to write code against."""

    def work() -> dict[str, Any]:
        from app.workbench.making import make

        return make(dictionary, privacy, out, people, seed, _say)

    _answer(work, as_json, _plainly)


@deid_app.command()
def changes(
    old: Annotated[Path, typer.Argument(help="The dictionary of the published version, JSON.")],
    new: Annotated[Path, typer.Argument(help="That of the next one.")],
    out: OutMaybe = None, as_json: Json = False,
) -> None:  # fmt: skip
    """What a dictionary changes against the one before, compatible or breaking; exit code 1 where anything breaks."""

    def work() -> dict[str, Any]:
        from app.workbench.comparing import compare

        return _kept(out, "changes", compare(old, new))

    if _answer(work, as_json, _changed)["breaking"]:
        raise typer.Exit(1)


def _answer(
    work: Callable[[], dict[str, Any]], as_json: bool, show: Callable[[dict[str, Any]], list[str]]
) -> dict[str, Any]:
    try:
        found = work()
    except Problem as problem:
        _refuse(problem, as_json)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(found, ensure_ascii=False) if as_json else "\n".join(show(found)))
    return found


def _refuse(problem: Problem, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(problem.to_dict(), ensure_ascii=False))
        return
    typer.echo(f"refused ({problem.code}): {problem.detail}", err=True)
    for one in problem.findings:
        where = ".".join(part for part in (one.table, one.column) if part) or one.pointer or ""
        more = f" ({one.count})" if one.count else ""
        lines = f", lines {', '.join(map(str, one.lines))}" if one.lines else ""
        hint = f"; {one.hint}" if one.hint else f"; did you mean {', '.join(one.near)}?" if one.near else ""
        typer.echo(f"  {where}: {one.code}: {one.detail}{more}{lines}{hint}", err=True)


def _scanned(found: dict[str, Any]) -> list[str]:
    hits = [
        f"  {h['column']}: {h['kind']}: {h['cells']} cells, lines {', '.join(map(str, h['lines']))}"
        for h in found["hits"]
    ]
    return [
        f"{found['rows']} rows, {found['columns']} columns, {len(hits)} kinds of identifiers found",
        *hits,
    ]


def _drafted(found: dict[str, Any]) -> list[str]:
    lines = [
        f"  {c['column']}: {c['role']} ({c['type']}, {c['distinct']} values): {c['because']}"
        for c in found["columns"]
    ]
    steps = [
        f"  {name}: {' > '.join(str(step['labels']) for step in levels)}"
        for name, levels in found["levels"].items()
    ]
    shown = ["labels per level of each hierarchy (levels.json names them):", *steps] if steps else []
    return [f"drafted {found['dictionary']}", *lines, *shown, *(f"note: {note}" for note in found["notes"])]


def _changed(found: dict[str, Any]) -> list[str]:
    lines = [
        f"  {one['kind']}: {one['change']}: {'.'.join(part for part in (one['table'], one['column']) if part)}"
        for one in found["changes"]
    ]
    return [f"{len(lines)} changes, {found['breaking']} of them breaking", *lines]


def _plainly(found: dict[str, Any]) -> list[str]:
    return [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items()]


def _say(step: str) -> None:
    typer.echo(f"... {step}", err=True)


def _papers(dictionary: Path | None, privacy: Path | None) -> tuple[Any, Any]:
    """The checked dictionary and limits, as far as they were given; a Problem with everything wrong with both."""
    from app.workbench.preparing import papers

    return papers(dictionary, privacy)


def _kept(out: Path | None, name: str, found: dict[str, Any]) -> dict[str, Any]:
    """The answer, written to `<out>/<name>.json` where a folder was named."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.json").write_text(
            json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
    return found
