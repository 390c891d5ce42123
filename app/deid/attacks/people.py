"""Attackers who know a person's quasi-identifiers: the prosecutor, and the one who guesses a sensitive value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.deid.attacks.extract import Extract, Leaf, Sheet, quoted
from app.deid.attacks.result import Result, Verdict, Words, judged

SURE = 0.9


def prosecutor(extract: Extract) -> Result:
    """The highest chance to point at a person's rows, in any table, is 1 / the smallest class: at most 1/k.

    `untraced` are tables of people whose people are not found: beside them nothing is said to hold.
    """
    extract.classes()
    tables, untraced, below = {}, list[str](), 0
    for sheet in extract.sheets:
        if sheet.kind == "reference":
            continue
        owners = extract.owners(sheet)
        if owners is None:
            untraced.append(sheet.name)
            continue
        crowds = (
            f"SELECT coalesce(class, -1) AS c, count(DISTINCT coalesce(unit, p)) AS n FROM {owners} "
            "LEFT JOIN member USING (p) WHERE p IS NOT NULL GROUP BY 1"
        )
        tables[sheet.name] = extract.number(f"SELECT min(n) FROM ({crowds})")
        below += extract.number(f"SELECT sum(n) FROM ({crowds}) WHERE n < {extract.k or 0}")
    smallest = min((n for n in tables.values() if n), default=0)
    people, classes = (extract.number(f"SELECT count(DISTINCT {c}) FROM member") for c in ("unit", "class"))
    figures: dict[str, Any] = {
        "max_risk": 1 / smallest if smallest else 0.0,
        "average_risk": classes / people if people else 0.0,
        "people": people,
        "classes": classes,
        "people_below_k": below,
        "k": extract.k,
        "smallest_class_by_table": tables,
        "untraced": untraced,
        "quasi_identifiers": extract.labels,
    }
    # Of a table whose people are not found nothing is known, least of all that it held.
    unknown = extract.k is None or (untraced and not below)
    return Result(
        "prosecutor",
        Words("준식별자 대조 (검사 모형)", "Looking a person up by quasi-identifiers (prosecutor)"),
        Words(
            "한 사람의 모든 준식별자와 그 사람이 자료에 있다는 사실",
            "all quasi-identifiers of a person, and that they are in the extract",
        ),
        Words(
            f"최대 위험 1/{extract.k} 이하, 모든 표에서",
            f"maximum risk at most 1/{extract.k}, in every table",
        ),
        figures,
        "measured" if unknown else judged(below == 0),
    )


def homogeneity(extract: Extract, least: Mapping[tuple[str, str], int]) -> Result:
    """What a class tells of a sensitive value beyond what everyone's values tell; no class may hold one value only
    where the dictionary asks for `least` (table, column) -> l different ones."""
    extract.classes()
    found = {
        f"{sheet.name}.{leaf.name}": figures
        for sheet in extract.sheets
        for leaf in sheet.of("sensitive")
        if (figures := _guess(extract, sheet, leaf, least.get((sheet.name, leaf.name)))) is not None
    }
    promised = [f for f in found.values() if f["l"] is not None]
    verdict: Verdict = "not_run" if not found else "measured"
    if promised:
        verdict = judged(all(f["classes_below_l"] == 0 for f in promised))
    return Result(
        "homogeneity",
        Words("민감정보 추론 (동질성)", "Inferring a sensitive value from a class (homogeneity)"),
        Words("한 사람의 모든 준식별자", "all quasi-identifiers of a person"),
        Words(
            "l개 미만의 값만 있는 집단 0; 기저율 대비 추론 이득을 보고함",
            "no class with fewer than l values; the gain over the base rate is told",
        ),
        {"columns": found},
        verdict,
    )


def _guess(extract: Extract, sheet: Sheet, leaf: Leaf, least: int | None) -> dict[str, Any] | None:
    owners = extract.owners(sheet)
    if owners is None:
        return None
    rows = f"(SELECT {quoted(leaf.name)}::VARCHAR AS v, row_number() OVER () AS r FROM {sheet.rows})"
    extract.con.execute(
        "CREATE OR REPLACE TEMP TABLE held AS SELECT coalesce(class, -1) AS class, v, count(*) AS n FROM "
        f"(SELECT DISTINCT p, v FROM {owners} JOIN {rows} USING (r) WHERE v IS NOT NULL) LEFT JOIN member USING (p) "
        "GROUP BY ALL"
    ).fetchall()
    [row] = extract.rowset(
        "WITH c AS (SELECT class, max(n) AS top, sum(n)::BIGINT AS size, count(*) AS kinds FROM held GROUP BY class) "
        "SELECT sum(size)::BIGINT AS n, sum(top)::BIGINT AS best, max(top / size) AS surest, "
        "(SELECT max(n)::BIGINT FROM (SELECT sum(n) AS n FROM held GROUP BY v)) AS base, "
        "count(*) FILTER (WHERE kinds = 1) AS single, "
        "coalesce(sum(size) FILTER (WHERE kinds = 1), 0)::BIGINT AS known, "
        f"count(*) FILTER (WHERE kinds < {least or 1}) AS poor, "
        f"coalesce(sum(size) FILTER (WHERE top / size >= {SURE}), 0)::BIGINT AS sure FROM c"
    )
    if not row["n"]:
        return None
    n = row["n"]
    return {
        "l": least,
        "classes_below_l": row["poor"],
        "one_value_classes": row["single"],
        "share_in_one_value_classes": row["known"] / n,
        "base_rate": row["base"] / n,
        "best_guess": row["best"] / n,
        "gain": (row["best"] - row["base"]) / n,
        "surest": float(row["surest"]),
        "share_inferable_at_0.9": row["sure"] / n,
    }
