"""DUO: which purposes a dataset's data use terms allow. It fails closed, and deny beats abstain beats approve.

What a term is, and what is checked when terms are registered, stands in `duo_terms.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.standards.duo_reasons import REASONS
from app.standards.duo_terms import check_terms, day, faults, shorthand, terms_of_duo

__all__ = [
    "MATCHER_VERSION",
    "Match",
    "Purpose",
    "check_terms",
    "consent_covers",
    "match",
    "shorthand",
    "terms_of_duo",
    "together",
]

MATCHER_VERSION = "baekman-duo/1"

Answer = Literal["approve", "deny", "abstain"]
Disease = Annotated[str, Field(pattern=r"^MONDO:[0-9]{7}$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
Identifier = Annotated[str, Field(min_length=1, max_length=120)]

# Purpose -> the permissions that cover it. DS lies within HMB, HMB within GRU; never the other way round.
_COVERED = {
    "GRU": frozenset({"GRU", "NRES"}),
    "HMB": frozenset({"HMB", "GRU", "NRES"}),
    "DS": frozenset({"DS", "HMB", "GRU", "NRES"}),
    "POA": frozenset({"POA", "GRU", "NRES"}),
    "MDS": frozenset({"HMB", "GRU", "NRES"}),
}
_CONDITIONS = {
    "COL": "collaboration",
    "IRB": "ethics_approval",
    "PUB": "publication",
    "RTN": "return_of_results",
}
# Modifiers that name who may use the data -> the parameter that names them, and who asks.
_NAMED = {"US": ("users", "user"), "IS": ("institutions", "institution"), "PS": ("projects", "project")}
_DELICATE = ("vulnerable_groups", "stigmatised_disease", "illegal_behaviour", "discrimination_risk")


def _real_day(text: str) -> str:
    if day(text) is None:
        raise ValueError("no day of the form YYYY-MM-DD")
    return text


Day = Annotated[str, AfterValidator(_real_day)]


class Purpose(BaseModel):
    """What the data are wanted for. What is left unsaid (None) never counts in the asker's favour.

    `user`, `institution`, `project`, `for_profit_organisation` and `country` are facts: whoever knows them sets them
    over what an applicant says.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    term: Literal["GRU", "HMB", "DS", "POA", "MDS"] = Field(
        description="DUO shorthand; MDS: methods development."
    )
    diseases: list[Disease] = Field(default_factory=list, max_length=50, description="MONDO identifiers.")
    commercial: bool | None = None
    for_profit_organisation: bool | None = None
    country: Country | None = Field(None, description="ISO 3166-1 alpha-2 code of the place of use.")
    genetic: bool | None = Field(None, description="A study of genotypes, alone or with phenotypes.")
    population_origins: bool | None = Field(
        None, description="Population origins or ancestry are studied too."
    )
    collaboration: bool | None = None
    irb: bool | None = Field(None, description="Ethics approval has been given.")
    publish_from: Day | None = Field(None, description="First publication, YYYY-MM-DD.")
    user: Identifier | None = None
    institution: Identifier | None = None
    project: Identifier | None = None
    vulnerable_groups: bool = False
    stigmatised_disease: bool = False
    illegal_behaviour: bool = False
    discrimination_risk: bool = False


@dataclass(frozen=True)
class Match:
    """The answer with all of its reasons, what the permit must carry, and the matcher that gave it."""

    answer: Answer
    reasons: list[dict[str, str]]
    conditions: list[str]
    matcher_version: str = MATCHER_VERSION


@dataclass
class _Verdict:
    given: list[tuple[Answer, str, str]] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)

    def add(self, answer: Answer, reason: str, term: str) -> None:
        if (answer, reason, term) not in self.given:
            self.given.append((answer, reason, term))


