"""The longitudinal attack: three (code, month) events of a person are known; who has all three?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from app.deid.attacks.extract import Extract, Leaf, Sheet, quoted
from app.deid.attacks.result import Result, Words

KNOWN = 3
VICTIMS = 500


def events(extract: Extract, seed: int = 1) -> Result:
    """The share of sampled people who are alone with three of their events: by code and released month (more than an
    outsider has where dates are shifted: an upper bound), and by code alone. Nothing is promised here."""
    sources = [(s, c[0], d[0]) for s in extract.sheets if (c := s.of("code")) and (d := s.of("date"))]
    sources = [one for one in sources if extract.owners(one[0])]
    shares = {
        name: _unique_share(extract, sources, dated, seed)
        for name, dated in (("unique", True), ("codes_alone", False))
    }
    return Result(
        "events",
        Words("사건 3건의 (코드, 연월)로 찾기", "Three (code, month) events of a person"),
        Words(
            "한 사람의 사건 3건의 코드와 연월 (날짜 이동량까지 안다고 가정)",
            "code and month of three events of a person (as if the date shift were known too)",
        ),
        Words(
            "측정만 함: k-익명성은 사건의 순서를 막지 않음",
            "measured only: k-anonymity does not cover sequences of events",
        ),
        {
            "known_events": KNOWN,
            "tables": [s.name for s, _, _ in sources],
            "people_attacked": shares["unique"][1] if sources else 0,
            "unique_share": shares["unique"][0],
            "unique_share_codes_alone": shares["codes_alone"][0],
        },
        "measured" if sources else "not_run",
    )


def _unique_share(
    extract: Extract, sources: list[tuple[Sheet, Leaf, Leaf]], dated: bool, seed: int
) -> tuple[float, int]:
    if not sources:
        return 0.0, 0
    each = " UNION ALL ".join(_happened(extract, *one, dated) for one in sources)
    extract.con.execute(
        f"CREATE OR REPLACE TEMP TABLE happened AS SELECT DISTINCT p, hash(t, c, m) AS e FROM ({each})"
    ).fetchall()
    able = f"SELECT p FROM happened GROUP BY p HAVING count(*) >= {KNOWN}"
    names = extract.con.sql(f"{able} ORDER BY p").to_arrow_table()
    if not names.num_rows:
        return 0.0, 0
    chance = np.random.default_rng(seed)
    victims = np.sort(chance.choice(names.num_rows, min(names.num_rows, VICTIMS), replace=False))
    extract.load("victims", names.take(victims).append_column("victim", pa.array(victims)))
    held = extract.con.sql(
        "SELECT victim, e FROM happened JOIN victims USING (p) ORDER BY victim, e"
    ).to_arrow_table()
    of = held["victim"].to_numpy()
    order = np.lexsort((chance.random(len(of)), of))
    known = order[np.searchsorted(of, victims)[:, None] + np.arange(KNOWN)]  # `of` is sorted, by `order` too
    drawn = pa.table({"victim": np.repeat(victims, KNOWN), "e": held["e"].to_numpy()[known.ravel()]})
    extract.load("known", drawn)
    alone = extract.number(
        "SELECT count(*) FROM (SELECT victim FROM (SELECT victim, p FROM known JOIN happened USING (e) "
        f"GROUP BY victim, p HAVING count(*) = {KNOWN}) GROUP BY victim HAVING count(*) = 1)"
    )
    return alone / len(victims), len(victims)


def _happened(extract: Extract, sheet: Sheet, code: Leaf, date: Leaf, dated: bool) -> str:
    d = quoted(date.name)
    days = date.transform == "relative_day"
    month = f"floor({d} / 30.4375)::VARCHAR" if days else f"left({d}::VARCHAR, 7)"
    when = month if dated else "''"
    rows = (
        f"(SELECT {quoted(code.name)}::VARCHAR AS c, {when} AS m, row_number() OVER () AS r "
        f"FROM {sheet.rows})"
    )
    name = sheet.name.replace("'", "''")
    return (
        f"SELECT p, '{name}' AS t, c, m FROM {extract.owners(sheet)} JOIN {rows} USING (r) "
        "WHERE c IS NOT NULL AND m IS NOT NULL"
    )
