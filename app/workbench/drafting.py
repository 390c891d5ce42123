"""Draft a dictionary from a file: types and roles proposed by name, content and number of values, always to be read.

A proposal errs towards protection: what could be known of a person is proposed as a quasi-identifier, what looks like
an identifier never leaves. Nothing of the file's rows stands in the draft but the bounds of numbers and the values of
columns that have few. What an earlier draft says of a column stays as it is.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from app.deid import hierarchies
from app.deid.hierarchies import HierarchyError
from app.deid.identifiers import said_by
from app.deid.roles import check_dictionary
from app.errors import Problem
from app.workbench.earlier import kept
from app.workbench.flat import arrive, connect
from app.workbench.preparing import Say
from app.workbench.scanning import hits_of

FEW = 60
_NAMED = 8  # labels of a level that are named
_REGION = r"region|area|district|sgg|sido|sigungu|hjd|bjd|dong|지역|시도|시군구|행정|법정"
_LONG_TEXT = 40

_PARTICIPANT = (
    r"(^|_)(participant|person|patient|subject|pt|case)(_?(id|no|num|number))?$|^id$"
    r"|환자(번호|id)|대상자|연구번호"
)
_NAMES: tuple[tuple[str, str], ...] = (
    ("site", r"(^|_)(site|hospital|center|centre|clinic|institution)(_|$)|병원|기관|센터"),
    ("family_id", r"(^|_)family(_?id)?$|가족"),
    ("provider_id", r"(^|_)(provider|doctor|physician|nurse)(_|$)|의사|간호사"),
    (
        "quasi_identifier",
        r"(^|[_\- ])(age|sex|gender|race|ethnic\w*|nationality|native|country|region|province|city|county|zip|zipcode"
        r"|postal|postcode|marital|education|occupation|job|workclass|religion|language|income|salary|birth\w*|dob"
        r"|height|weight)([_\- ]|$)|나이|연령|성별|인종|국적|지역|시도|시군구|우편|혼인|결혼|학력|교육|직업|종교|소득"
        r"|출생|생년",
    ),
    (
        "direct_identifier",  # a place to a few metres is an address
        r"(^|_)(lat|lon|lng|latitude|longitude|gps|coord\w*)(_|$)|위도|경도|좌표",
    ),
    (
        "free_text",
        r"(^|_)(note|notes|comment|comments|remark|memo|text|description|narrative)(_|$)|비고|메모|소견|의견",
    ),
)
_PROVINCES = "11|21|22|23|24|25|26|27|28|29|3[0-9]|4[1-8]|5[0-2]"
_CODE = r"^[A-Z][0-9]{2}(\.?[0-9A-Z]{1,4})?$"


@dataclass
class Facts:
    """What is known of one column of the file."""

    name: str
    cell: str
    filled: int
    distinct: int
    longest: int
    spaced: float
    shares: dict[str, float]
    kinds: frozenset[str] = frozenset()


def draft(
    file: Path,
    out: Path,
    delimiter: str,
    encoding: str,
    tables: Path | None,
    say: Say,
    *,
    known: dict[str, Any] | None = None,
    privacy: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `dictionary.json`, `privacy.json` and `levels.json` (every hierarchy laid over the file) to `out`.

    `tables`: a folder of hierarchies in ARX's format, found by names that end in `<column>.csv`. `known`: a dictionary
    whose columns are kept as they are; `privacy`: kept instead of our own. Returns the proposals with their reasons
    and warnings.
    """
    earlier = kept(known)
    with tempfile.TemporaryDirectory(prefix="baekman-") as folder:
        con = connect("2GB", 2, Path(folder))
        try:
            say("reading the file")
            arrival = arrive(con, file, delimiter, encoding, Path(folder))
            if arrival.rows == 0:
                raise Problem("invalid_request", "The file has no rows.")
            say("looking at every column")
            hits: dict[str, set[str]] = {}
            for hit in hits_of(con, arrival.names, None):
                if hit.sure:
                    hits.setdefault(hit.column, set()).add(hit.kind)
            facts = [
                _facts(con, name, f"c{i}", frozenset(hits.get(name, ())))
                for i, name in enumerate(arrival.names)
            ]
            proposals = [
                earlier[one.name]
                | {"note": _note(one, earlier[one.name]["column"], "your dictionary says so")}
                if one.name in earlier
                else _propose(con, one, arrival.rows, tables)
                for one in facts
            ]
            levels = {
                p["column"]["name"]: _levels(con, one, p) for one, p in zip(facts, proposals, strict=True)
            }
        finally:
            con.close()
    document, notes = _document(file, delimiter, encoding, proposals)
    check_dictionary(document)
    out.mkdir(parents=True, exist_ok=True)
    limits = privacy or {"k": 11, "reserve": 2, "method": "local", "max_suppression": 0.1}
    shown = {name: steps for name, steps in levels.items() if steps}
    for name, content in (("dictionary", document), ("privacy", limits), ("levels", shown)):
        path = out / f"{name}.json"
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return {
        "dictionary": str(out / "dictionary.json"), "privacy": str(out / "privacy.json"), "rows": arrival.rows,
        "columns": [p["note"] for p in proposals], "notes": notes, "levels": shown,
    }  # fmt: skip


