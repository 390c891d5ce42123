"""Diagnoses by ICD-10 and KCD: 5, 4, 3 characters, block, chapter; any code is accepted, its version is stated."""

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from app.deid.hierarchies.fitted import Climb, HierarchyError

KIND = "icd"
DEFAULTS: tuple[str, ...] = ()
VOCABULARIES = ("kcd", "icd10", "icd-10", "icd10cm", "icd-10-cm")
VERSIONS = ("ICD-10", "ICD-10-CM", "KCD-7", "KCD-8", "KCD-9")
OTHER = "(other)"
_NO_LETTER = re.compile(r"[^0-9A-Z]")
_CATEGORY = re.compile(r"[A-Z][0-9][0-9A-Z]")


def climb(spec: Mapping[str, Any], values: Sequence[object]) -> Climb:
    """Cut codes to each of spec["lengths"] characters (of 5, 4, 3), then to block and chapter of spec["version"].

    Dots, daggers and case do not count. What is in no block goes to "(other)" of its chapter, and what is in no chapter
    to "(other)". Shares are of the 14,400 codes of ICD-10, by the categories under a label. Raises HierarchyError.
    """
    lengths, blocks = _parameters(spec)
    codes = [_NO_LETTER.sub("", str(value).upper()) for value in values]
    empty = [i for i, code in enumerate(codes) if not code]
    if empty:
        detail = f"{len(empty)} of {len(codes)} values hold no letter or digit, the first at {empty[0]}"
        raise HierarchyError([("not_covered", detail)])
    homes = [_home(code[:3], blocks) for code in codes]
    texts = [[str(value) for value in values]]
    shares = [[_share_of(len(code)) for code in codes]]
    for length in lengths:
        cut = [code[:length] for code in codes]
        texts.append(cut)
        shares.append([_share_of(len(code)) for code in cut])
    texts += [[block for block, *_ in homes], [chapter for _, _, chapter, _ in homes]]
    shares += [[share for _, share, _, _ in homes], [share for *_, share in homes]]
    return Climb(texts, [np.array(level, dtype=np.float64) for level in shares], float(_data()["codes"]))


def default(vocabulary: str) -> dict[str, Any]:
    """Five, four and three characters, block and chapter; KCD-8 unless the vocabulary names another version."""
    word = vocabulary.lower().replace(" ", "-")
    version = "KCD-8" if word.startswith("kcd") else "ICD-10-CM" if word.endswith("cm") else "ICD-10"
    version = next((known for known in VERSIONS if known.lower() == word), version)
    return {"kind": KIND, "version": version, "lengths": [5, 4, 3]}


def _parameters(spec: Mapping[str, Any]) -> tuple[list[int], list[tuple[str, str]]]:
    lengths, version = spec.get("lengths", [5, 4, 3]), spec.get("version")
    problems = []
    if version not in VERSIONS:
        problems.append(("bad_version", f"the version is one of {', '.join(VERSIONS)}"))
    if not isinstance(lengths, list) or [length for length in (5, 4, 3) if length in lengths] != lengths:
        problems.append(("bad_lengths", "lengths must be some of 5, 4, 3, in this order"))
    if problems:
        raise HierarchyError(problems)
    return lengths, _blocks("KCD" if str(version).startswith("KCD") else "ICD-10")


def _home(category: str, blocks: list[tuple[str, str]]) -> tuple[str, float, str, float]:
    """The block of a category, its share, its chapter, its share."""
    if not _CATEGORY.fullmatch(category):
        return OTHER, 1.0, OTHER, 1.0
    chapter = next((c for c in _chapters() if c[1] <= category <= c[2]), None)
    if chapter is None:
        return OTHER, 1.0, OTHER, 1.0
    name, first, last = chapter
    all_of = _categories("A00", "Z99")
    over = f"{name} ({first}-{last})", _categories(first, last) / all_of
    place = bisect_right(blocks, (category, "~")) - 1
    if place >= 0 and blocks[place][0] <= category <= _padded(blocks[place][1]):
        low, high = blocks[place]
        return f"{low}-{high}" if low != high else low, _categories(low, high) / all_of, *over
    return f"{OTHER} {name}", over[1], *over


def _padded(last: str) -> str:
    """C7A and C7B of ICD-10-CM lie behind C79, inside the block that ends in C80."""
    return last if last[2] != "9" else last[:2] + "Z"


def _categories(first: str, last: str) -> int:
    number = [(ord(code[0]) - 65) * 100 + int(code[1:]) for code in (first, last)]
    return number[1] - number[0] + 1


def _share_of(length: int) -> float:
    codes, categories = float(_data()["codes"]), float(_categories("A00", "Z99"))
    return 1 / codes if length > 4 else 2 / codes if length == 4 else max(1 / categories, 2 / codes)


@cache
def _chapters() -> list[tuple[str, str, str]]:
    return [(c["chapter"], c["first"], c["last"]) for c in _data()["chapters"]]


@cache
def _blocks(system: str) -> list[tuple[str, str]]:
    ranges = [*_data()["blocks"], *_data()["blocks_of"][system]]
    return sorted((low, high) for low, _, high in (one.partition("-") for one in ranges))


@cache
def _data() -> dict[str, Any]:
    return dict(json.loads((files(__package__) / "data" / "icd10.json").read_text(encoding="utf-8")))
