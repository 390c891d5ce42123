"""Risk and utility of a release, measured on raw and released rows; one file a measure, one call for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from app.deid.risk.classes import Uniqueness, uniqueness
from app.deid.risk.codes import CodeLoss, code_losses
from app.deid.risk.columns import ColumnLoss, column_losses, total_loss
from app.deid.risk.events import EventUniqueness, event_uniqueness
from app.deid.risk.ground import Bounds, Ground, Tables, quoted, set_of, stand
from app.deid.risk.groups import Grouping, suppressed_by_group
from app.deid.risk.inference import Inference, inferences
from app.deid.risk.intersection import Intersection, intersect, intersect_recodings
from app.deid.risk.utility import Utility, utility
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan

__all__ = [
    "PROFILE", "Bounds", "Intersection", "RiskReport", "Tables", "intersect", "intersect_recodings", "measure",
    "statement",
]  # fmt: skip

Progress = Callable[..., None]

# Raised with whatever lets a dry run tell otherwise of the same rows: numbers of another profile are not told again,
# and no approval rests on them.
PROFILE = "baekman-risk/2"


@dataclass(frozen=True)
class RiskReport:
    """Everything that was measured. Counts are exact: for stewards, never for researchers (see `statement`). `people`
    and `released` count pseudonyms: whoever is linked has one, whoever may not be has one in each cohort."""

    plan_hash: str
    k: int
    people: int
    released: int
    uniqueness: Uniqueness
    loss: float
    columns: tuple[ColumnLoss, ...]
    groups: tuple[Grouping, ...]
    inferences: tuple[Inference, ...]
    events: EventUniqueness | None
    codes: tuple[CodeLoss, ...]
    intersections: tuple[Intersection, ...]
    not_compared: tuple[str, ...]  # earlier releases that this one could not be laid on
    utility: Utility

    @property
    def suppressed_share(self) -> float:
        """The share of the eligible people who do not leave."""
        return 1 - self.released / self.people if self.people else 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, fractions to six digits, with the few figures that are computed from others."""
        said: dict[str, Any] = _rounded(asdict(self))
        said["profile"] = PROFILE
        said["suppressed_share"] = round(self.suppressed_share, 6)
        for entry, one in zip(said["inferences"], self.inferences, strict=True):
            entry["gain"] = round(one.gain, 6)
        for entry, met in zip(said["intersections"], self.intersections, strict=True):
            entry["needs_signature"] = met.needs_signature
        return said


def measure(
    raw: Tables,
    released: Tables,
    crosswalk: pa.Table,
    dictionary: Dictionary,
    plan: Plan,
    bounds: Bounds,
    *,
    twins: pa.Table | None = None,
    plan_hash: str = "",
    earlier: Iterable[tuple[str, pa.Table | None]] = (),
    progress: Progress = lambda **_: None,
) -> RiskReport:
    """Measure a release that is staged, against the raw rows of the people who were eligible.

    `raw` are checked tables, people by keys in `__participant` (`__participant_<n>` on a link table), `released` the
    staged parts; every table of the plan, and of `raw` the parents too. `crosswalk` (key, pseudonym) holds everyone
    who had consent and passed the filter, before suppression; linked keys have one pseudonym. `twins` (pseudonym,
    person) names pseudonyms that are one person, who counts once towards k. `earlier` has for each earlier release its
    name and a table of `key` and that release's labels, one column each (others' releases of the same people), or None
    where it cannot be compared; it is asked for one after the other.
    """
    with stand(raw, released, crosswalk, dictionary, plan, bounds, twins) as ground:
        steps: dict[str, Callable[[Ground], Any]] = {
            "classes": uniqueness, "columns": column_losses, "groups": suppressed_by_group,
            "inference": inferences, "events": event_uniqueness, "codes": code_losses, "utility": utility,
        }  # fmt: skip
        found: dict[str, Any] = {}
        for done, (name, run) in enumerate(steps.items()):
            progress(step=f"risk: {name}", done=done, total=len(steps) + 1)
            found[name] = run(ground)
        met, not_compared = list[Intersection](), list[str]()
        for name, table in earlier:
            if table is None:
                not_compared.append(name)
            else:
                met.append(_met(ground, name, table))
        people = ground.number("SELECT count(*) FROM person")
        out = ground.number("SELECT count(*) FROM out")
    return RiskReport(
        plan_hash, plan.privacy.k, people, out, found["classes"], total_loss(found["columns"]),
        tuple(found["columns"]), tuple(found["groups"]), tuple(found["inference"]), found["events"],
        tuple(found["codes"]), tuple(met), tuple(not_compared), found["utility"],
    )  # fmt: skip


def statement(report: RiskReport) -> dict[str, Any]:
    """What a certificate may say of it: measured shares in whole per cent and no counts, so that nobody is told."""
    worst = max((one.gain for one in report.inferences), default=None)
    events = report.events
    return {
        "event_attack": None if events is None or not events.after.sampled else {
            "known_events": 3,
            "people_sampled_at_least_100": events.after.sampled >= 100,
            "unique_share_raw": round(events.before.unique_share, 2),
            "unique_share": round(events.after.unique_share, 2),
            "unique_share_codes_alone": round(events.codes_alone.unique_share, 2),
            "ko": "진료 사건 3건의 (코드, 연월)을 아는 공격자에게 유일하게 식별되는 참여자의 비율(표본 측정)",
            "en": "Share of sampled people told apart by three (code, month) events known to an attacker",
        },
        "sensitive_gain_at_most": None if worst is None else round(worst, 2),
        "utility": {
            "analyses": [one.name for one in report.utility.analyses],
            "median_relative_error": round(report.utility.median_relative_error, 2),
            "mean_interval_overlap": round(report.utility.mean_overlap, 2),
        },
    }  # fmt: skip


def _met(ground: Ground, name: str, earlier: pa.Table) -> Intersection:
    """This release and an earlier one, person by person: of a linked one all that the earlier one tells of any of
    their keys. Who has two pseudonyms in one crowd counts once."""
    others = [c for c in earlier.column_names if c != "key"]
    ground.load("earlier", earlier)
    roster, own = ground.roster, "SELECT p, true AS l FROM out"
    if roster is not None and ground.labels:
        own = f"SELECT p, class AS l FROM {ground.classes(roster, released=True)}"
    label = f"row({', '.join(['true', *map(quoted, others)])})"
    theirs = f"SELECT p, {label} AS l FROM earlier JOIN participant USING (key)"
    if ground.number(f"SELECT count(*) - count(DISTINCT p) FROM ({theirs})"):
        theirs = f"SELECT p, {set_of('l')} AS l FROM ({theirs}) GROUP BY p"
    crowds = ground.arrow(
        "SELECT DISTINCT counted, "
        "coalesce(dense_rank() OVER (ORDER BY a.l NULLS LAST), 0) * (a.l IS NOT NULL)::INT - 1 AS a, "
        "coalesce(dense_rank() OVER (ORDER BY b.l NULLS LAST), 0) * (b.l IS NOT NULL)::INT - 1 AS b "
        f"FROM person LEFT JOIN ({own}) a USING (p) LEFT JOIN ({theirs}) b USING (p)"
    )
    first, second = (crowds[c].to_numpy().astype(np.int64) for c in ("a", "b"))
    return intersect(first, second, np.ones(len(first), np.int64), ground.plan.privacy.k, name)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(one) for one in value]
    return value
