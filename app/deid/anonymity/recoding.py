"""Recodings, local or full-domain, behind one door: read one back from its text, coarsen one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

from app.deid.anonymity.coarsening import coarsen_tree
from app.deid.anonymity.frequency import AnonymityError, Frequency
from app.deid.anonymity.full_domain import FullDomain, coarsen_full_domain
from app.deid.anonymity.tree import SUPPRESSED, Recoding
from app.deid.hierarchies import Fitted

__all__ = ["SUPPRESSED", "AnyRecoding", "FullDomain", "Recoding", "coarsen", "from_json"]

AnyRecoding = Recoding | FullDomain
R = TypeVar("R", Recoding, FullDomain)


def from_json(text: str) -> AnyRecoding:
    """The recoding of a text written by either kind's `to_json`; raises AnonymityError on any other."""
    try:
        kind = json.loads(text)["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise AnonymityError([("bad_recoding", "the text is not a recoding")]) from error
    return FullDomain.from_json(text) if kind == "full_domain" else Recoding.from_json(text)


def coarsen(recoding: R, freq: Frequency, fitted: Sequence[Fitted], k: int) -> R:
    """The recoding, as little coarser as makes every class lawful for changed counts; never finer anywhere.

    Classes that stay lawful keep their ids and labels. Raises AnonymityError when all people together are below k,
    or when nothing could be released.
    """
    if isinstance(recoding, FullDomain):
        return coarsen_full_domain(recoding, freq, fitted, k)
    return coarsen_tree(recoding, freq, fitted, k)
