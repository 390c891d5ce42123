"""Who holds two extracts: shared names, shared places, crowds that shrink where they are laid on each other."""

from __future__ import annotations

from typing import Any

from app.deid.attacks.extract import Extract, Leaf, Sheet, quoted
from app.deid.attacks.order import Z
from app.deid.attacks.result import Result, Verdict, Words, judged

HOLDER = Words("두 추출 자료의 모든 행", "all rows of both extracts")


def names_shared(one: Extract, other: Extract) -> Result:
    """Keyed ids (pseudonyms, record ids) that occur in both: none, unless both are of one project."""
    shared = one.number(f"SELECT count(*) FROM ({_keyed(one)}) SEMI JOIN ({_keyed(other)}) USING (v)")
    same = _same_project(one, other)
    return Result(
        "names_shared",
        Words("두 자료의 가명 대조", "Pseudonyms that occur in both extracts"),
        HOLDER,
        Words("다른 과제 사이에는 공통 가명 0", "none between two projects"),
        {"shared": shared, "same_project": same},
        "measured" if same else judged(shared == 0),
    )


def positions(one: Extract, other: Extract) -> Result:
    """Whether the people on the same place of both participant tables have more labels in common than others have."""
    figures: dict[str, Any] = {"pairs": 0, "agreeing": 0.0, "by_chance": 0.0, "z": 0.0}
    verdict: Verdict = "not_run"
    columns = _common_labels(one, other)
    if columns and not _same_project(one, other):
        figures, verdict = _agreement(one, other, columns)
    return Result(
        "positions",
        Words("두 자료의 행 위치 대조", "Matching two extracts by the place of the rows"),
        HOLDER,
        Words(
            f"우연과 같음 ({Z:g} 표준편차 이내)", f"no better than chance (within {Z:g} standard deviations)"
        ),
        figures,
        verdict,
    )


def intersection(one: Extract, other: Extract) -> Result:
    """Crowds of people in both under both labels, where pseudonyms tell who is who (two generations of a project)."""
    figures: dict[str, Any] = {}
    verdict: Verdict = "not_run"
    if _same_project(one, other) and one.roster and other.roster and one.k:
        one.load("first_labels", _labelled(one, one.roster))
        one.load("second_labels", _labelled(other, other.roster))
        crowds = "SELECT count(*) AS n FROM first_labels JOIN second_labels s USING (p) GROUP BY first_labels.l, s.l"
        [row] = one.rowset(
            f"SELECT sum(n)::BIGINT AS people, min(n) AS smallest, "
            f"coalesce(sum(n) FILTER (WHERE n < {one.k}), 0)::BIGINT AS below, "
            f"coalesce(sum(n) FILTER (WHERE n = 1), 0)::BIGINT AS alone FROM ({crowds})"
        )
        figures = {
            "people_in_both": row["people"],
            "smallest_crowd": row["smallest"],
            "people_below_k": row["below"],
            "people_alone": row["alone"],
            "k": one.k,
        }
        verdict = judged(row["below"] == 0)
    return Result(
        "intersection",
        Words("같은 과제의 두 자료 겹쳐 보기", "Laying two extracts of one project on each other"),
        HOLDER,
        Words("교집합에서 k 미만 0명 (고정된 재부호화)", "nobody in a crowd below k (pinned recoding)"),
        figures,
        verdict,
    )


def values_linked(one: Extract, other: Extract) -> Result:
    """People whose kept values are unique in both extracts and equal: links that an attacker would claim.

    Values that leave as they are cannot differ between projects, so nothing is promised: the agreement forbids it.
    """
    sides = [_prints(one, other), _prints(other, one)]
    figures: dict[str, Any] = {}
    if sides[0] is not None and sides[1] is not None:
        one.load("prints_a", one.con.sql(sides[0]).to_arrow_table())
        one.load("prints_b", other.con.sql(sides[1]).to_arrow_table())
        single = "SELECT f FROM {} GROUP BY f HAVING count(*) = 1"
        claimed = one.number(
            f"SELECT count(*) FROM ({single.format('prints_a')}) SEMI JOIN ({single.format('prints_b')}) USING (f)"
        )
        smaller = min(one.number(f"SELECT count(*) FROM {t}") for t in ("prints_a", "prints_b"))
        figures = {
            "people": smaller,
            "claimed_links": claimed,
            "share": claimed / smaller if smaller else 0.0,
        }
    return Result(
        "values_linked",
        Words("그대로 남은 값으로 두 자료 잇기", "Linking two extracts by the values that were kept"),
        HOLDER,
        Words(
            "측정만 함: 그대로 공개된 값은 과제마다 달라지지 않음",
            "measured only: values released as they are do not differ between projects",
        ),
        figures,
        "measured" if figures else "not_run",
    )


def _same_project(one: Extract, other: Extract) -> bool:
    mine = one.manifest.get("project_id")
    return mine is not None and mine == other.manifest.get("project_id")