def _note(facts: Facts, column: dict[str, Any], why: str) -> dict[str, Any]:
    note: dict[str, Any] = {
        "column": facts.name, "type": column.get("type", "string"), "role": column["role"]["kind"], "because": why,
        "filled": facts.filled, "distinct": facts.distinct,
    }  # fmt: skip
    if facts.kinds:
        note["identifiers"] = sorted(facts.kinds)
    return note


def _levels(con: duckdb.DuckDBPyConnection, facts: Facts, proposal: dict[str, Any]) -> list[dict[str, Any]]:
    """How many labels each level of a column's hierarchy makes of the file's values, and those with most values."""
    if proposal["hierarchy"] is None:
        return []
    query = f"SELECT DISTINCT {facts.cell} FROM arrived WHERE {facts.cell} IS NOT NULL ORDER BY 1"
    values = con.execute(query).fetchall()
    try:
        steps = hierarchies.overview(proposal["hierarchy"], [row[0] for row in values] or [None])
    except HierarchyError as error:
        proposal["note"]["hierarchy"] = [f"{code}: {detail}" for code, detail in error.problems]
        return []
    return [step | {"classes": step["classes"][:_NAMED]} for step in steps]


def _facts(con: duckdb.DuckDBPyConnection, name: str, cell: str, kinds: frozenset[str]) -> Facts:
    v = f"trim({cell})"
    tests = {
        "integer": f"regexp_full_match({v}, '[+-]?[0-9]{{1,18}}')",
        "number": f"TRY_CAST({v} AS DOUBLE) IS NOT NULL",
        "boolean": f"lower({v}) IN ('true', 'false', 't', 'f', 'yes', 'no', 'y', 'n')",
        "date": f"regexp_full_match({v}, '[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}') AND TRY_CAST({v} AS DATE) IS NOT NULL",
        "compact": f"regexp_full_match({v}, '(19|20)[0-9]{{6}}') AND try_strptime({v}, '%Y%m%d') IS NOT NULL",
        "datetime": f"length({v}) > 10 AND TRY_CAST({v} AS TIMESTAMP) IS NOT NULL",
        "code": f"regexp_full_match({v}, '{_CODE}')",
        "padded": f"regexp_full_match({v}, '0[0-9]+')",
        "region": f"regexp_full_match({v}, '({_PROVINCES})([0-9]{{3}}([0-9]{{3}}([0-9]{{2}})?)?)?')",
    }
    shares = ", ".join(f"avg(({test})::INT)" for test in tests.values())
    row = con.execute(
        f"SELECT count({cell}), count(DISTINCT {cell}), coalesce(max(length({cell})), 0), "
        f"coalesce(avg(contains(trim({cell}), ' ')::INT), 0), {shares} FROM arrived WHERE {cell} IS NOT NULL"
    ).fetchall()[0]
    found = {kind: float(share or 0) for kind, share in zip(tests, row[4:], strict=True)}
    return Facts(name, cell, int(row[0]), int(row[1]), int(row[2]), float(row[3]), found, kinds)


def _propose(con: duckdb.DuckDBPyConnection, facts: Facts, rows: int, tables: Path | None) -> dict[str, Any]:
    column: dict[str, Any] = {"name": facts.name, "type": _type(facts)}
    if column["type"] == "date" and facts.shares["compact"] == 1:
        column["format"] = "%Y%m%d"
    role, why = _role(facts, rows, column["type"])
    hierarchy = _hierarchy(con, facts, role, column["type"], tables)
    column["role"] = {"kind": role}
    if role == "code":
        column["role"] |= {"vocabulary": "KCD", "version": "8", "roll_up": facts.name}
    elif role == "date":
        column["role"]["mode"] = "shift"
    elif hierarchy is not None:
        column["role"]["hierarchy"] = facts.name
    return {"column": column, "hierarchy": hierarchy, "note": _note(facts, column, why), "name": facts.name}


