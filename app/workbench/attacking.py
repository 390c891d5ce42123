"""`baekman attack`: every attack on a downloaded extract, and a report that a review board can read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import Problem

if TYPE_CHECKING:
    from app.deid.attacks import Target


def attack(
    folder: Annotated[Path, typer.Argument(help="The extract: a folder with its parts and manifest.json.")],
    manifest: Annotated[
        Path | None, typer.Option(help="The manifest; default manifest.json in the folder.")
    ] = None,
    other: Annotated[Path | None, typer.Option(help="A second extract, laid on the first.")] = None,
    other_manifest: Annotated[Path | None, typer.Option(help="Its manifest; default in its folder.")] = None,
    known: Annotated[Path | None, typer.Option(help="Text file of ids of people, to be hashed.")] = None,
    dictionary: Annotated[Path | None, typer.Option(help="Default dictionary.json in the folder.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where attack.json and .md go; default the extract's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")] = False,
) -> None:
    """Attack an extract as its holder could; exit code 1 where an attack succeeds that must not."""
    try:
        found = run(folder, manifest, other, other_manifest, known, dictionary, out or folder, _say)
    except Problem as problem:
        typer.echo(
            json.dumps(problem.to_dict(), ensure_ascii=False) if as_json else str(problem), err=not as_json
        )
        raise typer.Exit(1) from None
    typer.echo(json.dumps(found, ensure_ascii=False) if as_json else "\n".join(_lines(found)))
    if found["verdicts"]["broken"]:
        raise typer.Exit(1)


def run(
    folder: Path,
    manifest: Path | None,
    other: Path | None,
    other_manifest: Path | None,
    known: Path | None,
    dictionary: Path | None,
    out: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Attack, write `attack.json` and `attack.md` into `out`, and answer the JSON."""
    from app.deid.attacks import attack as attacked
    from app.deid.attacks import markdown, report

    target = _target(folder, manifest)
    second = _target(other, other_manifest) if other is not None else None
    ids = _text(known).split() if known is not None else []
    with tempfile.TemporaryDirectory(prefix="baekman-attack-") as spill:
        results = attacked(
            target, Path(spill), other=second, known=ids, dictionary=_dictionary(folder, dictionary), say=say
        )
    document = report(target.manifest, results)
    out.mkdir(parents=True, exist_ok=True)
    (out / "attack.json").write_text(
        json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    (out / "attack.md").write_text(markdown(document), encoding="utf-8")
    return document


def _target(folder: Path, manifest: Path | None) -> Target:
    from app.deid.attacks import Target

    document = _json(manifest or folder / "manifest.json")
    if not document.get("certificate") and (folder / "certificate.json").is_file():
        document["certificate"] = _json(folder / "certificate.json")
    if not isinstance(document.get("tables"), list):
        raise Problem("invalid_request", "The manifest lists no tables.")
    return Target(folder, document)


def _dictionary(folder: Path, path: Path | None) -> Any:
    from app.schemas.dictionary import Dictionary

    chosen = path or folder / "dictionary.json"
    if path is None and not chosen.is_file():
        return None
    try:
        return Dictionary.model_validate_json(_text(chosen))
    except ValueError as error:
        raise Problem("dictionary_invalid", "The dictionary does not have the shape it must have.") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
    except ValueError as error:
        raise Problem("invalid_request", f"{path.name} is not JSON.") from error
    if not isinstance(found, dict):
        raise Problem("invalid_request", f"{path.name} is not a JSON object.")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Problem("invalid_request", f"{path.name} cannot be read.") from error


def _lines(found: dict[str, Any]) -> list[str]:
    each = [f"{one['verdict']:<9} {one['title']['en']} · {one['title']['ko']}" for one in found["attacks"]]
    return [*each, "written: attack.json, attack.md"]


def _say(step: str) -> None:
    typer.echo(f"... {step}", err=True)
