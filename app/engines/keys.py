"""People's keys in sorted arrays, each once: sets that cost a sort of numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from app.engines.protocol import Keys

_WAITING = 4_000_000  # keys that lie unsorted before they are made one set


def each_once(keys: Keys) -> Keys:
    """Sorted, each once; a sort of numbers costs a fraction of the hash table of `np.unique`."""
    ordered = np.sort(keys)
    return ordered[_turns(ordered)]


def gathered(batches: Iterable[Keys]) -> Keys:
    """All keys of the batches, sorted, each once. Runs of one key cost next to nothing, as rows that are clustered by
    person have them; no more is held at a time than the people and some megabytes."""
    found, waiting, held = np.empty(0, np.int32), list[Keys](), 0
    for batch in batches:
        waiting.append(batch[_turns(batch)])
        held += len(waiting[-1])
        if held >= _WAITING:
            found, waiting, held = each_once(np.concatenate([found, *waiting])), [], 0
    return each_once(np.concatenate([found, *waiting]))


def _turns(keys: Keys) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Where another key stands than before it."""
    first = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return first
