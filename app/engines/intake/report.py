"""What is told of a checked table: outcome, findings, counts. Places and numbers only, never a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.errors import Finding

# A file with one of these is not read as the table at all; everything else is wrong data in a file that could be read.
_REJECTS = frozenset(
    {
        "bomb", "duplicate_column", "empty_file", "identifier", "line_too_long", "missing_column", "no_header",
        "not_csv", "not_parquet", "nul_byte", "too_many_columns", "truncated", "unexpected_column", "unreadable",
        "wrong_encoding",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """A checked table in the vault. `keys` names the object with the record ids of the rows left out, if any."""

    object_name: str
    rows: int
    people: int
    bytes: int
    sha256: str
    columns: list[dict[str, Any]] = field(default_factory=list)
    keys: str | None = None


@dataclass
class TableReport:
    """One upload checked. `left_out` counts the rows whose person is not in the participant table."""

    table: str
    rows: int = 0
    people: int = 0
    left_out: int = 0
    columns: list[dict[str, Any]] = field(default_factory=list)
    not_stored: list[str] = field(default_factory=list)
    renamed: int = 0
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    kept: Kept | None = None
    own_rows: int = 0  # those that are kept
    # Of a file that was laid onto rows which the table had: the objects that took the place of others (None: nothing is
    # left of one), and the distinct people of all.
    replaced: dict[str, Kept | None] | None = None
    people_in_all: int = 0

    @property
    def outcome(self) -> str:
        """accepted | quarantined | rejected."""
        if any(finding.code in _REJECTS for finding in self.findings):
            return "rejected"
        return "quarantined" if self.findings else "accepted"

    @property
    def objects(self) -> list[str]:
        """Every object that was put into the vault."""
        made = [one for one in [self.kept, *(self.replaced or {}).values()] if one is not None]
        return [name for one in made for name in (one.object_name, one.keys) if name]

    @property
    def destroy(self) -> bool:
        """Whether the original must go at once: it holds what looks like an identifier where none was declared."""
        return any(finding.code == "identifier" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as it is stored on the upload and shown to the institution."""
        return {
            "table": self.table, "outcome": self.outcome, "rows": self.rows, "people": self.people,
            "left_out": self.left_out, "columns": self.columns, "not_stored": self.not_stored,
            "names_matched_ignoring_case": self.renamed,
            "problems": [finding.to_dict() for finding in self.findings],
            "warnings": [finding.to_dict() for finding in self.warnings],
        }  # fmt: skip