def match(
    terms: Sequence[Mapping[str, Any]],
    purpose: Purpose,
    on: date,
    *,
    ancestors: Mapping[str, Collection[str]] | None = None,
) -> Match:
    """Whether the terms allow the purpose on that day: `deny` beats `abstain` beats `approve`.

    `ancestors` maps a disease to all it descends from; a disease that is not in it is equal or unknown.
    """
    verdict, permissions = _Verdict(), []
    for term in terms:
        short = shorthand(term.get("term"))
        if short is None:
            verdict.add("abstain", "term_unknown", "")
        elif terms_of_duo()[short]["kind"] == "permission":
            permissions.append((short, term))
        elif next(faults(term, "", short), None) is not None:
            verdict.add("abstain", "term_unevaluated", short)
        else:
            _modify(verdict, short, term, purpose, on)
    if len(permissions) != 1:
        verdict.add("abstain", "permission_ambiguous", "")
    for short, term in permissions:
        _permit(verdict, short, term, purpose, ancestors or {})
    if any(getattr(purpose, flag) for flag in _DELICATE):
        verdict.add("abstain", "delicate_subject", "")
    return _conclude(verdict)


def together(matches: Mapping[str, Match]) -> Match:
    """One answer for the terms of several cohorts: deny beats abstain beats approve, over all of them; every reason
    names its cohort, and every condition that any of them lays on a permit holds. One match alone stays as it is."""
    if len(matches) == 1:
        return next(iter(matches.values()))
    answers = {match.answer for match in matches.values()}
    answer: Answer = "deny" if "deny" in answers else "approve" if answers == {"approve"} else "abstain"
    reasons = [{**reason, "cohort": name} for name, one in matches.items() for reason in one.reasons]
    conditions = [condition for one in matches.values() for condition in one.conditions]
    return Match(answer, reasons, list(dict.fromkeys(conditions)))


def consent_covers(
    consent_purposes: Sequence[str],
    purpose: Purpose,
    *,
    ancestors: Mapping[str, Collection[str]] | None = None,
) -> bool:
    """Whether one participant's own consent holds for the purpose, beside the dataset's terms.

    An empty list narrows nothing. Entries are permissions (`GRU`, `DUO:0000042`) or `DS:MONDO:nnnnnnn`; any one that
    covers is enough. A bare DS, an unknown code or a modifier covers nothing: it cannot be judged.
    """
    if not consent_purposes:
        return True
    return any(_covers(entry, purpose, ancestors or {}) for entry in consent_purposes)


def _covers(entry: str, purpose: Purpose, ancestors: Mapping[str, Collection[str]]) -> bool:
    code, _, disease = entry.partition(":") if entry.startswith("DS:") else (entry, "", "")
    short = shorthand(code)
    if short is None or terms_of_duo()[short]["kind"] != "permission":
        return False
    verdict, term = _Verdict(), {"term": short, "diseases": [disease] if disease else []}
    _permit(verdict, short, term, purpose, ancestors)
    return all(answer == "approve" for answer, _, _ in verdict.given)


def _permit(
    verdict: _Verdict,
    short: str,
    term: Mapping[str, Any],
    purpose: Purpose,
    ancestors: Mapping[str, Collection[str]],
) -> None:
    """What the one permission says of the purpose."""
    if purpose.population_origins and purpose.term != "POA" and short in ("HMB", "DS"):
        verdict.add("deny", "origins_prohibited", short)  # HMB leaves out the study of origins or ancestry
    if purpose.term == "MDS" and short in ("DS", "POA"):
        verdict.add("abstain", "methods_left_open", short)
    elif short not in _COVERED[purpose.term]:
        verdict.add("deny", "purpose_not_covered", short)
    elif short == "DS":
        _diseases(verdict, term, purpose, ancestors)
    else:
        verdict.add("approve", "permission_covers", short)


