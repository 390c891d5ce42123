"""One consent register read, checked and hashed: people and lines come out in batches, without a source identifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from app.engines.intake.connection import Connection
from app.engines.intake.lines import LINES
from app.engines.intake.places import Places
from app.engines.intake.reading import literal
from app.engines.intake.register_arrival import arrived, ndjson_findings
from app.engines.intake.register_checks import (
    ACROSS,
    AT_ODDS,
    Ages,
    findings,
    is_flawless,
    judged,
    shared,
    typed,
)
from app.engines.intake.rejects import rejects
from app.engines.intake.session import IntakeLimits
from app.errors import Finding, Problem
from app.schemas.register import DOMAINS, EVERY_DOMAIN

# Texts go out, keyed hashes of a fixed width come back, in the same order.
Hash = Callable[[pa.Array], pa.Array]
_ROWS = 100_000


@dataclass(frozen=True)
class Hashes:
    """How people become identities (32 bytes) and linkage tokens what is stored of them (16 bytes)."""

    identities: Hash
    linkages: Hash


@dataclass
class RegisterReader:
    """Reads one register. `findings` holds everything that is wrong; where there is something nothing may be loaded."""

    folder: Path
    limits: IntakeLimits
    ages: Ages
    may_be_agreed: Callable[[str], bool]
    findings: list[Finding] = field(default_factory=list)
    rows: int = 0

    def read(self, path: Path, hashes: Hashes) -> None:
        """Check the whole register. Source identifiers stay in the folder, which its owner removes."""
        self.register = arrived(path, self.folder / "register.csv", self.limits.bounds)
        self.findings += self.register.findings
        if not self.register.is_readable:
            return
        self._places = Places(self.register.arrival, self.register.table)
        self._db = Connection(
            self.folder, self.limits.memory, self.limits.threads, [self.register.arrival.path]
        )
        try:
            self._check(hashes)
        except duckdb.OutOfMemoryException:
            self.findings.append(Finding("bomb", "reading the file takes more memory than a file may"))
        except duckdb.Error:
            if self.register.kind == "csv":
                raise
            # The library's own words may hold a value, so only the kind of failure is told.
            self.findings.append(Finding("unreadable", "the file is damaged: its contents cannot be read"))

    def close(self) -> None:
        """Close what was opened."""
        if hasattr(self, "_db"):
            self._db.close()

    def placed(self, found: Finding) -> Finding:
        """A finding that tells rows, telling the lines of the file on which they begin."""
        return self._at(found, found.lines)

    def people(self) -> Iterator[pa.RecordBatch]:
        """Everyone of the register, see `schemas.register.PEOPLE`."""
        self._answer()
        yield from self._db.record_batches(
            "SELECT n, any_value(identity) AS identity, any_value(linkage) AS linkage,"
            " bool_or(may_link_said) AS may_link, bool_or(deceased_said) AS deceased FROM said GROUP BY n",
            _ROWS,
        )  # the lines of one person agree: that was checked

    def lines(self) -> Iterator[pa.RecordBatch]:
        """Every line by domain, see `schemas.register.LINES`. Of a withdrawn one only the word itself is left."""
        self._answer()
        every = ", ".join(literal(name) for name in DOMAINS)
        domains = f"CASE WHEN domain = {literal(EVERY_DOMAIN)} THEN [{every}] ELSE [domain] END"
        today = f"DATE {literal(self.ages.today.isoformat())}"
        # column -> what a line that grants says, and what is left of one that withdraws
        said = {
            "purposes": ("coalesce(agreed.json, '[]')", "'[]'"),
            "form_version": ("coalesce(form_version, '')", "coalesce(form_version, '')"),
            "language": ("coalesce(language, '')", "''"),
            "given_at": ("given_at_day", f"coalesce(given_at_day, {today})"),
            "valid_until": ("valid_until_day", "NULL"),
            "by_proxy": ("by_proxy_said", "false"),
            "assent": ("coalesce(assent, '')", "''"),
            "adult_due": ("adult_due", "NULL"),
            "kind": ("''", "kind_said"),
        }
        picked = ", ".join(
            f"CASE WHEN state = 'granted' THEN {on} ELSE {off} END AS {name}"
            for name, (on, off) in said.items()
        )
        yield from self._db.record_batches(
            f"SELECT __row AS line, n, unnest({domains}) AS domain, state, {picked} FROM said LEFT JOIN agreed"
            " ON agreed.purposes = said.purposes",
            _ROWS,
        )

    # -- checking

    def _check(self, hashes: Hashes) -> None:
        if self.register.kind == "ndjson":
            self.findings += ndjson_findings(self._db, self.register.arrival.path)
            if self.findings:
                return
        staged = literal(str(self.folder / "register.parquet"))
        self._db.ask(
            f"COPY ({typed(self.register.source(), self.ages)}) TO {staged} (FORMAT parquet, COMPRESSION lz4)"
        )
        self._db.ask(f"CREATE VIEW typed AS SELECT * FROM read_parquet({staged})")
        if self.register.kind == "csv":
            self.findings += rejects(self._db, self._places, None)
        self.rows = self._db.one("SELECT count(*) FROM typed")
        if not self.findings and self.rows == 0:
            self.findings.append(Finding("empty_file", "the register has no lines"))
        for query in shared():
            self._db.ask(query)
        if not self._db.ask(is_flawless(self.ages))[0][0]:
            for found, rows in findings(self._db.ask(judged(self.ages))[0], self.ages):
                self.findings.append(self._at(found, rows))
        self._judge_purposes()
        self._number(hashes)
        for code, column, detail, query in ACROSS if self._db.ask(AT_ODDS)[0][0] else ():
            count, rows = self._db.ask(f"SELECT count(*), min(__row, {LINES}) FROM ({query})")[0]
            if count:
                self.findings.append(self._at(Finding(code, detail, None, column, count=count), rows))
        self.findings.sort(key=lambda one: (one.code, one.column or ""))

    def _at(self, found: Finding, rows: Sequence[int]) -> Finding:
        lines = tuple(rows) if self.register.kind == "ndjson" else self._places.rows(rows)
        return Finding(found.code, found.detail, None, found.column, lines, found.count)

    def _judge_purposes(self) -> None:
        """There are few different codes, however many lines: each is judged once, by the matcher's own words."""
        wrong: list[str] = []
        for batch in self._db.record_batches("SELECT DISTINCT unnest(codes) AS code FROM agreed", _ROWS):
            wrong += [code for code in batch.column(0).to_pylist() if not self.may_be_agreed(code)]
        if not wrong:
            return
        self._db.register("wrong_codes", pa.table({"code": wrong}))
        codes = "(SELECT list(code) FROM wrong_codes)"
        where = f"purposes IN (SELECT purposes FROM agreed WHERE list_has_any(codes, {codes}))"
        count, rows = self._db.ask(f"SELECT count(*), min(__row, {LINES}) FROM typed WHERE {where}")[0]
        detail = "purposes are DUO permissions between semicolons: NRES, GRU, HMB, POA or DS:MONDO:nnnnnnn"
        self.findings.append(self._at(Finding("bad_purpose", detail, None, "purposes", count=count), rows))

    def _number(self, hashes: Hashes) -> None:
        """Make the view `said`: lines with the number and identity of their person, and the hash of their token."""
        self._register_hashed("people", "participant_id", hashes.identities, 32)
        self._register_hashed("tokens", "linkage_token", hashes.linkages, 16)
        self._db.ask(
            "CREATE TEMP TABLE numbered AS SELECT identity, CAST(row_number() OVER () - 1 AS INTEGER) AS n FROM "
            "(SELECT DISTINCT hashed AS identity FROM people)"
        )
        self._db.ask(
            "CREATE VIEW said AS SELECT typed.* EXCLUDE (participant_id), n, people.hashed AS identity,"
            " tokens.hashed AS linkage FROM typed JOIN people ON people.source = participant_id"
            " JOIN numbered ON numbered.identity = people.hashed LEFT JOIN tokens ON tokens.source = linkage_token"
        )

    def _register_hashed(self, name: str, column: str, hashed: Hash, width: int) -> None:
        query = f"SELECT DISTINCT {column} FROM typed WHERE {column} IS NOT NULL"
        schema = pa.schema([("source", pa.string()), ("hashed", pa.binary(width))])
        parts = [
            pa.table([batch.column(0), hashed(batch.column(0))], schema=schema)
            for batch in self._db.record_batches(query, _ROWS)
        ]
        self._db.register(name, pa.concat_tables([schema.empty_table(), *parts]))

    def _answer(self) -> None:
        if self.findings:
            raise Problem(
                "invalid_request", "The consent register was not loaded; nothing has changed.", self.findings
            )
