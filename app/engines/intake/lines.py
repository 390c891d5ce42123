"""An uploaded text as strict UTF-8 with plain line ends; lines that are not what they claim are told by number."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from app.errors import Finding
from app.schemas.dictionary import Table

if TYPE_CHECKING:
    import _csv

LINES = 20  # line numbers told of one finding
MOST_STRANGERS = 1000  # columns of a file that are in no dictionary and are told one by one
LONGEST_LINE = 1 << 20  # bytes; a longer one is no row of a table
_CHUNK = 1 << 20
_LOOKS = 1000  # ends of values of a block that are looked at before it counts as one that has none
_LONG = 1 << 12  # characters of a line that is looked at
_MARK = b"\xef\xbb\xbf"


def transcode(source: Path, target: Path, table: Table) -> list[Finding]:
    """Make `target` the file in UTF-8 with plain line ends, chunk by chunk; lines that cannot be decoded are told."""
    notes: dict[str, list[int]] = {"encoding": [], "nul": []}
    counts = {"encoding": 0, "nul": 0, "other": 0}
    line, rest, blank, outline = 1, b"", True, _Outline(table.delimiter, len(table.fields) + MOST_STRANGERS)
    with source.open("rb") as file, _Again(source, target) as again:
        start = file.read(len(_MARK))
        if start == _MARK:
            again.write_on()
        else:
            rest = start
        while True:
            chunk = file.read(_CHUNK)
            block, rest = _whole_lines(rest + chunk) if chunk else (rest, b"")
            if len(rest) > LONGEST_LINE:
                detail = f"a line is longer than {LONGEST_LINE} bytes"
                return [Finding("line_too_long", detail, table.name, lines=(line + block.count(b"\n"),))]
            text = _decode(block, table.encoding, line, notes["encoding"], counts)
            if "\0" in text:
                _note_nul(text, line, notes["nul"], counts)
            blank = blank and not text.strip()
            line += text.count("\n")
            again.add(block, text)
            outline.note(text)
            if not chunk:
                break
    findings = _transcode_findings(table, notes, counts, blank)
    if outline.suspicious and not findings:
        findings += _looked_at(target, table, outline.most)
    return findings


class _Again:
    """The file that is made of a text. Of a text that is right as it came nothing is written: it is the same file."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target
        self._alike = 0  # bytes that are as they came
        self._out: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._target.unlink(missing_ok=True)
        return self

    def write_on(self) -> IO[bytes]:
        """Write from here on: what comes next is not as it came."""
        if self._out is None:
            self._out = self._target.open("wb")
            with self._source.open("rb") as file:
                while block := file.read(min(_CHUNK, self._alike)):
                    self._out.write(block)
                    self._alike -= len(block)
        return self._out

    def add(self, came: bytes, text: str) -> None:
        """What a block became."""
        made = text.encode()
        if self._out is None and made == came:
            self._alike += len(came)
        else:
            self.write_on().write(made)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._out is not None:
            self._out.close()
        elif kind is None:
            try:
                self._target.hardlink_to(self._source)
            except OSError:  # not of one file system, or of one that knows no such links
                shutil.copyfile(self._source, self._target)


@dataclass
class _Outline:
    """Whether a quoted value could go on for longer than any line may, or a row for ever. A reader that looks for the
    end of a value reads on through all of the file, and ours needs all memory for that: such a file is looked at first.
    """

    delimiter: str
    most: int  # values of a row
    since: int = 0  # characters after what closes a value for certain
    seen: bool = False
    suspicious: bool = False

    def note(self, text: str) -> None:
        """One block of whole lines after the other."""
        self.seen = self.seen or '"' in text
        closed = self._last_closed(text) if self.seen else -1
        self.since = len(text) - closed if closed >= 0 else self.since + len(text)
        endless = self.seen and self.since > LONGEST_LINE
        self.suspicious = self.suspicious or endless or self._wide(text)

    def _wide(self, text: str) -> bool:
        """Whether a line may have many more values than a row: our reader tells of each with all of the line."""
        begin = 0
        while begin + _LONG < len(text):
            end = text.rfind("\n", begin, begin + _LONG)
            if end < 0:
                end = text.find("\n", begin)
                end = len(text) if end < 0 else end
                if text.count(self.delimiter, begin, end) > self.most:
                    return True
            begin = end + 1
        return False

    def _last_closed(self, text: str) -> int:
        """Where an odd number of quotes stands before the end of a value (an even one is text), or -1."""
        end, ends = len(text), (f'"{self.delimiter}', '"\n')
        last = [end, end]  # where each stands last before `end`; looked for again only where it does no more
        for _ in range(_LOOKS):
            last = [
                at if at + 2 <= end else text.rfind(one, 0, end) for at, one in zip(last, ends, strict=True)
            ]
            at = max(last)
            if at < 0:
                break
            first = at
            while first and text[first - 1] == '"':
                first -= 1
            if (at - first) % 2 == 0:  # and this one is the odd one
                return at
            end = first
        return -1


