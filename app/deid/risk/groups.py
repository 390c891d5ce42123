"""Who is left out: people and rows that do not leave, by age band, sex and site, so that bias can be seen."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.deid.risk.ground import Ground, Leaf, quoted

_AGE = re.compile(r"(?:^|[^a-z])age(?:[^a-z]|$)|나이|연령", re.IGNORECASE)
_BIRTH = re.compile(r"birth|(?:^|_)dob(?:_|$)|출생|생년", re.IGNORECASE)
_SEX = re.compile(r"(?:^|[^a-z])(?:sex|gender)(?:[^a-z]|$)|성별", re.IGNORECASE)
_MOST = 24  # values beyond which a column makes no table that a person reads


@dataclass(frozen=True)
class Group:
    """One group of eligible people; `label` None gathers the groups of fewer than min_cell people."""

    label: str | None
    people: int
    people_out: int
    rows: int
    rows_out: int

    @property
    def suppressed_share(self) -> float:
        """The share of the group's people who do not leave."""
        return 1 - self.people_out / self.people if self.people else 0.0


@dataclass(frozen=True)
class Grouping:
    """The groups of one column; `kind` is age, sex, site or other."""

    column: str
    kind: str
    groups: tuple[Group, ...]


def suppressed_by_group(ground: Ground) -> list[Grouping]:
    """Per age, sex and site column of the participant table (where it has none, every label with few values) the
    people and rows (of all tables of people) before and after. Bands are of ten years."""
    roster = ground.roster
    if roster is None or not ground.labels:
        return []
    _count_rows(ground)
    kinds = [(leaf, kind_of(leaf)) for leaf in ground.labels]
    named = [(leaf, kind) for leaf, kind in kinds if kind != "other"] or kinds
    found = [Grouping(leaf.name, kind, _groups(ground, leaf, kind)) for leaf, kind in named]
    return [one for one in found if 0 < len(one.groups) <= _MOST]


def kind_of(leaf: Leaf) -> str:
    """What a column groups people by, told by its role and its names."""
    said = f"{leaf.name} {leaf.choice.column.title.en} {leaf.choice.column.title.ko}"
    if leaf.role == "site":
        return "site"
    if _BIRTH.search(said) or _AGE.search(said):
        return "age"
    return "sex" if _SEX.search(said) else "other"


def _count_rows(ground: Ground) -> None:
    """`amount` (p, before, after): rows of each eligible person in all tables of people."""
    each = [
        f"SELECT p, {int(side == 'before')} AS b, {int(side == 'after')} AS a FROM {getattr(ground, side)(table)}"
        for table in ground.tables
        for side in ("before", "after")
    ]
    ground.do(
        "CREATE OR REPLACE TEMP TABLE amount AS SELECT p, sum(b) AS before, sum(a) AS after "
        f"FROM ({' UNION ALL '.join(each)}) GROUP BY p"
    )


def _groups(ground: Ground, leaf: Leaf, kind: str) -> tuple[Group, ...]:
    people, value = ground.one_row_each(leaf.table, released=False), _band(leaf, kind)
    counted = ground.rows(
        f"SELECT {value} AS g, count(*) AS people, count(o.p) AS people_out, sum(m.before)::BIGINT AS n, "
        f"sum(m.after)::BIGINT AS n_out FROM {people} b LEFT JOIN out o USING (p) "
        "LEFT JOIN amount m USING (p) GROUP BY 1 ORDER BY 1 NULLS LAST"
    )
    least, small, groups = ground.plan.privacy.min_cell, [0, 0, 0, 0], []
    for row in counted:
        figures = [row["people"], row["people_out"], row["n"] or 0, row["n_out"] or 0]
        if row["people"] < least:
            small = [a + b for a, b in zip(small, figures, strict=True)]
        else:
            groups.append(Group("" if row["g"] is None else str(row["g"]), *figures))
    return (*groups, *([Group(None, *small)] if small[0] else []))


def _band(leaf: Leaf, kind: str) -> str:
    column, type_ = f"b.{quoted(leaf.name)}", leaf.choice.column.type
    number = {"date": f"year({column})", "datetime": f"year({column})"}.get(type_, column)
    if kind != "age" or type_ not in ("integer", "number", "date", "datetime"):
        return f"CAST({column} AS VARCHAR)"
    start = f"(floor({number} / 10) * 10)::BIGINT"
    # Padded, so that bands sort as numbers do.
    return f"CASE WHEN {number} IS NOT NULL THEN printf('%02d', {start}) || '-' || ({start} + 9)::VARCHAR END"
