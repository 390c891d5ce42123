"""What the researcher and anyone who checks them does with the Parquet: plain DuckDB over the downloaded files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb


def most_common_conditions(folder: Path) -> list[tuple[Any, ...]]:
    """The ten commonest conditions: people, share of women, by way of the vocabulary that came along."""
    query = f"""
        SELECT c.CONCEPT_NAME AS condition, count(DISTINCT o.PERSON_ID) AS people,
               round(100 * avg((p.GENDER_CONCEPT_ID = '8532')::INTEGER), 1) AS "% women"
        FROM '{folder}/condition_occurrence/*.parquet' o
        JOIN '{folder}/person/*.parquet' p USING (PERSON_ID)
        JOIN '{folder}/concept/*.parquet' c ON o.CONDITION_CONCEPT_ID = c.CONCEPT_ID::VARCHAR
        GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10
    """
    return _rows(query)


def whereabouts(folder: Path, pseudonym: str) -> set[str]:
    """The files with rows of a pseudonym."""
    found = set()
    for table in sorted(folder.iterdir()):
        if table.is_dir() and table.name != "concept":
            files = f"read_parquet('{table}/*.parquet', filename = true)"
            query = f"SELECT DISTINCT filename FROM {files} WHERE PERSON_ID = ?"
            found |= {Path(row[0]).name for row in duckdb.execute(query, [pseudonym]).fetchall()}
    return found


def pseudonyms_in(folder: Path) -> set[str]:
    """Everyone in the participant table."""
    return {row[0] for row in _rows(f"SELECT PERSON_ID FROM '{folder}/person/*.parquet'")}


def smallest_class(folder: Path, manifest: dict[str, Any]) -> int:
    """The smallest class of quasi-identifiers, over the people of every table, counted from the files alone."""
    labels = ", ".join(manifest["certificate"]["quasi_identifiers"])
    sizes = []
    for table in sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != "concept"):
        query = f"""
            SELECT min(n) FROM (
                SELECT count(DISTINCT p.PERSON_ID) AS n FROM '{folder}/person/*.parquet' p
                SEMI JOIN '{folder}/{table}/*.parquet' t USING (PERSON_ID) GROUP BY {labels})
        """
        sizes.append(int(_rows(query)[0][0]))
    return min(sizes)


def _rows(query: str) -> list[tuple[Any, ...]]:
    return duckdb.execute(query).fetchall()
