"""Korean regions by code: town, district, province; any code is accepted, the provinces have names."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from app.deid.hierarchies.fitted import Climb, HierarchyError

KIND = "region"
DEFAULTS: tuple[str, ...] = ()
VOCABULARIES = ("region", "mois", "kostat", "legal_dong", "admin_dong", "행정동", "법정동", "행정구역")
SYSTEMS = ("mois", "kostat")
_CODE = re.compile(r"[0-9]{2,10}")
# Digits of a code up to which a province, a district and a town are told; the rest is a village (ri) or nothing.
_LENGTHS = {"town": 8, "district": 5, "province": 2}


def climb(spec: Mapping[str, Any], values: Sequence[object]) -> Climb:
    """Cut codes of 2 to 10 digits to each of spec["levels"] (town 8, district 5, province 2 digits).

    spec["system"] is mois (administrative and legal dong) or kostat, spec["as_of"] the date of the codes (told, never
    guessed), spec["names"] ko, en or code. A code shorter than a level stays as it is; a province that is not known
    keeps its digits. Shares are those of the country (17 provinces, 250 districts, 3,500 towns). Raises HierarchyError.
    """
    levels, system, names = _parameters(spec)
    codes = [str(value).strip() for value in values]
    bad = [i for i, code in enumerate(codes) if not _CODE.fullmatch(code)]
    if bad:
        detail = f"{len(bad)} of {len(codes)} values are not codes of 2 to 10 digits, the first at {bad[0]}"
        raise HierarchyError([("not_covered", detail)])
    known = _provinces(system, names) if names != "code" else {}
    texts = [[str(value) for value in values]]
    shares = [_shares(codes, 10)]
    for level in levels:
        cut = [code[: _LENGTHS[level]] for code in codes]
        texts.append([known.get(code, code) for code in cut] if level == "province" else cut)
        shares.append(_shares(cut, _LENGTHS[level]))
    return Climb(texts, shares, float(_data()["number_of"]["town"]))


def default(vocabulary: str) -> dict[str, Any]:
    """Towns, districts and provinces of today, named in Korean."""
    system = "kostat" if "kostat" in vocabulary.lower() else "mois"
    return {
        "kind": KIND,
        "system": system,
        "as_of": _data()["as_of"],
        "levels": list(_LENGTHS),
        "names": "ko",
    }


def _parameters(spec: Mapping[str, Any]) -> tuple[list[str], str, str]:
    levels, system, names = spec.get("levels") or list(_LENGTHS), spec.get("system"), spec.get("names", "ko")
    problems = []
    if system not in SYSTEMS:
        problems.append(("bad_system", f"the system of codes is one of {', '.join(SYSTEMS)}"))
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", str(spec.get("as_of", ""))):
        problems.append(("bad_date", "as_of must be the ISO date that the codes are of"))
    if names not in ("ko", "en", "code"):
        problems.append(("bad_names", "names must be ko, en or code"))
    if not isinstance(levels, list) or [level for level in _LENGTHS if level in levels] != levels:
        problems.append(("bad_levels", "levels must be some of town, district, province, in this order"))
    if problems:
        raise HierarchyError(problems)
    return [str(level) for level in levels], str(system), str(names)


def _shares(codes: list[str], length: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    number = _data()["number_of"]
    size = {2: number["province"], 5: number["district"]}
    return np.array([1 / size.get(_step(min(len(code), length)), number["town"]) for code in codes])


def _step(length: int) -> int:
    return 2 if length < 5 else 5 if length < 8 else 8


def _provinces(system: str, names: str) -> dict[str, str]:
    return {code: one[names] for one in _data()["provinces"] for code in one[system]}


@cache
def _data() -> dict[str, Any]:
    return dict(json.loads((files(__package__) / "data" / "regions.json").read_text(encoding="utf-8")))
