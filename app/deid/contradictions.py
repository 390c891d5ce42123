"""What the parts of a plan say together: one mode for a person's dates, no true twin of a moved one, sound limits."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from app.deid.choices import Chosen, date_mode
from app.deid.dictionary_shape import near
from app.deid.presets import presets
from app.errors import Finding
from app.schemas.dictionary import Sensitive, Table
from app.schemas.plan import Privacy

_DATE_PARTS = re.compile(
    r"(?:^|_)(?:date|datetime|time|timestamp|dt|year|month|day|of)(?=_|$)|(?:연도|년도|연월|년월|일자|일시|날짜)$"
)


def timeline_findings(chosen: Mapping[tuple[str, str], tuple[Table, Chosen]]) -> Iterator[Finding]:
    """One way for all dates of a person: the true year beside a shifted date gives the shift away."""
    modes = {
        place: mode
        for place, (table, choice) in chosen.items()
        if table.kind != "reference" and (mode := date_mode(choice.transform.name, choice.params))
    }
    if len(set(modes.values())) > 1:
        for (table, column), mode in modes.items():
            yield Finding(
                "date_modes_conflict", f"leaves by {mode}; all dates of a person must leave by one mode", table, column,
                hint=f"choose one of {', '.join(sorted(set(modes.values())))} and leave the other dates out",
            )  # fmt: skip


def twin_findings(chosen: Mapping[tuple[str, str], tuple[Table, Chosen]]) -> Iterator[Finding]:
    """A moved date beside the true year of the same event (YEAR_OF_BIRTH, BIRTH_DATETIME), told by their names."""
    events: dict[tuple[str, str], list[tuple[str, str | None]]] = defaultdict(list)
    for (table, name), (kind, choice) in chosen.items():
        event, parts = _DATE_PARTS.subn("", name.casefold())
        if parts and kind.kind != "reference" and not choice.is_reason:
            mode = date_mode(choice.transform.name, choice.params)
            events[table, event.strip("_")].append((name, mode))
    for (table, _), twins in events.items():
        modes = {mode for _, mode in twins}
        if None in modes and modes & {"shift", "relative_day"}:
            for name, mode in twins:
                if mode is not None:
                    others = ", ".join(other for other, way in twins if way is None)
                    yield Finding(
                        "date_twin", "beside the true date part of the same event a moved date tells the move",
                        table, name, hint=f"leave out this column, or {others}",
                    )  # fmt: skip


def privacy_findings(privacy: Privacy, chosen: Sequence[Chosen]) -> Iterator[Finding]:
    """Limits that contradict each other, the preset, or what the sensitive columns ask."""
    known = presets()
    preset = known.rows.get(privacy.preset or "")
    if privacy.preset in known.counts:
        yield Finding(
            "contradiction", "this preset is one of counts and releases no rows", pointer="/privacy/preset"
        )
    elif privacy.preset is not None and preset is None:
        yield Finding(
            "unknown_preset",
            "there is no such preset",
            pointer="/privacy/preset",
            near=near(privacy.preset, known.rows),
        )
    if preset is not None and privacy.k < preset.k:
        yield Finding("contradiction", f"the preset asks for k of at least {preset.k}", pointer="/privacy/k")
    wanted = max((c.column.role.l or 0 for c in chosen if isinstance(c.column.role, Sensitive)), default=0)
    if privacy.k < wanted:
        detail = f"{wanted} distinct sensitive values need classes of at least {wanted} people"
        yield Finding("contradiction", detail, pointer="/privacy/k")
