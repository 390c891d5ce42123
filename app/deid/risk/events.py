"""The longitudinal attack: how many people are told apart by three (code, month) events that an attacker knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from app.deid.risk.ground import Ground, Leaf, quoted, text
from app.schemas.dictionary import Table

KNOWN = 3
"""Events that the attacker knows of a person."""

_DRAWN = 4  # people looked at per person attacked, for not everyone has three events
_MATCHES = 5_000_000  # rows that one step of the attack may hold


@dataclass(frozen=True)
class Attack:
    """One attack on a sample of the people who have three different events; the share of them who are unique.

    `able` is how many such people there are: counted where everyone is looked at, else scaled up from the draw.
    """

    able: int
    sampled: int
    unique_share: float


@dataclass(frozen=True)
class EventUniqueness:
    """`before` knows true (code, month) events of the raw tables, `after` the events as they are released (where
    dates are shifted that is more than an outsider has: an upper bound), `codes_alone` released codes without any
    date. `tables` are those whose events are known."""

    tables: tuple[str, ...]
    before: Attack
    after: Attack
    codes_alone: Attack


def event_uniqueness(ground: Ground) -> EventUniqueness | None:
    """The attack on raw and released tables; None where no table with a code and a date leaves.

    Of each table the first code and the first date are known. People and their events are drawn by the seed handed
    in; all people stay candidates, so the shares are those of the whole release.
    """
    sources = [source for table in ground.tables if (source := _source(ground, table))]
    if not sources:
        return None
    attacks = []
    for released, dated in ((False, True), (True, True), (True, False)):
        each = " UNION ALL ".join(_events(ground, *source, released, dated) for source in sources)
        # A 64-bit hash stands for (table, code, month).
        attacks.append(_attack(ground, f"(SELECT p, hash(t, c, m) AS e FROM ({each}))"))
    return EventUniqueness(tuple(code.table.name for code, _ in sources), *attacks)


def _source(ground: Ground, table: Table) -> tuple[Leaf, Leaf] | None:
    codes, dates = ground.of(table, "code"), ground.of(table, "date")
    return (codes[0], dates[0]) if codes and dates else None


def _events(ground: Ground, code: Leaf, date: Leaf, released: bool, dated: bool) -> str:
    rows = ground.after(code.table) if released else ground.before(code.table)
    month = f"CAST({_month(date, released)} AS VARCHAR)" if dated else "''"
    c, d = quoted(code.name), quoted(date.name)
    when = f" AND {d} IS NOT NULL" if dated else ""
    return (
        f"SELECT p, {text(code.table.name)} AS t, CAST({c} AS VARCHAR) AS c, {month} AS m FROM {rows} "
        f"WHERE {c} IS NOT NULL{when}"
    )


def _month(date: Leaf, released: bool) -> str:
    column = quoted(date.name)
    if not released or date.transform == "shift_date":
        return f"strftime(CAST({column} AS DATE), '%Y-%m')"
    # A relative day tells its month as a run of thirty days; a year or month is what it is.
    return f"floor({column} / 30.4375)::BIGINT" if date.transform == "relative_day" else column


def _attack(ground: Ground, events: str) -> Attack:
    people = ground.arrow("SELECT p FROM person ORDER BY p")["p"].to_numpy()
    chance = np.random.default_rng(ground.bounds.seed)
    drawn = chance.choice(people, min(len(people), _DRAWN * ground.bounds.attacked), replace=False)
    ground.load("drawn", pa.table({"p": pa.array(drawn, pa.int32())}))
    held = ground.arrow(f"SELECT DISTINCT p, e FROM {events} SEMI JOIN drawn USING (p) ORDER BY p, e")
    person, event = held["p"].to_numpy(), held["e"].to_numpy()
    found, counts = np.unique(person, return_counts=True)
    able = found[counts >= KNOWN]
    if not len(able):
        return Attack(0, 0, 0.0)
    victims = np.sort(chance.choice(able, min(len(able), ground.bounds.attacked), replace=False))
    # Which events are known must not follow their hash, which is the same for every seed.
    order = np.lexsort((chance.random(len(person)), person))
    starts = np.searchsorted(person[order], victims)
    known = event[order][starts[:, None] + np.arange(KNOWN)]
    ground.load("known", pa.table({"p": np.repeat(victims, KNOWN).astype(np.int32), "e": known.ravel()}))
    ground.do(
        f"CREATE OR REPLACE TEMP TABLE happened AS SELECT DISTINCT p, e FROM {events} SEMI JOIN known USING (e)"
    )
    share = _unique(ground) / len(victims)
    ground.do("DROP TABLE happened")
    return Attack(round(len(able) * len(people) / len(drawn)), len(victims), share)


def _unique(ground: Ground) -> int:
    """The victims whose known events nobody else has, in steps small enough for the memory: the rarest event of
    each gives the candidates, the others thin them out."""
    ground.do(
        "CREATE OR REPLACE TEMP TABLE ranked AS SELECT k.p, k.e, f.n, "
        "row_number() OVER (PARTITION BY k.p ORDER BY f.n, k.e) AS r FROM known k JOIN "
        "(SELECT e, count(*) AS n FROM happened GROUP BY e) f USING (e)"
    )
    load = ground.arrow("SELECT p, n FROM ranked WHERE r = 1 ORDER BY p")
    step = np.cumsum(load["n"].to_numpy()) // _MATCHES
    ground.load("step", pa.table({"p": load["p"], "s": pa.array(step, pa.int64())}))
    unique = 0
    for s in np.unique(step):
        others = " ".join(
            f"JOIN ranked r{n} ON r{n}.p = v.p AND r{n}.r = {n} "
            f"JOIN happened h{n} ON h{n}.e = r{n}.e AND h{n}.p = h1.p"
            for n in range(2, KNOWN + 1)
        )
        unique += ground.number(
            "SELECT count(*) FROM (SELECT v.p FROM step v JOIN ranked r1 ON r1.p = v.p AND r1.r = 1 "
            f"JOIN happened h1 ON h1.e = r1.e {others} JOIN person c ON c.p = h1.p WHERE v.s = {int(s)} "
            "GROUP BY v.p HAVING count(DISTINCT c.counted) = 1)"
        )
    return unique
