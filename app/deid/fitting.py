"""From the frequency table to classes and labels: a fresh recoding at k + reserve, or the pinned one coarsened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.deid import hierarchies
from app.deid.anonymity import loss
from app.deid.anonymity.frequency import AnonymityError, Frequency, Sensitive
from app.deid.anonymity.global_lattice import fit_global
from app.deid.anonymity.local import fit_local
from app.deid.anonymity.recoding import AnyRecoding, FullDomain, coarsen, from_json
from app.deid.hierarchies import Fitted, HierarchyError
from app.errors import Finding, Problem
from app.schemas.dictionary import Column, Dictionary
from app.schemas.plan import Privacy

Ints = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]
Histograms = Mapping[str, tuple[list[object], Counts]]


@dataclass(frozen=True)
class Fit:
    """The class of each tuple (-1: suppressed), each class's labels, and what was measured on the way."""

    recoding: str  # JSON; empty where no quasi-identifier leaves
    of_tuple: Ints
    labels: dict[int, tuple[str | None, ...]]
    loss: float
    column_losses: dict[str, float]
    classes: int
    smallest: int
    suppressed: int


def fit(
    dictionary: Dictionary,
    names: Sequence[str],
    columns: Sequence[list[object]],
    codes: Ints,
    counts: Counts,
    tables: Sequence[str],
    histograms: Histograms,
    privacy: Privacy,
    pinned: str | None,
) -> Fit:
    """Classes with at least k people in the participant table, and none or at least k in every other table.

    A `pinned` recoding (release memory) is only coarsened, down to k; a fresh one is made at k + reserve.
    Raises `anonymity_unreachable` where even all people together are too few, naming the tables.
    """
    quasi = [dictionary.people.column(name) for name in names]
    _check_sizes(counts, tables, privacy.k if pinned else privacy.k + privacy.reserve, privacy.min_cell)
    if not quasi:
        return _one_class(counts)
    fitted = [_fit_hierarchy(dictionary, c, values) for c, values in zip(quasi, columns, strict=True)]
    freq = Frequency(codes, counts, _sensitive(dictionary, histograms))
    try:
        recoding = _recode(freq, fitted, quasi, privacy, pinned)
    except AnonymityError as error:
        raise _unreachable([(code, detail) for code, detail in error.problems]) from error
    return _measured(recoding, freq, fitted)


def hierarchy_spec(dictionary: Dictionary, column: Column) -> dict[str, Any]:
    """The hierarchy of a column: the one its role names, else the automatic one of its type."""
    named = getattr(column.role, "hierarchy", None)
    return dictionary.hierarchies[named] if named else hierarchies.default_spec(column.type)


def _recode(
    freq: Frequency, fitted: list[Fitted], quasi: list[Column], privacy: Privacy, pinned: str | None
) -> AnyRecoding:
    if pinned:
        held = from_json(pinned)
        if isinstance(held, FullDomain):
            return coarsen(held, freq, fitted, privacy.k)
        return coarsen(held, freq, fitted, privacy.k)
    k = privacy.k + privacy.reserve
    weights = [float(getattr(c.role, "weight", 1.0)) for c in quasi]
    highest = [getattr(c.role, "max_level", None) for c in quasi]
    lowest = [getattr(c.role, "min_level", 0) for c in quasi]
    if privacy.method == "global":
        return fit_global(
            freq, fitted, k, privacy.max_suppression, weights=weights, max_level=highest, min_level=lowest
        )
    return fit_local(freq, fitted, k, weights=weights, max_level=highest, min_level=lowest)


def _measured(recoding: AnyRecoding, freq: Frequency, fitted: list[Fitted]) -> Fit:
    of_tuple = recoding.assign(freq.codes, fitted)
    used: list[int] = np.unique(of_tuple[of_tuple >= 0]).tolist()
    columns = loss.column_losses(recoding, freq, fitted, of_tuple)
    summary = loss.summary(of_tuple, freq.counts)
    return Fit(
        recoding=recoding.to_json(),
        of_tuple=of_tuple,
        labels={
            c: tuple(label or None for label in labels)
            for c, labels in zip(used, recoding.texts(used), strict=True)
        },
        loss=loss.combine(columns),
        column_losses={f.name: round(float(c), 6) for f, c in zip(fitted, columns, strict=True)},
        classes=int(summary["classes"]),
        smallest=int(summary["smallest"]),
        suppressed=int(summary["suppressed"]),
    )


def _one_class(counts: Counts) -> Fit:
    """No quasi-identifier leaves: everyone is in one class."""
    people = int(counts[:, 0].sum())
    return Fit("", np.zeros(len(counts), dtype=np.int32), {0: ()}, 0.0, {}, 1, people, 0)


def _fit_hierarchy(dictionary: Dictionary, column: Column, values: list[object]) -> Fitted:
    try:
        return hierarchies.fit(hierarchy_spec(dictionary, column), values, name=column.name)
    except HierarchyError as error:
        table = dictionary.people.name
        found = [Finding(f"hierarchy_{c}", d, table=table, column=column.name) for c, d in error.problems]
        raise Problem("anonymity_unreachable", "A hierarchy does not cover its column.", found) from error


def _sensitive(dictionary: Dictionary, histograms: Histograms) -> list[Sensitive]:
    found = []
    for name, (values, hist) in histograms.items():
        role = dictionary.people.column(name).role
        closed_values = set(getattr(role, "closed", ()))
        closed = np.array([str(v) in closed_values for v in values], dtype=np.bool_)
        if getattr(role, "l", None) or getattr(role, "t", None) or closed.any():
            found.append(Sensitive(name, hist, getattr(role, "l", None), getattr(role, "t", None), closed))
    return found


def _check_sizes(counts: Counts, tables: Sequence[str], k: int, min_cell: int) -> None:
    """k people in every table that has any, and min_cell altogether: fewer no row filter may leave."""
    totals, least = counts.sum(axis=0), max(k, min_cell)
    small = [t for t, n in zip(tables, totals[1:], strict=True) if 0 < n < k]
    problems = [("too_few_people", f"fewer than {least} people are left")] if totals[0] < least else []
    findings = [
        Finding(
            "too_few_people", f"fewer than {k} people have rows here", table=t, hint="Leave the table out."
        )
        for t in small
    ]
    if problems or findings:
        raise _unreachable(problems, findings)


def _unreachable(problems: Sequence[tuple[str, str]], findings: Sequence[Finding] = ()) -> Problem:
    found = [*(Finding(code, detail) for code, detail in problems), *findings]
    return Problem("anonymity_unreachable", "No recoding of these people reaches the target.", found)
