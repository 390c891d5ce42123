"""Writes the pages of docs/ that follow from the code, each whole: python -m docs.generate, or make docs.

`pages()` gives every generated page as text, which the tests compare with the files.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast, get_args

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.audit.events import EVENTS
from app.auth.policy import ROLE_SCOPES
from app.deid.choices import NEVER
from app.deid.hierarchies import kinds
from app.deid.transforms import transforms
from app.errors import CODES
from app.main import ROUTERS
from app.routers.guards import ALL_SCOPES, LINKED, PUBLIC
from app.schemas import dictionary as dictionaries
from app.settings import Settings
from docs.fields import bounds, default, hierarchy, kind_of, needed, properties, role, sentences
from docs.words import TABLE_KINDS, WHAT_HAPPENED, WHAT_TO_DO

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs"
_MARK = "<!-- Written by `make docs` from {source}. Change that, not this page. -->"


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {f"{name}.md": "\n".join(lines()) + "\n" for name, lines in PAGES.items()}


def main() -> None:
    """Write every page that differs from what it should be, and say which."""
    for name, text in pages().items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote docs/{name}\n")


def errors() -> Iterator[str]:
    """Every code that a refusal may bear."""
    yield from _head("Errors", "app/errors.py", "docs/words.py")
    yield "Every refusal is `application/problem+json` (RFC 9457). A client may rely on `code` and on the HTTP status."
    yield "Titles and details may be reworded. `problems` lists everything that is wrong at once: a `code`, a `detail`,"
    yield "and where it applies `table`, `column`, `lines`, `count`, `pointer`, `hint`, `near`. Never a value."
    yield ""
    yield from _table(
        ("code", "status", "title", "제목", "what to do"),
        ((f"`{c}`", s, en, ko, _said(WHAT_TO_DO, c)) for c, (s, en, ko) in sorted(CODES.items())),
    )


def settings() -> Iterator[str]:
    """Every setting."""
    prefix = Settings.model_config["env_prefix"]
    yield from _head("Settings", "app/settings.py")
    yield "Settings are read once, at the start, from the environment or a file `.env` in the working folder."
    yield "Nothing has to be set."
    yield ""
    yield from _table(
        ("variable", "type", "default", "bounds", "what it is"),
        (
            (f"`{prefix}{name.upper()}`", kind_of(f.annotation), default(f), bounds(f), f.description or "")
            for name, f in Settings.model_fields.items()
        ),
    )


def states() -> Iterator[str]:
    """Every table of transitions, as a diagram."""
    yield from _head("States", "the tables in app/*/states.py and app/cohorts/upload_states.py")
    yield "An arrow is a verb that a state allows. Any other verb is refused with the code `conflict`. A state without"
    yield "arrows is an end."
    for path in sorted((ROOT / "app").glob("*/*states.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name, table in sorted(vars(module).items(), key=lambda one: (len(one[0]), one[0])):
            if name.endswith("TRANSITIONS"):
                yield from _diagram(path.relative_to(ROOT).as_posix(), name, table)


def scopes() -> Iterator[str]:
    """Scopes by role and by route."""
    yield from _head("Scopes", "app/auth/policy/ and the routes")
    yield "A scope says what a token may try. `app/auth/policy/` then says on which object: outside your institution"
    yield "or project an object is 404, inside without the right 403 with the reason."
    yield ""
    roles = sorted(ROLE_SCOPES)
    yield from _table(
        ("scope", "what for", *roles),
        (
            (f"`{s}`", text, *("yes" if s in map(str, ROLE_SCOPES[r]) else "" for r in roles))
            for s, text in ALL_SCOPES.items()
        ),
    )
    yield ""
    yield "`openid` and `profile` are for people who sign in; any role may have them."
    yield ""
    yield "## Routes"
    yield ""
    yield from _table(("path", "method", "scopes"), sorted(_routes()))
    yield ""
    yield "## Without a token"
    yield ""
    served = {context.path_format or context.path for context in iter_route_contexts(application().routes)}
    yield "These paths are open. Nothing else is:"
    yield ""
    yield from (f"- `{path}`" for path in sorted(PUBLIC & served))
    if PUBLIC - served:
        yield ""
        yield "Named as open, though nothing answers there yet: " + ", ".join(
            f"`{p}`" for p in sorted(PUBLIC - served)
        )


def transform_page() -> Iterator[str]:
    """Every way a column may leave."""
    yield from _head("Transforms", "app/deid/transforms/")
    yield "A transform is one way a column may leave. It serves some roles and types. The plan names one per column;"
    yield "where a request does not choose, the role's default is taken. Of these roles nothing ever leaves:"
    yield ", ".join(f"`{role}`" for role in sorted(NEVER)) + "."
    for name, transform in sorted(transforms().items()):
        yield f"\n## {name}\n"
        yield sentences(sys.modules[type(transform).__module__].__doc__)
        yield ""
        yield sentences(type(transform).__doc__)
        yield ""
        yield f"- Roles: {_codes(transform.roles)}"
        yield f"- Types: {_codes(transform.types)}"
        yield f"- Parameters: {sentences(transform.Params.__doc__)}"
        for field, info in transform.Params.model_fields.items():
            yield f"    - `{field}`: {kind_of(info.annotation)}, {needed(info)}{bounds(info, before=', ')}"


def dictionary() -> Iterator[str]:
    """Table kinds, table and column properties, roles, hierarchies."""
    yield from _head("The dictionary", "app/schemas/dictionary.py", "app/deid/hierarchies/", "docs/words.py")
    yield "A dictionary describes every table of a dataset version: Table Schema JSON with our properties. An"
    yield "unknown property, column or role is refused, and everything that is wrong is told at once."
    yield "[The README](../README.md#write-a-dictionary) has an example."
    kind = dictionaries.Table.model_fields["kind"].annotation
    yield "\n## Table kinds\n"
    yield from _table(("kind", "what it holds"), ((f"`{k}`", TABLE_KINDS[k]) for k in get_args(kind)))
    for title, model in (
        ("The document", dictionaries.Dictionary),
        ("A table", dictionaries.Table),
        ("A column", dictionaries.Column),
        ("A foreign key", dictionaries.ForeignKey),
    ):
        yield f"\n## {title}\n"
        yield sentences(model.__doc__)
        yield ""
        yield from _table(("property", "type", "default", "what it is"), properties(model))
    yield "\n## Roles\n"
    yield "`role` is an object with `kind` and the properties of that kind."
    yield ""
    every = get_args(get_args(dictionaries.Role)[0])
    yield from _table(("kind", "how it leaves", "properties"), (role(model) for model in every))
    yield "\n## Hierarchies\n"
    yield '`hierarchies` names the ways values are made coarser: `{name: {"kind": ..., ...}}`. Level 0 is the value'
    yield "itself, the last level is `*`, everyone."
    yield ""
    yield from _table(
        ("kind", "what it does", "how"), (hierarchy(name, module) for name, module in kinds().items())
    )


def events() -> Iterator[str]:
    """Every audit event."""
    yield from _head("Audit events", "app/audit/events.py and docs/words.py")
    yield "A change of state and its audit line commit together. There is one chain per stream: `platform`,"
    yield "`institution:<id>`, `project:<id>`. A line holds ids, digests and counts, and is never changed."
    yield ""
    places = list(_literals())
    yield from _table(
        ("event", "what has happened", "recorded in"),
        (
            (f"`{e}`", _said(WHAT_HAPPENED, e), _codes({p for p, m in places if m.fullmatch(e)}))
            for e in sorted(EVENTS)
        ),
    )


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "dictionary": dictionary,
    "errors": errors,
    "events": events,
    "scopes": scopes,
    "settings": settings,
    "states": states,
    "transforms": transform_page,
}


def _head(title: str, *source: str) -> Iterator[str]:
    yield f"# {title}\n"
    yield _MARK.format(source=", ".join(source)) + "\n"


def _table(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"


def _said(words: dict[str, str], name: str) -> str:
    if name not in words:
        raise KeyError(f"docs/words.py does not explain {name} yet")
    return words[name]


def _codes(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "nowhere yet"


def _diagram(path: str, name: str, table: dict[str, dict[str, str]]) -> Iterator[str]:
    noun = {
        "cohorts/upload_states": "upload",
        "consents/states": "consent of one participant to one domain",
        "cohorts/states": "dataset version",
        "extracts/states": "extract",
        "extracts/recall_states": "recall",
    }
    noun |= {
        "alarms/states": "alarm",
        "findings/states": "finding",
        "incidents/states": "incident",
        "institutions/departure_states": "departure of an institution",
        "integrations/states": "integration",
        "jobs/states": "job",
        "requests/states": "access request",
        "withdrawals/states": "withdrawal",
    }
    title = noun[path.removeprefix("app/").removesuffix(".py")]
    title = title if name == "TRANSITIONS" else name.removesuffix("_TRANSITIONS").replace("_", " ").lower()
    yield f"\n## {title[0].upper()}{title[1:]}\n"
    yield f"`{path}`, `{name}`\n"
    yield "```mermaid\nstateDiagram-v2"
    yield f"    [*] --> {next(iter(table))}"
    for state, verbs in table.items():
        by: dict[str, list[str]] = {}
        for verb, after in verbs.items():
            by.setdefault(after, []).append(verb)
        yield from (f"    {state} --> {after}: {', '.join(said)}" for after, said in by.items())
        if not verbs:
            yield f"    {state} --> [*]"
    yield "```"
    reached = {after for verbs in table.values() for after in verbs.values()} | {next(iter(table))}
    if lost := [state for state in table if state not in reached]:
        yield f"\nNo verb leads to {_codes(lost)} yet."


def application() -> FastAPI:
    """All routes, without rooms behind them."""
    app = FastAPI()
    for module in ROUTERS:
        app.include_router(module.router)
    return app


def _routes() -> Iterator[tuple[str, str, str]]:
    for context in iter_route_contexts(application().routes):
        path = context.path_format or context.path or ""
        if isinstance(context.original_route, APIRoute) and path not in PUBLIC:
            needed = ["a signed link"] if path in LINKED else sorted(set(_guards(context.dependant)))
            yield f"`{path}`", ", ".join(sorted(context.methods or ())), " and ".join(needed)


def _guards(dependant: Dependant) -> Iterator[str]:
    """The scopes of every guard a route depends on: all of those it hands to the check of the token, or, where OpenAPI
    shows none because one of several is enough, the names that the guard itself holds."""
    for inner in dependant.dependencies:
        if inner.own_oauth_scopes:
            yield " and ".join(f"`{name}`" for name in sorted(inner.own_oauth_scopes))
        elif getattr(inner.call, "__qualname__", "").startswith("requires_any.<locals>"):
            names = inspect.getclosurevars(cast("Callable[..., Any]", inner.call)).nonlocals["names"]
            yield " or ".join(f"`{name}`" for name in names)
        yield from _guards(inner)


def _literals() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Every text of the code that may be an event's name, with the parts that are filled in left open."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        if path.name == "events.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in EVENTS:
                yield path.relative_to(ROOT).as_posix(), re.compile(re.escape(node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else None for p in node.values]
                text = "".join(str(p) for p in parts if p)
                if re.fullmatch(r"[a-z]{4,}\.|\.[a-z]{4,}", text):
                    pattern = "".join("[a-z_]+" if p is None else re.escape(str(p)) for p in parts)
                    yield path.relative_to(ROOT).as_posix(), re.compile(pattern)


if __name__ == "__main__":
    main()
