"""Rows of several people count for each of them, and where the dictionary names families, k and risk count families."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from app.deid.plan import draft
from app.deid.risk import Bounds
from app.deid.risk.classes import uniqueness
from app.deid.risk.codes import code_losses
from app.deid.risk.columns import column_losses
from app.deid.risk.ground import Ground, stand
from app.deid.risk.groups import suppressed_by_group
from app.deid.risk.inference import inferences
from app.deid.roles import check_dictionary
from app.schemas.plan import Privacy
from tests.unit.deid.risk_tables import crosswalk, pseudonym, write

DOCUMENT: dict[str, Any] = {
    "hierarchies": {"sex": {"kind": "flat"}},
    "tables": [
        {"name": "people", "kind": "participant", "fields": [
            {"name": "id", "role": {"kind": "participant_id"}},
            {"name": "sex", "role": {"kind": "quasi_identifier", "hierarchy": "sex"}},
            {"name": "family", "role": {"kind": "family_id"}},
        ]},
        {"name": "pairs", "kind": "link", "fields": [
            {"name": "mother", "role": {"kind": "participant_id"}},
            {"name": "child", "role": {"kind": "participant_id"}},
            {"name": "kind", "role": {"kind": "code", "vocabulary": "x"}},
            {"name": "trait", "role": {"kind": "sensitive"}},
        ]},
    ],
}  # fmt: skip
SEX = ["F", "M", "F", "M", "F", "M"]
FAMILY = ["a", "a", "b", "b", "b", None]
# (mother, child); the last row is of one person alone.
PAIRS = [(0, 1, "m", "yes"), (2, 3, "m", "no"), (4, 4, "m", "no")]


@contextmanager
def ground_of(folder: Path, out: list[int]) -> Iterator[Ground]:
    text, key = pa.string(), pa.int32()
    people = [{"__participant": k, "id": pseudonym(k), "sex": SEX[k], "family": FAMILY[k]} for k in range(6)]
    pairs = [
        {"__participant_1": m, "__participant_2": c, "mother": pseudonym(m), "child": pseudonym(c), "kind": kind,
         "trait": trait}
        for m, c, kind, trait in PAIRS
    ]  # fmt: skip
    columns = {"people": {"sex": text, "family": text}, "pairs": {"kind": text, "trait": text}}
    keys = {"people": {"__participant": key}, "pairs": {"__participant_1": key, "__participant_2": key}}
    ids = {"people": {"id": text}, "pairs": {"mother": text, "child": text}}
    rows: dict[str, list[dict[str, Any]]] = {"people": people, "pairs": pairs}
    left: dict[str, list[dict[str, Any]]] = {
        "people": [row for row in people if row["__participant"] in out],
        "pairs": [row for row in pairs if {row["__participant_1"], row["__participant_2"]} <= set(out)],
    }
    raw = {n: [write(folder / f"raw_{n}.parquet", rows[n], {**keys[n], **columns[n]})] for n in rows}
    released = {n: [write(folder / f"out_{n}.parquet", left[n], {**ids[n], **columns[n]})] for n in rows}
    known = check_dictionary(DOCUMENT)
    plan = draft(known, None, (), Privacy(k=2, reserve=0, min_cell=2), "v")
    bounds = Bounds(folder, memory="512MB", threads=1)
    with stand(raw, released, crosswalk(range(6)), known, plan, bounds) as ground:
        yield ground


def test_classes_are_counted_in_families(tmp_path: Path):
    with ground_of(tmp_path, [0, 1, 2, 3, 4]) as ground:
        found = uniqueness(ground)
    assert found.counted == "families"
    # Women: a, b; men: a, b and the one whose family nobody knows, who is left out.
    assert (found.before.people, found.before.classes, found.before.smallest) == (5, 2, 2)
    assert (found.after.people, found.after.smallest, found.after.max_risk) == (4, 2, 0.5)


def test_a_pair_counts_for_both_of_its_people_and_a_row_once(tmp_path: Path):
    with ground_of(tmp_path, [0, 1, 2, 4]) as ground:  # 3 is left out, and so the pair of 2 and 3
        (codes,) = code_losses(ground)
        (trait,) = inferences(ground)
        (kind,) = [one for one in column_losses(ground) if one.column == "kind"]
        (by_sex,) = suppressed_by_group(ground)
    assert (kind.cells_before, kind.cells_after) == (3, 2)
    # Of those who leave, 0, 1 and 2 have a row that is as it was: no code was dropped from anyone.
    assert (codes.kept, codes.cells, codes.people_dropped) == (1, 3, 0)
    # 0 and 1: yes; 4, who stands on both sides of her row: no, once.
    assert (trait.base, trait.best) == (2 / 3, 2 / 3)
    rows = {g.label: (g.people, g.rows, g.rows_out) for g in by_sex.groups}
    # Every person's own row of the roster, and each pair that they are in.
    assert rows == {"F": (3, 6, 5), "M": (3, 5, 2)}
