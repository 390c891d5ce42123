"""What consent that others give for a child needs, and from when on it holds for nothing new; pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from app.errors import Finding


def first_of(month: str) -> date | None:
    """The first day of a month written YYYY-MM; None where it is none."""
    if len(month) != 7:
        return None
    try:
        return date.fromisoformat(f"{month}-01")
    except ValueError:
        return None


def adult_due(born: date | None, given_at: date | None, age: int, *, by_proxy: bool) -> date | None:
    """The day from which the adult's own word is due; None where the word was no proxy's, or for an adult.

    `born` is the first day of the month of birth. In the month of the birthday the day is not known, so a proxy may
    still have been right, and the next month is due.
    """
    if not by_proxy or born is None or given_at is None:
        return None
    grown = _later(born, age)
    after = _next_month(grown)
    return grown if given_at < grown else after if given_at < after else None


def findings(
    *, born: date | None, given_at: date | None, by_proxy: bool, assent: str, adult: int, asked: int
) -> Iterator[Finding]:
    """What is wrong with a consent that is granted, as `engines.intake.register_checks` says of a line."""
    if by_proxy and given_at is None:
        yield Finding("missing_value", "what others gave for someone needs its day", pointer="/given_at")
    if by_proxy and born is None:
        detail = "what others gave for someone needs the month of birth; it is not stored"
        yield Finding("missing_value", detail, pointer="/birth_month")
    if born is None or given_at is None:
        return
    if born > given_at:
        yield Finding("bad_date", "nobody consents before they are born", pointer="/birth_month")
    if not by_proxy and given_at < _later(born, adult):
        detail = f"consent of someone below {adult} is given by others for them"
        yield Finding("proxy_missing", detail, pointer="/by_proxy")
    due = adult_due(born, given_at, adult, by_proxy=by_proxy)
    if due is not None and not assent and given_at >= _next_month(_later(born, asked)):
        yield Finding("assent_missing", f"a child of {asked} or older is asked for assent", pointer="/assent")


def _later(day: date, years: int) -> date:
    return day.replace(year=day.year + years)


def _next_month(day: date) -> date:
    return day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
