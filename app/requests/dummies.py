"""Made-up data of a plan, packed for download: from the dictionary and the plan alone, no row is read."""

from __future__ import annotations

import io
import zipfile

import pyarrow.parquet as pq

from app.deid.dummy import dummy
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan

PEOPLE = 100


def made_up(dictionary: Dictionary, plan: Plan) -> bytes:
    """A zip of one `<table>.parquet` a table, for 100 people who do not exist; equal inputs give equal rows."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, table in dummy(dictionary, plan, PEOPLE).items():
            file = io.BytesIO()
            pq.write_table(table, file, compression="zstd")
            archive.writestr(f"{name}.parquet", file.getvalue())
    return packed.getvalue()
