"""The people of each value of one part, in one pass: rows that are in the order of people need no set of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.deid.verify import keys

MOST = 100_000
"""Of so many values their numbers are found again for each batch; beyond it DuckDB counts."""


def people_of_values(path: Path, person: str, column: str) -> pa.Table | None:
    """(v string, n int64): each value that is there and how many people have it; None where DuckDB has to be asked.

    The rows of the part must be in the order of `person`: the pairs of a person are then together, and nothing is kept
    of whoever is past. Memory: one batch, the values, and those of one person."""
    columns = [person, column]
    with pq.ParquetFile(path, read_dictionary=keys.in_dictionaries(path, columns)) as file:
        values, found = _Values(), np.zeros(0, dtype=np.int64)
        last, held = None, np.zeros(0, dtype=np.int64)
        for batch in file.iter_batches(keys.BATCH, columns=columns, use_threads=False):
            words, places = keys.words_of(batch.column(person)), values.places(batch.column(column))
            if words is None or places is None:
                return None
            if not len(words):
                continue
            before = words[:1] if last is None else last
            run = np.cumsum((words != np.concatenate([before, words[:-1]])).any(axis=1))
            size = len(values.known)
            # Whom the batch before ended with goes on here: what they have is counted once, when they are past.
            pairs = np.concatenate([held, (run * size + places)[places >= 0]])
            pairs = np.sort(pairs)
            pairs = pairs[np.diff(pairs, prepend=-1) > 0]
            past = np.searchsorted(pairs, run[-1] * size)
            found = _added(found, pairs[:past] % max(size, 1), size)
            held, last = pairs[past:] % max(size, 1), words[-1:]
        found = _added(found, held, len(values.known))
    told = pa.table({"v": values.known, "n": found})
    return told.filter(pa.array(found > 0))


class _Values:
    """The values of a column in the order in which they were met."""

    def __init__(self) -> None:
        self.known = pa.array([], pa.string())

    def places(self, column: pa.Array) -> npt.NDArray[np.int64] | None:
        """Of each row the place of its value, -1 where there is none; None where they are no texts, or too many."""
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        if encoded.type.value_type != pa.string():
            return None
        new = pc.unique(encoded.dictionary.filter(pc.invert(pc.is_in(encoded.dictionary, self.known))))
        if len(self.known) + len(new) > MOST:
            return None
        self.known = pa.concat_arrays([self.known, new])
        place = pc.index_in(encoded.dictionary, value_set=self.known)
        found: Any = pc.fill_null(place.take(encoded.indices), -1).to_numpy()
        return np.asarray(found, dtype=np.int64)


def _added(found: npt.NDArray[np.int64], places: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    added = np.bincount(places, minlength=size)
    added[: len(found)] += found
    return added
