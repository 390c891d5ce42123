"""The lines of a consent register, all read before anything changes: bad ones are told by line, never by value."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from app.consents.identities import Hasher
from app.consents.purposes import may_be_agreed
from app.deid.dictionary_shape import near
from app.deid.identifiers import looks_like
from app.errors import Finding

if TYPE_CHECKING:
    import _csv

COLUMNS = ("participant_id", "domain", "state", "purposes", "form_version", "given_at", "valid_until")
_NEEDED = COLUMNS[:3]
_DOMAINS = frozenset({"clinical", "genomic", "lifelog", "public", "recontact", "all"})
_STATES = frozenset({"granted", "withdrawn"})
_LINES = 20  # line numbers told of one finding
_LONGEST = 10_000  # characters of one line
_PLAIN_TEXT = 40  # characters of a form version

_DETAILS = {
    "wrong_encoding": "lines are not UTF-8",
    "ragged_row": "lines have more or fewer fields than the first",
    "line_too_long": f"lines are longer than {_LONGEST} characters",
    "missing_value": "participant_id, domain and state must be there",
    "bad_domain": "the domain is one of clinical, genomic, lifelog, public, recontact, all",
    "bad_state": "the state is granted or withdrawn",
    "bad_purpose": "purposes are DUO permissions between semicolons: NRES, GRU, HMB, POA or DS:MONDO:nnnnnnn",
    "bad_date": "dates are ISO 8601 days, and a consent does not end before it was given",
    "bad_form_version": f"a form version has at most {_PLAIN_TEXT} characters",
    "duplicate_line": "the person and domain were named before in this file",
    "identifier": "values look like resident numbers or the like; use an identifier of your own",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is right; the source identifier is left behind, only its identity is kept."""

    identity: bytes
    domain: str
    state: str
    purposes: tuple[str, ...]
    form_version: str
    given_at: date | None
    valid_until: date | None


@dataclass
class _Notes:
    lines: dict[tuple[str, str | None], list[int]] = field(default_factory=dict)
    counts: dict[tuple[str, str | None], int] = field(default_factory=dict)

    def add(self, code: str, column: str | None, line: int) -> None:
        self.counts[code, column] = self.counts.get((code, column), 0) + 1
        told = self.lines.setdefault((code, column), [])
        if len(told) < _LINES:
            told.append(line)

    def findings(self) -> list[Finding]:
        return [
            Finding(code, _DETAILS[code], None, column, tuple(self.lines[code, column]), count)
            for (code, column), count in sorted(
                self.counts.items(), key=lambda one: (one[0][0], one[0][1] or "")
            )
        ]


def read_lines(path: Path, hasher: Hasher) -> tuple[list[Line], list[Finding]]:
    """All lines, and all findings; where there is a finding the lines must not be used."""
    notes = _Notes()
    reader = csv.reader(_texts(path, notes))
    try:
        header = [name.strip().casefold() for name in next(reader, [])]
        findings = _header_findings(header)
        lines = [] if findings else list(_lines(reader, header, hasher, notes))
    except csv.Error:
        return [], [
            Finding("bad_quotes", "the file is not CSV: quotes are not closed, or a value is too long")
        ]
    findings += notes.findings()
    if not findings and not lines:
        findings.append(Finding("empty_file", "the register has no lines"))
    return lines, findings


def _texts(path: Path, notes: _Notes) -> Iterator[str]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                notes.add("wrong_encoding", None, number)
                yield "\n"
                continue
            if len(text) > _LONGEST or "\0" in text:
                notes.add("line_too_long" if "\0" not in text else "wrong_encoding", None, number)
                yield "\n"
                continue
            yield text


def _header_findings(header: list[str]) -> list[Finding]:
    if not header:
        return [Finding("empty_file", "the register has no lines")]
    if not set(header) & set(COLUMNS):
        return [
            Finding(
                "no_header", "the first line does not name the columns", lines=(1,), hint=", ".join(COLUMNS)
            )
        ]
    findings = [
        Finding(
            "missing_column",
            "the register lacks this column",
            None,
            name,
            near=near(name, set(header) - set(COLUMNS)),
        )
        for name in _NEEDED
        if name not in header
    ]
    for i, name in enumerate(header):
        if name not in COLUMNS:
            # The name is not repeated: in a file without a header it would be a value.
            detail = f"column {i + 1} is not a column of a register"
            findings.append(
                Finding("unexpected_column", detail, hint=", ".join(COLUMNS), near=near(name, COLUMNS))
            )
        elif name in header[:i]:
            findings.append(
                Finding("duplicate_column", f"column {i + 1} has the name of an earlier one", None, name)
            )
    return findings


def _lines(reader: _csv.Reader, header: list[str], hasher: Hasher, notes: _Notes) -> Iterator[Line]:
    seen: dict[bytes, set[str]] = {}
    for row in reader:
        number = int(reader.line_num)
        if not row or not any(row):
            continue
        if len(row) != len(header):
            notes.add("ragged_row", None, number)
            continue
        line = _line(dict(zip(header, (value.strip() for value in row), strict=True)), number, hasher, notes)
        if line is None:
            continue
        domains = seen.setdefault(line.identity, set())
        if line.domain in domains or "all" in domains or (line.domain == "all" and domains):
            notes.add("duplicate_line", None, number)
        domains.add(line.domain)
        yield line


def _line(values: dict[str, str], number: int, hasher: Hasher, notes: _Notes) -> Line | None:
    wrong = [name for name in _NEEDED if not values[name]]
    for name in wrong:
        notes.add("missing_value", name, number)
    source, domain, state = values["participant_id"], values["domain"].casefold(), values["state"].casefold()
    purposes = tuple(
        sorted({code.strip().upper() for code in values.get("purposes", "").split(";") if code.strip()})
    )
    (given, is_day), (until, is_end) = _day(values.get("given_at", "")), _day(values.get("valid_until", ""))
    checks = {
        ("identifier", "participant_id"): len(source) >= 13 and looks_like(source) is not None,
        ("bad_domain", "domain"): bool(domain) and domain not in _DOMAINS,
        ("bad_state", "state"): bool(state) and state not in _STATES,
        ("bad_purpose", "purposes"): not all(map(may_be_agreed, purposes)),
        ("bad_form_version", "form_version"): len(values.get("form_version", "")) > _PLAIN_TEXT,
        ("bad_date", "given_at"): not is_day,
        ("bad_date", "valid_until"): not is_end or bool(given and until and until < given),
    }
    for (code, column), is_wrong in checks.items():
        if is_wrong:
            notes.add(code, column, number)
            wrong.append(column)
    if wrong:
        return None
    return Line(hasher.digest(source), domain, state, purposes, values.get("form_version", ""), given, until)


def _day(text: str) -> tuple[date | None, bool]:
    """The day, None where there is none; and whether the text is one of both."""
    if not text:
        return None, True
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None, False
    return day, len(text) == 10