def _type(facts: Facts) -> str:
    shares = facts.shares
    if facts.filled == 0:
        return "string"
    if shares["date"] == 1 or (
        shares["compact"] == 1 and re.search(r"date|dt$|일자|날짜|일$", facts.name.casefold())
    ):
        return "date"
    if shares["padded"]:
        return "string"  # 01013 is a code: as a number it would lose its zero
    for kind in ("datetime", "boolean", "integer", "number"):
        if shares[kind] == 1:
            return kind
    return "string"


def _role(facts: Facts, rows: int, type_: str) -> tuple[str, str]:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", facts.name).casefold()
    unique = facts.filled == facts.distinct == rows
    # Ids of people are record numbers by their very nature: they leave as pseudonyms.
    if unique and facts.kinds <= {"record_number"} and re.search(_PARTICIPANT, name):
        return "participant_id", "its name says so, and every value is another"
    if facts.kinds:
        return "direct_identifier", "its values look like identifiers"
    if said_by(facts.name) is not None:
        return "direct_identifier", "its name says so"
    for role, pattern in _NAMES:
        if re.search(pattern, name):
            return role, "its name says so"
    if type_ in ("date", "datetime"):
        return "date", "its values are dates"
    if facts.filled and facts.shares["code"] >= 0.8 and facts.distinct > 2:
        return "code", "its values look like ICD or KCD codes"
    if type_ == "string" and (facts.longest > _LONG_TEXT and facts.spaced > 0.5):
        return "free_text", "its values are sentences"
    if unique and type_ in ("string", "integer"):
        return "record_id", "every value is another"
    if type_ in ("integer", "number") and (facts.distinct > FEW or type_ == "number"):
        return "number", "its values are many numbers"
    if facts.distinct > FEW:
        return "direct_identifier", "it has many values and nothing says that they are harmless"
    return "quasi_identifier", "it has few values, which others may know"


def _hierarchy(
    con: duckdb.DuckDBPyConnection, facts: Facts, role: str, type_: str, tables: Path | None
) -> dict[str, Any] | None:
    if role == "code":
        return hierarchies.default_spec("string", vocabulary="KCD-8")
    if role not in ("quasi_identifier", "site"):
        return None
    given = sorted(tables.glob(f"*{facts.name}.csv")) if tables is not None else []
    if given:
        return hierarchies.parse_arx(given[0].read_text("utf-8"))
    if facts.shares["region"] == 1 and re.search(_REGION, facts.name.casefold()):
        return hierarchies.default_spec("string", vocabulary="region")
    values = [
        row[0] for row in con.execute(f"SELECT DISTINCT {facts.cell} FROM arrived ORDER BY 1").fetchall()
    ]
    known = [value for value in values if value is not None]
    if type_ in ("integer", "number"):
        return hierarchies.default_spec(type_, known)
    if type_ == "date":
        return {"kind": "date", "levels": ["month", "quarter", "year", "5y", "10y"]}
    if facts.distinct > FEW:
        return {"kind": "prefix", "lengths": [4, 2, 1]}
    return {"kind": "flat"}


def _document(
    file: Path, delimiter: str, encoding: str, proposals: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    notes = []
    people = [p for p in proposals if p["column"]["role"]["kind"] == "participant_id"]
    for extra in people[1:]:
        extra["column"]["role"] = {"kind": "record_id"}
        extra["note"]["role"] = "record_id"
    fields = [p["column"] for p in proposals]
    if not people:
        taken = {p["column"]["name"].casefold() for p in proposals}
        name = next(n for n in ("person", "person_row", "person_row_number") if n not in taken)
        fields = [{"name": name, "role": {"kind": "participant_id"}}, *fields]
        notes.append("no column holds ids of people: `run` and `report` need --rows-are-people")
    families = [p for p in proposals if p["column"]["role"]["kind"] == "family_id"]
    if families:
        notes.append("k is counted in families")
    warned = [
        p["column"]["name"]
        for p in proposals
        if p["note"].get("identifiers") and p["column"]["role"]["kind"] == "direct_identifier"
    ]
    if warned:
        notes.append(f"columns with identifiers never leave: {', '.join(warned)}")
    notes.append("read every role: a draft knows names and values, not what others know of your participants")
    return {
        "profile": "baekman-dictionary/1",
        "hierarchies": {p["name"]: p["hierarchy"] for p in proposals if p["hierarchy"] is not None},
        "tables": [{
            "name": re.sub(r"[^A-Za-z0-9_]", "_", file.stem)[:64] or "people", "kind": "participant",
            "format": "parquet" if file.suffix.casefold() in (".parquet", ".pq") else "csv", "delimiter": delimiter,
            "encoding": encoding, "fields": fields,
        }],
    }, notes  # fmt: skip
