"""What parts are judged by together: read from the staged ones, and taken from the evidence of those that stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import pyarrow as pa

from app.deid.verify.evidence import Evidence, Expectation, PartEvidence, refusal
from app.deid.verify.parts import Part
from app.deid.verify.reader import Reader, scan
from app.deid.verify.scope import Leaving
from app.errors import Finding


class Gathered:
    """Facts by part, laid into temporary tables; afterwards they are the evidence of all parts."""

    def __init__(self, reader: Reader, parts: Mapping[str, Sequence[Part]], expectation: Expectation) -> None:
        self._reader, self._parts = reader, parts
        self._held = expectation.held if expectation.standing else None
        self._stays = (
            [e for e in self._held.parts if (e.table, e.position) in expectation.standing]
            if self._held
            else []
        )
        self._made: dict[str, str] = {}

    def lay(
        self,
        name: str,
        table: str,
        read: Callable[[str], str],
        told: Callable[[Part], pa.Table | None] | None = None,
    ) -> str:
        """A temporary table (position, ...) of the rows of `read(rows)` over each part of a table; its name. Where
        `told` answers for a part, its rows are that answer's."""
        made = f"gathered_{len(self._made)}"
        self._made[name] = made
        each, answers = list[str](), list[pa.Table]()
        with ExitStack() as shown:
            for part in self._parts.get(table, ()):
                answer = told(part) if told else None
                if answer is not None:
                    position = pa.repeat(pa.scalar(part.position, pa.uint16()), len(answer))
                    answers.append(answer.add_column(0, "position", position))
                    continue
                rows = f"({read(scan([part.path]))})"
                each.append(f"SELECT {part.position}::USMALLINT AS position, r.* FROM {rows} r")
            if answers:
                shown.enter_context(self._reader.shown(f"{made}_told", pa.concat_tables(answers)))
                each.append(f"SELECT * FROM {made}_told")
            positions = [str(e.position) for e in self._stays if e.table == table]
            if positions and self._held is not None:
                shown.enter_context(self._reader.shown(f"{made}_held", self._held.tables[name]))
                each.append(f"SELECT * FROM {made}_held WHERE position IN ({', '.join(positions)})")
            self._reader.do(f"CREATE TEMP TABLE {made} AS {' UNION ALL '.join(each)}")
        return made

    def held(self, name: str) -> pa.Table | None:
        """A table of the evidence that parts share; None where no part stays."""
        return self._held.tables[name] if self._held and self._stays else None

    def share(self, name: str, made: str) -> None:
        """A table that tells what the facts of all parts mean: it is evidence, too."""
        self._made[name] = made

    def staying(self, table: str) -> list[PartEvidence]:
        """The parts of a table that stay."""
        return [e for e in self._stays if e.table == table]

    def evidence(self, parts: Sequence[PartEvidence]) -> Evidence:
        """The evidence of the staged `parts` and of all that stay."""
        tables = {name: self._reader.frame(f"FROM {made}") for name, made in self._made.items()}
        return Evidence((*self._stays, *parts), tables)


def check_standing(
    tables: list[Leaving], parts: Mapping[str, Sequence[Part]], expectation: Expectation
) -> list[Finding]:
    """A part that stays must be known by its digest, and nothing staged may stand at its place."""
    held = (
        {(e.table, e.position): (e.sha256, e.rows) for e in expectation.held.parts}
        if expectation.held
        else {}
    )
    staged = {(table, part.position) for table, read in parts.items() for part in read}
    known = {table.name for table in tables}
    return [
        refusal("evidence_differs", table=table, pointer=f"part {position}")
        for (table, position), recorded in sorted(expectation.standing.items())
        if held.get((table, position)) != (recorded.sha256, recorded.rows)
        or (table, position) in staged
        or table not in known
    ]
