"""Edges: whether the first and the last dates of a table tell how far its people were moved."""

from __future__ import annotations

from typing import Any

from app.deid.attacks.extract import Extract, Leaf, Sheet, quoted
from app.deid.attacks.result import Result, Words, judged


def edges(extract: Extract) -> Result:
    """Every moved date must lie in the window that the codebook tells. `smeared` is told for each column: the rows
    of the last four weeks over those of four usual weeks; few are left where everyone's edge was moved differently."""
    columns = {}
    for sheet in extract.sheets:
        for leaf in sheet.leaves:
            if leaf.transform == "shift_date":
                columns[f"{sheet.name}.{leaf.name}"] = _column(extract, sheet, leaf)
    outside = sum(int(one["outside"]) for one in columns.values())
    unbounded = sum(not one["window"] and one["dated"] > 0 for one in columns.values())
    return Result(
        "edges",
        Words("자료의 시작일과 마감일", "First day and cut-off"),
        Words("수집 시작일과 마감일", "the first day and the day of extraction"),
        Words(
            "옮긴 날짜는 모두 코드북의 기간 안에 있음",
            "every moved date lies in the days that the codebook tells",
        ),
        {"outside": outside, "columns_without_window": unbounded, "columns": columns},
        judged(not outside and not unbounded) if columns else "not_run",
    )


def _column(extract: Extract, sheet: Sheet, leaf: Leaf) -> dict[str, Any]:
    day, window = f"CAST({quoted(leaf.name)} AS DATE)", _window(extract, sheet, leaf)
    held = f"(SELECT {day} AS d FROM {sheet.rows} WHERE {quoted(leaf.name)} IS NOT NULL)"
    beyond = f"d NOT BETWEEN DATE '{window[0]}' AND DATE '{window[1]}'" if window else "true"
    (found,) = extract.rowset(
        f"SELECT count(*) AS n, count(*) FILTER ({beyond}) AS outside, count(*) FILTER (d > last - 28) AS final, "
        f"max(last) - min(d) + 1 AS days FROM {held}, (SELECT max(d) AS last FROM {held})"
    )
    usual = found["n"] * 28 / found["days"] if found["n"] else 0.0
    return {
        "dated": int(found["n"]),
        "window": window is not None,
        "outside": int(found["outside"]) if window else 0,
        "smeared": float(found["final"] / usual) if usual else None,
    }


def _window(extract: Extract, sheet: Sheet, leaf: Leaf) -> tuple[str, str] | None:
    for table in extract.manifest.get("codebook", {}).get("tables", ()):
        for column in table["columns"] if table["name"] == sheet.name else ():
            if column["name"] == leaf.name and "window" in column:
                first, last = (str(day).replace("'", "") for day in column["window"])
                return first, last
    return None