def _keyed(extract: Extract) -> str:
    """SQL (v): every keyed id of an extract, each once."""
    each = [
        f"SELECT {quoted(leaf.name)} AS v FROM {sheet.rows}"
        for sheet in extract.sheets
        for leaf in sheet.leaves
        if leaf.keyed
    ]
    return f"SELECT DISTINCT v FROM ({' UNION ALL '.join(each or ['SELECT NULL::VARCHAR AS v'])}) WHERE v IS NOT NULL"


def _labelled(extract: Extract, roster: Sheet) -> Any:
    labels = ", ".join(f"{quoted(name)}::VARCHAR" for name in extract.labels)
    row = f"[{labels}]" if labels else "['']"
    return extract.con.sql(
        f"SELECT {quoted(roster.persons[0])} AS p, {row} AS l FROM {roster.rows}"
    ).to_arrow_table()


def _common_labels(one: Extract, other: Extract) -> list[str]:
    if one.roster is None or other.roster is None:
        return []
    theirs = set(other.labels)
    return [name for name in one.labels if name in theirs]


def _agreement(one: Extract, other: Extract, columns: list[str]) -> tuple[dict[str, Any], Verdict]:
    """Agreeing labels at the same relative place, against the agreement of all pairs; z over people."""
    if one.roster is None or other.roster is None:
        return {}, "not_run"
    listed = ", ".join(f"{quoted(c)}::VARCHAR AS c{i}" for i, c in enumerate(columns))
    one.load("ours", one.con.sql(f"SELECT {listed} FROM {one.roster.rows}").to_arrow_table())
    one.load("theirs", other.con.sql(f"SELECT {listed} FROM {other.roster.rows}").to_arrow_table())
    keys = ", ".join(f"c{i}" for i in range(len(columns)))
    pair = " AND ".join(f"a.c{i} IS NOT DISTINCT FROM b.c{i}" for i in range(len(columns)))
    size = one.number("SELECT least((SELECT count(*) FROM ours), (SELECT count(*) FROM theirs))")
    # Of the larger side the first row of each place: several would agree more often than one does by chance.
    numbered = "SELECT *, row_number() OVER () - 1 AS i, count(*) OVER () AS size FROM {t}"
    placed = f"SELECT *, (i * {size}) // size AS r FROM ({numbered}) WHERE (i * {size}) % size < {size}"
    agreeing = one.number(
        f"SELECT count(*) FROM ({placed.format(t='ours')}) a JOIN ({placed.format(t='theirs')}) b "
        f"ON a.r = b.r AND {pair}"
    ) / max(1, size)
    [row] = one.rowset(
        f"WITH a AS (SELECT {keys}, count(*) / (SELECT count(*) FROM ours) AS q FROM ours GROUP BY ALL), "
        f"b AS (SELECT {keys}, count(*) / (SELECT count(*) FROM theirs) AS q FROM theirs GROUP BY ALL) "
        f"SELECT coalesce(sum(a.q * b.q), 0) AS chance FROM a JOIN b ON {pair}"
    )
    chance = float(row["chance"])
    spread = (max(chance * (1 - chance), 1e-12) / max(1, size)) ** 0.5
    z = (agreeing - chance) / spread
    figures = {"pairs": size, "agreeing": agreeing, "by_chance": chance, "z": z}
    return figures, judged(z <= Z)


def _prints(extract: Extract, other: Extract) -> str | None:
    """SQL (p, f): one fingerprint for each person of the values in columns that leave alike in both extracts."""
    each: list[str] = []
    for sheet in extract.sheets:
        match = next((s for s in other.sheets if s.name == sheet.name), None)
        owners = extract.owners(sheet) if match and sheet.kind != "reference" else None
        if match is None or other.owners(match) is None:
            continue  # a table that only one of them can trace would tell all their people apart
        names = sorted(leaf.name for leaf in sheet.leaves if match and _alike(leaf, match))
        if owners is None or not names:
            continue
        # The same of the same values in both extracts, in whatever order their tables and columns are.
        values = ", ".join(f"coalesce({quoted(name)}::VARCHAR, chr(30))" for name in names)
        table = sheet.name.replace("'", "''")
        rows = (
            f"(SELECT md5(concat_ws(chr(31), '{table}', {values})) AS v, row_number() OVER () AS r "
            f"FROM {sheet.rows})"
        )
        each.append(f"SELECT p, v FROM {owners} JOIN {rows} USING (r)")
    return (
        f"SELECT p, md5(string_agg(v, ',' ORDER BY v)) AS f FROM ({' UNION ALL '.join(each)}) GROUP BY p"
        if each
        else None
    )


def _alike(leaf: Leaf, match: Sheet) -> bool:
    same = any(
        x.name == leaf.name and x.transform == leaf.transform and dict(x.params) == dict(leaf.params)
        for x in match.leaves
    )
    return same and not leaf.keyed and leaf.transform not in ("generalise", "shift_date")
