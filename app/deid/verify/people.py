"""People: consent, suppression, k in every table, and what the classes tell of sensitive values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.deid.verify import whole
from app.deid.verify.classes import classed
from app.deid.verify.evidence import Expectation, Guess, refusal
from app.deid.verify.gathered import Gathered
from app.deid.verify.keys import bits_of
from app.deid.verify.order import persons
from app.deid.verify.parts import Part
from app.deid.verify.reader import Reader, bits, text
from app.deid.verify.scope import Leaving
from app.deid.verify.survey import Survey
from app.errors import Finding
from app.schemas.dictionary import Sensitive

OUTSIDE = -1  # the class of people who have no row in the participant table, so no labels either


@dataclass
class Census:
    """What was counted; `k_reached` is None while nobody was."""

    people: dict[str, int] = field(default_factory=dict)
    classes: int = 0
    k_reached: int | None = None
    suppressed: float = 0.0
    gains: dict[str, Guess] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def refuse(self, code: str, count: int, **where: str) -> None:
        """Note a refusal if there is anything to refuse."""
        if count:
            self.findings.append(refusal(code, count=count, **where))


def check_people(
    reader: Reader,
    tables: list[Leaving],
    parts: dict[str, list[Part]],
    gathered: Gathered,
    surveys: dict[str, Survey],
    expectation: Expectation,
) -> Census:
    """Everything that is judged by people, over the tables `seen_<n>` that `check_order` left."""
    census = Census()
    k = max(expectation.k, expectation.plan.privacy.k)
    roster = next((t for t in tables if t.table.kind == "participant"), None)
    personal = [(number, table) for number, table in enumerate(tables) if table.personal]
    _allow(reader, expectation.eligible, personal)
    several = expectation.twins is not None
    if expectation.twins is not None:
        whole.name_twins(reader, expectation.twins)
    if roster is None:
        reader.do("CREATE TEMP TABLE member (p UBIGINT, unit VARCHAR, class INTEGER)")
    else:
        rows, labels = classed(reader, roster, gathered, parts[roster.name], expectation.plan)
        if several:
            census.classes, twice = whole.members(reader, tables, roster, gathered, rows, labels, expectation)
            census.refuse("person_repeated", twice, table=roster.name)
        else:
            # Of parts that stay a verdict has said so, and parts share nobody.
            single = surveys[roster.name].single
            _roster(reader, roster, rows, single, k, census)
            unit = "coalesce(family, p::VARCHAR)" if roster.of_role("family_id") else "NULL"
            reader.do(f"CREATE TEMP VIEW member AS SELECT p, {unit} AS unit, class FROM {rows}")
    for number, table in personal:
        _consent(reader, table, number, census)
        if table is not roster:
            _present(reader, table, number, personal, roster, expectation, census)
        if table is not roster or several:
            families = roster is not None and bool(roster.of_role("family_id"))
            _cells(reader, table, number, k, families, several, census)
        for out in table.of_role("sensitive"):
            _sensitive(reader, table, number, gathered, out.name, out.column.role, census)
    _suppression(reader, tables, roster, expectation, census)
    return census


def _allow(reader: Reader, eligible: pa.Table | Path, personal: list[tuple[int, Leaving]]) -> None:
    """Make `allowed_<n>` (p): whose consent covers the n-th table."""
    if isinstance(eligible, pa.Table) and (known := bits_of(eligible["pseudonym"])) is not None:
        for number, table in personal:
            mine = np.asarray(pc.equal(eligible["table"], table.name).to_numpy(), dtype=np.bool_)
            reader.load(f"allowed_{number}", pa.table({"p": known[mine]}))
        return
    reader.load("allowed", eligible, f'"table", {bits("pseudonym")} AS p')
    for number, table in personal:
        mine_of = f'SELECT p FROM allowed WHERE "table" = {text(table.name)}'
        reader.do(f"CREATE TEMP VIEW allowed_{number} AS {mine_of}")


def _roster(reader: Reader, roster: Leaving, rows: str, single: bool, k: int, census: Census) -> None:
    """The classes that the released labels make in the participant table: each holds at least k.

    `single`: no person has two rows there, so that people need not be told apart to be counted.
    """
    if not single:
        twice = reader.number(f"SELECT count(p) - count(DISTINCT p) FROM {rows}")
        census.refuse("person_repeated", twice, table=roster.name)
    families = bool(roster.of_role("family_id"))
    unit = "coalesce(family, p::VARCHAR)" if families else "p"
    count = "count(p)" if single and not families else f"count(DISTINCT {unit})"
    held = f"SELECT {count} FILTER (WHERE p IS NOT NULL) AS n FROM {rows} GROUP BY class"
    found = reader.row(
        "SELECT count(*) AS classes, min(n) FILTER (WHERE n > 0) AS least, "
        f"count(*) FILTER (WHERE n BETWEEN 1 AND {k - 1}) AS small FROM ({held})"
    )
    census.classes, census.k_reached = found["classes"], found["least"]
    census.refuse("class_below_k", found["small"], table=roster.name)


def _consent(reader: Reader, table: Leaving, number: int, census: Census) -> None:
    found = reader.row(f"SELECT count(p) AS people, count(*) - count(p) AS nobody FROM seen_{number}")
    census.people[table.name] = found["people"]
    census.refuse("person_unknown", found["nobody"], table=table.name)
    others = f"SELECT p FROM seen_{number} ANTI JOIN allowed_{number} USING (p)"
    census.refuse("not_eligible", reader.number(f"SELECT count(p) FROM ({others})"), table=table.name)


def _present(
    reader: Reader,
    table: Leaving,
    number: int,
    personal: list[tuple[int, Leaving]],
    roster: Leaving | None,
    expectation: Expectation,
    census: Census,
) -> None:
    """Whoever may be in the participant table and is not was suppressed. Others have consented to other domains
    only: where a filter chooses people it cannot have chosen them."""
    if roster is None:
        return
    absent = f"SELECT p FROM seen_{number} ANTI JOIN member USING (p)"
    found = reader.number(f"SELECT count(p) FROM ({absent})")
    if found and not any(c.table == roster.name for c in expectation.plan.filter):
        of = next(n for n, other in personal if other is roster)
        found = reader.number(f"SELECT count(p) FROM ({absent}) SEMI JOIN allowed_{of} USING (p)")
    census.refuse("suppressed_person", found, table=table.name)


def _cells(
    reader: Reader, table: Leaving, number: int, k: int, families: bool, several: bool, census: Census
) -> None:
    """Every (class, table) holds nobody or at least k; `seen_<n>` has each pseudonym once, of which a person has one
    unless there are `several`."""
    one = whole.PERSON if several else "p"
    count = f"count(DISTINCT coalesce(unit, {one}::VARCHAR))" if families or several else "count(p)"
    twins = "LEFT JOIN twin USING (p)" if several else ""
    cells = (
        f"SELECT coalesce(class, {OUTSIDE}) AS class, {count} AS n "
        f"FROM seen_{number} LEFT JOIN member USING (p) {twins} WHERE p IS NOT NULL GROUP BY ALL"
    )
    found = reader.row(f"SELECT min(n) AS least, count(*) FILTER (WHERE n < {k}) AS small FROM ({cells})")
    if found["least"] is not None:
        census.k_reached = min(found["least"], census.k_reached or found["least"])
    census.refuse("class_below_k", found["small"], table=table.name)


def _sensitive(
    reader: Reader, table: Leaving, number: int, gathered: Gathered, column: str, role: object, census: Census
) -> None:
    """Missing values are no values: they neither make a class diverse nor can they be inferred."""
    if not isinstance(role, Sensitive):
        return
    where = {"table": table.name, "column": column}
    pairs = gathered.lay(
        f"values/{table.name}/{column}",
        table.name,
        lambda rows: (
            f"SELECT v, {bits('p')} AS p FROM "
            f"(SELECT DISTINCT v::VARCHAR AS v, p FROM ({persons(table, number, rows, column)}))"
        ),
    )
    reader.do(
        f"CREATE TEMP TABLE held AS SELECT coalesce(class, {OUTSIDE}) AS class, v, count(*) AS n FROM (SELECT DISTINCT "
        f"v, p FROM {pairs}) LEFT JOIN member USING (p) GROUP BY ALL"
    )
    closed = f"v IN ({', '.join(text(v) for v in role.closed)})" if role.closed else "true"
    least = role.l or (2 if role.closed else 1)
    guarded = "true" if role.l else f"bool_or({closed})"
    poor = reader.number(
        "SELECT count(*) FROM (SELECT class FROM held WHERE v IS NOT NULL GROUP BY class "
        f"HAVING count(*) < {least} AND {guarded})"
    )
    census.refuse("sensitive_homogeneous", poor, **where)
    if role.t is not None:
        census.refuse("sensitive_far", _far(reader, role.t), **where)
    known = "(FROM held WHERE v IS NOT NULL)"
    best = reader.row(
        f"SELECT (SELECT max(n) FROM (SELECT sum(n) AS n FROM {known} GROUP BY v)) AS base, sum(size) AS n, "
        "sum(top) AS best, max(top / size) AS surest FROM "
        f"(SELECT max(n) AS top, sum(n) AS size FROM {known} GROUP BY class)"
    )
    if best["n"]:
        total = float(best["n"])
        guess = Guess(float(best["base"]) / total, float(best["best"]) / total, float(best["surest"]))
        census.gains[f"{table.name}.{column}"] = guess
    reader.do("DROP TABLE held")


def _far(reader: Reader, t: float) -> int:
    """Classes whose total variation distance to all people is beyond t; missing counts as a value here.

    Half the sum over all values, those that a class lacks included: 1 - sum of min(p, q).
    """
    return reader.number(
        "WITH a AS (SELECT v, sum(n) / sum(sum(n)) OVER () AS q FROM held GROUP BY v), "
        "c AS (SELECT class, v, n / sum(n) OVER (PARTITION BY class) AS p FROM held) "
        "SELECT count(*) FROM (SELECT class FROM c JOIN a ON a.v IS NOT DISTINCT FROM c.v GROUP BY class "
        f"HAVING 1 - sum(least(p, q)) > {t + 1e-9!r})"
    )


def _suppression(
    reader: Reader, tables: list[Leaving], roster: Leaving | None, expectation: Expectation, census: Census
) -> None:
    numbers = [n for n, table in enumerate(tables) if table.personal and (roster is None or table is roster)]
    everyone = " UNION ".join(f"SELECT p FROM seen_{n}" for n in numbers) or "SELECT NULL AS p"
    released, before = reader.number(f"SELECT count(p) FROM ({everyone})"), expectation.people_before
    census.refuse("people_unexpected", max(0, released - before))
    census.suppressed = 1 - released / before if before else 0.0
    if census.suppressed > expectation.plan.privacy.max_suppression + 1e-12:
        census.refuse("too_many_suppressed", before - released)
