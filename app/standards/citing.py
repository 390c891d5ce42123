"""A dataset version as text, RIS and BibTeX, from what DataCite recommends for the citation of data; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from app.standards.datacite import Described
from app.standards.doi import RESOLVER

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def as_text(one: Described) -> str:
    """Creator (Year): Title. Version. Publisher. [Dataset]. Identifier."""
    who = "; ".join(map(_line, _names(one)))
    said = f"{who} ({one.published.year}): {_line(one.title)}. Version {_line(one.version)}."
    return f"{said} {_line(one.publisher.name)}. [Dataset]. {_where(one)}\n"


def as_ris(one: Described) -> str:
    """RIS: one tag a line, a reference of the type DATA."""
    lines = [
        ("TY", "DATA"), *(("AU", name) for name in _names(one)), ("PY", str(one.published.year)),
        ("DA", one.published.strftime("%Y/%m/%d/")), ("TI", one.title),
        *([("TT", one.title_ko)] if one.title_ko else []), ("ET", one.version), ("PB", one.publisher.name),
        *(("KW", subject) for subject in one.subjects),
        *([("DO", one.doi), ("UR", f"{RESOLVER}/{one.doi}")] if one.doi else [("C1", one.alternate)]), ("ER", ""),
    ]  # fmt: skip
    return "".join(f"{tag}  - {_line(value)}\r\n" for tag, value in lines)


def as_bibtex(one: Described) -> str:
    """BibTeX (biblatex's `@dataset`): names that are no person's are kept whole."""
    people = " and ".join(
        _braced(c.organisation.name) if c.organisation else _escaped(_person(c.name, c.given, c.family))
        for c in one.creators
    )
    fields = {
        "author": people, "title": _braced(one.title), "year": str(one.published.year),
        "publisher": _braced(one.publisher.name), "version": _escaped(one.version),
        **({"doi": one.doi, "url": f"{RESOLVER}/{one.doi}"} if one.doi else {"note": _escaped(one.alternate)}),
    }  # fmt: skip
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@dataset{{{re.sub(r'[^A-Za-z0-9]', '_', one.alternate)},\n{body}\n}}\n"


FORMS: dict[str, tuple[str, Callable[[Described], str]]] = {
    "text": ("text/plain; charset=utf-8", as_text),
    "ris": ("application/x-research-info-systems; charset=utf-8", as_ris),
    "bibtex": ("application/x-bibtex; charset=utf-8", as_bibtex),
}
"""Form -> media type, and how it is written."""


def _names(one: Described) -> Iterator[str]:
    for creator in one.creators:
        if creator.organisation is not None:
            yield creator.organisation.name
        else:
            yield _person(creator.name, creator.given, creator.family)


def _person(name: str, given: str, family: str) -> str:
    return f"{family}, {given}" if given and family else name


def _where(one: Described) -> str:
    return f"{RESOLVER}/{one.doi}" if one.doi else one.alternate


def _line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in _line(text))


def _braced(text: str) -> str:
    return "{" + _escaped(text) + "}"
