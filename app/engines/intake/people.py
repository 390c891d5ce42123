"""The people of rows, as sorted arrays of keys: which of them other rows have, too, is then told without a join."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from app.engines.intake.connection import Connection
from app.engines.intake.reading import Files, quoted, scan
from app.engines.keys import gathered
from app.engines.protocol import Keys

_ROWS = 100_000  # read at a time


def people_of(names: Sequence[str], files: Files, db: Connection) -> Keys:
    """The people that the columns `names` of vault files hold between them."""
    return people_in(names, scan(files), db) if files else np.empty(0, np.int32)


def people_in(names: Sequence[str], source: str, db: Connection) -> Keys:
    """The people that the columns `names` of what can be selected from hold between them; nulls are nobody."""

    def batches() -> Iterator[Keys]:
        for name in names:
            for batch in db.batches(f"SELECT {quoted(name)} FROM {source}", _ROWS):
                yield batch.drop_null().to_numpy()

    return gathered(batches())