def _diseases(
    verdict: _Verdict, term: Mapping[str, Any], purpose: Purpose, ancestors: Mapping[str, Collection[str]]
) -> None:
    """Every disease of the purpose must equal or descend from one of the dataset's."""
    allowed = term.get("diseases")
    if not isinstance(allowed, list) or not allowed:
        verdict.add("abstain", "term_unevaluated", "DS")
        return
    if not purpose.diseases:
        verdict.add("abstain", "disease_unstated", "DS")
        return
    others = [
        d for d in purpose.diseases if d not in allowed and not set(ancestors.get(d, ())) & set(allowed)
    ]
    for disease in others:
        known = disease in ancestors
        verdict.add(
            "deny" if known else "abstain",
            "disease_not_covered" if known else "disease_relation_unknown",
            "DS",
        )
    if not others:
        verdict.add("approve", "permission_covers", "DS")


def _modify(verdict: _Verdict, short: str, term: Mapping[str, Any], purpose: Purpose, on: date) -> None:
    """What one modifier adds; a modifier that nothing here judges abstains."""
    if short in _CONDITIONS:
        verdict.conditions.append(_CONDITIONS[short])
    elif short in ("NPU", "NCU", "NPUNCU"):
        if short != "NCU":
            _must_not(
                verdict,
                purpose.for_profit_organisation,
                "for_profit_organisation",
                "organisation_unstated",
                short,
            )
        if short != "NPU":
            _must_not(verdict, purpose.commercial, "commercial_use", "use_unstated", short)
    elif short == "NMDS":
        if purpose.term == "MDS":
            verdict.add("deny", "methods_prohibited", short)
    elif short == "NPOA":
        origins = True if purpose.term == "POA" else purpose.population_origins
        _must_not(verdict, origins, "origins_prohibited", "origins_unstated", short)
    elif short == "GSO":
        genetic = None if purpose.genetic is None else not purpose.genetic
        _must_not(verdict, genetic, "not_genetic", "genetic_unstated", short)
    elif short == "GS":
        away = None if purpose.country is None else purpose.country not in term["places"]
        _must_not(verdict, away, "place_not_allowed", "country_unknown", short)
    elif short in _NAMED:
        _named(verdict, short, term, purpose)
    elif short in ("TS", "MOR"):
        _timed(verdict, short, term, purpose, on)
    elif short == "RS":
        verdict.add("abstain", "research_type_undecided", short)
    elif short != "CC":  # CC adds clinical care to the uses; no purpose here asks for it
        verdict.add("abstain", "term_unevaluated", short)


def _must_not(verdict: _Verdict, holds: bool | None, denied: str, unstated: str, short: str) -> None:
    if holds:
        verdict.add("deny", denied, short)
    elif holds is None:
        verdict.add("abstain", unstated, short)


def _named(verdict: _Verdict, short: str, term: Mapping[str, Any], purpose: Purpose) -> None:
    names, asker = term.get(_NAMED[short][0]), getattr(purpose, _NAMED[short][1])
    outside = None if names is None or asker is None else asker not in names
    _must_not(verdict, outside, "not_named", "named_unknown", short)


def _timed(verdict: _Verdict, short: str, term: Mapping[str, Any], purpose: Purpose, on: date) -> None:
    """TS ends the use; MOR allows the use and puts publication off. Months count from the permit's first day."""
    until = day(term.get("until"))
    if short == "TS" and until is not None and on > until:
        verdict.add("deny", "time_over", short)
    early = day(purpose.publish_from)
    if short == "MOR" and until is not None and early is not None and early < until:
        verdict.add("deny", "publication_too_early", short)
    what = "use_until" if short == "TS" else "publish_from"
    if until is not None and (short == "TS" or on < until):
        verdict.conditions.append(f"{what}:{until.isoformat()}")
    if term.get("months") is not None:
        span = "use_months" if short == "TS" else "publish_after_months"
        verdict.conditions.append(f"{span}:{term['months']}")


def _conclude(verdict: _Verdict) -> Match:
    answers = {answer for answer, _, _ in verdict.given}
    answer: Answer = "deny" if "deny" in answers else "approve" if answers == {"approve"} else "abstain"
    reasons = [
        {"code": reason, "term": term, "answer": said, "ko": REASONS[reason][0], "en": REASONS[reason][1]}
        for said, reason, term in verdict.given
    ]
    return Match(answer, reasons, verdict.conditions)
