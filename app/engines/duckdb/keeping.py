"""What a run keeps for the next generation of its extract, and whether it still holds for a source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.deid import pseudonyms, window
from app.deid.choices import chosen
from app.engines.duckdb.columns import select
from app.engines.duckdb.people import event_tables
from app.engines.protocol import Kept, NotLocal, Place, Source

FORM = 6
"""Of what is kept and of the rules that judge it. Raise it when either changes: the next build is then a whole one."""
PEOPLE, LABELS = "people", "labels"


def having_name(table: str) -> str:
    """The kept table of the people with rows in an event table."""
    return f"having/{table}"


def code_name(key: str) -> str:
    """The kept table of the codes of a `table.column`."""
    return f"codes/{key}"


@dataclass(frozen=True, slots=True)
class Classed:
    """Of each of the crosswalk's people, in their order: int32 class (-1 where they have none), and whether they are in
    the extract."""

    of: npt.NDArray[np.int32]
    released: npt.NDArray[np.bool_]


def classed(con: duckdb.DuckDBPyConnection, source: Source) -> Classed:
    """The class of everyone, as it was laid down."""
    found = con.execute("SELECT key, class FROM cross_").fetchnumpy()
    keys = source.crosswalk["key"].to_numpy()
    of, released = np.full(len(keys), -1, dtype=np.int32), np.zeros(len(keys), dtype=np.bool_)
    place = np.searchsorted(keys, found["key"])
    of[place], released[place] = found["class"], True
    return Classed(of, released)


def keep(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    classes: Callable[[], Classed],
    codes: Mapping[str, str],
    written: Mapping[Place, int],
    outside: Mapping[str, int],
) -> Kept | None:
    """The people of the crosswalk with the class they left in (null: they did not), the labels of the classes, who has
    rows in which event table, and of each code its people and what it leaves as.

    Nothing of a united version: people there have several keys, and the next build is a whole one."""
    if _filters_on_codes(source) or source.united:
        return None
    tables = {
        PEOPLE: _people(source, classes()),
        LABELS: con.sql("SELECT * FROM classes ORDER BY class").to_arrow_table(),
    }
    for i, table in enumerate(event_tables(source)):
        if table.kind == "event":
            tables[having_name(table.name)] = con.sql(f"SELECT key FROM having_{i}").to_arrow_table()
    for key, name in codes.items():
        tables[code_name(key)] = con.sql(f"SELECT v, n, released FROM {name} ORDER BY v").to_arrow_table()
    rows: dict[str, dict[str, int]] = {}
    for (table_name, position), number in written.items():
        rows.setdefault(table_name, {})[str(position)] = number
    return Kept({**about(source), "rows": rows, "outside": dict(outside)}, tables)


def _people(source: Source, classes: Classed) -> pa.Table:
    """The crosswalk's people in their order: key, name (the bits of the pseudonym), shift_days, in_<domain>, class."""
    walk = source.crosswalk
    names = pseudonyms.words_of(walk["pseudonym"])
    columns = {"key": walk["key"], "name": names, "shift_days": walk["shift_days"]}
    columns |= {domain: walk[domain] for domain in domains_of(source)}
    return pa.table({**columns, "class": pa.array(classes.of, mask=~classes.released)})


def domains_of(source: Source) -> list[str]:
    """The crosswalk's consent columns."""
    return [str(name) for name in source.crosswalk.column_names if name.startswith("in_")]


def about(source: Source) -> dict[str, Any]:
    """All that a part's bytes follow from, beside the people: what is kept is true of nothing else."""
    return {
        "form": FORM,
        "duckdb": duckdb.__version__,
        "arrow": pa.__version__,
        "objects": {name: list(held) for name, held in sorted(source.tables.items())},
        "domains": domains_of(source),
        "windows": window.to_json(source.windows or {}),
        "rules": _rules(source),
    }


def must_fit(source: Source, kept: Kept) -> None:
    """Raise NotLocal unless what was kept holds for this source, or for one that lacks destroyed people beside it."""
    now, said = about(source), kept.about
    if any(said.get(name) != now[name] for name in now if name != "objects"):
        raise NotLocal("other_rules")
    changed = [name for name, held in said["objects"].items() if held != now["objects"].get(name)]
    foreign = [n for n in changed if not set(said["objects"][n]) <= source.forebears.get(n, frozenset())]
    # A filter asks for labels, which may follow from all values that a table holds.
    if foreign or said["objects"].keys() != now["objects"].keys() or (changed and source.plan.filter):
        raise NotLocal("other_data")


def has_lost_people(source: Source, kept: Kept) -> bool:
    """Whether people were destroyed in the vault since."""
    return bool(kept.about["objects"] != about(source)["objects"])


def _rules(source: Source) -> str:
    """A digest of plan, dictionary and the SQL of every released column: our own code is an input of the bytes."""
    columns = []
    for planned in source.plan.tables:
        table = source.dictionary.table(planned.name)
        codes = {c.column.name: "code" for c in chosen(planned, table) if c.transform.name == "roll_up"}
        columns.append([(c.name, c.sql) for c in select(source, table, codes)])
    text = json.dumps(
        [source.plan.model_dump(mode="json"), source.dictionary.model_dump(mode="json"), columns],
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _filters_on_codes(source: Source) -> bool:
    """A filter on codes judges them over everyone with consent: who passes may change with anyone who leaves."""
    for condition in source.plan.filter:
        planned = source.plan.table(condition.table)
        for choice in chosen(planned, source.dictionary.table(condition.table)):
            if choice.planned.name == condition.column and choice.transform.name == "roll_up":
                return True
    return False
