"""What the verifier is shown, what it answers, and every reason it can refuse for: stable codes, never a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from app.errors import Finding
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan


@dataclass(frozen=True)
class Staged:
    """The bytes about to leave: per table its Parquet parts, in the order a reader will concatenate them."""

    tables: Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Recorded:
    """What the manifest will say about one part; `position` where it is not its place among the staged ones."""

    sha256: str
    rows: int
    position: int | None = None


@dataclass(frozen=True)
class PartEvidence:
    """One part that was judged; `low` and `high` are the first and the last pseudonym that its rows begin with."""

    table: str
    position: int
    sha256: str
    rows: int
    low: str | None
    high: str | None


@dataclass(frozen=True)
class Evidence:
    """What was read of judged parts, as far as parts are judged together: people, classes, codes; by part, so that the
    evidence of a part that stays can be added to what is read of a new one. Every table has a column `position`, except
    those of the labels of classes. People (`p`) are the 64 bits of their pseudonyms."""

    parts: tuple[PartEvidence, ...]
    tables: Mapping[str, pa.Table]


@dataclass(frozen=True)
class Expectation:
    """What the release has to keep to.

    `eligible` is the consent answer re-read by the gate: columns `table` and `pseudonym`, as an Arrow table or one
    Parquet file. `people_before` counts the people who had consent and passed the filter, before any suppression.
    `recorded` is what the manifest says; `forbidden` are texts (say, source identifiers) that no cell may equal.
    `standing` has (table, position) of the parts that are released already and stay, as the ledger records them, and
    `held` the evidence of an earlier verdict on them: they are not read again, but judged together with the staged
    ones. `twins` (pseudonym, person) names pseudonyms that are one person, who counts once towards k and towards what a
    value needs; with it nothing stands, everything is read.
    `windows` has for each (table, column) of moved dates the first and the last day that they may leave by; a column of
    shifted dates without one may hold none.
    The stricter of `k` and the plan's own k applies.
    """

    plan: Plan
    dictionary: Dictionary
    k: int
    eligible: pa.Table | Path
    people_before: int
    recorded: Mapping[Path, Recorded] = field(default_factory=dict)
    forbidden: Sequence[str] = ()
    standing: Mapping[tuple[str, int], Recorded] = field(default_factory=dict)
    held: Evidence | None = None
    windows: Mapping[tuple[str, str], tuple[date, date]] = field(default_factory=dict)
    twins: pa.Table | None = None


@dataclass(frozen=True)
class Guess:
    """What the best guess of a sensitive value gains: shares of people, 0 to 1.

    `base` guesses the commonest value of all, `best` the commonest of each class; `surest` is the highest share
    that one value has in one class.
    """

    base: float
    best: float
    surest: float

    @property
    def gain(self) -> float:
        """How much the class tells beyond the base rate."""
        return self.best - self.base


@dataclass(frozen=True)
class VerifierReport:
    """The verdict on one staged release. Where `ok` is False nothing of it may leave.

    `k_reached` is the smallest number of people (families, where the plan releases them) of any class in any table,
    0 where nobody is released; `max_risk` is 1 / k_reached. Counts are exact: round them before showing them. `rows`
    and `sha256` are of the staged parts. `evidence` is what a later verdict may go on from, None where the rows of a
    part cannot be traced to people by that part alone, and where people have several pseudonyms.
    """

    ok: bool
    refusals: tuple[Finding, ...]
    k_reached: int = 0
    classes: int = 0
    people: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    max_risk: float = 0.0
    suppressed: float = 0.0
    gains: Mapping[str, Guess] = field(default_factory=dict)
    sha256: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    evidence: Evidence | None = None


REFUSALS: dict[str, str] = {
    "bytes_changed": "The bytes of this part are not the recorded ones",
    "class_below_k": "Classes with fewer people than k",
    "columns_differ": "The columns are not exactly the released columns of the plan, in its order",
    "compression_wrong": "A column chunk is not compressed with zstd",
    "date_not_truncated": "Dates are finer than the plan says",
    "date_outside_window": "Dates lie outside the days that are complete for every possible shift",
    "dropped_role_released": "The role of this column says that it never leaves",
    "dictionary_leak": "The part's dictionary pages hold values that no row uses",
    "evidence_differs": "There is no evidence of the bytes of this part, which is to stay",
    "filter_not_released": "A row filter uses a column that the plan does not release",
    "footer_metadata": "The footer holds metadata beyond the allowed keys",
    "forbidden_value": "Cells equal a forbidden text",
    "identifier_ci": "Cells look like connecting information (CI)",
    "identifier_email": "Cells look like e-mail addresses",
    "identifier_phone": "Cells look like telephone numbers",
    "identifier_resident": "Cells look like resident registration numbers",
    "identifier_ssn": "Cells look like social security numbers",
    "key_not_keyed": "A key is not 16 lower-case hex characters",
    "name_not_content": "The name of this part is not the SHA-256 of its content",
    "not_eligible": "People without consent for this table",
    "not_integer": "A relative day is not an integer",
    "orphan_rows": "Rows whose person cannot be found through the parent table",
    "part_missing": "A table of the plan has no part",
    "part_unreadable": "This part cannot be read as plain Parquet",
    "parts_overlap": "A person's rows lie in more than one part",
    "people_unexpected": "More people are released than there were before suppression",
    "person_repeated": "A person has more than one row in the participant table",
    "person_unknown": "Rows without a person",
    "rare_label": "Values shared by too few people",
    "raw_identifier": "This column must be keyed or dropped, the plan does neither",
    "reason_unknown": "Cells hold other than a declared reason for a missing value",
    "rows_changed": "This part has another number of rows than recorded",
    "rows_unsorted": "Rows are not in the order (pseudonym, released columns)",
    "safe_harbor_age": "Ages above 89 are not gathered as 90 or older (45 CFR 164.514(b)(2)(i)(C))",
    "safe_harbor_date": "Dates are finer than a year (45 CFR 164.514(b)(2)(i)(C))",
    "sensitive_far": "Classes whose sensitive values are further from the overall distribution than t",
    "sensitive_homogeneous": "Classes with too few different sensitive values",
    "statistics_leak": "Column statistics tell values that are not in the part",
    "suppressed_person": "People who are not in the participant table have rows here",
    "table_unexpected": "A staged table is not in the plan",
    "too_many_rows": "People with more rows than the plan or the dictionary allows of a person",
    "too_many_suppressed": "More people were left out than the plan allows",
    "transform_unknown": "The plan names a transform that the verifier does not know",
    "unknown_column": "The plan names a table or column that the dictionary does not have",
    "untraceable": "The people of this table cannot be told from the released columns",
    "writer_unknown": "The footer names a writer that is not allowed",
}


def refusal(code: str, **where: Any) -> Finding:
    """A finding with the words of its code; `where` are the other fields of `Finding`."""
    return Finding(code, REFUSALS[code], **where)