def _looked_at(path: Path, table: Table, most: int) -> Iterator[Finding]:
    """What must not be given to the engine: a value that goes on for longer than a line may, a row of far too many."""
    with path.open(encoding="utf-8", newline="") as file:
        try:
            for number, record in enumerate(records(file, table)):
                if len(record) > most:
                    code = "ragged_row" if number else "too_many_columns"
                    yield Finding(code, f"a row has more than {most} fields", table.name)
                    return
        except csv.Error:
            detail = f"a quote is opened and not closed within {LONGEST_LINE} characters"
            yield Finding("bad_quotes", detail, table.name)


def _transcode_findings(
    table: Table, notes: dict[str, list[int]], counts: dict[str, int], blank: bool
) -> list[Finding]:
    findings = []
    if counts["encoding"]:
        other = "cp949" if table.encoding == "utf-8" else "utf-8"
        fits = counts["other"] == counts["encoding"]
        findings.append(
            Finding(
                "wrong_encoding",
                f"lines are not {table.encoding}",
                table.name,
                lines=tuple(notes["encoding"]),
                count=counts["encoding"],
                hint=f"they can be read as {other}" if fits else None,
            )
        )
    if counts["nul"]:
        findings.append(
            Finding(
                "nul_byte",
                "lines hold a zero byte",
                table.name,
                lines=tuple(notes["nul"]),
                count=counts["nul"],
            )
        )
    if blank and not findings:
        findings.append(Finding("empty_file", "the file has nothing but blank lines", table.name))
    return findings


def _whole_lines(data: bytes) -> tuple[bytes, bytes]:
    """The lines that are complete, and the rest. Neither byte of a line end is ever part of a cp949 or UTF-8 letter."""
    cut = data.rfind(b"\n") + 1
    if not cut:  # a file of old line ends has only these; the last byte might be the first half of \r\n
        cut = data.rfind(b"\r", 0, max(len(data) - 1, 0)) + 1
    return data[:cut], data[cut:]


def _decode(block: bytes, encoding: str, line: int, noted: list[int], counts: dict[str, int]) -> str:
    try:
        return _plain_ends(block.decode(encoding))
    except UnicodeDecodeError:
        pass
    other = "cp949" if encoding == "utf-8" else "utf-8"
    lines = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for i, one in enumerate(lines):
        if _decodes(one, encoding):
            continue
        counts["encoding"] += 1
        counts["other"] += _decodes(one, other)
        if len(noted) < LINES:
            noted.append(line + i)
    # The file is refused; the other lines are kept, for a register tells of all its faults at once.
    return "\n".join(one.decode(encoding) if _decodes(one, encoding) else "" for one in lines)


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _plain_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _note_nul(text: str, line: int, noted: list[int], counts: dict[str, int]) -> None:
    for i, one in enumerate(text.split("\n")):
        if "\0" in one:
            counts["nul"] += 1
            if len(noted) < LINES:
                noted.append(line + i)


def header(path: Path, table: Table) -> list[str]:
    """The names in the first line of a transcoded file."""
    with path.open(encoding="utf-8", newline="") as file:
        return next(records(file, table), [])


def records(file: IO[str], table: Table) -> _csv.Reader:
    """The records of a transcoded file, read as the engine reads them."""
    csv.field_size_limit(LONGEST_LINE)
    return csv.reader(file, delimiter=table.delimiter, strict=False)
