"""The classes that released labels make: a number each, the same in every part, so that people are kept by numbers."""

from __future__ import annotations

from collections.abc import Sequence

from app.deid.verify.gathered import Gathered
from app.deid.verify.parts import Part
from app.deid.verify.reader import Reader, bits, name, scan
from app.deid.verify.scope import Leaving, labels_of
from app.schemas.plan import Plan


def classed(
    reader: Reader, roster: Leaving, gathered: Gathered, parts: Sequence[Part], plan: Plan
) -> tuple[str, list[str]]:
    """The table (p, family, class) of the participant table's rows, and the columns `l0`, `l1` ... of `classes` (class,
    l0, l1 ...), which is made here: classes as the parts that stay are told by, and new ones of the staged parts.

    `family` is there only where the plan releases families, for k counts them; it is null where none is known.
    """
    released = [name(label) for label in labels_of(plan, roster)]
    labels = [f"l{n}" for n in range(len(released))]
    _number(reader, gathered, f"classes/{roster.name}", released, parts)
    families = [name(out.name) for out in roster.of_role("family_id")]
    told = [
        f"{bits(f'r.{name(roster.persons[0])}')} AS p",
        *(f"'family ' || r.{family} AS family" for family in families[:1]),
        "c.class",
    ]
    pairs = zip(released, labels, strict=True)
    same = " AND ".join(f"r.{column} IS NOT DISTINCT FROM c.{label}" for column, label in pairs)
    rows = gathered.lay(
        f"roster/{roster.name}",
        roster.name,
        lambda rows: f"SELECT {', '.join(told)} FROM {rows} r LEFT JOIN classes c ON {same or 'true'}",
    )
    reader.do(f"DELETE FROM classes WHERE class NOT IN (SELECT class FROM {rows})")  # of people who are gone
    return rows, labels


def _number(
    reader: Reader, gathered: Gathered, kept: str, released: list[str], parts: Sequence[Part]
) -> None:
    before = gathered.held(kept)
    if before is not None:
        reader.load("classes", before)
    elif not parts or not released:
        columns = "".join(f", NULL AS l{n}" for n in range(len(released)))
        reader.do(f"CREATE TEMP TABLE classes AS SELECT 0 AS class{columns}")
    if parts and released:
        columns = ", ".join(f"{column} AS l{n}" for n, column in enumerate(released))
        found = f"SELECT DISTINCT {columns} FROM {scan([part.path for part in parts])}"
        if before is None:
            reader.do(
                f"CREATE TEMP TABLE classes AS SELECT (row_number() OVER ())::INTEGER AS class, * FROM ({found})"
            )
        else:
            known = ", ".join(f"l{n}" for n in range(len(released)))
            reader.do(
                "INSERT INTO classes SELECT (row_number() OVER () + (SELECT coalesce(max(class), 0) FROM classes))"
                f"::INTEGER, * FROM ({found} EXCEPT SELECT {known} FROM classes)"
            )
    gathered.share(kept, "classes")
