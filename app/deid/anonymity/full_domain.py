"""A full-domain recoding: one level per column, the groups that may be released listed, all else suppressed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from app.deid.anonymity.frequency import AnonymityError, Frequency, Ints, Rows, check_root, rule_of
from app.deid.anonymity.keys import distinct
from app.deid.anonymity.tree import SUPPRESSED, check_columns
from app.deid.hierarchies import Fitted


@dataclass(frozen=True)
class FullDomain:
    """`chosen` is the level of every column; `groups` holds (class id, labels) of every released class.

    A tuple whose labels are not listed is suppressed, so a group that appears later is not released by accident.
    """

    names: tuple[str, ...]
    heights: tuple[int, ...]
    chosen: tuple[int, ...]
    groups: tuple[tuple[int, tuple[str, ...]], ...]

    def class_ids(self) -> list[int]:
        """The ids of every class that a tuple can be released in, ascending."""
        return [number for number, _ in self.groups]

    def labels(self, class_id: int) -> list[tuple[int, str]]:
        """(level, label) per column of a class; raises AnonymityError for an id that is not a class."""
        if class_id not in self._listed:
            raise AnonymityError([("no_such_class", "the class id is not one of the released groups")])
        return list(zip(self.chosen, self._listed[class_id], strict=True))

    def texts(self, class_ids: Sequence[int]) -> list[tuple[str, ...]]:
        """The labels of each class, a text per column."""
        return [self._listed[class_id] for class_id in class_ids]

    @cached_property
    def _listed(self) -> dict[int, tuple[str, ...]]:
        return dict(self.groups)

    def assign(self, codes: Ints, fitted: Sequence[Fitted]) -> Ints:
        """int32 (n_tuples,): the class of every tuple of `codes` (n_tuples, n_qi), -1 where it is suppressed.

        Raises AnonymityError if `fitted` is of other columns or heights.
        """
        check_columns(self.names, self.heights, fitted)
        released = len(self.groups)
        key = np.zeros(released + len(codes), np.intp)
        for q, fit in enumerate(fitted):
            place = self._place(q)
            column = self._numbers(place, q, fit)[codes[:, q]]
            listed = np.array([place[labels[q]] for _, labels in self.groups], np.intp)
            wide = len(place) + 1
            # Renumbering after each column keeps the combined key small.
            _, key = distinct(key * wide + np.concatenate([listed, column]), len(key) * wide)
        ids = np.full(len(key), SUPPRESSED, np.int32)
        ids[key[:released]] = [number for number, _ in self.groups]
        return ids[key[released:]]

    def levels_of(self, assigned: Ints) -> Ints:
        """int32 (n, n_qi): the released levels of class ids none of which is -1."""
        return np.tile(np.array(self.chosen, np.int32), (len(assigned), 1))

    def _place(self, q: int) -> dict[str, int]:
        return {label: i for i, label in enumerate(sorted({labels[q] for _, labels in self.groups}))}

    def _numbers(self, place: dict[str, int], q: int, fit: Fitted) -> Rows:
        # Per value the number of its label; labels of no group share the number after the last.
        level = self.chosen[q]
        numbers = np.array([place.get(label, len(place)) for label in fit.labels[level]], np.intp)
        return numbers[fit.nodes[:, level]]

    def to_json(self) -> str:
        """The canonical text: equal recodings have equal texts."""
        columns = [list(column) for column in zip(self.names, self.heights, self.chosen, strict=True)]
        document = {"kind": "full_domain", "columns": columns, "groups": self.groups}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> FullDomain:
        """The recoding of a text written by `to_json`; raises AnonymityError on any other."""
        try:
            document: dict[str, Any] = json.loads(text)
            if document["kind"] != "full_domain":
                raise ValueError
            names, heights, chosen = zip(*document["columns"], strict=True)
            groups = tuple((int(number), tuple(labels)) for number, labels in document["groups"])
        except (ValueError, KeyError, TypeError) as error:
            raise AnonymityError([("bad_recoding", "the text is not a full-domain recoding")]) from error
        return cls(names, heights, chosen, groups)


def coarsen_full_domain(
    recoding: FullDomain, freq: Frequency, fitted: Sequence[Fitted], k: int
) -> FullDomain:
    """The recoding without the groups that are no longer lawful: suppression is all that lies above one level.

    Raises AnonymityError when all people together are below k, or no group is left.
    """
    rule, measures = rule_of(freq, k), freq.measures()
    check_root(rule, measures.sum(axis=0))
    assigned = recoding.assign(freq.codes, fitted)
    ids = np.array(recoding.class_ids(), np.int32)
    place = np.searchsorted(ids, assigned[assigned >= 0])
    sums = np.zeros((len(ids), measures.shape[1]), np.int64)
    np.add.at(sums, place, measures[assigned >= 0])
    empty = ~sums.any(axis=1)
    good = rule.lawful(sums)
    if not good.any():
        raise AnonymityError([("all_suppressed", "no group is left to release")])
    kept = tuple(group for group, keep in zip(recoding.groups, good | empty, strict=True) if keep)
    return replace(recoding, groups=kept)
