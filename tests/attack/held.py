"""What an attacker holds: a published extract copied into a folder, and the truth to check the attack against."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import duckdb

from app.deid.attacks import Result, Target, attack
from app.models import Extract
from tests.world import World

# Thirteen digits of the shape of a resident number, another for each key.
RESIDENT = "10000000 * (700101 + key % 28) + 1000000 + key * 37"

SURVEY: dict[str, Any] = {
    "hierarchies": {
        "age": {"kind": "interval", "bounds": [0, 100], "widths": [5, 10, 20, 40]},
        "flat": {"kind": "flat"},
    },
    "tables": [
        {
            "name": "person",
            "kind": "participant",
            "participant": ["rrn"],
            "fields": [
                {"name": "rrn", "type": "integer", "role": {"kind": "participant_id"}},
                {"name": "real_name", "role": {"kind": "direct_identifier"}},
                {"name": "age", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "age"}},
                *(
                    {"name": name, "role": {"kind": "quasi_identifier", "hierarchy": "flat"}}
                    for name in ("sex", "work", "school", "marital")
                ),
                {"name": "salary", "role": {"kind": "sensitive", "l": 2}},
            ],
        }
    ],
}
SURVEY_TABLES: list[dict[str, Any]] = [
    {
        "name": "person",
        "columns": [
            {"name": "rrn", "transform": "pseudonymise"},
            *({"name": n, "transform": "generalise"} for n in ("age", "sex", "work", "school", "marital")),
            {"name": "salary", "transform": "keep"},
        ],
    }
]
# Shaped like UCI Adult: skewed categories, and a salary that follows schooling.
SURVEY_SQL = {
    "person": f"""
SELECT key AS __participant, {RESIDENT.replace("10000000 ", "10000000::BIGINT ", 1)} AS rrn,
       'name of ' || key AS real_name,
       17 + ((hash(key) % 1000) * (hash(key) % 1000) / 1000000.0 * 60)::BIGINT AS age,
       CASE WHEN hash(key + 1) % 3 = 0 THEN 'F' ELSE 'M' END AS sex,
       'w' || least(hash(key * 3) % 7, hash(key * 5) % 7) AS work,
       's' || least(hash(key * 7) % 9, hash(key * 11) % 9) AS school,
       'm' || least(hash(key * 13) % 5, hash(key * 17) % 5) AS marital,
       CASE WHEN hash(key * 19) % 100 < CASE WHEN least(hash(key * 7) % 9, hash(key * 11) % 9) = 0 THEN 3 ELSE 40 END
            THEN '>50K' ELSE '<=50K' END AS salary
FROM people ORDER BY key"""
}


def download(world: World, extract_id: str, folder: Path) -> Target:
    """The parts and the manifest of an extract, as a holder fetches them."""
    folder.mkdir(parents=True)
    with world.db.read() as session:
        row = session.get_one(Extract, extract_id)
        manifest = {**deepcopy(row.manifest or {}), "certificate": row.certificate}
    for table in manifest["tables"]:
        for part in table["parts"]:
            (folder / part["name"]).write_bytes(
                (world.var / "outbox" / extract_id / part["name"]).read_bytes()
            )
    return Target(folder, json.loads(json.dumps(manifest)))


def doctored(
    target: Target, table: str, query: str, folder: Path, options: str = "COMPRESSION zstd"
) -> Target:
    """The extract with one table rewritten by `query` over `parts`: a fault planted by someone with a pen."""
    folder.mkdir(parents=True)
    manifest = deepcopy(dict(target.manifest))
    for one in manifest["tables"]:
        if one["name"] != table:
            for part in one["parts"]:
                (folder / part["name"]).write_bytes((target.folder / part["name"]).read_bytes())
            continue
        paths = [str(target.folder / part["name"]) for part in one["parts"]]
        con = duckdb.connect()
        con.execute(f"CREATE VIEW parts AS FROM read_parquet({paths!r})")
        path = folder / "next.parquet"
        con.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, {options})").fetchall()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(folder / f"{digest}.parquet")
        one["parts"] = [{"name": f"{digest}.parquet", "position": 0, "sha256": digest}]
    return Target(folder, manifest)


def attacked(target: Target, spill: Path, *only: str, **more: Any) -> dict[str, Result]:
    """The named attacks, by name."""
    return {result.name: result for result in attack(target, spill, only=only, **more)}
